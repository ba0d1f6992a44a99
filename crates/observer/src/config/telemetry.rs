//! Where the observer tells of itself.

use std::collections::BTreeMap;
use std::time::Duration;

use observer_core::{BuildError, units};
use observer_http_client::{Secret, Tls};
use observer_sink_otlp::{Compression, Protocol};
use reqwest::Url;
use reqwest::header::{HeaderName, HeaderValue};
use serde::Deserialize;

use super::Problem;
use super::key::KeyPath;

/// Where the observer tells of itself, by OTLP: its spans, its metrics and its log. Each key stands
/// before the environment variable for it.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TelemetryConfig {
    /// Where to; nowhere without it, unless `OTEL_EXPORTER_OTLP_ENDPOINT` says so. Over HTTP the
    /// paths of the signals come after it.
    pub endpoint: Option<Secret>,
    /// How. Unset, and with no variable for it, it is [`Protocol::Grpc`] at port 4317, and
    /// [`Protocol::Http`] at any other.
    pub protocol: Option<Protocol>,
    /// What; all of them where nothing is said.
    pub signals: Option<Vec<Signal>>,
    /// More headers.
    pub headers: Option<BTreeMap<String, Secret>>,
    /// How requests are packed: not at all, where nothing is said.
    pub compression: Option<Compression>,
    /// Whom to trust, and what to show.
    pub tls: Option<Tls>,
    /// How often metrics go out.
    #[serde(deserialize_with = "units::optional_duration")]
    pub interval: Option<Duration>,
    /// Of the traces that begin here, the share that goes out. One that began elsewhere is followed
    /// if it was there.
    pub sample: Option<f64>,
    /// What is said of the observer as a whole: attributes of its resource.
    pub resource: BTreeMap<String, String>,
}

/// What can be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Signal {
    /// Spans: a request until its commit, a batch until its flush.
    Traces,
    /// All that `/metrics` shows.
    Metrics,
    /// The log.
    Logs,
}

impl Signal {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Traces, Self::Metrics, Self::Logs];

    /// As it is written.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Traces => "traces",
            Self::Metrics => "metrics",
            Self::Logs => "logs",
        }
    }
}

/// What can't be, whatever the environment says.
pub(super) fn problems(telemetry: &TelemetryConfig) -> Vec<Problem> {
    let TelemetryConfig { endpoint, signals, headers, tls, interval, sample, .. } = telemetry;
    let mut problems = Vec::new();
    let mut refuse = |key: &str, message: String| {
        problems.push(Problem::new(format!("telemetry.{key}"), message))
    };
    let url = endpoint.as_ref().map(|endpoint| parse_endpoint(endpoint.reveal()));
    if let Some(Err(message)) = &url {
        refuse("endpoint", (*message).to_owned());
    }
    if signals.as_ref().is_some_and(Vec::is_empty) {
        refuse(
            "signals",
            "must name at least one signal: \"traces\", \"metrics\" or \"logs\"".to_owned(),
        );
    }
    if interval.is_some_and(|interval| interval.is_zero()) {
        refuse("interval", "must be longer than 0s".to_owned());
    }
    if sample.is_some_and(|share| !(0.0..=1.0).contains(&share)) {
        refuse("sample", "must be between 0.0, for no trace, and 1.0, for each".to_owned());
    }
    if let Some(tls) = tls {
        let half = match (&tls.cert, &tls.key, &url) {
            (_, _, Some(Ok(url))) => tls.check("endpoint", url).err(),
            (Some(_), None, _) => {
                Some(BuildError::new("tls.cert", "needs its private key in `tls.key`"))
            }
            (None, Some(_), _) => {
                Some(BuildError::new("tls.key", "needs its certificate in `tls.cert`"))
            }
            _ => None,
        };
        if let Some(BuildError { key, problem }) = half {
            refuse(&key, problem);
        }
    }
    for (name, value) in headers.iter().flatten() {
        let at = KeyPath::of(["telemetry", "headers", name]);
        if HeaderName::try_from(name).is_err() {
            problems.push(Problem::new(at, "is no name of a header"));
        } else if HeaderValue::from_str(value.reveal()).is_err() {
            problems.push(Problem::new(
                at,
                "holds a character that a header can't have, such as a line feed",
            ));
        }
    }
    problems
}

/// The URL is not repeated in what is wrong with it, since parts of it may be secret.
pub(crate) fn parse_endpoint(text: &str) -> Result<Url, &'static str> {
    match Url::parse(text) {
        Ok(url) if !matches!(url.scheme(), "http" | "https") || !url.has_host() => {
            Err("must begin with http:// or https://")
        }
        Ok(url) if !url.username().is_empty() || url.password().is_some() => {
            Err("must not hold a user or a password; what says who you are goes into `headers`")
        }
        Ok(url) => Ok(url),
        Err(_) => Err("is no URL, such as \"http://127.0.0.1:4318\""),
    }
}
