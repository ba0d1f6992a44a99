//! What an operator can say about this sink.

use observer_core::BuildError;
use serde::Deserialize;

/// The configuration of a sink of type `prometheus`. Nothing in it is required.
///
/// ```toml
/// [sinks.prometheus]
/// type = "prometheus"
/// known = { sources = ["bot"], event_kinds = ["ok", "tests_failed"], models = ["gpt-oss:120b"] }
/// limits = { sources = 100, event_kinds = 100, models = 100, event_series = 10_000, label_bytes = 128 }
/// ```
///
/// In Rust:
///
/// ```
/// use observer_sink_prometheus::{Limits, PrometheusConfig};
///
/// let config = PrometheusConfig::new()
///     .with_known_sources(["bot"])
///     .with_known_event_kinds(["ok", "tests_failed"])
///     .with_limits(Limits { models: 20, ..Limits::default() });
/// # let _ = config;
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct PrometheusConfig {
    /// What is exported as zero before it first happens.
    pub known: Known,
    /// How many different label values are told apart.
    pub limits: Limits,
}

/// Label values that are exported as zero from the start.
///
/// A series that first appears with the value 1 was never seen to rise: `rate` and `increase` miss
/// its first event. For known values there is a zero before it. Each known source is combined with
/// each known event kind, and each new source with each known event kind; `ok="true"` and
/// `ok="false"` always come together. Known values take no room from the [`Limits`].
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Known {
    /// Values of `source`.
    pub sources: Vec<String>,
    /// Values of `event_kind`.
    pub event_kinds: Vec<String>,
    /// Values of `model`, which is an event's `staffer_id`.
    pub models: Vec<String>,
}

/// How many different label values are told apart, beside the [`Known`] ones: the first to come.
/// The others are counted under `other`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Values of `source`: 100.
    pub sources: usize,
    /// Values of `event_kind`: 100.
    pub event_kinds: usize,
    /// Values of `model`: 100.
    pub models: usize,
    /// Series of `observer_events_total`, where sources and event kinds multiply: 10,000, two to
    /// each pair. When they are used up, a source's further kinds are counted under `other`, two
    /// more series to a source.
    pub event_series: usize,
    /// Bytes of a label value: 128. A longer one is counted under `other`; cut, it could be taken
    /// for another one.
    pub label_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { sources: 100, event_kinds: 100, models: 100, event_series: 10_000, label_bytes: 128 }
    }
}

impl PrometheusConfig {
    /// Nothing known, and the default limits.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Export these sources as zero from the start.
    #[must_use]
    pub fn with_known_sources(
        mut self,
        sources: impl IntoIterator<Item = impl Into<String>>,
    ) -> Self {
        self.known.sources = sources.into_iter().map(Into::into).collect();
        self
    }

    /// Export these event kinds as zero from the start, for each known source.
    #[must_use]
    pub fn with_known_event_kinds(
        mut self,
        event_kinds: impl IntoIterator<Item = impl Into<String>>,
    ) -> Self {
        self.known.event_kinds = event_kinds.into_iter().map(Into::into).collect();
        self
    }

    /// Export these models as zero from the start.
    #[must_use]
    pub fn with_known_models(
        mut self,
        models: impl IntoIterator<Item = impl Into<String>>,
    ) -> Self {
        self.known.models = models.into_iter().map(Into::into).collect();
        self
    }

    /// Tell so many label values apart.
    #[must_use]
    pub fn with_limits(self, limits: Limits) -> Self {
        Self { limits, ..self }
    }

    pub(crate) fn check(&self) -> Result<(), BuildError> {
        if self.limits.label_bytes == 0 {
            return Err(BuildError::new("limits.label_bytes", "must not be 0: no value would fit"));
        }
        let Known { sources, event_kinds, models } = &self.known;
        let lists = [
            ("known.sources", sources),
            ("known.event_kinds", event_kinds),
            ("known.models", models),
        ];
        for (key, values) in lists {
            if values.iter().any(String::is_empty) {
                return Err(BuildError::new(
                    key,
                    "holds an empty value, which Prometheus takes for no label at all",
                ));
            }
            if let Some(long) = values.iter().find(|value| value.len() > self.limits.label_bytes) {
                let (length, limit) = (long.len(), self.limits.label_bytes);
                let problem =
                    format!("holds a value of {length} bytes, and limits.label_bytes is {limit}");
                return Err(BuildError::new(key, problem));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn refused(json: &str, expected: &str) {
        let config: PrometheusConfig = serde_json::from_str(json).unwrap();
        assert_eq!(config.check().unwrap_err().to_string(), expected);
    }

    #[test]
    fn nothing_is_required_and_a_typing_error_is_found() {
        let config: PrometheusConfig = serde_json::from_str("{}").unwrap();
        assert_eq!(config, PrometheusConfig::new());
        assert_eq!(config.check().map_err(|error| error.to_string()), Ok(()));
        let config: PrometheusConfig = serde_json::from_str(r#"{"limits":{"models":0}}"#).unwrap();
        assert_eq!(config.limits, Limits { models: 0, ..Limits::default() });
        for json in [r#"{"limit":{}}"#, r#"{"limits":{"model":1}}"#, r#"{"known":{"kinds":[]}}"#] {
            let error = serde_json::from_str::<PrometheusConfig>(json).unwrap_err().to_string();
            assert!(error.starts_with("unknown field"), "{error}");
        }
    }

    #[test]
    fn what_can_not_be_is_refused_by_name() {
        refused(
            r#"{"limits":{"label_bytes":0}}"#,
            "`limits.label_bytes` must not be 0: no value would fit",
        );
        refused(
            r#"{"limits":{"label_bytes":4},"known":{"models":["gpt-5"]}}"#,
            "`known.models` holds a value of 5 bytes, and limits.label_bytes is 4",
        );
        refused(
            r#"{"known":{"sources":["bot",""]}}"#,
            "`known.sources` holds an empty value, which Prometheus takes for no label at all",
        );
    }
}
