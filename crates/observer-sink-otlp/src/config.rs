//! What the operator writes.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use observer_core::units;
use observer_http_client::{Auth, Secret, Tls, default_connect_timeout};
use serde::Deserialize;

use crate::protocol::{Compression, Protocol};
use crate::signal::Signal;

/// The configuration of a sink with `type = "otlp"`.
///
/// ```toml
/// [sinks.collector]
/// type = "otlp"
/// endpoint = "http://127.0.0.1:4317"         # required; over HTTP, /v1/logs and /v1/traces are added to it
/// protocol = "grpc"                          # grpc (default), http/protobuf (default if the endpoint's port is 4318)
/// signals = ["logs", "traces"]               # the default; each goes its own way, as collector/logs and collector/traces
/// headers = { "x-team" = "${TEAM_TOKEN}" }
/// auth = { bearer = "${COLLECTOR_TOKEN}" }   # or { user = "…", password = "…" }
/// compression = "gzip"                       # gzip (default), none
/// resource = { "service.name" = "agents" }   # attributes of the resource; service.name is observer by default
/// tls = { ca = "ca.pem", cert = "cert.pem", key = "key.pem" }  # each where it is needed
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
    /// Where the far side is: scheme, host and port, and over HTTP a path where it has one.
    pub endpoint: Secret,
    /// How it is spoken to. Unset, it is [`Protocol::Http`] at port 4318, and [`Protocol::Grpc`] at
    /// any other.
    #[serde(default)]
    pub protocol: Option<Protocol>,
    /// What events are sent as.
    #[serde(default = "all_signals")]
    pub signals: BTreeSet<Signal>,
    /// Headers of each request; over gRPC its metadata.
    #[serde(default)]
    pub headers: BTreeMap<String, Secret>,
    /// Who the sink is.
    #[serde(default)]
    pub auth: Auth,
    /// How requests are packed.
    #[serde(default)]
    pub compression: Compression,
    /// Attributes of the resource that all events are from.
    #[serde(default)]
    pub resource: BTreeMap<String, String>,
    /// Whom to trust, and what to show.
    #[serde(default)]
    pub tls: Tls,
    /// How long a connection may take to be made. What a delivery may take in all is every sink's
    /// `timeout`.
    #[serde(default = "default_connect_timeout", deserialize_with = "units::duration")]
    pub connect_timeout: Duration,
}

fn all_signals() -> BTreeSet<Signal> {
    BTreeSet::from(Signal::ALL)
}

impl OtlpConfig {
    /// Logs and traces go to `endpoint`; all else as by default.
    #[must_use]
    pub fn new(endpoint: impl Into<Secret>) -> Self {
        Self {
            endpoint: endpoint.into(),
            protocol: None,
            signals: all_signals(),
            headers: BTreeMap::new(),
            auth: Auth::default(),
            compression: Compression::default(),
            resource: BTreeMap::new(),
            tls: Tls::default(),
            connect_timeout: default_connect_timeout(),
        }
    }

    /// Speak this, whatever the port.
    #[must_use]
    pub fn protocol(self, protocol: Protocol) -> Self {
        Self { protocol: Some(protocol), ..self }
    }

    /// Send these and no others.
    #[must_use]
    pub fn signals(self, signals: impl IntoIterator<Item = Signal>) -> Self {
        Self { signals: signals.into_iter().collect(), ..self }
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

    /// Pack requests in this way.
    #[must_use]
    pub fn compression(self, compression: Compression) -> Self {
        Self { compression, ..self }
    }

    /// Say this of the resource that all events are from.
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

    /// Give up a connection that takes longer to be made.
    #[must_use]
    pub fn connect_timeout(self, connect_timeout: Duration) -> Self {
        Self { connect_timeout, ..self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_operator_writes_is_what_a_builder_makes() {
        let written: OtlpConfig = serde_json::from_str(
            r#"{"endpoint":"https://h","protocol":"http/protobuf","signals":["traces"],"headers":{"x-a":"1"},
                "auth":{"bearer":"t"},"compression":"none","resource":{"service.name":"s"},
                "tls":{"ca":"ca.pem","cert":"c.pem","key":"k.pem"},"connect_timeout":"2s"}"#,
        )
        .unwrap();
        let built = OtlpConfig::new("https://h")
            .protocol(Protocol::Http)
            .signals([Signal::Traces])
            .header("x-a", "1")
            .auth(Auth::bearer("t"))
            .compression(Compression::None)
            .resource("service.name", "s")
            .tls(Tls::default().with_ca("ca.pem").with_client_cert("c.pem", "k.pem"))
            .connect_timeout(Duration::from_secs(2));
        assert_eq!(written, built);
        let least: OtlpConfig = serde_json::from_str(r#"{"endpoint":"https://h"}"#).unwrap();
        assert_eq!(least, OtlpConfig::new("https://h"));
    }

    #[test]
    fn signals_are_called_as_in_otlp() {
        let config: OtlpConfig =
            serde_json::from_str(r#"{"endpoint":"http://h","signals":["traces","logs"]}"#).unwrap();
        assert_eq!(config.signals, all_signals());
    }

    #[test]
    fn what_is_not_known_is_refused() {
        let refuse = |config: &str, expected: &str| {
            let error = serde_json::from_str::<OtlpConfig>(config).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        };
        refuse("{}", "missing field `endpoint`");
        refuse(r#"{"endpoint":"x","url":"x"}"#, "unknown field `url`");
        refuse(r#"{"endpoint":"x","protocol":"http/json"}"#, "unknown variant `http/json`");
        refuse(
            r#"{"endpoint":"x","signals":["profiles"]}"#,
            "expected logs or traces, found \"profiles\"",
        );
        refuse(
            r#"{"endpoint":"x","signals":["metrics"]}"#,
            "metrics are not made of single events; `[telemetry]` exports all metrics of /metrics",
        );
    }

    #[test]
    fn nothing_of_it_that_is_secret_is_shown() {
        let config = OtlpConfig::new("https://hidden@h/hidden")
            .header("x-key", "hidden")
            .auth(Auth::basic("me", "hidden"));
        assert!(!format!("{config:?}").contains("hidden"), "{config:?}");
    }
}
