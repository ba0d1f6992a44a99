//! `/v1/sinks/{name}/dead-letters`: what a sink refused for good, listed, shown, sent again,
//! purged.

use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query, Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use observer_core::{Event, Submission, Timestamp, Uuid};
use observer_pipeline::{DeadLetterCursor, DeadLetterError, DeadLetterSelection, Redelivery};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use utoipa::ToSchema;

use crate::metrics::requests::Route;
use crate::problem::{PROBLEM_JSON, Problem, ProblemDetails};
use crate::request::body::{BodyError, collect, parse};
use crate::request::path::{Name, known};
use crate::routes::openapi::{self, AnyBody, AnyRequest};
use crate::state::ServerState;

const DEFAULT_LIMIT: u16 = 100;
const MAX_LIMIT: u16 = 1_000;

/// A page of dead letters.
#[derive(Debug, Serialize, ToSchema)]
struct LetterPage<'a> {
    /// How many there are in all.
    total: usize,
    /// Those of the newest events first.
    dead_letters: Vec<ListedLetter<'a>>,
    /// The `cursor` of the next page; null on the last one.
    next: Option<String>,
}

/// A dead letter without its event.
#[derive(Debug, Serialize, ToSchema)]
struct ListedLetter<'a> {
    /// Of the event, and of the letter.
    #[schema(format = "uuid")]
    id: String,
    seq: u64,
    received_at: String,
    source: &'a str,
    event_kind: &'a str,
    /// When it was put aside.
    dead_at: String,
    /// How many deliveries it was part of.
    attempts: u32,
    /// What the far side said.
    reason: &'a str,
}

/// A dead letter.
#[derive(Debug, Serialize, ToSchema)]
struct DeadLetter<'a> {
    #[schema(format = "uuid")]
    id: String,
    dead_at: String,
    attempts: u32,
    reason: &'a str,
    #[schema(value_type = openapi::Envelope)]
    envelope: Box<RawValue>,
}

/// Which letters to send again: some by their ids, or all.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct WantedLetters<'a> {
    /// The ids of their events.
    #[schema(value_type = Option<Vec<openapi::Id>>, required = false, nullable = false)]
    ids: Option<Vec<String>>,
    /// Send all of them.
    #[serde(default)]
    #[schema(required = false)]
    all: bool,
    /// What goes in place of the event, for a single id. Identity and time of receipt stay.
    #[serde(borrow)]
    #[schema(value_type = Option<openapi::Event>, required = false)]
    event: Option<&'a RawValue>,
}

/// What came of sending letters again.
#[derive(Debug, Serialize, ToSchema)]
struct ReplayOutcome {
    /// How many the sink took. They are no dead letters any more.
    replayed: u64,
    /// Those that it refused again. They stay.
    refused: Vec<RefusedLetter>,
    /// Ids that are no dead letters of this sink.
    missing: Vec<String>,
    /// Why the others were not tried; null if all were.
    stopped: Option<String>,
}

#[derive(Debug, Serialize, ToSchema)]
struct RefusedLetter {
    #[schema(format = "uuid")]
    id: String,
    reason: String,
}

/// What was purged.
#[derive(Debug, Serialize, ToSchema)]
struct PurgedLetters {
    /// How many letters there are less.
    purged: u64,
}

