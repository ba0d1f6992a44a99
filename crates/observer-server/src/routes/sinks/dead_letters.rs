//! `/v1/sinks/{name}/dead-letters`: list, show, replay and purge the dead letters of a sink.

use std::sync::Arc;

use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query, Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use observer_core::{Event, Submission, Timestamp, Uuid};
use observer_pipeline::{
    DeadLetter, DeadLetterCursor, DeadLetterError, DeadLetterSelection, Redelivery,
};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use utoipa::ToSchema;

use super::body::SinkRequestBody;
use super::path::{SinkName, known_sink};
use crate::problem::{PROBLEM_JSON, Problem, ProblemDetails};
use crate::request::access::Caller;
use crate::request::body::parse;
use crate::routes::openapi::{self, AnyBody, AnyRequest};
use crate::state::ServerState;

const DEFAULT_LIMIT: u16 = 100;
const MAX_LIMIT: u16 = 1_000;

/// Page of dead letters.
#[derive(Debug, Serialize, ToSchema)]
struct DeadLetterPage<'a> {
    /// Number of dead letters of the sink.
    total: usize,
    /// Dead letters of the page, newest events first.
    dead_letters: Vec<DeadLetterSummary<'a>>,
    /// `cursor` of the next page, or null on the last page.
    next: Option<String>,
}

/// Dead letter without its event.
#[derive(Debug, Serialize, ToSchema)]
struct DeadLetterSummary<'a> {
    /// Id of the event, which also identifies the dead letter.
    #[schema(format = "uuid")]
    id: String,
    seq: u64,
    received_at: String,
    source: &'a str,
    event_kind: &'a str,
    /// Time at which the event became a dead letter.
    dead_at: String,
    /// Number of deliveries that included the event.
    attempts: u32,
    /// Reason that the destination gave.
    reason: &'a str,
}

/// Dead letter with its event.
#[derive(Debug, Serialize, ToSchema)]
struct DeadLetterDetails<'a> {
    #[schema(format = "uuid")]
    id: String,
    dead_at: String,
    attempts: u32,
    reason: &'a str,
    #[schema(value_type = openapi::Envelope)]
    envelope: Box<RawValue>,
}

/// Selection of dead letters to replay: either `ids` or `all`.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct RedeliveryRequest<'a> {
    /// Ids of the events.
    #[schema(value_type = Option<Vec<openapi::Id>>, required = false, nullable = false)]
    ids: Option<Vec<String>>,
    /// Selects all dead letters.
    #[serde(default)]
    #[schema(required = false)]
    all: bool,
    /// Event that replaces the original, for a single id. Id and time of receipt stay.
    #[serde(borrow)]
    #[schema(value_type = Option<openapi::Event>, required = false)]
    event: Option<&'a RawValue>,
}

/// Result of a replay of dead letters.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ReplayOutcome)]
struct RedeliveryResponse {
    /// Number of events that the sink accepted, and whose dead letters are removed.
    replayed: u64,
    /// Dead letters that the sink rejected again, and that stay.
    refused: Vec<RejectedDeadLetter>,
    /// Ids without a dead letter of this sink.
    missing: Vec<String>,
    /// Reason for which the others were not attempted, or null if all were.
    stopped: Option<String>,
}

#[derive(Debug, Serialize, ToSchema)]
struct RejectedDeadLetter {
    #[schema(format = "uuid")]
    id: String,
    reason: String,
}

