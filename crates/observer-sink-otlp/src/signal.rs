//! Signals of OTLP that events are sent as.

use std::fmt;

use serde::Deserialize;

/// Kind of telemetry; OTLP has a service and a path for each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Deserialize)]
#[serde(try_from = "String")]
pub enum Signal {
    /// One log record for each event.
    Logs,
    /// One span for each event that has a duration.
    Traces,
}

impl Signal {
    /// All signals.
    pub const ALL: [Self; 2] = [Self::Logs, Self::Traces];

    /// Returns the name in configurations and in the paths of OTLP/HTTP.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Logs => "logs",
            Self::Traces => "traces",
        }
    }
}

impl fmt::Display for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl TryFrom<String> for Signal {
    type Error = String;

    fn try_from(name: String) -> Result<Self, String> {
        if let Some(signal) = Self::ALL.into_iter().find(|signal| signal.as_str() == name) {
            return Ok(signal);
        }
        Err(if name == "metrics" {
            "metrics are not made of single events; `[telemetry]` exports all metrics of /metrics"
                .to_owned()
        } else {
            format!("expected logs or traces, found {name:?}")
        })
    }
}
