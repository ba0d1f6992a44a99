//! Meaning of gRPC and HTTP status codes.
//!
//! The classification follows OTLP 1.9, sections "OTLP/gRPC Response" and "OTLP/HTTP Response". The
//! [crate's documentation](crate#responses) shows it as a table.

use observer_core::ErrorKind;
use tonic::Code;

/// Returns the kind of failure that a gRPC code stands for, or `None` for a success.
///
/// `message` is that of the status; some servers say in it that the request is too large.
pub(crate) fn kind_of_code(code: Code, message: &str) -> Option<ErrorKind> {
    Some(match code {
        Code::Ok => return None,
        Code::ResourceExhausted | Code::OutOfRange if says_too_large(message) => {
            ErrorKind::TooLarge
        }
        Code::Unavailable
        | Code::Cancelled
        | Code::DeadlineExceeded
        | Code::Aborted
        | Code::ResourceExhausted => ErrorKind::Transient,
        Code::Unknown | Code::Internal | Code::DataLoss => ErrorKind::Failed,
        Code::InvalidArgument | Code::OutOfRange => ErrorKind::Permanent,
        Code::Unauthenticated => ErrorKind::Unauthenticated,
        _ => ErrorKind::Denied,
    })
}

/// Returns the kind of failure that an HTTP status other than 2xx stands for.
pub(crate) fn kind_of_status(status: u16) -> ErrorKind {
    match status {
        408 | 425 | 429 | 503 => ErrorKind::Transient,
        413 => ErrorKind::TooLarge,
        400 | 422 => ErrorKind::Permanent,
        500.. => ErrorKind::Failed,
        401 | 407 => ErrorKind::Unauthenticated,
        _ => ErrorKind::Denied,
    }
}

/// Returns whether a message says that a request is too large, as opposed to a quota.
///
/// The words are those of gRPC for Go, C++ and Python ("received message larger than max"), Java
/// and .NET ("message exceeds maximum size", "exceeds the maximum configured message size"), and
/// tonic ("message length too large").
pub(crate) fn says_too_large(message: &str) -> bool {
    let message = message.to_ascii_lowercase();
    let has = |words: &str| message.contains(words);
    has("larger than max")
        || has("too large")
        || has("too big")
        || (has("message") && has("size") && (has("exceed") || has("limit")))
}

/// Returns the settings or places to look at after this code, to append to an error message.
pub(crate) fn hint_for_code(code: Code, kind: ErrorKind, message: &str) -> &'static str {
    match code {
        Code::Unauthenticated | Code::PermissionDenied => "; see `auth` and `headers`",
        Code::Unimplemented
            if message.to_ascii_lowercase().contains("compress")
                || message.contains("grpc-encoding") =>
        {
            "; set compression = \"none\""
        }
        Code::Unimplemented | Code::NotFound => "; see `endpoint`, `protocol` and `signals`",
        _ if kind == ErrorKind::TooLarge => "; see `batch`",
        Code::Internal | Code::Unknown | Code::DataLoss => "; see the log of the destination",
        _ => "",
    }
}

