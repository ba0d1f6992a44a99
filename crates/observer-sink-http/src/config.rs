//! What the operator writes.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use observer_core::{BatchSettings, BuildError, SinkConfig, SinkContext, SinkPart, units};
use observer_http_client::{Auth, Secret, Tls, default_connect_timeout};
use serde::Deserialize;

use crate::HttpSink;

/// The configuration of a sink with `type = "http"`.
///
/// ```toml
/// [sinks.failures]
/// type = "http"
/// url = "https://hooks.example.com/agents"   # required
/// method = "POST"                            # POST (default), PUT, PATCH
/// body = "array"                             # array (default), ndjson: batches of envelopes; envelope, event: one event a request
/// headers = { "X-Team" = "agents" }          # with body = "envelope" or "event" also fields: "X-Source" = "{source}"
/// auth = { bearer = "${HOOK_TOKEN}" }        # or { user = "…", password = "…" }
/// compression = "none"                       # none (default), gzip, zstd
/// signing = { secrets = ["${HOOK_SECRET}"] } # whsec_…, as Standard Webhooks has it; two of them during a rotation
/// idempotency_key = false                    # send the header Idempotency-Key, too
/// tls = { ca = "ca.pem", cert = "cert.pem", key = "key.pem" }  # each where it is needed
/// redirects = 0                              # how many to follow: 307 and 308, on the same host
/// connect_timeout = "10s"
/// check = "options"                          # how to ask whether it is there: options (default), head, get, off
/// ```
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
    /// Where requests go. Parts of it are secrets with some receivers, so it isn't shown.
    pub url: Secret,
    /// Their method.
    #[serde(default)]
    pub method: Method,
    /// What a request carries.
    #[serde(default)]
    pub body: Body,
    /// More headers. Where a request carries one event, values may have its fields in them: `{id}`,
    /// `{seq}`, `{received_at}`, `{source}`, `{event_kind}`, `{ok}`, `{cycle_id}`, `{sig_hash}`,
    /// `{staffer_id}`. Plain braces are written `{{` and `}}`.
    #[serde(default)]
    pub headers: BTreeMap<String, Secret>,
    /// Who the sink is.
    #[serde(default)]
    pub auth: Auth,
    /// How bodies are packed. Every server knows gzip, few know zstd.
    #[serde(default)]
    pub compression: Compression,
    /// Signatures as Standard Webhooks has them, of the body as it is sent; none, where nothing is
    /// said.
    #[serde(default)]
    pub signing: Signing,
    /// Whether `Idempotency-Key` goes with each request. It has the value of `webhook-id`, which
    /// always does.
    #[serde(default)]
    pub idempotency_key: bool,
    /// Whom to trust, and what to show.
    #[serde(default)]
    pub tls: Tls,
    /// How many redirects are followed in a row: those that keep method and body (307 and 308), on
    /// the same host.
    #[serde(default)]
    pub redirects: usize,
    /// How long a connection may take to be made. What a delivery may take in all is every sink's
    /// `timeout`.
    #[serde(default = "default_connect_timeout", deserialize_with = "units::duration")]
    pub connect_timeout: Duration,
    /// How to ask whether the far side is there.
    #[serde(default)]
    pub check: Check,
}

/// The method of a request that carries events.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
#[expect(missing_docs, reason = "they are what they are called")]
pub enum Method {
    #[default]
    Post,
    Put,
    Patch,
}

/// What a request carries.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Body {
    /// One event as its producer sent it.
    Event,
    /// One envelope: `{"id":…,"seq":…,"received_at":…,"event":{…}}`.
    Envelope,
    /// Envelopes in a JSON array.
    #[default]
    Array,
    /// Envelopes, one a line.
    Ndjson,
}

/// How bodies are packed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Compression {
    /// They go as they are.
    #[default]
    None,
    /// RFC 1952.
    Gzip,
    /// RFC 8878.
    Zstd,
}

/// The secrets that requests are signed with.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct Signing {
    /// Each makes a signature of its own. All that are in use during a rotation; none where nothing
    /// is signed.
    pub secrets: Vec<Secret>,
}

/// How to ask whether the far side is there, without an event.
///
/// Any answer says that it is, but for those that would be the same for an event: 401 (unless
/// requests are signed, which this one is not), 404, 407, 410, 429, a redirect, and 5xx but for
/// 501. A receiver that answers so to everything but events wants another method, or `off`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Check {
    /// `OPTIONS`, which asks what can be done there.
    #[default]
    Options,
    /// `HEAD`.
    Head,
    /// `GET`.
    Get,
    /// Not at all: the next event shows it.
    Off,
}

