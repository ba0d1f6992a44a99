//! What an answer means, over gRPC and over HTTP.

use std::time::Duration;

use observer_core::{ErrorKind, SinkError};
use observer_http_client::Destination;
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceResponse;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceResponse;
use prost::{DecodeError, Message};
use reqwest::StatusCode;
use tonic::{Code, Status};
use tonic_types::StatusExt;

use crate::signal::Signal;

/// What was accepted, but for what the far side says of it.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Accepted {
    /// How many log records or spans were not.
    pub(crate) rejected: u64,
    /// Why, or a warning where there are none.
    pub(crate) said: String,
}

/// What was not accepted.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) verdict: Verdict,
    /// The name of the answer, such as `503 Service Unavailable` or `UNAVAILABLE`.
    pub(crate) name: String,
    pub(crate) said: String,
    pub(crate) retry_after: Option<Duration>,
    /// What to look at.
    pub(crate) hint: &'static str,
}

/// What has to happen next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    Transient,
    TooLarge,
    Permanent,
    Blocked,
}

impl Accepted {
    /// From the message of an answer.
    pub(crate) fn decode(signal: Signal, message: &[u8]) -> Result<Self, DecodeError> {
        let (rejected, said) = match signal {
            Signal::Logs => {
                let partial =
                    ExportLogsServiceResponse::decode(message)?.partial_success.unwrap_or_default();
                (partial.rejected_log_records, partial.error_message)
            }
            Signal::Traces => {
                let partial = ExportTraceServiceResponse::decode(message)?
                    .partial_success
                    .unwrap_or_default();
                (partial.rejected_spans, partial.error_message)
            }
        };
        Ok(Self { rejected: u64::try_from(rejected).unwrap_or(0), said })
    }
}

impl Refusal {
    /// By the status of gRPC (OTLP 1.9, "OTLP/gRPC Response"); `None` for a success.
    pub(crate) fn of_grpc(status: &Status) -> Option<Self> {
        let retry_info = status.get_details_retry_info();
        let verdict = verdict_of_code(status.code(), retry_info.is_some())?;
        Some(Self {
            verdict,
            name: name_of(status.code()),
            said: status.message().to_owned(),
            retry_after: retry_info.and_then(|info| info.retry_delay),
            hint: match status.code() {
                Code::Unauthenticated | Code::PermissionDenied => "; see `auth` and `headers`",
                Code::Unimplemented | Code::NotFound => {
                    "; see `endpoint`, `protocol` and `signals`"
                }
                Code::ResourceExhausted if verdict == Verdict::TooLarge => "; see `batch`",
                Code::Internal | Code::Unknown => "; its own log may say more",
                _ => "",
            },
        })
    }

    /// By the status of HTTP (OTLP 1.9, "OTLP/HTTP Response"), which is no success.
    pub(crate) fn of_http(status: StatusCode, said: String, retry_after: Option<Duration>) -> Self {
        let name = status.canonical_reason().map(|name| format!(" {name}")).unwrap_or_default();
        Self {
            verdict: verdict_of_status(status.as_u16()),
            name: format!("{}{name}", status.as_u16()),
            said,
            retry_after,
            hint: match status.as_u16() {
                300..=399 => "; it has moved, see `endpoint`",
                401 | 403 => "; see `auth` and `headers`",
                404 | 405 | 410 => {
                    "; see `endpoint`, to which the path of the signal is added, and `protocol`"
                }
                407 => "; the proxy requires credentials",
                413 => "; see `batch`",
                415 => "; see `compression` and `protocol`",
                500.. => "; its own log may say more",
                _ => "",
            },
        }
    }

    /// For the pipeline, and for people.
    pub(crate) fn error(self, shown: &Destination) -> SinkError {
        let kind = match self.verdict {
            Verdict::Transient => ErrorKind::Transient,
            Verdict::TooLarge | Verdict::Permanent => ErrorKind::Permanent,
            Verdict::Blocked => ErrorKind::Blocked,
        };
        let retry_after = self.retry_after.filter(|_| kind == ErrorKind::Transient);
        SinkError { kind, retry_after, source: self.told(shown).into() }
    }

    fn told(&self, shown: &Destination) -> String {
        let said = shown.excerpt(&self.said);
        let said = if said.is_empty() { said } else { format!(": {said}") };
        format!("{} answered {}{said}{}", shown.origin(), self.name, self.hint)
    }
}

