//! `/v1/sinks`: how the sinks are, and forgetting one that is gone.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use observer_core::Position;
use observer_pipeline::{Failure, ForgetSinkError, SinkState, SinkStatus};
use serde::Serialize;
use utoipa::ToSchema;

use crate::metrics::requests::Route;
use crate::problem::{PROBLEM_JSON, Problem, ProblemDetails};
use crate::request::path::Name;
use crate::routes::openapi::AnyRequest;
use crate::routes::replay::ShownReplay;
use crate::state::ServerState;

/// How the sinks are.
#[derive(Debug, Serialize, ToSchema)]
struct Sinks<'a> {
    /// The last event that was taken in, to compare positions with.
    head: String,
    sinks: Vec<Sink<'a>>,
}

/// A sink, and what became of its events: accepted = delivered + dead + refused + expired +
/// filtered + pending.
#[derive(Debug, Serialize, ToSchema)]
struct Sink<'a> {
    name: &'a str,
    r#type: &'a str,
    state: &'static str,
    reason: Option<&'a str>,
    since: Option<String>,
    required: bool,
    position: String,
    pending: u64,
    oldest_pending_seconds: Option<f64>,
    accepted: u64,
    delivered: u64,
    dead: u64,
    refused: u64,
    expired: u64,
    filtered: u64,
    retried: u64,
    /// Of the dead, those that it took when they were sent again, since the start.
    replayed: u64,
    /// Of past events: the last one that it had, or has. It has an account of its own.
    replay: Option<ShownReplay<'a>>,
    last_error: Option<LastError<'a>>,
}

#[derive(Debug, Serialize, ToSchema)]
struct LastError<'a> {
    at: String,
    reason: &'a str,
}

/// Each sink: its state, its position, its backlog, and what became of its events.
#[utoipa::path(
    get,
    path = "/v1/sinks",
    responses((status = 200, description = "The sinks", body = Sinks), AnyRequest)
)]
pub(crate) async fn get_sinks(State(api): State<Arc<ServerState>>) -> impl IntoResponse {
    let _time = api.requests.time(Route::Sinks);
    let status = api.pipeline.status();
    let head = Position { epoch: status.epoch, seq: status.journal.head };
    let sinks = status.sinks.iter().map(|(name, sink)| shown(name, sink)).collect();
    Json(Sinks { head: head.to_string(), sinks }).into_response()
}

/// Forget where a sink stands that is configured no more. Its dead letters stay in their folder.
#[utoipa::path(
    delete,
    path = "/v1/sinks/{name}",
    params(("name" = String, Path, description = "The sink")),
    responses(
        (status = 204, description = "It is forgotten"),
        (status = 404, description = "There is no such sink", body = ProblemDetails, content_type = PROBLEM_JSON),
        (status = 409, description = "It is configured", body = ProblemDetails, content_type = PROBLEM_JSON),
        (status = 415, description = "The request says that it is no JSON", body = ProblemDetails, content_type = PROBLEM_JSON),
        (status = 503, description = "That can't be stored now", body = ProblemDetails, content_type = PROBLEM_JSON),
        AnyRequest
    )
)]
pub(crate) async fn delete_sink(
    State(api): State<Arc<ServerState>>,
    name: Name,
) -> Result<Response, Problem> {
    let _time = api.requests.time(Route::Sinks);
    let Path(name) =
        name.map_err(|error| Problem::new(StatusCode::BAD_REQUEST, error.body_text()))?;
    let forgotten = api.pipeline.forget_sink(&name).await;
    forgotten.map_err(|error| {
        let status = match &error {
            ForgetSinkError::StillRunning { .. } => StatusCode::CONFLICT,
            ForgetSinkError::UnknownSink { .. } => StatusCode::NOT_FOUND,
            _ => StatusCode::SERVICE_UNAVAILABLE,
        };
        Problem::new(status, observer_core::report(&error))
    })?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

fn shown<'a>(name: &'a str, sink: &'a SinkStatus) -> Sink<'a> {
    let trouble = match &sink.state {
        SinkState::Retrying(mishap) | SinkState::Parked(mishap) => Some(mishap),
        _ => None,
    };
    Sink {
        name,
        r#type: &sink.kind,
        state: sink.state.as_str(),
        reason: trouble.map(|mishap| &*mishap.reason),
        since: trouble.map(at),
        required: sink.required,
        position: sink.position.to_string(),
        pending: sink.pending,
        oldest_pending_seconds: sink.oldest_pending.map(|age| age.as_secs_f64()),
        accepted: sink.accepted,
        delivered: sink.account.delivered,
        dead: sink.account.dead,
        refused: sink.account.refused,
        expired: sink.account.expired,
        filtered: sink.account.filtered,
        retried: sink.retried,
        replayed: sink.redelivered,
        replay: sink.replay.as_ref().map(ShownReplay::of),
        last_error: sink
            .last_error
            .as_ref()
            .map(|mishap| LastError { at: at(mishap), reason: &mishap.reason }),
    }
}

fn at(mishap: &Failure) -> String {
    mishap.at.to_string()
}
