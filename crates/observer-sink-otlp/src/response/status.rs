//! Meaning of gRPC and HTTP status codes.
//!
//! The classification follows OTLP 1.9, sections "OTLP/gRPC Response" and "OTLP/HTTP Response". The
//! [crate's documentation](crate#responses) shows it as a table.

use observer_core::ErrorKind;
use tonic::Code;

/// Kind of a failure, which determines what the pipeline does next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FailureKind {
    /// The same request may be accepted later.
    Transient,
    /// The request exceeds a size limit.
    TooLarge,
    /// An event of the request is not acceptable.
    Permanent,
    /// The operator must act: the failure does not concern the events.
    Blocked,
}

impl FailureKind {
    pub(crate) fn error_kind(self) -> ErrorKind {
        match self {
            Self::Transient => ErrorKind::Transient,
            Self::TooLarge | Self::Permanent => ErrorKind::Permanent,
            Self::Blocked => ErrorKind::Blocked,
        }
    }
}

/// Returns the kind of failure that a gRPC code stands for, or `None` for a success.
pub(crate) fn kind_of_code(code: Code, has_retry_info: bool) -> Option<FailureKind> {
    Some(match code {
        Code::Ok => return None,
        Code::Unavailable
        | Code::Cancelled
        | Code::DeadlineExceeded
        | Code::Aborted
        | Code::OutOfRange
        | Code::DataLoss => FailureKind::Transient,
        Code::ResourceExhausted if has_retry_info => FailureKind::Transient,
        // Without RetryInfo, servers mean a message above their size limit.
        Code::ResourceExhausted => FailureKind::TooLarge,
        Code::InvalidArgument => FailureKind::Permanent,
        // OTLP forbids a retry, and the code does not concern the events.
        _ => FailureKind::Blocked,
    })
}

/// Returns the kind of failure that an HTTP status other than 2xx stands for.
pub(crate) fn kind_of_status(status: u16) -> FailureKind {
    match status {
        408 | 425 | 429 | 502 | 503 | 504 => FailureKind::Transient,
        413 => FailureKind::TooLarge,
        400 | 422 => FailureKind::Permanent,
        // This includes 500, for which OTLP forbids a retry.
        _ => FailureKind::Blocked,
    }
}

/// Returns the settings or places to look at after this code, to append to an error message.
pub(crate) fn hint_for_code(code: Code, kind: FailureKind) -> &'static str {
    match code {
        Code::Unauthenticated | Code::PermissionDenied => "; see `auth` and `headers`",
        Code::Unimplemented | Code::NotFound => "; see `endpoint`, `protocol` and `signals`",
        Code::ResourceExhausted if kind == FailureKind::TooLarge => "; see `batch`",
        Code::Internal | Code::Unknown => "; see the log of the destination",
        _ => "",
    }
}

/// Returns the settings or places to look at after this status, to append to an error message.
pub(crate) fn hint_for_status(status: u16) -> &'static str {
    match status {
        300..=399 => "; the destination has moved, see `endpoint`",
        401 | 403 => "; see `auth` and `headers`",
        404 | 405 | 410 => {
            "; see `endpoint`, to which the path of the signal is added, and `protocol`"
        }
        407 => "; the proxy requires credentials",
        413 => "; see `batch`",
        415 => "; see `compression` and `protocol`",
        500.. => "; see the log of the destination",
        _ => "",
    }
}

/// Returns the name of a code as in gRPC's list of status codes, such as `DEADLINE_EXCEEDED`.
pub(crate) fn name_of_code(code: Code) -> String {
    let mut name = String::new();
    for c in format!("{code:?}").chars() {
        if c.is_uppercase() && !name.is_empty() {
            name.push('_');
        }
        name.push(c.to_ascii_uppercase());
    }
    name
}

#[cfg(test)]
mod tests {
    use super::FailureKind::{Blocked, Permanent, TooLarge, Transient};
    use super::*;

    #[test]
    fn each_code_has_its_kind() {
        let kind = |code: i32, has_retry_info| kind_of_code(Code::from(code), has_retry_info);
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
            assert_eq!(kind(code, false), expected, "{:?}", Code::from(code));
        }
        assert_eq!(kind(8, true), Some(Transient));
        assert_eq!(name_of_code(Code::DeadlineExceeded), "DEADLINE_EXCEEDED");
    }

    #[test]
    fn each_http_status_has_its_kind() {
        for status in 300..600 {
            let expected = match status {
                408 | 425 | 429 | 502 | 503 | 504 => Transient,
                400 | 422 => Permanent,
                413 => TooLarge,
                _ => Blocked,
            };
            assert_eq!(kind_of_status(status), expected, "{status}");
        }
    }

    #[test]
    fn hints_name_the_settings_that_matter() {
        assert_eq!(hint_for_code(Code::ResourceExhausted, Transient), "");
        assert_eq!(hint_for_code(Code::ResourceExhausted, TooLarge), "; see `batch`");
        assert_eq!(hint_for_code(Code::Internal, Blocked), "; see the log of the destination");
        assert_eq!(hint_for_code(Code::Unavailable, Transient), "");
        assert_eq!(hint_for_status(407), "; the proxy requires credentials");
        assert_eq!(hint_for_status(413), "; see `batch`");
        assert_eq!(hint_for_status(415), "; see `compression` and `protocol`");
        assert_eq!(hint_for_status(429), "");
        assert_eq!(hint_for_status(502), "; see the log of the destination");
    }
}
