//! Configuration of the sink.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use observer_core::{BatchSettings, BuildError, SinkConfig, SinkContext, SinkPart, units};
use observer_http_client::{Auth, Secret, Tls, default_connect_timeout};
use serde::Deserialize;

use crate::{HttpSink, body};

/// Configuration of a sink with `type = "http"`.
///
/// ```toml
/// [sinks.failures]
/// type = "http"
/// url = "https://hooks.example.com/agents"     # required
/// method = "POST"                              # POST (default), PUT, PATCH
/// body = "array"       # array (default), ndjson, envelope, event, slack, discord, pagerduty, teams,
///                      # or { template = "…" }
/// vars = { routing_key = "${PAGERDUTY_KEY}" }  # values for the template
/// headers = { "X-Team" = "agents" }
/// auth = { bearer = "${HOOK_TOKEN}" }          # or { user = "…", password = "…" }
/// compression = "none"                         # none (default), gzip, zstd
/// signing = { secrets = ["${HOOK_SECRET}"] }   # whsec_…, of Standard Webhooks; two in a rotation
/// idempotency_key = false                      # also send the header Idempotency-Key
/// tls = { ca = "ca.pem", cert = "cert.pem", key = "key.pem" }   # each where it is needed
/// redirects = 0                                # most to follow: 307 and 308, same origin
/// connect_timeout = "10s"
/// check = "options"                            # options (default), head, get, off
/// ```
///
/// With `body = "envelope"` or `"event"`, a header can contain fields of the event:
/// `"X-Source" = "{source}"`.
///
/// In Rust:
///
/// ```
/// use observer_sink_http::{Auth, Body, Compression, HttpConfig};
///
/// let config = HttpConfig::new("https://hooks.example.com/agents")
///     .body(Body::Ndjson)
///     .auth(Auth::bearer("t0ken"))
///     .compression(Compression::Gzip);
/// # let _ = config;
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct HttpConfig {
    /// URL of the destination. Some destinations have secrets in it, so no message repeats it.
    pub url: Secret,
    /// Method of the requests.
    #[serde(default)]
    pub method: Method,
    /// Body of a request.
    #[serde(default)]
    pub body: Body,
    /// Values that a template can print as `vars.NAME`. No message repeats them.
    #[serde(default)]
    pub vars: BTreeMap<String, Secret>,
    /// Further headers. If a request carries one event, values may contain placeholders: `{id}`,
    /// `{seq}`, `{received_at}`, `{source}`, `{event_kind}`, `{ok}`, `{cycle_id}`, `{sig_hash}`,
    /// `{staffer_id}`. `{{` and `}}` are literal braces.
    #[serde(default)]
    pub headers: BTreeMap<String, Secret>,
    /// Credentials of the sink.
    #[serde(default)]
    pub auth: Auth,
    /// Compression of bodies. Every server supports gzip, few support zstd.
    #[serde(default)]
    pub compression: Compression,
    /// Signatures of Standard Webhooks over the body as it is sent; none by default.
    #[serde(default)]
    pub signing: Signing,
    /// Adds the header `Idempotency-Key` to each request, with the value of `webhook-id`, which
    /// every request has.
    #[serde(default)]
    pub idempotency_key: bool,
    /// Certificate authorities and client certificate.
    #[serde(default)]
    pub tls: Tls,
    /// Largest number of redirects that one request follows. Only 307 and 308 to the same
    /// scheme, host and port are followed, which keep method and body.
    #[serde(default)]
    pub redirects: usize,
    /// Longest time to establish a connection. The `timeout` of every sink bounds the delivery as a
    /// whole.
    #[serde(default = "default_connect_timeout", deserialize_with = "units::duration")]
    pub connect_timeout: Duration,
    /// Request that checks whether the destination is reachable.
    #[serde(default)]
    pub check: Check,
}

/// Method of a request that carries events.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
#[expect(missing_docs, reason = "the names are those of the methods")]
pub enum Method {
    #[default]
    Post,
    Put,
    Patch,
}

/// Body of a request.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Body {
    /// One event, as its producer sent it.
    Event,
    /// One envelope: `{"id":…,"seq":…,"received_at":…,"event":{…}}`.
    Envelope,
    /// A JSON array of envelopes.
    #[default]
    Array,
    /// One envelope on each line.
    Ndjson,
    /// Message of a Slack incoming webhook.
    Slack,
    /// Message of a Discord webhook.
    Discord,
    /// Alert of PagerDuty's Events API v2, one per event. Needs `vars.routing_key`.
    Pagerduty,
    /// Adaptive card for the webhook of a Microsoft Teams workflow.
    Teams,
    /// MiniJinja template for the events of a batch. Each printed value is JSON, unless a
    /// `Content-Type` other than JSON is configured.
    Template(String),
}