/// Result of a purge.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = PurgeOutcome)]
struct PurgeResponse {
    /// Number of removed dead letters.
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

/// Returns the dead letters of a sink, newest events first.
#[utoipa::path(
    get,
    path = "/v1/sinks/{name}/dead-letters",
    params(
        ("name" = String, Path, description = "Name of the sink"),
        ("limit" = Option<u16>, Query,
            description = "Size of a page; 100 by default",
            minimum = 1, maximum = 1000, nullable = false),
        ("cursor" = Option<String>, Query,
            description = "`next` of the previous page",
            pattern = "^[0-9]{1,19}-[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$", nullable = false)
    ),
    responses(
        (status = 200, description = "A page of dead letters", body = DeadLetterPage),
        (status = 404, description = "The sink is unknown",
            body = ProblemDetails, content_type = PROBLEM_JSON),
        (status = 500, description = "The dead letters can't be read",
            body = ProblemDetails, content_type = PROBLEM_JSON),
        AnyRequest
    )
)]
pub(crate) async fn get_dead_letters(
    State(state): State<Arc<ServerState>>,
    name: SinkName,
    query: Result<Query<PageQuery>, QueryRejection>,
) -> Result<Response, Problem> {
    let name = known_sink(&state, name)?;
    let Query(PageQuery { limit, cursor }) = query.map_err(|error| malformed(error.body_text()))?;
    let limit = limit.unwrap_or(DEFAULT_LIMIT);
    if !(1..=MAX_LIMIT).contains(&limit) {
        return Err(malformed(format!("`limit` must be a number from 1 to {MAX_LIMIT}")));
    }
    let cursor = cursor.map(|cursor| cursor.parse::<DeadLetterCursor>()).transpose();
    let cursor = cursor.map_err(|error| malformed(error.to_string()))?;
    let page = state
        .pipeline
        .dead_letters(&name, limit.into(), cursor)
        .await
        .map_err(|error| problem(&error))?;
    let dead_letters = page.dead_letters.iter().map(summary).collect();
    let next = page.next.map(|next| next.to_string());
    Ok(Json(DeadLetterPage { total: page.total, dead_letters, next }).into_response())
}

/// Returns one dead letter with its event, byte for byte.
#[utoipa::path(
    get,
    path = "/v1/sinks/{name}/dead-letters/{id}",
    params(
        ("name" = String, Path, description = "Name of the sink"),
        ("id" = String, Path, description = "Id of the event", format = "uuid")
    ),
    responses(
        (status = 200, description = "The dead letter", body = DeadLetterDetails),
        (status = 404, description = "The sink or the dead letter is unknown",
            body = ProblemDetails, content_type = PROBLEM_JSON),
        (status = 500, description = "The dead letter can't be read",
            body = ProblemDetails, content_type = PROBLEM_JSON),
        AnyRequest
    )
)]
pub(crate) async fn get_dead_letter(
    State(state): State<Arc<ServerState>>,
    path: NameAndId,
) -> Result<Response, Problem> {
    let (name, id) = name_and_id(path)?;
    let dead_letter =
        state.pipeline.dead_letter(&name, id).await.map_err(|error| problem(&error))?;
    let dead_letter = dead_letter.ok_or_else(|| unknown_dead_letter(&name, id))?;
    let envelope = RawValue::from_string(dead_letter.envelope.to_json());
    let envelope = envelope.map_err(|error| {
        Problem::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            format!("the dead letter of the event {id} is damaged: {error}"),
        )
    })?;
    let DeadLetter { reason, attempts, dead_at, .. } = &dead_letter;
    let details = DeadLetterDetails {
        id: id.to_string(),
        dead_at: dead_at.to_string(),
        attempts: *attempts,
        reason,
        envelope,
    };
    Ok(Json(details).into_response())
}

