//! `POST /-/reload`: reload of the configuration.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use observer_pipeline::RejectReason;

use crate::problem::{PROBLEM_JSON, Problem, ProblemDetails};
use crate::reload::{ReloadError, ReloadReport};
use crate::routes::openapi::AnyRequest;
use crate::state::ServerState;

/// Reloads the configuration and applies it.
#[utoipa::path(
    post,
    path = "/-/reload",
    responses(
        (status = 200, description = "The configuration is applied; the body lists the changes",
            body = ReloadReport),
        (status = 404, description = "The observer was started without a configuration to reload",
            body = ProblemDetails, content_type = PROBLEM_JSON),
        (status = 415, description = "The request has a content type other than JSON",
            body = ProblemDetails, content_type = PROBLEM_JSON),
        (status = 422, description = "The configuration is invalid; nothing has changed",
            body = ProblemDetails, content_type = PROBLEM_JSON),
        (status = 500, description = "The configuration is applied only in part",
            body = ProblemDetails, content_type = PROBLEM_JSON),
        AnyRequest
    )
)]
pub(crate) async fn post_reload(State(state): State<Arc<ServerState>>) -> Response {
    let Some(reload) = state.reload.get().cloned() else {
        let detail =
            "the program that runs this observer does not support reloading the configuration";
        return Problem::new(StatusCode::NOT_FOUND, detail).into_response();
    };
    // Spawned, so that the reload continues when the client disconnects.
    let ended = tokio::spawn(async move { reload.reload().await }).await;
    match ended {
        Ok(Ok(reloaded)) => Json(reloaded).into_response(),
        Ok(Err(error @ ReloadError::Invalid(_))) => {
            Problem::new(StatusCode::UNPROCESSABLE_ENTITY, error.to_string())
                .reason(RejectReason::Invalid)
                .into_response()
        }
        Ok(Err(error @ ReloadError::Partial(_))) => {
            Problem::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response()
        }
        Err(error) => {
            let detail = format!("reloading the configuration failed: {error}");
            Problem::new(StatusCode::INTERNAL_SERVER_ERROR, detail).into_response()
        }
    }
}
