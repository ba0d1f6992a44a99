//! `/v1/sinks/{name}/adopt`: files that a sink takes over at an operator's request.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use observer_core::Adopted;
use observer_pipeline::AdoptError;
use serde::Serialize;
use utoipa::ToSchema;

use super::path::{SinkName, known_sink};
use crate::problem::{PROBLEM_JSON, Problem, ProblemDetails};
use crate::routes::openapi::AnyRequest;
use crate::state::ServerState;

/// Result of an adoption.
#[derive(Debug, Serialize, ToSchema)]
struct Adoption {
    /// Number of files that the sink owns now.
    adopted: u64,
    /// Number of files that match its path and that it does not own.
    left: u64,
}

/// Lets a file sink take over the files that match its path, hold envelopes, and belong to no other
/// sink. Deletion by age no longer waits after a jump of the clock.
#[utoipa::path(
    post,
    path = "/v1/sinks/{name}/adopt",
    params(("name" = String, Path, description = "Name of the sink")),
    responses(
        (status = 200, description = "The sink has adopted the files", body = Adoption),
        (status = 404, description = "The sink is unknown",
            body = ProblemDetails, content_type = PROBLEM_JSON),
        (status = 409, description = "The sink is not running, or has no files",
            body = ProblemDetails, content_type = PROBLEM_JSON),
        (status = 415, description = "The request has a content type other than JSON",
            body = ProblemDetails, content_type = PROBLEM_JSON),
        (status = 503, description = "The sink can't read its files at the moment",
            body = ProblemDetails, content_type = PROBLEM_JSON),
        AnyRequest
    )
)]
pub(crate) async fn post_adoption(
    State(state): State<Arc<ServerState>>,
    name: SinkName,
) -> Result<Response, Problem> {
    let name = known_sink(&state, name)?;
    let adopted = state.pipeline.adopt(&name).await.map_err(|error| {
        let status = match &error {
            AdoptError::UnknownSink { .. } => StatusCode::NOT_FOUND,
            AdoptError::NotRunning { .. } | AdoptError::Nothing { .. } => StatusCode::CONFLICT,
            _ => StatusCode::SERVICE_UNAVAILABLE,
        };
        Problem::new(status, observer_core::report(&error))
    })?;
    let Adopted { adopted, left } = adopted;
    Ok(Json(Adoption { adopted, left }).into_response())
}
