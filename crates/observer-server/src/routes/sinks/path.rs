//! Path parameters.

use axum::extract::Path;
use axum::extract::rejection::PathRejection;
use axum::http::StatusCode;
use observer_pipeline::DeadLetterError;

use crate::problem::Problem;
use crate::state::ServerState;

/// Name of a sink in a path, or the reason for which it can't be decoded.
pub(crate) type SinkName = Result<Path<String>, PathRejection>;

/// Returns the name of a sink that is configured or detached. Called before the rest of a request
/// is checked, since an unknown sink is the more helpful error.
///
/// # Errors
/// If the path can't be decoded (400), or the sink is unknown (404).
pub(crate) fn known_sink(state: &ServerState, name: SinkName) -> Result<String, Problem> {
    let Path(name) =
        name.map_err(|error| Problem::new(StatusCode::BAD_REQUEST, error.body_text()))?;
    if state.pipeline.status().sinks.contains_key(&name) {
        return Ok(name);
    }
    Err(Problem::new(StatusCode::NOT_FOUND, DeadLetterError::UnknownSink { name }.to_string()))
}
