//! Problem details for rejected events.

use axum::http::StatusCode;
use observer_core::{Event, EventError, FieldWarning};
use observer_pipeline::{IngestError, RejectReason, Unavailable};

use crate::problem::Problem;
use crate::request::access::Caller;
use crate::request::body::event::{Oversize, RejectedEvent};
use crate::routes::health::journal_summary;
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
    let remedy = match error {
        EventError::Several { .. } => {
            "; send several events to /v1/events, each on a line of its own (with curl, \
             `--data-binary` keeps line breaks, and `-d` removes them)"
        }
        _ => "",
    };
    Problem::new(status, format!("{error}{remedy}")).reason(reason).field(error.field())
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
    caller.check_source(event.source()).map_err(|problem| {
        if let Some(reason) = problem.reject_reason() {
            state.pipeline.count_rejected(reason);
        }
        problem.of_source(event.source())
    })
}

/// Returns the problem of an event that the pipeline has rejected and counted. The warnings may
/// have the one that explains why a required field is missing. A caller that may not read the
/// status gets no names of files and sinks.
pub(crate) fn ingest_problem(
    error: &IngestError,
    warnings: &[FieldWarning],
    caller: &Caller,
) -> Problem {
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
            let reason = match error {
                IngestError::Unavailable(Unavailable::Journal(failure))
                    if !caller.may_read_all_sources() =>
                {
                    journal_summary(failure).to_owned()
                }
                error => observer_core::report(error),
            };
            let detail = format!("{reason}; send the same event again later");
            Problem::new(StatusCode::SERVICE_UNAVAILABLE, detail).reason(error.reason())
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::path::PathBuf;
    use std::sync::Arc;

    use observer_pipeline::AppendError;

    use super::*;
    use crate::request::access::{Scope, Scopes};

    #[test]
    fn producers_that_may_not_read_get_no_names_of_files_and_sinks() {
        let (path, source) = (PathBuf::from("/srv/journal"), Arc::new(io::Error::other("no")));
        let failures = [
            AppendError::Full { max_size: 1, holder: "srv-archive".into(), wanted: 2 },
            AppendError::Write { path: path.clone(), source: source.clone() },
            AppendError::Sync { path, source },
        ];
        for failure in failures {
            let error = IngestError::from(Unavailable::from(failure));
            let detail = |scopes: &[Scope]| {
                let caller = Caller::anonymous(scopes.iter().copied().collect::<Scopes>());
                String::from_utf8(ingest_problem(&error, &[], &caller).to_json()).unwrap()
            };
            let (limited, full) = (detail(&[Scope::Ingest]), detail(&[Scope::Ingest, Scope::Read]));
            assert!(limited.contains("the journal ") && limited.contains("send the same event"));
            assert!(!limited.contains("srv"), "{limited}");
            assert!(full.contains("srv"), "{full}");
        }
    }
}
