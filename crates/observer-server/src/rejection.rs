//! Problems for events that are not taken.

use axum::http::StatusCode;
use observer_core::EventError;
use observer_pipeline::{IngestError, RejectReason};

use crate::problem::Problem;
use crate::state::ServerState;

pub(crate) fn no_event(api: &ServerState, error: &EventError) -> Problem {
    let (status, reason) = if error.is_malformed() {
        (StatusCode::BAD_REQUEST, RejectReason::Malformed)
    } else {
        (StatusCode::UNPROCESSABLE_ENTITY, RejectReason::Invalid)
    };
    api.pipeline.count_rejected(reason);
    Problem::new(status, error.to_string()).reason(reason).field(error.field())
}

/// The pipeline has counted it already.
pub(crate) fn not_taken(error: &IngestError) -> Problem {
    match error {
        IngestError::Missing(missing) => {
            Problem::new(StatusCode::UNPROCESSABLE_ENTITY, missing.to_string())
                .reason(RejectReason::MissingField)
                .field(missing.fields.first().map(|field| field.as_str()))
        }
        IngestError::KeyReused => Problem::new(StatusCode::UNPROCESSABLE_ENTITY, error.to_string())
            .reason(RejectReason::KeyReused),
        error => {
            let detail =
                format!("{}; the same event may be sent again later", observer_core::report(error));
            Problem::new(StatusCode::SERVICE_UNAVAILABLE, detail).reason(RejectReason::Unavailable)
        }
    }
}