#[derive(Debug, Deserialize)]
pub(crate) struct PageQuery {
    limit: Option<u16>,
    cursor: Option<String>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct PurgeQuery {
    #[serde(default)]
    all: bool,
    before: Option<String>,
}

type NameAndId = Result<Path<(String, String)>, PathRejection>;

/// The dead letters of a sink, those of the newest events first.
#[utoipa::path(
    get,
    path = "/v1/sinks/{name}/dead-letters",
    params(
        ("name" = String, Path, description = "The sink"),
        ("limit" = Option<u16>, Query, description = "How many at most; 100 if it isn't said", minimum = 1, maximum = 1000, nullable = false),
        ("cursor" = Option<String>, Query, description = "`next` of the page before", pattern = "^[0-9]{1,19}-[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$", nullable = false)
    ),
    responses(
        (status = 200, description = "The letters", body = LetterPage),
        (status = 404, description = "There is no such sink", body = ProblemDetails, content_type = PROBLEM_JSON),
        (status = 500, description = "They can't be read", body = ProblemDetails, content_type = PROBLEM_JSON),
        AnyRequest
    )
)]
pub(crate) async fn get_dead_letters(
    State(api): State<Arc<ServerState>>,
    name: Name,
    query: Result<Query<PageQuery>, QueryRejection>,
) -> Result<Response, Problem> {
    let _time = api.requests.time(Route::DeadLetters);
    let name = known(&api, name)?;
    let Query(PageQuery { limit, cursor }) = query.map_err(|error| malformed(error.body_text()))?;
    let limit = limit.unwrap_or(DEFAULT_LIMIT);
    if !(1..=MAX_LIMIT).contains(&limit) {
        return Err(malformed(format!("limit is a number from 1 to {MAX_LIMIT}")));
    }
    let cursor = cursor.map(|cursor| cursor.parse::<DeadLetterCursor>()).transpose();
    let cursor = cursor.map_err(|error| malformed(error.to_string()))?;
    let page = api
        .pipeline
        .dead_letters(&name, limit.into(), cursor)
        .await
        .map_err(|error| problem(&error))?;
    let dead_letters = page.dead_letters.iter().map(listed).collect();
    let next = page.next.map(|next| next.to_string());
    Ok(Json(LetterPage { total: page.total, dead_letters, next }).into_response())
}

/// One dead letter with its event, byte for byte.
#[utoipa::path(
    get,
    path = "/v1/sinks/{name}/dead-letters/{id}",
    params(("name" = String, Path, description = "The sink"), ("id" = String, Path, description = "The event's id", format = "uuid")),
    responses(
        (status = 200, description = "The letter", body = DeadLetter),
        (status = 404, description = "There is no such sink or letter", body = ProblemDetails, content_type = PROBLEM_JSON),
        (status = 500, description = "It can't be read", body = ProblemDetails, content_type = PROBLEM_JSON),
        AnyRequest
    )
)]
pub(crate) async fn get_dead_letter(
    State(api): State<Arc<ServerState>>,
    path: NameAndId,
) -> Result<Response, Problem> {
    let _time = api.requests.time(Route::DeadLetters);
    let (name, id) = name_and_id(path)?;
    let letter = api.pipeline.dead_letter(&name, id).await.map_err(|error| problem(&error))?;
    let letter = letter.ok_or_else(|| no_letter(&name, id))?;
    let envelope = RawValue::from_string(letter.envelope.to_json());
    let envelope = envelope.map_err(|error| {
        Problem::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            format!("the dead letter is damaged: {error}"),
        )
    })?;
    let observer_pipeline::DeadLetter { reason, attempts, dead_at, .. } = &letter;
    let whole = DeadLetter {
        id: id.to_string(),
        dead_at: dead_at.to_string(),
        attempts: *attempts,
        reason,
        envelope,
    };
    Ok(Json(whole).into_response())
}

