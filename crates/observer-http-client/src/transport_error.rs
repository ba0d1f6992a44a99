//! Why there is no answer.

use std::borrow::Cow;
use std::env;
use std::error::Error;
use std::io::{self, ErrorKind};

use observer_core::SinkError;
use rustls::{AlertDescription, CertificateError};

use crate::Destination;

/// How resolvers say that there is no such name, and not that they can't tell at the moment: glibc
/// (two ways), musl, macOS.
const NO_SUCH_HOST: [&str; 4] = [
    "Name or service not known",
    "No address associated with hostname",
    "Name does not resolve",
    "nodename nor servname provided",
];

/// What a request came to that was not answered. What is wrong with TLS, and a host that nobody
/// knows, stay wrong until someone mends them; all else may work soon.
///
/// It is meant for sinks whose keys are called `connect_timeout`, `tls.ca`, `tls.cert` and
/// `tls.key`, and as [`Destination::key`] says.
#[must_use]
pub fn transport_error(error: &reqwest::Error, shown: &Destination) -> SinkError {
    let (origin, key) = (shown.origin(), shown.key());
    let no_tls = |tls: &rustls::Error| {
        SinkError::blocked(format!(
            "no TLS with {origin}: {}{}",
            shown.excerpt(&tls.to_string()),
            hint(tls, key)
        ))
    };
    if let Some(tls) = tls_error(error) {
        return no_tls(tls);
    }
    if error.is_timeout() && error.is_connect() {
        return SinkError::transient(format!(
            "{origin} can't be reached: no connection within `connect_timeout`"
        ));
    }
    let mut cause: &dyn Error = error;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    if let Some(alert) = alert_in(&cause.to_string()) {
        return no_tls(&alert);
    }
    let what = if error.is_connect() { "can't be reached" } else { "gives no answer" };
    // reqwest's own words have the whole URL in them.
    let why =
        if error.source().is_some() { cause.to_string() } else { "the request failed".to_owned() };
    let told = format!("{origin} {what}: {}", shown.excerpt(&why));
    if error.is_connect() && NO_SUCH_HOST.iter().any(|words| why.contains(words)) {
        return SinkError::blocked(format!("{told}; see `{key}`"));
    }
    match cause.downcast_ref::<io::Error>().map(io::Error::kind) {
        Some(ErrorKind::ConnectionRefused) => {
            let proxy = proxy_variable(origin, |name| {
                env::var_os(name).is_some_and(|value| !value.is_empty())
            });
            let or_there =
                proxy.map(|name| format!(", or at the proxy of `{name}`")).unwrap_or_default();
            SinkError::transient(format!("{told}; nothing listens there{or_there}, see `{key}`"))
        }
        _ => SinkError::transient(told),
    }
}

/// Whether this reason says that something came back which is not the version of HTTP that was
/// spoken: another one, or TLS.
///
/// ```
/// assert!(observer_http_client::is_protocol_mismatch("http://h gives no answer: invalid HTTP version parsed"));
/// ```
#[must_use]
pub fn is_protocol_mismatch(reason: &str) -> bool {
    // In hyper's words, the first two, and in those of h2.
    ["invalid HTTP version", "unexpected message", "frame with invalid size"]
        .iter()
        .any(|words| reason.contains(words))
}

/// HTTP/2 keeps of what went wrong with its connection only the words. These are the refusals of a
/// certificate, which comes too late for the handshake in TLS 1.3.
fn alert_in(words: &str) -> Option<rustls::Error> {
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
        .find(|alert| words.ends_with(&alert.to_string()))
}

/// The variable that may have named a proxy for this request: whether `NO_PROXY` excepts it isn't
/// known here.
fn proxy_variable(origin: &str, is_set: impl Fn(&str) -> bool) -> Option<&'static str> {
    let of_scheme = if origin.starts_with("https:") {
        ["HTTPS_PROXY", "https_proxy"]
    } else {
        ["HTTP_PROXY", "http_proxy"]
    };
    of_scheme.into_iter().chain(["ALL_PROXY", "all_proxy"]).find(|name| is_set(name))
}

fn hint(error: &rustls::Error, key: &str) -> Cow<'static, str> {
    let hint = match error {
        rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer) => {
            "; `tls.ca` names authorities to trust in addition to the system's"
        }
        rustls::Error::AlertReceived(AlertDescription::CertificateRequired) => {
            "; `tls.cert` and `tls.key` name a certificate to show"
        }
        rustls::Error::AlertReceived(AlertDescription::UnknownCA) => {
            "; the authority that signed the certificate of `tls.cert` is not trusted there"
        }
        rustls::Error::InvalidMessage(_) => {
            return format!(
                "; perhaps it speaks plain HTTP, and `{key}` has to begin with http://"
            )
            .into();
        }
        _ => "",
    };
    hint.into()
}

/// What went wrong with TLS, if that is why there is no answer.
#[must_use]
pub fn tls_error<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a rustls::Error> {
    if let Some(found) = error.downcast_ref() {
        return Some(found);
    }
    // What is inside an I/O error is not among its sources.
    match error.downcast_ref().and_then(io::Error::get_ref) {
        Some(inside) => tls_error(inside),
        None => tls_error(error.source()?),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_alert_is_found_in_the_words_that_are_left_of_it() {
        let alert = rustls::Error::AlertReceived(AlertDescription::CertificateExpired);
        assert_eq!(alert_in(&format!("connection error: {alert}")), Some(alert));
        assert_eq!(alert_in("broken pipe"), None);
    }

    #[test]
    fn who_refuses_our_certificate_is_told_apart_from_who_wants_one() {
        let hint = |alert| hint(&rustls::Error::AlertReceived(alert), "url");
        assert!(hint(AlertDescription::CertificateRequired).contains("name a certificate to show"));
        assert!(hint(AlertDescription::UnknownCA).contains("is not trusted there"));
        assert_eq!(hint(AlertDescription::AccessDenied), "");
    }

    #[test]
    fn a_proxy_is_named_by_its_variable() {
        let check = |origin: &str, set: &[&str], expected| {
            assert_eq!(
                proxy_variable(origin, |name| set.contains(&name)),
                expected,
                "{origin} {set:?}"
            );
        };
        check("http://h", &["HTTPS_PROXY", "http_proxy", "ALL_PROXY"], Some("http_proxy"));
        check("https://h", &["HTTPS_PROXY", "http_proxy"], Some("HTTPS_PROXY"));
        check("https://h", &["HTTP_PROXY", "all_proxy"], Some("all_proxy"));
        check("http://h", &["HTTPS_PROXY", "NO_PROXY"], None);
    }
}
