//! Configuration of the sink.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use observer_core::units;
use observer_http_client::{Auth, Secret, Tls, default_connect_timeout};
use serde::Deserialize;

use crate::protocol::{Compression, Protocol};
use crate::signal::Signal;

/// Configuration of a sink with `type = "otlp"`.
///
/// ```toml
/// [sinks.collector]
/// type = "otlp"
/// # Required. Over HTTP, /v1/logs and /v1/traces are added to it.
/// endpoint = "http://127.0.0.1:4317"
/// # grpc (default) or http/protobuf (default if the port is 4318)
/// protocol = "grpc"
/// # Default: both. Each signal is a sink: collector/logs and collector/traces.
/// signals = ["logs", "traces"]
/// headers = { "x-team" = "${TEAM_TOKEN}" }
/// # Or { user = "…", password = "…" }.
/// auth = { bearer = "${COLLECTOR_TOKEN}" }
/// # gzip (default) or none
/// compression = "gzip"
/// # Default: false. Adds a child span `chat {model}`, which carries the usage.
/// traces = { llm_span = true }
/// # Attributes of the resource; service.name is observer by default.
/// resource = { "service.name" = "agents" }
/// # Certificate authorities to trust, and a client certificate; all optional.
/// tls = { ca = "ca.pem", cert = "cert.pem", key = "key.pem" }
/// connect_timeout = "10s"
/// ```
///
/// In Rust:
///
/// ```
/// use observer_sink_otlp::{OtlpConfig, Protocol, Signal};
///
/// let config = OtlpConfig::new("https://otlp.example.com")
///     .protocol(Protocol::Http)
///     .signals([Signal::Logs])
///     .header("x-team", "agents")
///     .resource("service.name", "agents");
/// # let _ = config;
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct OtlpConfig {
    /// URL of the destination: scheme, host and port; over HTTP also a path, if it has one.
    pub endpoint: Secret,
    /// Protocol of requests. The default is [`Protocol::Http`] for port 4318, else
    /// [`Protocol::Grpc`].
    #[serde(default)]
    pub protocol: Option<Protocol>,
    /// Signals that events are sent as. The default is all.
    #[serde(default = "all_signals")]
    pub signals: BTreeSet<Signal>,
    /// Headers of each request; over gRPC the metadata.
    #[serde(default)]
    pub headers: BTreeMap<String, Secret>,
    /// Credentials for the destination.
    #[serde(default)]
    pub auth: Auth,
    /// Compression of requests.
    #[serde(default)]
    pub compression: Compression,
    /// Options of spans.
    #[serde(default)]
    pub traces: Traces,
    /// Attributes of the resource of all events.
    #[serde(default)]
    pub resource: BTreeMap<String, String>,
    /// Certificate authorities to trust, and the client certificate.
    #[serde(default)]
    pub tls: Tls,
    /// Longest time to establish a connection. The `timeout` of the sink limits a whole delivery.
    #[serde(default = "default_connect_timeout", deserialize_with = "units::duration")]
    pub connect_timeout: Duration,
}

/// Options of spans.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct Traces {
    /// Adds a child span `chat {model}` to the span of each event that has a model and usage. The
    /// usage then stands on the child, so that it is counted once.
    pub llm_span: bool,
}

fn all_signals() -> BTreeSet<Signal> {
    BTreeSet::from(Signal::ALL)
}

impl OtlpConfig {
    /// Creates a configuration for this endpoint, with defaults for all other keys.
    #[must_use]
    pub fn new(endpoint: impl Into<Secret>) -> Self {
        Self {
            endpoint: endpoint.into(),
            protocol: None,
            signals: all_signals(),
            headers: BTreeMap::new(),
            auth: Auth::default(),
            compression: Compression::default(),
            traces: Traces::default(),
            resource: BTreeMap::new(),
            tls: Tls::default(),
            connect_timeout: default_connect_timeout(),
        }
    }

    /// Sets the protocol, which then does not depend on the port.
    #[must_use]
    pub fn protocol(self, protocol: Protocol) -> Self {
        Self { protocol: Some(protocol), ..self }
    }

    /// Sets the signals that events are sent as.
    #[must_use]
    pub fn signals(self, signals: impl IntoIterator<Item = Signal>) -> Self {
        Self { signals: signals.into_iter().collect(), ..self }
    }

    /// Adds a header to each request.
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

    /// Sets the compression.
    #[must_use]
    pub fn compression(self, compression: Compression) -> Self {
        Self { compression, ..self }
    }

    /// Adds a child span with the usage to the span of each event that has a model and usage.
    #[must_use]
    pub fn with_llm_spans(self) -> Self {
        Self { traces: Traces { llm_span: true }, ..self }
    }

    /// Adds an attribute of the resource.
    #[must_use]
    pub fn resource(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.resource.insert(key.into(), value.into());
        self
    }

    /// Sets the TLS settings.
    #[must_use]
    pub fn tls(self, tls: Tls) -> Self {
        Self { tls, ..self }
    }

    /// Sets the longest time to establish a connection.
    #[must_use]
    pub fn connect_timeout(self, connect_timeout: Duration) -> Self {
        Self { connect_timeout, ..self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn builder_makes_what_a_file_contains() {
        let written: OtlpConfig = serde_json::from_str(
            r#"{"endpoint":"https://h","protocol":"http/protobuf","signals":["traces"],
                "headers":{"x-a":"1"},"auth":{"bearer":"t"},"compression":"none",
                "traces":{"llm_span":true},
                "resource":{"service.name":"s"},
                "tls":{"ca":"ca.pem","cert":"c.pem","key":"k.pem"},"connect_timeout":"2s"}"#,
        )
        .unwrap();
        let built = OtlpConfig::new("https://h")
            .protocol(Protocol::Http)
            .signals([Signal::Traces])
            .header("x-a", "1")
            .auth(Auth::bearer("t"))
            .compression(Compression::None)
            .with_llm_spans()
            .resource("service.name", "s")
            .tls(Tls::default().with_ca("ca.pem").with_client_cert("c.pem", "k.pem"))
            .connect_timeout(Duration::from_secs(2));
        assert_eq!(written, built);
        let minimal: OtlpConfig = serde_json::from_str(r#"{"endpoint":"https://h"}"#).unwrap();
        assert_eq!(minimal, OtlpConfig::new("https://h"));
    }

    #[test]
    fn signals_have_the_names_of_otlp() {
        let config: OtlpConfig =
            serde_json::from_str(r#"{"endpoint":"http://h","signals":["traces","logs"]}"#).unwrap();
        assert_eq!(config.signals, all_signals());
    }

    #[test]
    fn unknown_keys_and_values_are_rejected() {
        let rejects = |config: &str, expected: &str| {
            let error = serde_json::from_str::<OtlpConfig>(config).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        };
        rejects("{}", "missing field `endpoint`");
        rejects(r#"{"endpoint":"x","url":"x"}"#, "unknown field `url`");
        rejects(r#"{"endpoint":"x","protocol":"http/json"}"#, "unknown variant `http/json`");
        rejects(
            r#"{"endpoint":"x","signals":["profiles"]}"#,
            "expected logs or traces, found \"profiles\"",
        );
        rejects(
            r#"{"endpoint":"x","signals":["metrics"]}"#,
            "metrics are not made of single events; `[telemetry]` exports all metrics of /metrics",
        );
    }

    #[test]
    fn debug_output_shows_no_secret() {
        let config = OtlpConfig::new("https://hidden@h/hidden")
            .header("x-key", "hidden")
            .auth(Auth::basic("me", "hidden"));
        assert!(!format!("{config:?}").contains("hidden"), "{config:?}");
    }
}