/// Send dead letters again, straight to their sink and to no other.
///
/// They go in the order of the events. A letter is removed once the sink has made its event
/// durable; when the observer ends in between, the letter stays, and the sink may get the event a
/// second time, under the same id. A sink that keeps its position with its data refuses.
#[utoipa::path(
    post,
    path = "/v1/sinks/{name}/dead-letters/replay",
    params(("name" = String, Path, description = "The sink")),
    request_body(content = WantedLetters, content_type = "application/json"),
    responses(
        (status = 200, description = "The sink has them all", body = ReplayOutcome),
        (status = 207, description = "Some stay, and it says why", body = ReplayOutcome),
        (status = 404, description = "There is no such sink, or none of the letters", body = ProblemDetails, content_type = PROBLEM_JSON),
        (status = 409, description = "The sink can't take past events, or doesn't run", body = ProblemDetails, content_type = PROBLEM_JSON),
        (status = 422, description = "It doesn't say which, or the event is none", body = ProblemDetails, content_type = PROBLEM_JSON),
        (status = 500, description = "They can't be read", body = ProblemDetails, content_type = PROBLEM_JSON),
        (status = 503, description = "The sink takes nothing now", body = ProblemDetails, content_type = PROBLEM_JSON),
        AnyBody
    )
)]
pub(crate) async fn post_dead_letters(
    State(api): State<Arc<ServerState>>,
    name: Name,
    request: Request,
) -> Result<Response, Problem> {
    let _time = api.requests.time(Route::DeadLetters);
    let name = known(&api, name).map_err(|problem| problem.closing_after(request.body()))?;
    let (limits, max_bytes) = {
        let settings = api.settings.load();
        (settings.batch.body, settings.max_bytes_in_flight)
    };
    let mut room = api.in_flight.room(max_bytes);
    let body =
        collect(request.into_body(), limits, &mut room).await.map_err(BodyError::of_batch)?;
    let how = r#"the body is {"ids":[…]}, {"ids":["…"],"event":{…}} or {"all":true}"#;
    let wanted: WantedLetters<'_> = parse(&body, how)?;
    let edited = wanted.event.map(edited).transpose()?;
    let which = match (wanted.ids, wanted.all) {
        (Some(ids), false) => {
            DeadLetterSelection::Ids(ids.iter().map(|id| parse_id(id)).collect::<Result<_, _>>()?)
        }
        (None, true) => DeadLetterSelection::All,
        _ => {
            let detail = "say which dead letters: either `ids`, or `all` as true";
            return Err(Problem::new(StatusCode::UNPROCESSABLE_ENTITY, detail));
        }
    };
    let replayed = api
        .pipeline
        .redeliver_dead_letters(&name, which, edited)
        .await
        .map_err(|error| problem(&error))?;
    outcome(&name, replayed)
}

/// Remove a sink's dead letters for good: all, or those from before a time.
#[utoipa::path(
    delete,
    path = "/v1/sinks/{name}/dead-letters",
    params(
        ("name" = String, Path, description = "The sink"),
        ("all" = Option<bool>, Query, description = "All of them", nullable = false),
        ("before" = Option<String>, Query, description = "Those that were put aside before this (RFC 3339)", format = DateTime, nullable = false)
    ),
    responses(
        (status = 200, description = "They are gone", body = PurgedLetters),
        (status = 404, description = "There is no such sink", body = ProblemDetails, content_type = PROBLEM_JSON),
        (status = 415, description = "The request says that it is no JSON", body = ProblemDetails, content_type = PROBLEM_JSON),
        (status = 500, description = "They can't be removed", body = ProblemDetails, content_type = PROBLEM_JSON),
        AnyRequest
    )
)]
pub(crate) async fn delete_dead_letters(
    State(api): State<Arc<ServerState>>,
    name: Name,
    query: Result<Query<PurgeQuery>, QueryRejection>,
) -> Result<Response, Problem> {
    let _time = api.requests.time(Route::DeadLetters);
    let name = known(&api, name)?;
    let Query(query) = query.map_err(|error| malformed(error.body_text()))?;
    let which = match (query.all, query.before) {
        (true, None) => DeadLetterSelection::All,
        (false, Some(before)) => {
            let time: Result<Timestamp, _> = before.parse();
            DeadLetterSelection::Before(
                time.map_err(|_| malformed("before is a time, such as 2026-11-22T17:00:00Z"))?,
            )
        }
        _ => return Err(malformed("say which dead letters: either all=true, or before=TIME")),
    };
    let purged =
        api.pipeline.purge_dead_letters(&name, which).await.map_err(|error| problem(&error))?;
    Ok(Json(PurgedLetters { purged }).into_response())
}