/// Sends dead letters to their sink again, and to no other sink.
///
/// Their events are sent in order. A dead letter is removed once the sink has made its event
/// durable. If the observer ends before that, the dead letter stays, and the sink may receive the
/// event twice with the same id. Sinks that store their position with their data do not support
/// this.
#[utoipa::path(
    post,
    path = "/v1/sinks/{name}/dead-letters/replay",
    params(("name" = String, Path, description = "Name of the sink")),
    request_body(content = RedeliveryRequest, content_type = "application/json"),
    responses(
        (status = 200, description = "The sink accepted all events", body = RedeliveryResponse),
        (status = 207, description = "Some dead letters stay; the body has the reasons",
            body = RedeliveryResponse),
        (status = 404, description = "The sink is unknown, or has none of the dead letters",
            body = ProblemDetails, content_type = PROBLEM_JSON),
        (status = 409, description = "The sink does not support replay, or is not running",
            body = ProblemDetails, content_type = PROBLEM_JSON),
        (status = 422, description = "The selection or the event is missing or invalid",
            body = ProblemDetails, content_type = PROBLEM_JSON),
        (status = 500, description = "The dead letters can't be read",
            body = ProblemDetails, content_type = PROBLEM_JSON),
        (status = 503, description = "The sink is unavailable",
            body = ProblemDetails, content_type = PROBLEM_JSON),
        AnyBody
    )
)]
pub(crate) async fn post_dead_letters(
    State(state): State<Arc<ServerState>>,
    name: SinkName,
    Extension(caller): Extension<Caller>,
    request: Request,
) -> Result<Response, Problem> {
    let name = known_sink(&state, name)?;
    let body = SinkRequestBody::read(&state, &caller, request).await?;
    let usage = r#"the body is {"ids":[…]}, {"ids":["…"],"event":{…}} or {"all":true}"#;
    let selection: RedeliveryRequest<'_> = parse(&body.bytes, usage)?;
    let edited = selection.event.map(edited).transpose()?;
    let selected = match (selection.ids, selection.all) {
        (Some(ids), false) => {
            DeadLetterSelection::Ids(ids.iter().map(|id| parse_id(id)).collect::<Result<_, _>>()?)
        }
        (None, true) => DeadLetterSelection::All,
        _ => {
            let detail = "no dead letters are selected; send either `ids`, or `all` as true";
            return Err(Problem::new(StatusCode::UNPROCESSABLE_ENTITY, detail));
        }
    };
    let replayed = state
        .pipeline
        .redeliver_dead_letters(&name, selected, edited)
        .await
        .map_err(|error| problem(&error))?;
    response(&name, replayed)
}

/// Removes dead letters of a sink permanently: all, or those from before a time.
#[utoipa::path(
    delete,
    path = "/v1/sinks/{name}/dead-letters",
    params(
        ("name" = String, Path, description = "Name of the sink"),
        ("all" = Option<bool>, Query, description = "Remove all dead letters", nullable = false),
        ("before" = Option<String>, Query,
            description = "Remove those whose event became a dead letter before this time (RFC \
                           3339)",
            format = DateTime, nullable = false)
    ),
    responses(
        (status = 200, description = "The dead letters are removed", body = PurgeResponse),
        (status = 404, description = "The sink is unknown",
            body = ProblemDetails, content_type = PROBLEM_JSON),
        (status = 415, description = "The request has a content type other than JSON",
            body = ProblemDetails, content_type = PROBLEM_JSON),
        (status = 500, description = "The dead letters can't be removed",
            body = ProblemDetails, content_type = PROBLEM_JSON),
        AnyRequest
    )
)]
pub(crate) async fn delete_dead_letters(
    State(state): State<Arc<ServerState>>,
    name: SinkName,
    query: Result<Query<PurgeQuery>, QueryRejection>,
) -> Result<Response, Problem> {
    let name = known_sink(&state, name)?;
    let Query(query) = query.map_err(|error| malformed(error.body_text()))?;
    let selected =
        match (query.all, query.before) {
            (true, None) => DeadLetterSelection::All,
            (false, Some(before)) => {
                let time: Result<Timestamp, _> = before.parse();
                DeadLetterSelection::Before(time.map_err(|_| {
                    malformed("`before` must be a time such as 2026-11-22T17:00:00Z")
                })?)
            }
            _ => {
                return Err(malformed(
                    "no dead letters are selected; send either all=true or before=TIME",
                ));
            }
        };
    let purged = state
        .pipeline
        .purge_dead_letters(&name, selected)
        .await
        .map_err(|error| problem(&error))?;
    Ok(Json(PurgeResponse { purged }).into_response())
}

