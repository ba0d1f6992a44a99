//! Responses of the destination, decoded from gRPC and HTTP.

mod status;

use std::time::Duration;

use observer_core::{ErrorKind, SinkError, Timestamp};
use observer_http_client::{Destination, Refusal, bounded_delay, retry_after};
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceResponse;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceResponse;
use prost::{DecodeError, Message};
use reqwest::StatusCode;
use reqwest::header::{CONTENT_TYPE, HeaderMap};
use serde::Deserialize;
use tonic::{Code, Status};
use tonic_types::StatusExt;

use self::status::{
    hint_for_code, hint_for_status, kind_of_code, kind_of_status, name_of_code, says_too_large,
};
use crate::signal::Signal;

/// Response to an export.
pub(crate) enum ExportResponse {
    Accepted(Accepted),
    Failed(Failure),
}

/// Full or partial success.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Accepted {
    /// Number of log records or spans that were rejected.
    pub(crate) rejected: u64,
    /// Reason for the rejections, or a warning if there are none.
    pub(crate) message: String,
}

/// Failure of a whole request.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    pub(crate) kind: ErrorKind,
    /// True if the status is that of requests that are too large, too.
    may_be_too_large: bool,
    /// Name of the status, such as `503 Service Unavailable` or `UNAVAILABLE`.
    pub(crate) name: String,
    /// Reason that the destination gives.
    pub(crate) message: String,
    pub(crate) retry_after: Option<Duration>,
    /// Settings or places to look at.
    pub(crate) hint: &'static str,
}

impl Accepted {
    /// Decodes the `Export…ServiceResponse` of a success.
    pub(crate) fn decode(signal: Signal, message: &[u8]) -> Result<Self, DecodeError> {
        let (rejected, message) = match signal {
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
        Ok(Self { rejected: u64::try_from(rejected).unwrap_or(0), message })
    }

    /// Decodes the JSON form, which some receivers return to requests in Protobuf. 64-bit numbers
    /// are strings in it. Other JSON counts as a full success.
    pub(crate) fn decode_json(body: &[u8]) -> Self {
        #[derive(Default, Deserialize)]
        #[serde(default, rename_all = "camelCase")]
        struct Body {
            partial_success: Partial,
        }
        #[derive(Default, Deserialize)]
        #[serde(default, rename_all = "camelCase")]
        struct Partial {
            #[serde(alias = "rejectedSpans")]
            rejected_log_records: serde_json::Value,
            error_message: String,
        }

        let Partial { rejected_log_records: rejected, error_message: message } =
            serde_json::from_slice::<Body>(body).unwrap_or_default().partial_success;
        let rejected = rejected.as_u64().or_else(|| rejected.as_str()?.parse().ok()).unwrap_or(0);
        Self { rejected, message }
    }
}

impl Failure {
    /// Returns the failure that a gRPC status stands for, or `None` for a success.
    pub(crate) fn from_grpc(status: &Status) -> Option<Self> {
        let details = status.get_error_details();
        let of_details = details.error_info().map(|info| info.reason.replace('_', " "));
        let of_details = of_details.filter(|reason| says_too_large(reason)).unwrap_or_default();
        let message = status.message();
        let kind = kind_of_code(status.code(), &format!("{message} {of_details}"))?;
        // Servers send RetryInfo for what succeeds later, whatever the code.
        let retry_info = details.retry_info();
        let kind = if retry_info.is_some() { ErrorKind::Transient } else { kind };
        let is_unspecified = status.code() == Code::ResourceExhausted
            && kind == ErrorKind::Transient
            && retry_info.is_none()
            && details.quota_failure().is_none();
        Some(Self {
            kind,
            may_be_too_large: is_unspecified,
            name: name_of_code(status.code()),
            message: message.to_owned(),
            retry_after: retry_info.and_then(|info| info.retry_delay).map(bounded_delay),
            hint: hint_for_code(status.code(), kind, message),
        })
    }

    /// Returns the failure that an HTTP response other than 2xx stands for.
    pub(crate) fn from_http(status: StatusCode, headers: &HeaderMap, body: &[u8]) -> Self {
        let reason = status.canonical_reason().map(|name| format!(" {name}")).unwrap_or_default();
        // After a redirect, the header has another meaning.
        let retry_after =
            retry_after(headers, Timestamp::now()).filter(|_| !status.is_redirection());
        let kind = match retry_after {
            Some(_) => ErrorKind::Transient,
            None => kind_of_status(status.as_u16()),
        };
        Self {
            kind,
            may_be_too_large: false,
            name: format!("{}{reason}", status.as_u16()),
            message: reason_in_body(headers, body),
            retry_after,
            hint: hint_for_status(status.as_u16()),
        }
    }

    /// Returns the reason for which the size of the request may have been refused.
    pub(crate) fn refusal(&self) -> Option<Refusal> {
        match self.kind {
            ErrorKind::TooLarge => Some(Refusal::TooLarge),
            _ => self.may_be_too_large.then_some(Refusal::Unspecified),
        }
    }

    /// Returns the same failure as one of the request's size.
    pub(crate) fn too_large(self) -> Self {
        Self { kind: ErrorKind::TooLarge, hint: "; see `batch`", ..self }
    }

