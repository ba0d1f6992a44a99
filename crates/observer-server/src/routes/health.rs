//! `GET /livez` and `GET /readyz`: health probes.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::IntoResponse;
use axum::{Extension, Json};
use observer_pipeline::{AppendError, SinkState, Status};
use serde::Serialize;
use utoipa::ToSchema;

use crate::request::access::Caller;
use crate::routes::openapi::AnyProbe;
use crate::state::ServerState;

/// Paths of the routes.
pub(super) const PATHS: [&str; 2] = ["/livez", "/readyz"];

/// Readiness of the observer. It accepts events even if a sink is parked, so the state of the sinks
/// is only informative.
#[derive(Debug, Serialize, ToSchema)]
struct Readiness<'a> {
    status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    reason: Option<String>,
    /// State of the sinks, for callers with the scope `read` for all sources.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    sinks: Option<Vec<Sink<'a>>>,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ReadinessSink)]
struct Sink<'a> {
    name: &'a str,
    state: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    reason: Option<&'a str>,
}

/// Returns 200 while the process responds.
#[utoipa::path(
    get,
    path = "/livez",
    responses(
        (status = 200, description = "The process responds",
            body = String, content_type = "text/plain"),
        AnyProbe
    )
)]
pub(crate) async fn livez() -> impl IntoResponse {
    "ok"
}

/// Returns whether events are accepted and, for callers with the scope `read`, the state of the
/// sinks.
#[utoipa::path(
    get,
    path = "/readyz",
    responses(
        (status = 200, description = "Events are accepted", body = Readiness),
        (status = 503, description = "Events are not accepted; `reason` has the cause",
            body = Readiness),
        AnyProbe
    )
)]
pub(crate) async fn readyz(
    State(state): State<Arc<ServerState>>,
    Extension(caller): Extension<Caller>,
) -> impl IntoResponse {
    let status = state.pipeline.status();
    // Probes send no token, but failures may reveal paths, names of sinks and destinations.
    let may_read = caller.may_read_all_sources();
    let reason = not_ready_reason(&status, may_read);
    let code = if reason.is_some() { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::OK };
    let readiness = Readiness {
        status: if reason.is_some() { "not ready" } else { "ready" },
        reason,
        sinks: may_read.then(|| sinks(&status).collect()),
    };
    (code, Json(readiness)).into_response()
}

/// Returns the reason for which no events are accepted, if any.
fn not_ready_reason(status: &Status, may_read: bool) -> Option<String> {
    if status.closed {
        return Some("the observer is shutting down".to_owned());
    }
    let failure = status.journal.failure.as_ref()?;
    Some(if may_read {
        observer_core::report(failure)
    } else {
        journal_summary(failure).to_owned()
    })
}

/// Returns the kind of a failure of the journal, without names of files and sinks.
pub(crate) fn journal_summary(failure: &AppendError) -> &'static str {
    match failure {
        AppendError::Full { .. } => "the journal is full",
        AppendError::Write { .. } => "the journal can't be written",
        AppendError::Sync { .. } => "the journal can't make events durable",
        AppendError::Busy => "the queue of the journal is full",
        _ => "the journal accepts no events",
    }
}

fn sinks(status: &Status) -> impl Iterator<Item = Sink<'_>> {
    let configured = status.sinks.iter().filter(|(_, sink)| sink.state != SinkState::Detached);
    configured.map(|(name, sink)| Sink {
        name,
        state: sink.state.as_str(),
        reason: match &sink.state {
            SinkState::Retrying(failure) | SinkState::Parked(failure) => Some(&failure.reason),
            _ => None,
        },
    })
}
