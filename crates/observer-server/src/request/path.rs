//! Names of sinks in paths.

use axum::extract::Path;
use axum::extract::rejection::PathRejection;
use axum::http::StatusCode;
use observer_pipeline::DeadLetterError;

use crate::problem::Problem;
use crate::state::ServerState;

/// A sink as a path names it.
pub(crate) type Name = Result<Path<String>, PathRejection>;

/// The name of a sink that is there, or was: what else is wrong with a request says less.
pub(crate) fn known(api: &ServerState, name: Name) -> Result<String, Problem> {
    let Path(name) =
        name.map_err(|error| Problem::new(StatusCode::BAD_REQUEST, error.body_text()))?;
    if api.pipeline.status().sinks.contains_key(&name) {
        return Ok(name);
    }
    Err(Problem::new(StatusCode::NOT_FOUND, DeadLetterError::UnknownSink { name }.to_string()))
}
