//! `POST /-/reload`: read the configuration again.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use observer_pipeline::RejectReason;

use crate::metrics::requests::Route;
use crate::problem::{PROBLEM_JSON, Problem, ProblemDetails};
use crate::reload::{ReloadError, ReloadReport};
use crate::routes::openapi::AnyRequest;
use crate::state::ServerState;

/// Read the configuration again, and follow it.
#[utoipa::path(
    post,
    path = "/-/reload",
    responses(
        (status = 200, description = "What has changed", body = ReloadReport),
        (status = 404, description = "There is no configuration that could be read again", body = ProblemDetails, content_type = PROBLEM_JSON),
        (status = 415, description = "The request says that it is no JSON", body = ProblemDetails, content_type = PROBLEM_JSON),
        (status = 422, description = "There is something wrong with it; nothing has changed", body = ProblemDetails, content_type = PROBLEM_JSON),
        (status = 500, description = "It is in effect only in part", body = ProblemDetails, content_type = PROBLEM_JSON),
        AnyRequest
    )
)]
pub(crate) async fn post_reload(State(api): State<Arc<ServerState>>) -> Response {
    let _time = api.requests.time(Route::Reload);
    let Some(reload) = api.reload.get().cloned() else {
        let detail = "this observer was started by a program that reads no configuration again";
        return Problem::new(StatusCode::NOT_FOUND, detail).into_response();
    };
    // Runs on when the client hangs up.
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
            let detail = format!("reading the configuration broke off: {error}");
            Problem::new(StatusCode::INTERNAL_SERVER_ERROR, detail).into_response()
        }
    }
}
