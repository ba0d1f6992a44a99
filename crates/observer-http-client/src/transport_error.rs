//! Classification of failed requests.

use std::borrow::Cow;
use std::error::Error;
use std::io::{self, ErrorKind};

use observer_core::SinkError;
use rustls::{AlertDescription, CertificateError};

use crate::Destination;
use crate::proxy::{env_variable, proxy_variable};

/// Messages with which resolvers say that a host does not exist, as opposed to a temporary failure:
/// glibc (two of them), musl, macOS.
const NO_SUCH_HOST: [&str; 4] = [
    "Name or service not known",
    "No address associated with hostname",
    "Name does not resolve",
    "nodename nor servname provided",
];

/// Classifies the error of a request that received no valid response.
///
/// A TLS failure and an unknown host remain until the operator changes something, so they are
/// [`Blocked`](observer_core::ErrorKind::Blocked). A response whose head can't be read is
/// [`Failed`](observer_core::ErrorKind::Failed), because the destination may hold the events. Every
/// other error is [`Transient`](observer_core::ErrorKind::Transient). A stream that HTTP/2 resets
/// because of an error is `Failed`, too, as gRPC has it ("HTTP2 Transport Mapping" in its protocol).
///
/// The hints in the message name the keys `connect_timeout`, `tls.ca`, `tls.cert`, `tls.key` and
/// [`Destination::key`], so the sink's configuration must have keys of these names.
#[must_use]
pub fn transport_error(error: &reqwest::Error, destination: &Destination) -> SinkError {
    let (origin, key) = (destination.origin(), destination.key());
    let tls_failed = |tls: &rustls::Error| {
        SinkError::blocked(format!(
            "TLS with {origin} failed: {}{}",
            destination.excerpt(&tls.to_string()),
            tls_hint(tls, key)
        ))
    };
    if let Some(tls) = tls_error(error) {
        return tls_failed(tls);
    }
    if error.is_timeout() && error.is_connect() {
        return SinkError::transient(format!(
            "{origin} can't be reached: no connection within `connect_timeout`"
        ));
    }
    let mut cause: &dyn Error = error;
    while let Some(deeper) = cause.source() {
        cause = deeper;
        // A message of hyper.
        if cause.to_string() == "keep-alive timed out" {
            return SinkError::transient(format!(
                "{origin} stopped responding: it answers no ping"
            ));
        }
    }
    if let Some(alert) = alert_in(&cause.to_string()) {
        return tls_failed(&alert);
    }
    let what = if error.is_connect() { "can't be reached" } else { "sent no valid response" };
    // The message of a reqwest error contains the whole URL, which may hold secrets.
    let why =
        if error.source().is_some() { cause.to_string() } else { "the request failed".to_owned() };
    let message = format!("{origin} {what}: {}", destination.excerpt(&why));
    if error.is_connect() && NO_SUCH_HOST.iter().any(|words| why.contains(words)) {
        return SinkError::blocked(format!("{message}; see `{key}`"));
    }
    if is_unreadable_head(&why) {
        return SinkError::failed(format!(
            "{origin} sent a response whose head can't be read: {}; \
             the destination may hold the events",
            destination.excerpt(&why)
        ));
    }
    if is_reset_by_error(&why) {
        return SinkError::failed(message);
    }
    match cause.downcast_ref::<io::Error>().map(io::Error::kind) {
        Some(ErrorKind::ConnectionRefused) => {
            let proxy = proxy_variable(origin, env_variable);
            let or_proxy =
                proxy.map(|name| format!(", or at the proxy of `{name}`")).unwrap_or_default();
            SinkError::transient(format!("{message}; nothing listens there{or_proxy}, see `{key}`"))
        }
        _ => SinkError::transient(message),
    }
}

/// Returns whether the message of a cause says that the head of a response was received, but is
/// malformed or too large.
fn is_unreadable_head(message: &str) -> bool {
    // Messages of hyper; the last one is a message of h2.
    [
        "message head is too large",
        "invalid HTTP header parsed",
        "invalid HTTP status-code parsed",
        "invalid content-length parsed",
        "unexpected transfer-encoding parsed",
        "header list size",
    ]
    .iter()
    .any(|words| message.contains(words))
}

