//! `GET /metrics`: metrics in the Prometheus text format.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use prometheus::TextEncoder;

use crate::problem::{PROBLEM_JSON, Problem, ProblemDetails};
use crate::routes::openapi::AnyRequest;
use crate::state::ServerState;

/// Path of the route.
pub(super) const PATH: &str = "/metrics";

const TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Returns the metrics of events and of the observer itself in the Prometheus text format.
#[utoipa::path(
    get,
    path = "/metrics",
    responses(
        (status = 200, description = "The metrics", body = String, content_type = TEXT),
        (status = 500, description = "The metrics can't be gathered",
            body = ProblemDetails, content_type = PROBLEM_JSON),
        AnyRequest
    )
)]
pub(crate) async fn get_metrics(State(state): State<Arc<ServerState>>) -> Response {
    let registry = state.registry.clone();
    // A collector may block, for example on the files of a sink.
    let text =
        state.scrapes.run(move || TextEncoder::new().encode_to_string(&registry.gather())).await;
    let error = match text {
        Ok(Ok(text)) => return ([(CONTENT_TYPE, TEXT)], text).into_response(),
        Ok(Err(error)) => observer_core::report(&error),
        Err(error) => observer_core::report(&error),
    };
    tracing::error!(error, "gathering metrics failed");
    Problem::new(StatusCode::INTERNAL_SERVER_ERROR, format!("gathering metrics failed: {error}"))
        .into_response()
}