/// Compression of bodies.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Compression {
    /// No compression.
    #[default]
    None,
    /// Gzip (RFC 1952).
    Gzip,
    /// Zstandard (RFC 8878).
    Zstd,
}

/// Secrets that sign requests.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct Signing {
    /// Each secret adds a signature: all secrets that are in use during a rotation. Without
    /// secrets, requests are not signed.
    pub secrets: Vec<Secret>,
}

/// Request without events that checks whether the destination is reachable.
///
/// The check fails on statuses that a request with events would get too: 401, 404, 407, 410, 429,
/// redirects, and 5xx except 501. With `signing`, a 401 passes, since the check is not signed. A
/// destination that responds to events only needs another method, or `off`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Check {
    /// `OPTIONS`, which changes nothing at the destination.
    #[default]
    Options,
    /// `HEAD`.
    Head,
    /// `GET`.
    Get,
    /// No check: the next event shows whether the destination is reachable.
    Off,
}

impl HttpConfig {
    /// Creates a configuration that posts JSON arrays of envelopes to `url`.
    #[must_use]
    pub fn new(url: impl Into<Secret>) -> Self {
        Self {
            url: url.into(),
            method: Method::default(),
            body: Body::default(),
            vars: BTreeMap::new(),
            headers: BTreeMap::new(),
            auth: Auth::default(),
            compression: Compression::default(),
            signing: Signing::default(),
            idempotency_key: false,
            tls: Tls::default(),
            redirects: 0,
            connect_timeout: default_connect_timeout(),
            check: Check::default(),
        }
    }

    /// Sets the method of requests.
    #[must_use]
    pub fn method(self, method: Method) -> Self {
        Self { method, ..self }
    }

    /// Sets the body of requests.
    #[must_use]
    pub fn body(self, body: Body) -> Self {
        Self { body, ..self }
    }

    /// Adds a value that a template can print as `vars.NAME`.
    #[must_use]
    pub fn var(mut self, name: impl Into<String>, value: impl Into<Secret>) -> Self {
        self.vars.insert(name.into(), value.into());
        self
    }

    /// Adds a header, or replaces the one of the same name.
    #[must_use]
    pub fn header(mut self, name: impl Into<String>, value: impl Into<Secret>) -> Self {
        self.headers.insert(name.into(), value.into());
        self
    }

    /// Sets the credentials.
    #[must_use]
    pub fn auth(self, auth: Auth) -> Self {
        Self { auth, ..self }
    }

    /// Sets the compression of bodies.
    #[must_use]
    pub fn compression(self, compression: Compression) -> Self {
        Self { compression, ..self }
    }

    /// Adds a secret to sign requests with.
    #[must_use]
    pub fn sign_with(mut self, secret: impl Into<Secret>) -> Self {
        self.signing.secrets.push(secret.into());
        self
    }

    /// Adds `Idempotency-Key` to each request.
    #[must_use]
    pub fn with_idempotency_key(self) -> Self {
        Self { idempotency_key: true, ..self }
    }

    /// Sets the TLS settings.
    #[must_use]
    pub fn tls(self, tls: Tls) -> Self {
        Self { tls, ..self }
    }

    /// Sets the largest number of redirects that one request follows.
    #[must_use]
    pub fn redirects(self, redirects: usize) -> Self {
        Self { redirects, ..self }
    }

    /// Sets the longest time to establish a connection.
    #[must_use]
    pub fn connect_timeout(self, connect_timeout: Duration) -> Self {
        Self { connect_timeout, ..self }
    }

    /// Sets the request that checks whether the destination is reachable.
    #[must_use]
    pub fn check(self, check: Check) -> Self {
        Self { check, ..self }
    }
}

impl Body {
    /// Returns whether a request carries exactly one event.
    pub(crate) fn is_single(&self) -> bool {
        matches!(self, Self::Event | Self::Envelope | Self::Pagerduty)
    }

    /// Returns the template of the body, if a template makes it.
    pub(crate) fn template(&self) -> Option<&str> {
        match self {
            Self::Event | Self::Envelope | Self::Array | Self::Ndjson => None,
            Self::Slack => Some(body::SLACK),
            Self::Discord => Some(body::DISCORD),
            Self::Pagerduty => Some(body::PAGERDUTY),
            Self::Teams => Some(body::TEAMS),
            Self::Template(template) => Some(template),
        }
    }
}

impl SinkConfig for HttpConfig {
    const TYPE: &'static str = "http";