/// Removes one dead letter permanently.
#[utoipa::path(
    delete,
    path = "/v1/sinks/{name}/dead-letters/{id}",
    params(
        ("name" = String, Path, description = "Name of the sink"),
        ("id" = String, Path, description = "Id of the event", format = "uuid")
    ),
    responses(
        (status = 200, description = "The dead letter is removed", body = PurgeResponse),
        (status = 404, description = "The sink or the dead letter is unknown",
            body = ProblemDetails, content_type = PROBLEM_JSON),
        (status = 415, description = "The request has a content type other than JSON",
            body = ProblemDetails, content_type = PROBLEM_JSON),
        (status = 500, description = "The dead letter can't be removed",
            body = ProblemDetails, content_type = PROBLEM_JSON),
        AnyRequest
    )
)]
pub(crate) async fn delete_dead_letter(
    State(state): State<Arc<ServerState>>,
    path: NameAndId,
) -> Result<Response, Problem> {
    let (name, id) = name_and_id(path)?;
    let purged =
        state.pipeline.purge_dead_letters(&name, DeadLetterSelection::Ids([id].into())).await;
    match purged.map_err(|error| problem(&error))? {
        0 => Err(unknown_dead_letter(&name, id)),
        purged => Ok(Json(PurgeResponse { purged }).into_response()),
    }
}

fn summary(dead_letter: &DeadLetter) -> DeadLetterSummary<'_> {
    let DeadLetter { envelope, reason, attempts, dead_at, .. } = dead_letter;
    DeadLetterSummary {
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

fn response(
    name: &str,
    Redelivery { redelivered: replayed, rejected, missing, stopped }: Redelivery,
) -> Result<Response, Problem> {
    if let ([id, ..], 0, true, None) = (missing.as_slice(), replayed, rejected.is_empty(), &stopped)
    {
        return Err(unknown_dead_letter(name, *id));
    }
    let all_accepted = rejected.is_empty() && missing.is_empty() && stopped.is_none();
    let refused = rejected
        .into_iter()
        .map(|(id, reason)| RejectedDeadLetter { id: id.to_string(), reason })
        .collect();
    let missing = missing.iter().map(Uuid::to_string).collect();
    let status = if all_accepted { StatusCode::OK } else { StatusCode::MULTI_STATUS };
    Ok((status, Json(RedeliveryResponse { replayed, refused, missing, stopped })).into_response())
}

fn edited(event: &RawValue) -> Result<Event, Problem> {
    let submission = Submission::parse(event.get().to_owned()).map_err(|error| {
        let detail = format!("`event` is invalid: {error}");
        Problem::new(StatusCode::UNPROCESSABLE_ENTITY, detail).field(error.field())
    })?;
    Ok(submission.event)
}

fn name_and_id(path: NameAndId) -> Result<(String, Uuid), Problem> {
    let Path((name, id)) = path.map_err(|error| malformed(error.body_text()))?;
    let id = parse_id(&id)?;
    Ok((name, id))
}

pub(super) fn parse_id(id: &str) -> Result<Uuid, Problem> {
    Uuid::parse_str(id)
        .map_err(|_| malformed("the id of a dead letter must be the UUID of its event"))
}

fn unknown_dead_letter(name: &str, id: Uuid) -> Problem {
    Problem::new(
        StatusCode::NOT_FOUND,
        format!("the sink {name:?} has no dead letter of the event {id}"),
    )
}

fn malformed(detail: impl Into<std::borrow::Cow<'static, str>>) -> Problem {
    Problem::new(StatusCode::BAD_REQUEST, detail)
}

pub(super) fn problem(error: &DeadLetterError) -> Problem {
    let status = match error {
        DeadLetterError::UnknownSink { .. } => StatusCode::NOT_FOUND,
        DeadLetterError::ReplayUnsupported { .. } | DeadLetterError::SinkNotRunning { .. } => {
            StatusCode::CONFLICT
        }
        DeadLetterError::Unavailable { .. } | DeadLetterError::NotDiverted { .. } => {
            StatusCode::SERVICE_UNAVAILABLE
        }
        DeadLetterError::EditNeedsOneId => StatusCode::UNPROCESSABLE_ENTITY,
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    };
    Problem::new(status, observer_core::report(error))
}
