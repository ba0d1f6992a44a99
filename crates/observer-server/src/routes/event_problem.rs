//! Problem details for rejected events.

use axum::http::StatusCode;
use observer_core::{Event, EventError, FieldWarning};
use observer_pipeline::{IngestError, RejectReason};

use crate::problem::Problem;
use crate::request::access::Caller;
use crate::request::event::{Oversize, RejectedEvent};
use crate::state::ServerState;

/// Counts an event that is rejected before ingest, and returns its problem.
pub(crate) fn rejected_event(state: &ServerState, rejected: &RejectedEvent) -> Problem {
    match rejected {
        RejectedEvent::Invalid(error) => invalid_event(state, error),
        RejectedEvent::TooLarge { max_bytes, oversize } => {
            state.pipeline.count_rejected(RejectReason::TooLarge);
            let remedy = match oversize {
                Oversize::Trim => " even without `extra`; shorten its other fields",
                Oversize::Reject => "; shorten `extra`, set `ingest.oversize` to \"trim\"",
            };
            let detail = format!(
                "the event exceeds the limit of {max_bytes} bytes for a stored event{remedy}, or \
                 raise `max_body`"
            );
            Problem::new(StatusCode::PAYLOAD_TOO_LARGE, detail).reason(RejectReason::TooLarge)
        }
    }
}

/// Counts an event that can't be parsed or is invalid, and returns its problem.
fn invalid_event(state: &ServerState, error: &EventError) -> Problem {
    let (status, reason) = if error.is_malformed() {
        (StatusCode::BAD_REQUEST, RejectReason::Malformed)
    } else {
        (StatusCode::UNPROCESSABLE_ENTITY, RejectReason::Invalid)
    };
    state.pipeline.count_rejected(reason);
    Problem::new(status, error.to_string()).reason(reason).field(error.field())
}

/// Checks that the caller may send events of this source, and counts the event if not.
///
/// # Errors
/// If the token is limited to other sources (403).
pub(crate) fn check_source(
    state: &ServerState,
    caller: &Caller,
    event: &Event,
) -> Result<(), Problem> {
    caller.check_source(event.source()).inspect_err(|problem| {
        if let Some(reason) = problem.reject_reason() {
            state.pipeline.count_rejected(reason);
        }
    })
}

/// Returns the problem of an event that the pipeline has rejected and counted. The warnings may
/// have the one that explains why a required field is missing.
pub(crate) fn ingest_problem(error: &IngestError, warnings: &[FieldWarning]) -> Problem {
    match error {
        IngestError::Missing(missing) => {
            let is_missing = |warning: &&FieldWarning| {
                missing.fields.iter().any(|field| field.as_str() == warning.field)
            };
            let detail = match warnings.iter().find(is_missing) {
                Some(FieldWarning { field, detail }) => format!("{missing}; `{field}`: {detail}"),
                None => missing.to_string(),
            };
            Problem::new(StatusCode::UNPROCESSABLE_ENTITY, detail)
                .reason(error.reason())
                .field(missing.fields.first().map(|field| field.as_str()))
        }
        IngestError::KeyReused => {
            Problem::new(StatusCode::UNPROCESSABLE_ENTITY, error.to_string()).reason(error.reason())
        }
        IngestError::ReservedSource => {
            Problem::new(StatusCode::UNPROCESSABLE_ENTITY, error.to_string())
                .reason(error.reason())
                .field(Some("source"))
        }
        error => {
            let detail =
                format!("{}; send the same event again later", observer_core::report(error));
            Problem::new(StatusCode::SERVICE_UNAVAILABLE, detail).reason(error.reason())
        }
    }
}