/// Remove one dead letter for good.
#[utoipa::path(
    delete,
    path = "/v1/sinks/{name}/dead-letters/{id}",
    params(("name" = String, Path, description = "The sink"), ("id" = String, Path, description = "The event's id", format = "uuid")),
    responses(
        (status = 200, description = "It is gone", body = PurgedLetters),
        (status = 404, description = "There is no such sink or letter", body = ProblemDetails, content_type = PROBLEM_JSON),
        (status = 415, description = "The request says that it is no JSON", body = ProblemDetails, content_type = PROBLEM_JSON),
        (status = 500, description = "It can't be removed", body = ProblemDetails, content_type = PROBLEM_JSON),
        AnyRequest
    )
)]
pub(crate) async fn delete_dead_letter(
    State(api): State<Arc<ServerState>>,
    path: NameAndId,
) -> Result<Response, Problem> {
    let _time = api.requests.time(Route::DeadLetters);
    let (name, id) = name_and_id(path)?;
    let purged =
        api.pipeline.purge_dead_letters(&name, DeadLetterSelection::Ids([id].into())).await;
    match purged.map_err(|error| problem(&error))? {
        0 => Err(no_letter(&name, id)),
        purged => Ok(Json(PurgedLetters { purged }).into_response()),
    }
}

fn listed(letter: &observer_pipeline::DeadLetter) -> ListedLetter<'_> {
    let observer_pipeline::DeadLetter { envelope, reason, attempts, dead_at, .. } = letter;
    ListedLetter {
        id: envelope.id.to_string(),
        seq: envelope.seq,
        received_at: envelope.received_at.to_string(),
        source: envelope.event.source(),
        event_kind: envelope.event.event_kind(),
        dead_at: dead_at.to_string(),
        attempts: *attempts,
        reason,
    }
}

fn outcome(
    name: &str,
    Redelivery { redelivered: replayed, rejected: refused, missing, stopped }: Redelivery,
) -> Result<Response, Problem> {
    if let ([id, ..], 0, true, None) = (missing.as_slice(), replayed, refused.is_empty(), &stopped)
    {
        return Err(no_letter(name, *id));
    }
    let all_taken = refused.is_empty() && missing.is_empty() && stopped.is_none();
    let refused = refused
        .into_iter()
        .map(|(id, reason)| RefusedLetter { id: id.to_string(), reason })
        .collect();
    let missing = missing.iter().map(Uuid::to_string).collect();
    let status = if all_taken { StatusCode::OK } else { StatusCode::MULTI_STATUS };
    Ok((status, Json(ReplayOutcome { replayed, refused, missing, stopped })).into_response())
}

fn edited(event: &RawValue) -> Result<Event, Problem> {
    let submission = Submission::parse(event.get().to_owned()).map_err(|error| {
        let detail = format!("`event` is none: {error}");
        Problem::new(StatusCode::UNPROCESSABLE_ENTITY, detail).field(error.field())
    })?;
    Ok(submission.event)
}

fn name_and_id(path: NameAndId) -> Result<(String, Uuid), Problem> {
    let Path((name, id)) = path.map_err(|error| malformed(error.body_text()))?;
    let id = parse_id(&id)?;
    Ok((name, id))
}

fn parse_id(id: &str) -> Result<Uuid, Problem> {
    Uuid::parse_str(id)
        .map_err(|_| malformed("a dead letter is known by the id of its event, which is a UUID"))
}

fn no_letter(name: &str, id: Uuid) -> Problem {
    Problem::new(
        StatusCode::NOT_FOUND,
        format!("the sink {name:?} has no dead letter of the event {id}"),
    )
}

fn malformed(detail: impl Into<std::borrow::Cow<'static, str>>) -> Problem {
    Problem::new(StatusCode::BAD_REQUEST, detail)
}

fn problem(error: &DeadLetterError) -> Problem {
    let status = match error {
        DeadLetterError::UnknownSink { .. } => StatusCode::NOT_FOUND,
        DeadLetterError::InOrderOnly { .. } | DeadLetterError::SinkNotRunning { .. } => {
            StatusCode::CONFLICT
        }
        DeadLetterError::Unavailable { .. } => StatusCode::SERVICE_UNAVAILABLE,
        DeadLetterError::EditNeedsOneId => StatusCode::UNPROCESSABLE_ENTITY,
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    };
    Problem::new(status, observer_core::report(error))
}
