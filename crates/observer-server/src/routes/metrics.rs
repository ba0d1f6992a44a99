//! `GET /metrics`.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use prometheus::TextEncoder;

use crate::metrics::requests::Route;
use crate::problem::{PROBLEM_JSON, Problem, ProblemDetails};
use crate::routes::openapi::AnyRequest;
use crate::state::ServerState;

const TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// The metrics of events and of the observer itself, in Prometheus' text format.
#[utoipa::path(
    get,
    path = "/metrics",
    responses(
        (status = 200, description = "The metrics", body = String, content_type = TEXT),
        (status = 500, description = "They can't be gathered", body = ProblemDetails, content_type = PROBLEM_JSON),
        AnyRequest
    )
)]
pub(crate) async fn get_metrics(State(api): State<Arc<ServerState>>) -> Response {
    let _time = api.requests.time(Route::Metrics);
    let registry = api.registry.clone();
    // Gathering may block.
    let text =
        api.scrapes.run(move || TextEncoder::new().encode_to_string(&registry.gather())).await;
    let why = match text {
        Ok(Ok(text)) => return ([(CONTENT_TYPE, TEXT)], text).into_response(),
        Ok(Err(error)) => observer_core::report(&error),
        Err(error) => observer_core::report(&error),
    };
    tracing::error!(error = why, "the metrics can't be gathered");
    Problem::new(StatusCode::INTERNAL_SERVER_ERROR, format!("the metrics can't be gathered: {why}"))
        .into_response()
}
