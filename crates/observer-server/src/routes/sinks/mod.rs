//! `/v1/sinks`: status of the sinks, and removal of a detached one. The submodules serve the paths
//! under a sink.

pub(super) mod adopt;
mod body;
pub(super) mod dead_letters;
pub(super) mod divert;
mod path;
pub(super) mod replay;

use std::io;
use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use observer_core::Position;
use observer_pipeline::{Failure, ForgetSinkError, SinkState, SinkStatus};
use serde::Serialize;
use utoipa::ToSchema;

use self::path::SinkName;
use self::replay::ReplayProgress;
use crate::problem::{PROBLEM_JSON, Problem, ProblemDetails};
use crate::routes::openapi::AnyRequest;
use crate::state::ServerState;

/// Status of the sinks.
#[derive(Debug, Serialize, ToSchema)]
struct Sinks<'a> {
    /// Position of the newest event, for comparison with those of the sinks.
    head: String,
    sinks: Vec<Sink<'a>>,
}

/// Status of a sink. Its account adds up: `accepted` is the sum of `delivered`, `dead`, `refused`,
/// `expired`, `lost`, `filtered` and `pending`.
#[derive(Debug, Serialize, ToSchema)]
struct Sink<'a> {
    name: &'a str,
    r#type: &'a str,
    state: &'static str,
    reason: Option<&'a str>,
    since: Option<String>,
    /// Time of the next attempt after a failure, which is in the past while it is under way.
    retry_at: Option<String>,
    required: bool,
    position: String,
    pending: u64,
    /// Pending events that the destination refused, and that it may accept yet.
    undecided: u64,
    oldest_pending_seconds: Option<f64>,
    accepted: u64,
    delivered: u64,
    dead: u64,
    refused: u64,
    expired: u64,
    /// Events that the journal could no longer read, since a part of it is corrupt or missing.
    lost: u64,
    filtered: u64,
    retried: u64,
    /// Dead letters that were sent again and accepted by the sink, since the start.
    replayed: u64,
    /// Dead letters that are stored.
    dead_letters: u64,
    /// Size of the events that the sink accepted since the start, in bytes.
    delivered_bytes: u64,
    /// Time at which the sink last accepted an event since the start.
    last_success: Option<String>,
    /// Last replay of past events, running or ended. It has an account of its own.
    replay: Option<ReplayProgress<'a>>,
    last_error: Option<LastError<'a>>,
}

#[derive(Debug, Serialize, ToSchema)]
struct LastError<'a> {
    at: String,
    reason: &'a str,
}

/// Returns the state, position, backlog and account of each sink.
#[utoipa::path(
    get,
    path = "/v1/sinks",
    responses((status = 200, description = "The sinks", body = Sinks), AnyRequest)
)]
pub(crate) async fn get_sinks(State(state): State<Arc<ServerState>>) -> impl IntoResponse {
    let status = state.pipeline.status();
    let head = Position { epoch: status.epoch, seq: status.journal.head };
    let sinks = status.sinks.iter().map(|(name, sink)| sink_status(name, sink)).collect();
    Json(Sinks { head: head.to_string(), sinks }).into_response()
}

/// Removes the position of a sink that is no longer configured, and the state that it stored
/// itself. Its dead letters stay in their folder, and its files where they are.
#[utoipa::path(
    delete,
    path = "/v1/sinks/{name}",
    params(("name" = String, Path, description = "Name of the sink")),
    responses(
        (status = 204, description = "The position is removed"),
        (status = 404, description = "The sink is unknown",
            body = ProblemDetails, content_type = PROBLEM_JSON),
        (status = 409, description = "The sink is configured",
            body = ProblemDetails, content_type = PROBLEM_JSON),
        (status = 415, description = "The request has a content type other than JSON",
            body = ProblemDetails, content_type = PROBLEM_JSON),
        (status = 503, description = "The change can't be stored at the moment",
            body = ProblemDetails, content_type = PROBLEM_JSON),
        AnyRequest
    )
)]
pub(crate) async fn delete_sink(
    State(state): State<Arc<ServerState>>,
    name: SinkName,
) -> Result<Response, Problem> {
    let Path(name) =
        name.map_err(|error| Problem::new(StatusCode::BAD_REQUEST, error.body_text()))?;
    let removed = state.pipeline.forget_sink(&name).await;
    removed.map_err(|error| {
        let status = match &error {
            ForgetSinkError::StillRunning { .. } => StatusCode::CONFLICT,
            ForgetSinkError::UnknownSink { .. } => StatusCode::NOT_FOUND,
            _ => StatusCode::SERVICE_UNAVAILABLE,
        };
        Problem::new(status, observer_core::report(&error))
    })?;
    remove_state(&state, &name).await.map_err(|error| {
        let detail = format!("the position is removed, but the state of {name:?} is not: {error}");
        Problem::new(StatusCode::SERVICE_UNAVAILABLE, detail)
    })?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// Deletes the folder in which a forgotten sink stored its own state. A part of a sink has none.
async fn remove_state(state: &ServerState, name: &str) -> io::Result<()> {
    let Some(folder) = state.sink_state.as_ref().filter(|_| !name.contains('/')) else {
        return Ok(());
    };
    let folder = folder.join(name);
    let removed = tokio::task::spawn_blocking(move || std::fs::remove_dir_all(folder)).await;
    match removed.map_err(io::Error::other)? {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}

fn sink_status<'a>(name: &'a str, sink: &'a SinkStatus) -> Sink<'a> {
    let failure = match &sink.state {
        SinkState::Retrying(failure) | SinkState::Parked(failure) => Some(failure),
        _ => None,
    };
    Sink {
        name,
        r#type: &sink.kind,
        state: sink.state.as_str(),
        reason: failure.map(|failure| &*failure.reason),
        since: failure.map(at),
        retry_at: sink.retry_at.map(|time| time.to_string()),
        required: sink.required,
        position: sink.position.to_string(),
        pending: sink.pending,
        undecided: sink.undecided,
        oldest_pending_seconds: sink.oldest_pending.map(|age| age.as_secs_f64()),
        accepted: sink.accepted,
        delivered: sink.account.delivered,
        dead: sink.account.dead,
        refused: sink.account.refused,
        expired: sink.account.expired,
        lost: sink.account.lost,
        filtered: sink.account.filtered,
        retried: sink.retried,
        replayed: sink.redelivered,
        dead_letters: sink.dead_letters,
        delivered_bytes: sink.delivered_bytes,
        last_success: sink.last_success.map(|time| time.to_string()),
        replay: sink.replay.as_ref().map(ReplayProgress::of),
        last_error: sink
            .last_error
            .as_ref()
            .map(|failure| LastError { at: at(failure), reason: &failure.reason }),
    }
}

fn at(failure: &Failure) -> String {
    failure.at.to_string()
}
