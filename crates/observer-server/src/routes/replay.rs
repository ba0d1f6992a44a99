//! `/v1/sinks/{name}/replay`: bringing a sink the past, and ending that early. How far it is stands
//! in `/v1/sinks`.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use observer_core::{Filter, Timestamp};
use observer_pipeline::{ReplayError, ReplaySelection, ReplayStatus};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::metrics::requests::Route;
use crate::problem::{PROBLEM_JSON, Problem, ProblemDetails};
use crate::request::body::{collect, parse};
use crate::request::path::{Name, known};
use crate::routes::openapi::{self, AnyBody, AnyRequest};
use crate::state::ServerState;

/// Which past events: those that the observer received in some time, and that pass a filter.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct WantedPast {
    /// Received at this time or later (RFC 3339).
    #[schema(format = DateTime)]
    since: String,
    /// Received before this time.
    #[schema(format = DateTime, required = false, nullable = false)]
    until: Option<String>,
    /// Of these, the ones that pass it, as in the configuration of a sink. The sink's own filter
    /// holds, too.
    #[serde(default)]
    #[schema(value_type = Option<openapi::Filter>, required = false, nullable = false)]
    filter: Filter,
}

/// A replay of past events: events = delivered + dead + refused + expired + filtered + pending.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ShownReplay<'a> {
    /// `running`, `done`, `stopped` since it can't go on, or `cancelled`.
    state: &'static str,
    /// Why it has stopped, or what holds it up.
    reason: Option<&'a str>,
    since: String,
    until: Option<String>,
    #[schema(value_type = openapi::Filter)]
    filter: &'a Filter,
    begun_at: String,
    ended_at: Option<String>,
    /// It was to reach further back than the journal does: what was received before this is gone.
    gone_before: Option<String>,
    /// How many events of the journal it goes through.
    events: u64,
    /// Those that it is not past yet.
    pending: u64,
    delivered: u64,
    /// Refused, and dead letters now.
    dead: u64,
    refused: u64,
    /// Gone from the journal before the replay came to them.
    expired: u64,
    /// Those that were not asked for.
    filtered: u64,
}

impl<'a> ShownReplay<'a> {
    pub(crate) fn of(replay: &'a ReplayStatus) -> Self {
        let text = |time: Timestamp| time.to_string();
        Self {
            state: replay.state.as_str(),
            reason: replay.failure.as_ref().map(|failure| &*failure.reason),
            since: text(replay.selection.since),
            until: replay.selection.until.map(text),
            filter: &replay.selection.filter,
            begun_at: text(replay.begun_at),
            ended_at: replay.ended_at.map(text),
            gone_before: replay.gone_before.map(text),
            events: replay.events,
            pending: replay.pending,
            delivered: replay.account.delivered,
            dead: replay.account.dead,
            refused: replay.account.refused,
            expired: replay.account.expired,
            filtered: replay.account.filtered,
        }
    }
}

/// Bring a sink past events that are still in the journal, also to one that was added later.
///
/// It goes up to where the sink stands at that moment; what comes after that the sink gets anyhow.
/// Past and new events take turns, batch by batch, each in the journal's order. The replay goes on
/// until it ends, also after a restart; what was delivered in the last second or two before a crash
/// is delivered again, under the same ids. Until then the journal keeps what it needs, unless it is
/// at its size limit. How far it is stands in `/v1/sinks`. What the sink refuses becomes dead
/// letters. A sink that keeps its position with its data refuses.
#[utoipa::path(
    post,
    path = "/v1/sinks/{name}/replay",
    params(("name" = String, Path, description = "The sink")),
    request_body(content = WantedPast, content_type = "application/json"),
    responses(
        (status = 202, description = "It has begun, and will go on", body = ShownReplay),
        (status = 404, description = "There is no such sink", body = ProblemDetails, content_type = PROBLEM_JSON),
        (status = 409, description = "The sink can't take past events, or has a replay already, or doesn't run", body = ProblemDetails, content_type = PROBLEM_JSON),
        (status = 422, description = "It doesn't say which events, or says it wrongly", body = ProblemDetails, content_type = PROBLEM_JSON),
        (status = 503, description = "The sink takes nothing now, or the replay can't be stored", body = ProblemDetails, content_type = PROBLEM_JSON),
        AnyBody
    )
)]
pub(crate) async fn post_replay(
    State(api): State<Arc<ServerState>>,
    name: Name,
    request: Request,
) -> Result<Response, Problem> {
    let _time = api.requests.time(Route::Replay);
    let name = known(&api, name).map_err(|problem| problem.closing_after(request.body()))?;
    let (limits, max_bytes) = {
        let settings = api.settings.load();
        (settings.body, settings.max_bytes_in_flight)
    };
    let mut room = api.in_flight.room(max_bytes);
    let body = collect(request.into_body(), limits, &mut room).await?;
    let how = r#"the body is {"since":"2026-11-22T17:00:00Z"}, and may have `until` and `filter`"#;
    let wanted: WantedPast = parse(&body, how)?;
    let past = ReplaySelection {
        since: time("since", &wanted.since)?,
        until: wanted.until.map(|until| time("until", &until)).transpose()?,
        filter: wanted.filter,
    };
    if past.until.is_some_and(|until| until <= past.since) {
        return Err(invalid(
            "until",
            "`until` is not later than `since`, so there is nothing between".to_owned(),
        ));
    }
    let begun = api.pipeline.start_replay(&name, past).await.map_err(|error| problem(&error))?;
    Ok((StatusCode::ACCEPTED, Json(ShownReplay::of(&begun))).into_response())
}

/// End a sink's replay where it is.
#[utoipa::path(
    delete,
    path = "/v1/sinks/{name}/replay",
    params(("name" = String, Path, description = "The sink")),
    responses(
        (status = 200, description = "It has ended", body = ShownReplay),
        (status = 404, description = "There is no such sink, or no replay that could end", body = ProblemDetails, content_type = PROBLEM_JSON),
        (status = 409, description = "The sink doesn't run", body = ProblemDetails, content_type = PROBLEM_JSON),
        (status = 415, description = "The request says that it is no JSON", body = ProblemDetails, content_type = PROBLEM_JSON),
        (status = 503, description = "That can't be stored now", body = ProblemDetails, content_type = PROBLEM_JSON),
        AnyRequest
    )
)]
pub(crate) async fn delete_replay(
    State(api): State<Arc<ServerState>>,
    name: Name,
) -> Result<Response, Problem> {
    let _time = api.requests.time(Route::Replay);
    let name = known(&api, name)?;
    let ended = api.pipeline.cancel_replay(&name).await.map_err(|error| problem(&error))?;
    Ok(Json(ShownReplay::of(&ended)).into_response())
}

fn time(field: &'static str, text: &str) -> Result<Timestamp, Problem> {
    text.parse()
        .map_err(|_| invalid(field, format!("`{field}` is a time, such as 2026-11-22T17:00:00Z")))
}

fn invalid(field: &'static str, detail: String) -> Problem {
    Problem::new(StatusCode::UNPROCESSABLE_ENTITY, detail).field(Some(field))
}

fn problem(error: &ReplayError) -> Problem {
    let status = match error {
        ReplayError::UnknownSink { .. } | ReplayError::NoReplay { .. } => StatusCode::NOT_FOUND,
        ReplayError::InOrderOnly { .. }
        | ReplayError::SinkNotRunning { .. }
        | ReplayError::AlreadyRunning { .. } => StatusCode::CONFLICT,
        _ => StatusCode::SERVICE_UNAVAILABLE,
    };
    Problem::new(status, observer_core::report(error))
}