impl HttpConfig {
    /// Batches of envelopes go to `url` in JSON arrays; all else as by default.
    #[must_use]
    pub fn new(url: impl Into<Secret>) -> Self {
        Self {
            url: url.into(),
            method: Method::default(),
            body: Body::default(),
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

    /// Use this method.
    #[must_use]
    pub fn method(self, method: Method) -> Self {
        Self { method, ..self }
    }

    /// Have requests carry this.
    #[must_use]
    pub fn body(self, body: Body) -> Self {
        Self { body, ..self }
    }

    /// Send this header, too.
    #[must_use]
    pub fn header(mut self, name: impl Into<String>, value: impl Into<Secret>) -> Self {
        self.headers.insert(name.into(), value.into());
        self
    }

    /// Be someone.
    #[must_use]
    pub fn auth(self, auth: Auth) -> Self {
        Self { auth, ..self }
    }

    /// Pack bodies.
    #[must_use]
    pub fn compression(self, compression: Compression) -> Self {
        Self { compression, ..self }
    }

    /// Sign with this secret, beside those that were named before.
    #[must_use]
    pub fn sign_with(mut self, secret: impl Into<Secret>) -> Self {
        self.signing.secrets.push(secret.into());
        self
    }

    /// Send `Idempotency-Key`.
    #[must_use]
    pub fn with_idempotency_key(self) -> Self {
        Self { idempotency_key: true, ..self }
    }

    /// Sets the TLS settings.
    #[must_use]
    pub fn tls(self, tls: Tls) -> Self {
        Self { tls, ..self }
    }

    /// Follow this many redirects in a row.
    #[must_use]
    pub fn redirects(self, redirects: usize) -> Self {
        Self { redirects, ..self }
    }

    /// Give up a connection that takes longer to be made.
    #[must_use]
    pub fn connect_timeout(self, connect_timeout: Duration) -> Self {
        Self { connect_timeout, ..self }
    }

    /// Ask in this way whether the far side is there.
    #[must_use]
    pub fn check(self, check: Check) -> Self {
        Self { check, ..self }
    }
}

impl Body {
    /// Whether a request carries one event and no more.
    pub(crate) fn is_single(self) -> bool {
        matches!(self, Self::Event | Self::Envelope)
    }
}

impl SinkConfig for HttpConfig {
    const TYPE: &'static str = "http";

    fn build(self, _context: &SinkContext) -> Result<Vec<SinkPart>, BuildError> {
        // One event a request is one event a batch, or a request that fails would hold back what
        // its neighbours came to.
        let max_events = if self.body.is_single() { 1 } else { 1000 };
        let batch = BatchSettings {
            max_events: NonZeroUsize::new(max_events),
            max_bytes: Some(1 << 20),
            linger: Some(Duration::from_secs(1)),
        };
        Ok(vec![SinkPart::whole(Arc::new(HttpSink::new(&self)?)).with_batch(batch)])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_operator_writes_is_what_a_builder_makes() {
        let written: HttpConfig = serde_json::from_str(
            r#"{"url":"https://h/x","method":"PUT","body":"event","headers":{"X-Source":"{source}"},
                "auth":{"bearer":"t"},"compression":"zstd","signing":{"secrets":["a","b"]},"idempotency_key":true,
                "tls":{"ca":"ca.pem","cert":"c.pem","key":"k.pem"},"redirects":3,"connect_timeout":"2s","check":"head"}"#,
        )
        .unwrap();
        let built = HttpConfig::new("https://h/x")
            .method(Method::Put)
            .body(Body::Event)
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
        assert_eq!(written, built);
        let least: HttpConfig = serde_json::from_str(r#"{"url":"https://h/x"}"#).unwrap();
        assert_eq!(least, HttpConfig::new("https://h/x"));
        assert_eq!(least.body, Body::Array);
    }

    #[test]
    fn a_url_is_required_and_unknown_keys_are_refused() {
        let refuse = |config: &str, expected: &str| {
            let error = serde_json::from_str::<HttpConfig>(config).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        };
        refuse("{}", "missing field `url`");
        refuse(r#"{"url":"x","uri":"x"}"#, "unknown field `uri`");
        refuse(r#"{"url":"x","auth":{"token":"x"}}"#, "unknown field `token`");
        refuse(r#"{"url":"x","method":"GET"}"#, "unknown variant `GET`");
    }

    #[test]
    fn nothing_of_it_that_is_secret_is_shown() {
        let config = HttpConfig::new("https://hidden@h/hidden?hidden")
            .header("X-Key", "hidden")
            .auth(Auth::basic("me", "hidden"))
            .sign_with("hidden");
        assert!(!format!("{config:?}").contains("hidden"), "{config:?}");
    }
}