/// Returns whether the message of a cause says that the peer reset the stream of the request because
/// of an error. Other reasons say that the peer can't or does not want to process it at the moment.
fn is_reset_by_error(message: &str) -> bool {
    // Messages of h2: INTERNAL_ERROR, PROTOCOL_ERROR, FLOW_CONTROL_ERROR, FRAME_SIZE_ERROR,
    // COMPRESSION_ERROR.
    let Some(reason) = message.strip_prefix("stream error received: ") else { return false };
    [
        "unexpected internal error encountered",
        "unspecific protocol error detected",
        "flow-control protocol violated",
        "frame with invalid size",
        "unable to maintain the header compression context",
    ]
    .contains(&reason)
}

/// Returns whether the message of a transport error says that the destination speaks another
/// version of HTTP than the request, or TLS instead of plain HTTP.
///
/// ```
/// use observer_http_client::is_protocol_mismatch;
///
/// assert!(is_protocol_mismatch("http://h sent no valid response: invalid HTTP version parsed"));
/// ```
#[must_use]
pub fn is_protocol_mismatch(message: &str) -> bool {
    // The first two are messages of hyper, the last one is a message of h2.
    ["invalid HTTP version", "unexpected message", "frame with invalid size"]
        .iter()
        .any(|words| message.contains(words))
}

/// Finds a TLS alert in an error message.
///
/// In TLS 1.3 the server rejects a client certificate after the handshake. HTTP/2 then reports the
/// failed connection, and of the alert only the message remains.
fn alert_in(message: &str) -> Option<rustls::Error> {
    let alerts = [
        AlertDescription::CertificateRequired,
        AlertDescription::UnknownCA,
        AlertDescription::BadCertificate,
        AlertDescription::UnsupportedCertificate,
        AlertDescription::CertificateRevoked,
        AlertDescription::CertificateExpired,
        AlertDescription::CertificateUnknown,
        AlertDescription::DecryptError,
        AlertDescription::AccessDenied,
    ];
    alerts
        .map(rustls::Error::AlertReceived)
        .into_iter()
        .find(|alert| message.ends_with(&alert.to_string()))
}

fn tls_hint(error: &rustls::Error, key: &str) -> Cow<'static, str> {
    let hint = match error {
        rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer) => {
            "; `tls.ca` names authorities to trust in addition to the system's"
        }
        rustls::Error::AlertReceived(AlertDescription::CertificateRequired) => {
            "; `tls.cert` and `tls.key` name a client certificate"
        }
        rustls::Error::AlertReceived(AlertDescription::UnknownCA) => {
            "; the destination does not trust the authority that signed `tls.cert`"
        }
        rustls::Error::InvalidMessage(_) => {
            return format!(
                "; if the destination speaks plain HTTP, `{key}` must begin with http://"
            )
            .into();
        }
        _ => "",
    };
    hint.into()
}

/// Returns the TLS error among an error and its causes.
#[must_use]
pub fn tls_error<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a rustls::Error> {
    if let Some(found) = error.downcast_ref() {
        return Some(found);
    }
    // `source` of an I/O error skips the error that it wraps.
    match error.downcast_ref().and_then(io::Error::get_ref) {
        Some(inside) => tls_error(inside),
        None => tls_error(error.source()?),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn alert_is_found_in_an_error_message() {
        let alert = rustls::Error::AlertReceived(AlertDescription::CertificateExpired);
        assert_eq!(alert_in(&format!("connection error: {alert}")), Some(alert));
        assert_eq!(alert_in("broken pipe"), None);
    }

    #[test]
    fn stream_that_is_reset_by_an_error_is_no_state_of_the_destination() {
        for (reason, expected) in [
            ("unexpected internal error encountered", true),
            ("unspecific protocol error detected", true),
            ("refused stream before processing any application logic", false),
            ("stream no longer needed", false),
            ("detected excessive load generating behavior", false),
        ] {
            assert_eq!(is_reset_by_error(&format!("stream error received: {reason}")), expected);
            assert!(!is_reset_by_error(&format!("connection error received: {reason}")));
        }
    }

    #[test]
    fn rejected_and_missing_client_certificates_have_different_hints() {
        let hint = |alert| tls_hint(&rustls::Error::AlertReceived(alert), "url");
        assert!(hint(AlertDescription::CertificateRequired).contains("name a client certificate"));
        assert!(hint(AlertDescription::UnknownCA).contains("does not trust the authority"));
        assert_eq!(hint(AlertDescription::AccessDenied), "");
    }
}