    pub(crate) fn into_error(self, destination: &Destination) -> SinkError {
        let message = after_colon(destination.excerpt(&self.message));
        let source =
            format!("{} responded with {}{message}{}", destination.origin(), self.name, self.hint);
        let mut error = SinkError::new(self.kind, source);
        error.retry_after = self.retry_after;
        error
    }
}

/// Returns `: {message}`, or nothing for an empty message.
pub(crate) fn after_colon(message: String) -> String {
    if message.is_empty() { message } else { format!(": {message}") }
}

/// Returns the media type of a response without its parameters.
pub(crate) fn content_type(headers: &HeaderMap) -> &str {
    let value = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    value.split(';').next().unwrap_or_default().trim()
}

/// Returns the reason that the body of a failure gives: the message of a `google.rpc.Status`, which
/// OTLP requires, a member of a JSON object, or the text.
fn reason_in_body(headers: &HeaderMap, body: &[u8]) -> String {
    #[derive(Default, Deserialize)]
    #[serde(default)]
    struct Problem {
        message: Option<String>,
        detail: Option<String>,
        error: Option<String>,
    }

    let text = || String::from_utf8_lossy(body).into_owned();
    match content_type(headers) {
        "application/x-protobuf" => {
            tonic_types::pb::Status::decode(body).map(|status| status.message).unwrap_or_default()
        }
        "application/json" | "application/problem+json" => {
            let Problem { message, detail, error } =
                serde_json::from_slice(body).unwrap_or_default();
            message.or(detail).or(error).unwrap_or_else(text)
        }
        _ => text(),
    }
}

#[cfg(test)]
mod tests {
    use reqwest::header::{HeaderValue, RETRY_AFTER};
    use tonic_types::ErrorDetails;

    use super::*;

    #[test]
    fn quota_with_retry_info_is_transient_and_has_no_hint() {
        let quota = Status::with_error_details(
            Code::ResourceExhausted,
            "",
            ErrorDetails::with_retry_info(None),
        );
        let failure = Failure::from_grpc(&quota).unwrap();
        assert_eq!((failure.kind, failure.hint), (ErrorKind::Transient, ""));
        assert_eq!(failure.refusal(), None);
    }

    #[test]
    fn details_of_a_status_tell_a_size_from_a_quota() {
        let refusal = |details: ErrorDetails| {
            let status = Status::with_error_details(Code::ResourceExhausted, "no", details);
            Failure::from_grpc(&status).unwrap().refusal()
        };
        let mut details = ErrorDetails::new();
        assert_eq!(refusal(details.clone()), Some(Refusal::Unspecified));
        details.set_error_info("MESSAGE_TOO_LARGE", "example.com", []);
        assert_eq!(refusal(details), Some(Refusal::TooLarge));
        assert_eq!(refusal(ErrorDetails::with_quota_failure_violation("project", "bytes")), None);
    }

    #[test]
    fn retry_info_makes_every_failure_transient_and_is_bounded() {
        for code in [Code::PermissionDenied, Code::Internal, Code::InvalidArgument] {
            let details = ErrorDetails::with_retry_info(Some(Duration::from_secs(315_360_000)));
            let failure =
                Failure::from_grpc(&Status::with_error_details(code, "", details)).unwrap();
            assert_eq!(failure.kind, ErrorKind::Transient, "{code:?}");
            assert_eq!(failure.retry_after, Some(Duration::from_secs(24 * 3600)), "{code:?}");
        }
    }

    #[test]
    fn retry_after_makes_every_status_but_a_redirect_transient() {
        let kind = |status: u16| {
            let headers = HeaderMap::from_iter([(RETRY_AFTER, HeaderValue::from_static("2.0"))]);
            let status = StatusCode::from_u16(status).unwrap();
            Failure::from_http(status, &headers, b"").kind
        };
        for status in [400, 403, 413, 429, 500, 503] {
            assert_eq!(kind(status), ErrorKind::Transient, "{status}");
        }
        assert_eq!(kind(301), ErrorKind::Denied);
    }

    #[test]
    fn reason_of_a_failure_is_found_in_protobuf_json_and_text() {
        let reason = |content_type: &'static str, body: &[u8]| {
            let headers =
                HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static(content_type))]);
            Failure::from_http(StatusCode::BAD_REQUEST, &headers, body).message
        };
        let status =
            tonic_types::pb::Status { message: "too old".to_owned(), ..Default::default() }
                .encode_to_vec();
        assert_eq!(reason("application/x-protobuf", &status), "too old");
        assert_eq!(
            reason("application/json; charset=utf-8", br#"{"code":3,"message":"too old"}"#),
            "too old"
        );
        assert_eq!(
            reason("application/problem+json", br#"{"title":"Bad","detail":"too old"}"#),
            "too old"
        );
        assert_eq!(reason("application/json", b"[7]"), "[7]");
        assert_eq!(reason("text/plain", b"too old"), "too old");
    }

    #[test]
    fn partial_success_is_decoded_from_json() {
        let accepted = |rejected, message: &str| Accepted { rejected, message: message.to_owned() };
        assert_eq!(Accepted::decode_json(b"{}"), accepted(0, ""));
        assert_eq!(Accepted::decode_json(b"ok"), accepted(0, ""));
        let partial = br#"{"partialSuccess":{"rejectedLogRecords":"3","errorMessage":"too old"}}"#;
        assert_eq!(Accepted::decode_json(partial), accepted(3, "too old"));
        let partial = br#"{"partialSuccess":{"rejectedSpans":2}}"#;
        assert_eq!(Accepted::decode_json(partial), accepted(2, ""));
    }
}