/// Returns the settings or places to look at after this status, to append to an error message.
pub(crate) fn hint_for_status(status: u16) -> &'static str {
    match status {
        304 => "; the destination took the request for a conditional one, see `headers`",
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
    use super::ErrorKind::{Denied, Failed, Permanent, TooLarge, Transient, Unauthenticated};
    use super::*;

    #[test]
    fn each_code_has_its_kind() {
        let expected = [
            None,
            Some(Transient), // CANCELLED
            Some(Failed),    // UNKNOWN
            Some(Permanent), // INVALID_ARGUMENT
            Some(Transient), // DEADLINE_EXCEEDED
            Some(Denied),    // NOT_FOUND
            Some(Denied),    // ALREADY_EXISTS
            Some(Denied),    // PERMISSION_DENIED
            Some(Transient), // RESOURCE_EXHAUSTED
            Some(Denied),    // FAILED_PRECONDITION
            Some(Transient), // ABORTED
            Some(Permanent), // OUT_OF_RANGE
            Some(Denied),    // UNIMPLEMENTED
            Some(Failed),    // INTERNAL
            Some(Transient), // UNAVAILABLE
            Some(Failed),    // DATA_LOSS
            Some(Unauthenticated),
        ];
        for (code, expected) in (0..).map(Code::from).zip(expected) {
            assert_eq!(kind_of_code(code, "quota"), expected, "{code:?}");
        }
        assert_eq!(name_of_code(Code::DeadlineExceeded), "DEADLINE_EXCEEDED");
    }

    #[test]
    fn words_of_grpc_libraries_tell_a_size_from_a_quota() {
        for message in [
            "grpc: received message larger than max (5000000 vs. 4194304)",
            "grpc: received message after decompression larger than max (5 vs. 4)",
            "CLIENT: Received message larger than max (5000000 vs. 4194304)",
            "gRPC message exceeds maximum size 4194304: 5000000",
            "Received message exceeds the maximum configured message size.",
            "Error, decoded message length too large: found 5 bytes, the limit is: 4 bytes",
            "Message size limit exceeded",
        ] {
            assert_eq!(kind_of_code(Code::ResourceExhausted, message), Some(TooLarge), "{message}");
            assert_eq!(kind_of_code(Code::OutOfRange, message), Some(TooLarge), "{message}");
        }
        for message in [
            "",
            "quota exceeded",
            "rate limit exceeded: 100 requests per second",
            "ingestion rate limit (15000000 bytes) exceeded",
            "too many active streams",
            "memory usage is above the soft limit",
            "sending queue is full",
        ] {
            assert_eq!(
                kind_of_code(Code::ResourceExhausted, message),
                Some(Transient),
                "{message}"
            );
        }
    }

    #[test]
    fn each_http_status_has_its_kind() {
        for status in 300..600 {
            let expected = match status {
                408 | 425 | 429 | 503 => Transient,
                400 | 422 => Permanent,
                413 => TooLarge,
                401 | 407 => Unauthenticated,
                500..600 => Failed,
                _ => Denied,
            };
            assert_eq!(kind_of_status(status), expected, "{status}");
        }
    }

    #[test]
    fn hints_name_the_settings_that_matter() {
        assert_eq!(hint_for_code(Code::ResourceExhausted, Transient, ""), "");
        assert_eq!(hint_for_code(Code::ResourceExhausted, TooLarge, ""), "; see `batch`");
        assert_eq!(hint_for_code(Code::OutOfRange, TooLarge, ""), "; see `batch`");
        assert_eq!(hint_for_code(Code::Internal, Failed, ""), "; see the log of the destination");
        assert_eq!(hint_for_code(Code::Unavailable, Transient, ""), "");
        for message in [
            "grpc: Decompressor is not installed for grpc-encoding \"gzip\"",
            "Content is compressed with `gzip` which isn't supported",
            "Can't find decompressor for gzip",
        ] {
            let hint = hint_for_code(Code::Unimplemented, Denied, message);
            assert_eq!(hint, "; set compression = \"none\"", "{message}");
        }
        assert_eq!(
            hint_for_code(Code::Unimplemented, Denied, "unknown service"),
            "; see `endpoint`, `protocol` and `signals`"
        );
        assert!(hint_for_status(304).contains("conditional"));
        assert_eq!(hint_for_status(301), "; the destination has moved, see `endpoint`");
        assert_eq!(hint_for_status(407), "; the proxy requires credentials");
        assert_eq!(hint_for_status(413), "; see `batch`");
        assert_eq!(hint_for_status(415), "; see `compression` and `protocol`");
        assert_eq!(hint_for_status(429), "");
        assert_eq!(hint_for_status(502), "; see the log of the destination");
    }
}