/// As in gRPC's own list of codes.
fn name_of(code: Code) -> String {
    let mut name = String::new();
    for c in format!("{code:?}").chars() {
        if c.is_uppercase() && !name.is_empty() {
            name.push('_');
        }
        name.push(c.to_ascii_uppercase());
    }
    name
}

fn verdict_of_code(code: Code, has_retry_info: bool) -> Option<Verdict> {
    Some(match code {
        Code::Ok => return None,
        Code::Unavailable
        | Code::Cancelled
        | Code::DeadlineExceeded
        | Code::Aborted
        | Code::OutOfRange
        | Code::DataLoss => Verdict::Transient,
        Code::ResourceExhausted if has_retry_info => Verdict::Transient,
        // Servers answer so when a message is larger than they take.
        Code::ResourceExhausted => Verdict::TooLarge,
        Code::InvalidArgument => Verdict::Permanent,
        // Not to be sent again, says OTLP, and nothing in them speaks of the events.
        _ => Verdict::Blocked,
    })
}

fn verdict_of_status(status: u16) -> Verdict {
    match status {
        408 | 425 | 429 | 502 | 503 | 504 => Verdict::Transient,
        413 => Verdict::TooLarge,
        400 | 422 => Verdict::Permanent,
        // 500 among them: not to be sent again, says OTLP.
        _ => Verdict::Blocked,
    }
}

#[cfg(test)]
mod tests {
    use tonic_types::ErrorDetails;

    use super::*;

    #[test]
    fn each_code_has_its_meaning() {
        let of = |code: i32, has_retry_info| verdict_of_code(Code::from(code), has_retry_info);
        use Verdict::{Blocked, Permanent, TooLarge, Transient};
        let expected = [
            None,
            Some(Transient), // CANCELLED
            Some(Blocked),   // UNKNOWN
            Some(Permanent), // INVALID_ARGUMENT
            Some(Transient), // DEADLINE_EXCEEDED
            Some(Blocked),   // NOT_FOUND
            Some(Blocked),   // ALREADY_EXISTS
            Some(Blocked),   // PERMISSION_DENIED
            Some(TooLarge),  // RESOURCE_EXHAUSTED
            Some(Blocked),   // FAILED_PRECONDITION
            Some(Transient), // ABORTED
            Some(Transient), // OUT_OF_RANGE
            Some(Blocked),   // UNIMPLEMENTED
            Some(Blocked),   // INTERNAL
            Some(Transient), // UNAVAILABLE
            Some(Transient), // DATA_LOSS
            Some(Blocked),   // UNAUTHENTICATED
        ];
        for (code, expected) in (0..).zip(expected) {
            assert_eq!(of(code, false), expected, "{:?}", Code::from(code));
        }
        assert_eq!(of(8, true), Some(Transient));
        assert_eq!(name_of(Code::DeadlineExceeded), "DEADLINE_EXCEEDED");
    }

    #[test]
    fn there_is_a_hint_where_there_is_something_to_look_at() {
        let grpc = |code| Refusal::of_grpc(&Status::new(code, "")).unwrap().hint;
        let quota = Status::with_error_details(
            Code::ResourceExhausted,
            "",
            ErrorDetails::with_retry_info(None),
        );
        assert_eq!(Refusal::of_grpc(&quota).unwrap().hint, "");
        assert_eq!(grpc(Code::ResourceExhausted), "; see `batch`");
        assert_eq!(grpc(Code::Internal), "; its own log may say more");
        assert_eq!(grpc(Code::Unavailable), "");
        let http = |status| {
            Refusal::of_http(StatusCode::from_u16(status).unwrap(), String::new(), None).hint
        };
        assert_eq!(http(407), "; the proxy requires credentials");
        assert_eq!(http(413), "; see `batch`");
        assert_eq!(http(415), "; see `compression` and `protocol`");
        assert_eq!(http(429), "");
        assert_eq!(http(502), "; its own log may say more");
    }

    #[test]
    fn each_status_has_its_meaning() {
        for status in 300..600 {
            let expected = match status {
                408 | 425 | 429 | 502 | 503 | 504 => Verdict::Transient,
                400 | 422 => Verdict::Permanent,
                413 => Verdict::TooLarge,
                _ => Verdict::Blocked,
            };
            assert_eq!(verdict_of_status(status), expected, "{status}");
        }
    }
}
