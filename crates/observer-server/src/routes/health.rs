//! `GET /livez` and `GET /readyz`.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::IntoResponse;
use observer_pipeline::{SinkState, Status};
use serde::Serialize;
use utoipa::ToSchema;

use crate::metrics::requests::Route;
use crate::request::access::Scope;
use crate::routes::openapi::AnyProbe;
use crate::state::ServerState;

/// Whether events are taken, and how the sinks are. A sink that is parked doesn't concern
/// producers: it is told, and no more.
#[derive(Debug, Serialize, ToSchema)]
struct Readiness<'a> {
    status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    reason: Option<String>,
    /// For readers alone.
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

/// Whether the process answers.
#[utoipa::path(
    get,
    path = "/livez",
    responses((status = 200, description = "It does", body = String, content_type = "text/plain"), AnyProbe)
)]
pub(crate) async fn livez(State(api): State<Arc<ServerState>>) -> impl IntoResponse {
    let _time = api.requests.time(Route::Livez);
    "ok"
}

/// Whether events are taken; and, for readers, how the sinks are.
#[utoipa::path(
    get,
    path = "/readyz",
    responses(
        (status = 200, description = "They are", body = Readiness),
        (status = 503, description = "They are not, and why", body = Readiness),
        AnyProbe
    )
)]
pub(crate) async fn readyz(
    State(api): State<Arc<ServerState>>,
    headers: HeaderMap,
) -> impl IntoResponse {
    let _time = api.requests.time(Route::Readyz);
    let status = api.pipeline.status();
    let reason = why_not(&status);
    // A probe can't be given a token; what sinks say of the far side is not for everyone.
    let may_read = api.settings.load().gate.admit(&headers, Scope::Read).is_ok();
    let code = if reason.is_some() { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::OK };
    let readiness = Readiness {
        status: if reason.is_some() { "not ready" } else { "ready" },
        reason,
        sinks: may_read.then(|| sinks(&status).collect()),
    };
    (code, Json(readiness)).into_response()
}

/// Why no events are taken now.
fn why_not(status: &Status) -> Option<String> {
    if status.closed {
        return Some("the observer is shutting down".to_owned());
    }
    status.journal.failure.as_ref().map(|failure| observer_core::report(failure))
}

fn sinks(status: &Status) -> impl Iterator<Item = Sink<'_>> {
    let configured = status.sinks.iter().filter(|(_, sink)| sink.state != SinkState::Detached);
    configured.map(|(name, sink)| Sink {
        name,
        state: sink.state.as_str(),
        reason: match &sink.state {
            SinkState::Retrying(mishap) | SinkState::Parked(mishap) => Some(&mishap.reason),
            _ => None,
        },
    })
}