    fn build(self, _context: &SinkContext) -> Result<Vec<SinkPart>, BuildError> {
        // With one event in a request, a larger batch would delay the receipt of accepted events
        // until the last request.
        // Messages for people are about one event, unless the operator wants a digest.
        let is_alone = self.body.is_single() || self.body.template().is_some();
        let max_events = if is_alone { 1 } else { 1000 };
        let batch = BatchSettings {
            max_events: NonZeroUsize::new(max_events),
            max_bytes: Some(1 << 20),
            linger: Some(Duration::from_secs(1)),
        };
        let part = SinkPart::whole(Arc::new(HttpSink::new(&self)?)).with_batch(batch);
        let is_signed = !self.signing.secrets.is_empty();
        Ok(vec![if is_signed && self.compression != Compression::None {
            part.with_warning(
                "`signing` covers the compressed body; the official libraries for Python and most \
                 frameworks verify the decompressed one and will reject every request, so set \
                 compression = \"none\"",
            )
        } else {
            part
        }])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn file_and_builder_make_the_same_configuration() {
        let from_file: HttpConfig = serde_json::from_str(
            r#"{"url":"https://h/x","method":"PUT","body":"event","vars":{"key":"k"},
                "headers":{"X-Source":"{source}"},"auth":{"bearer":"t"},"compression":"zstd",
                "signing":{"secrets":["a","b"]},"idempotency_key":true,
                "tls":{"ca":"ca.pem","cert":"c.pem","key":"k.pem"},
                "redirects":3,"connect_timeout":"2s","check":"head"}"#,
        )
        .unwrap();
        let built = HttpConfig::new("https://h/x")
            .method(Method::Put)
            .body(Body::Event)
            .var("key", "k")
            .header("X-Source", "{source}")
            .auth(Auth::bearer("t"))
            .compression(Compression::Zstd)
            .sign_with("a")
            .sign_with("b")
            .with_idempotency_key()
            .tls(Tls::default().with_ca("ca.pem").with_client_cert("c.pem", "k.pem"))
            .redirects(3)
            .connect_timeout(Duration::from_secs(2))
            .check(Check::Head);
        assert_eq!(from_file, built);
        let minimal: HttpConfig = serde_json::from_str(r#"{"url":"https://h/x"}"#).unwrap();
        assert_eq!(minimal, HttpConfig::new("https://h/x"));
        assert_eq!(minimal.body, Body::Array);
    }

    #[test]
    fn body_is_a_name_or_a_template() {
        let body = |body: &str| {
            let config = format!(r#"{{"url":"https://h","body":{body}}}"#);
            serde_json::from_str::<HttpConfig>(&config).map(|config| config.body)
        };
        for (name, expected) in [
            ("slack", Body::Slack),
            ("discord", Body::Discord),
            ("pagerduty", Body::Pagerduty),
            ("teams", Body::Teams),
        ] {
            assert_eq!(body(&format!("\"{name}\"")).unwrap(), expected);
        }
        assert_eq!(body(r#"{"template":"{}"}"#).unwrap(), Body::Template("{}".to_owned()));
        assert!(body(r#"{"tempalte":"{}"}"#).is_err() && body("\"template\"").is_err());
    }

    #[test]
    fn message_is_about_one_event_unless_configured() {
        let max_events = |body: Body| {
            let config = HttpConfig::new("https://h").body(body).var("routing_key", "k");
            let parts = config.build(&SinkContext::new("hook", "")).unwrap();
            parts[0].batch.max_events.map(usize::from)
        };
        let template = Body::Template(r#"{"n": {{ count }}}"#.to_owned());
        for body in [Body::Pagerduty, template] {
            assert_eq!(max_events(body.clone()), Some(1), "{body:?}");
        }
    }

    #[test]
    fn signatures_of_compressed_bodies_are_warned_of() {
        let warnings = |config: HttpConfig| {
            config.build(&SinkContext::new("hook", "")).unwrap().remove(0).warnings
        };
        let config = HttpConfig::new("https://h");
        let gzip = config.clone().compression(Compression::Gzip);
        let both = warnings(gzip.clone().sign_with("whsec_bmV3"));
        assert!(both[0].starts_with("`signing` covers the compressed body"), "{both:?}");
        assert!(warnings(gzip).is_empty());
        assert!(warnings(config.sign_with("whsec_bmV3")).is_empty());
    }

    #[test]
    fn url_is_required_and_unknown_keys_are_rejected() {
        let rejects = |config: &str, expected: &str| {
            let error = serde_json::from_str::<HttpConfig>(config).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        };
        rejects("{}", "missing field `url`");
        rejects(r#"{"url":"x","uri":"x"}"#, "unknown field `uri`");
        rejects(r#"{"url":"x","auth":{"token":"x"}}"#, "unknown field `token`");
        rejects(r#"{"url":"x","method":"GET"}"#, "unknown variant `GET`");
    }

    #[test]
    fn debug_output_hides_secrets() {
        let config = HttpConfig::new("https://hidden@h/hidden?hidden")
            .header("X-Key", "hidden")
            .auth(Auth::basic("me", "hidden"))
            .sign_with("hidden");
        assert!(!format!("{config:?}").contains("hidden"), "{config:?}");
    }
}
