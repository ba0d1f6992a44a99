//! Section `[telemetry]`: export of the observer's own telemetry.

use std::collections::BTreeMap;
use std::time::Duration;

use observer_core::{BuildError, units};
use observer_http_client::{Secret, Tls};
use observer_sink_otlp::{Compression, Protocol};
use reqwest::Url;
use reqwest::header::{HeaderName, HeaderValue};
use serde::Deserialize;

use super::Problem;
use super::parse::key_path::KeyPath;

/// Settings of the export of spans, metrics and the log over OTLP. Each key takes precedence over
/// its environment variable.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TelemetryConfig {
    /// Base URL of the collector. Without it and without `OTEL_EXPORTER_OTLP_ENDPOINT`, telemetry
    /// is off. Over HTTP the path of the signal is appended.
    pub endpoint: Option<Secret>,
    /// Protocol. By default [`Protocol::Grpc`] at port 4317, and [`Protocol::Http`] at any other
    /// port.
    pub protocol: Option<Protocol>,
    /// Exported signals; all by default.
    pub signals: Option<Vec<Signal>>,
    /// Additional request headers.
    pub headers: Option<BTreeMap<String, Secret>>,
    /// Compression of requests; none by default.
    pub compression: Option<Compression>,
    /// Trusted authorities and client certificate.
    pub tls: Option<Tls>,
    /// Interval of the export of metrics; 60 s by default.
    #[serde(deserialize_with = "units::optional_duration")]
    pub interval: Option<Duration>,
    /// Fraction of the traces started here that is exported, from 0.0 to 1.0. For a trace started
    /// elsewhere, the sampling decision of the parent applies.
    pub sample: Option<f64>,
    /// Additional resource attributes.
    pub resource: BTreeMap<String, String>,
}

/// Telemetry signal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Signal {
    /// Spans of requests until their commit, and of batches until their flush.
    Traces,
    /// Metrics of `/metrics`.
    Metrics,
    /// Log events.
    Logs,
}

impl Signal {
    /// All signals.
    pub const ALL: [Self; 3] = [Self::Traces, Self::Metrics, Self::Logs];

    /// Returns the name of the signal in the configuration and in OTLP paths.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Traces => "traces",
            Self::Metrics => "metrics",
            Self::Logs => "logs",
        }
    }
}

/// Returns the problems that are independent of the environment.
pub(super) fn problems(telemetry: &TelemetryConfig) -> Vec<Problem> {
    let TelemetryConfig { endpoint, signals, headers, tls, interval, sample, .. } = telemetry;
    let mut problems = Vec::new();
    let mut reject = |key: &str, message: String| {
        problems.push(Problem::new(format!("telemetry.{key}"), message));
    };
    let url = endpoint.as_ref().map(|endpoint| parse_endpoint(endpoint.reveal()));
    if let Some(Err(message)) = &url {
        reject("endpoint", (*message).to_owned());
    }
    if signals.as_ref().is_some_and(Vec::is_empty) {
        reject(
            "signals",
            "must name at least one signal: \"traces\", \"metrics\" or \"logs\"".to_owned(),
        );
    }
    if interval.is_some_and(|interval| interval.is_zero()) {
        reject("interval", "must be longer than 0s".to_owned());
    }
    if sample.is_some_and(|share| !(0.0..=1.0).contains(&share)) {
        reject("sample", "must be between 0.0 (no trace) and 1.0 (every trace)".to_owned());
    }
    if let Some(tls) = tls {
        let incomplete = match (&tls.cert, &tls.key, &url) {
            (_, _, Some(Ok(url))) => tls.check("endpoint", url).err(),
            (Some(_), None, _) => {
                Some(BuildError::new("tls.cert", "needs its private key in `tls.key`"))
            }
            (None, Some(_), _) => {
                Some(BuildError::new("tls.key", "needs its certificate in `tls.cert`"))
            }
            _ => None,
        };
        if let Some(BuildError { key, problem }) = incomplete {
            reject(&key, problem);
        }
    }
    for (name, value) in headers.iter().flatten() {
        let path = KeyPath::of(["telemetry", "headers", name]);
        if HeaderName::try_from(name).is_err() {
            problems.push(Problem::new(path, "is not a valid header name"));
        } else if HeaderValue::from_str(value.reveal()).is_err() {
            problems.push(Problem::new(
                path,
                "holds a character that is invalid in a header, such as a line feed",
            ));
        }
    }
    problems
}

/// Parses the URL of a collector.
///
/// # Errors
/// If the URL is invalid. The message doesn't repeat the URL, parts of which may be secret.
pub(crate) fn parse_endpoint(text: &str) -> Result<Url, &'static str> {
    match Url::parse(text) {
        Ok(url) if !matches!(url.scheme(), "http" | "https") || !url.has_host() => {
            Err("must begin with http:// or https://")
        }
        Ok(url) if !url.username().is_empty() || url.password().is_some() => {
            Err("must not hold a user or a password; use `headers` for credentials")
        }
        Ok(url) => Ok(url),
        Err(_) => Err("must be a URL, such as \"http://127.0.0.1:4318\""),
    }
}
