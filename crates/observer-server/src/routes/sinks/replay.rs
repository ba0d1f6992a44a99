//! `/v1/sinks/{name}/replay`: starting and cancelling a replay of past events. Its progress is part
//! of `/v1/sinks`.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use observer_core::{Filter, Timestamp};
use observer_pipeline::{ReplayError, ReplaySelection, ReplayStatus};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::body::SinkRequestBody;
use super::path::{SinkName, known_sink};
use crate::problem::{PROBLEM_JSON, Problem, ProblemDetails};
use crate::request::access::Caller;
use crate::request::body::parse;
use crate::routes::openapi::{self, AnyBody, AnyRequest};
use crate::state::ServerState;

/// Selection of past events: those that were received in a period and pass a filter.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct ReplayRequest {
    /// Start of the period in which the events were received, inclusive (RFC 3339).
    #[schema(format = DateTime)]
    since: String,
    /// End of the period, exclusive.
    #[schema(format = DateTime, required = false, nullable = false)]
    until: Option<String>,
    /// Filter of the events, as in the configuration of a sink. It applies in addition to the
    /// sink's own filter.
    #[serde(default)]
    #[schema(value_type = Option<openapi::Filter>, required = false, nullable = false)]
    filter: Filter,
}

/// Status of a replay. Its account adds up: `events` is the sum of `delivered`, `dead`, `refused`,
/// `expired`, `lost`, `filtered` and `pending`.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ReplayProgress<'a> {
    /// `running`, `done`, `stopped` by a failure, or `cancelled`.
    state: &'static str,
    /// Reason for which the replay has stopped or is delayed.
    reason: Option<&'a str>,
    since: String,
    until: Option<String>,
    #[schema(value_type = openapi::Filter)]
    filter: &'a Filter,
    begun_at: String,
    ended_at: Option<String>,
    /// Set if the journal no longer has the start of the period: the time before which events have
    /// expired.
    gone_before: Option<String>,
    /// Number of events in the period.
    events: u64,
    /// Events that are not processed yet.
    pending: u64,
    delivered: u64,
    /// Events that were rejected by the sink and became dead letters.
    dead: u64,
    refused: u64,
    /// Events that the journal removed before the replay reached them.
    expired: u64,
    /// Events that the journal could no longer read, since a part of it is corrupt or missing.
    lost: u64,
    /// Events that do not pass the filters.
    filtered: u64,
}

impl<'a> ReplayProgress<'a> {
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
            lost: replay.account.lost,
            filtered: replay.account.filtered,
        }
    }
}

/// Starts a replay of past events that are still in the journal to a sink, which may have been
/// added after them.
///
/// The replay ends at the sink's current position; the sink receives later events as usual. Batches
/// of past and of new events alternate, each in the order of the journal. The replay continues
/// after a restart; after a crash, events of the last second or two are delivered again with the
/// same ids. Until the end of the replay the journal keeps its events, unless it reaches its size
/// limit. `/v1/sinks` has the progress. Events that the sink rejects become dead letters. Sinks
/// that store their position with their data do not support replay.
#[utoipa::path(
    post,
    path = "/v1/sinks/{name}/replay",
    params(("name" = String, Path, description = "Name of the sink")),
    request_body(content = ReplayRequest, content_type = "application/json"),
    responses(
        (status = 202, description = "The replay has started", body = ReplayProgress),
        (status = 404, description = "The sink is unknown",
            body = ProblemDetails, content_type = PROBLEM_JSON),
        (status = 409, description = "The sink does not support replay, has a running replay, or \
                                      is not running",
            body = ProblemDetails, content_type = PROBLEM_JSON),
        (status = 422, description = "The selection of events is missing or invalid",
            body = ProblemDetails, content_type = PROBLEM_JSON),
        (status = 503, description = "The sink is unavailable, or the replay can't be stored at \
                                      the moment",
            body = ProblemDetails, content_type = PROBLEM_JSON),
        AnyBody
    )
)]
pub(crate) async fn post_replay(
    State(state): State<Arc<ServerState>>,
    name: SinkName,
    Extension(caller): Extension<Caller>,
    request: Request,
) -> Result<Response, Problem> {
    let name = known_sink(&state, name)?;
    let body = SinkRequestBody::read(&state, &caller, request).await?;
    let usage =
        r#"the body is {"since":"2026-11-22T17:00:00Z"}, and may have `until` and `filter`"#;
    let selection: ReplayRequest = parse(&body.bytes, usage)?;
    let past = ReplaySelection {
        since: time("since", &selection.since)?,
        until: selection.until.map(|until| time("until", &until)).transpose()?,
        filter: selection.filter,
    };
    if past.until.is_some_and(|until| until <= past.since) {
        return Err(invalid("until", "`until` must be later than `since`".to_owned()));
    }
    let started =
        state.pipeline.start_replay(&name, past).await.map_err(|error| problem(&error))?;
    Ok((StatusCode::ACCEPTED, Json(ReplayProgress::of(&started))).into_response())
}

/// Cancels the replay of a sink.
#[utoipa::path(
    delete,
    path = "/v1/sinks/{name}/replay",
    params(("name" = String, Path, description = "Name of the sink")),
    responses(
        (status = 200, description = "The replay is cancelled", body = ReplayProgress),
        (status = 404, description = "The sink is unknown, or has no running replay",
            body = ProblemDetails, content_type = PROBLEM_JSON),
        (status = 409, description = "The sink is not running",
            body = ProblemDetails, content_type = PROBLEM_JSON),
        (status = 415, description = "The request has a content type other than JSON",
            body = ProblemDetails, content_type = PROBLEM_JSON),
        (status = 503, description = "The change can't be stored at the moment",
            body = ProblemDetails, content_type = PROBLEM_JSON),
        AnyRequest
    )
)]
pub(crate) async fn delete_replay(
    State(state): State<Arc<ServerState>>,
    name: SinkName,
) -> Result<Response, Problem> {
    let name = known_sink(&state, name)?;
    let cancelled = state.pipeline.cancel_replay(&name).await.map_err(|error| problem(&error))?;
    Ok(Json(ReplayProgress::of(&cancelled)).into_response())
}

fn time(field: &'static str, text: &str) -> Result<Timestamp, Problem> {
    text.parse().map_err(|_| {
        invalid(field, format!("`{field}` must be a time such as 2026-11-22T17:00:00Z"))
    })
}

fn invalid(field: &'static str, detail: String) -> Problem {
    Problem::new(StatusCode::UNPROCESSABLE_ENTITY, detail).field(Some(field))
}

fn problem(error: &ReplayError) -> Problem {
    let status = match error {
        ReplayError::UnknownSink { .. } | ReplayError::NoReplay { .. } => StatusCode::NOT_FOUND,
        ReplayError::ReplayUnsupported { .. }
        | ReplayError::SinkNotRunning { .. }
        | ReplayError::AlreadyRunning { .. } => StatusCode::CONFLICT,
        _ => StatusCode::SERVICE_UNAVAILABLE,
    };
    Problem::new(status, observer_core::report(error))
}
