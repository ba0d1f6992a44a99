//! `POST /-/reload`: read the configuration again.

use std::sync::Arc;

use async_trait::async_trait;
use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

use crate::api::Api;
use crate::openapi::AnyRequest;
use crate::problem::{PROBLEM_JSON, Problem, ProblemDetails};
use crate::requests::Route;

/// Reads the configuration again and does as it says now.
#[async_trait]
pub trait Reload: Send + Sync + 'static {
    /// Called again only after it has ended.
    ///
    /// # Errors
    /// When it is not in effect.
    async fn reload(&self) -> Result<Reloaded, ReloadError>;
}

/// What came of reading the configuration again.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, ToSchema)]
pub struct Reloaded {
    /// Sinks that are new.
    pub added: Vec<String>,
    /// Sinks that have another configuration.
    pub changed: Vec<String>,
    /// Sinks that are not there any more; their positions stay.
    pub removed: Vec<String>,
    /// Keys with values that take effect only after a restart.
    pub restart_needed: Vec<String>,
}

/// Why the configuration is not in effect.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReloadError {
    /// There is something wrong with it.
    #[error("nothing has changed: {0}")]
    Invalid(String),
    /// Something went wrong on the way.
    #[error("the configuration is in effect only in part: {0}")]
    Partial(String),
}

/// Read the configuration again, and follow it.
#[utoipa::path(
    post,
    path = "/-/reload",
    responses(
        (status = 200, description = "What has changed", body = Reloaded),
        (status = 404, description = "There is no configuration that could be read again", body = ProblemDetails, content_type = PROBLEM_JSON),
        (status = 415, description = "The request says that it is no JSON", body = ProblemDetails, content_type = PROBLEM_JSON),
        (status = 422, description = "There is something wrong with it; nothing has changed", body = ProblemDetails, content_type = PROBLEM_JSON),
        (status = 500, description = "It is in effect only in part", body = ProblemDetails, content_type = PROBLEM_JSON),
        AnyRequest
    )
)]
pub(crate) async fn post_reload(State(api): State<Arc<Api>>) -> Response {
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
                .reason("invalid")
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
