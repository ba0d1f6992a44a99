//! Problem details for rejected events.

use axum::http::StatusCode;
use observer_core::EventError;
use observer_pipeline::{IngestError, RejectReason};

use crate::problem::Problem;
use crate::state::ServerState;

/// Counts an event that can't be parsed or is invalid, and returns its problem.
pub(crate) fn invalid_event(state: &ServerState, error: &EventError) -> Problem {
    let (status, reason) = if error.is_malformed() {
        (StatusCode::BAD_REQUEST, RejectReason::Malformed)
    } else {
        (StatusCode::UNPROCESSABLE_ENTITY, RejectReason::Invalid)
    };
    state.pipeline.count_rejected(reason);
    Problem::new(status, error.to_string()).reason(reason).field(error.field())
}

/// Returns the problem of an event that the pipeline has rejected and counted.
pub(crate) fn ingest_problem(error: &IngestError) -> Problem {
    match error {
        IngestError::Missing(missing) => {
            Problem::new(StatusCode::UNPROCESSABLE_ENTITY, missing.to_string())
                .reason(error.reason())
                .field(missing.fields.first().map(|field| field.as_str()))
        }
        IngestError::KeyReused => {
            Problem::new(StatusCode::UNPROCESSABLE_ENTITY, error.to_string()).reason(error.reason())
        }
        error => {
            let detail =
                format!("{}; send the same event again later", observer_core::report(error));
            Problem::new(StatusCode::SERVICE_UNAVAILABLE, detail).reason(error.reason())
        }
    }
}
