//! Configuration of the sink.

use observer_core::BuildError;
use serde::Deserialize;

/// Configuration of a sink with `type = "prometheus"`. All keys are optional.
///
/// ```toml
/// [sinks.prometheus]
/// type = "prometheus"
/// known = { sources = ["bot"], event_kinds = ["ok", "tests_failed"], models = ["gpt-oss:120b"] }
/// limits = { sources = 100, event_kinds = 100, models = 100, event_series = 10_000 }
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
    /// Label values that are exported as zero from the start.
    pub known: Known,
    /// Limits on the number of label values.
    pub limits: Limits,
}

/// Label values that are exported as zero from the start.
///
/// `rate` and `increase` miss the first event of a series that first appears with the value 1. The
/// series of known values appear with the value 0 before that. Each known source is combined with
/// each known event kind, and so is each new source; `ok="true"` and `ok="false"` always appear
/// together. Known values do not count towards the [`Limits`].
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

/// Limits on the number of label values, in addition to the [`Known`] ones. The first values to
/// arrive get their own series; the others are counted under `other`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Maximum number of values of `source`. Default: 100.
    pub sources: usize,
    /// Maximum number of values of `event_kind`. Default: 100.
    pub event_kinds: usize,
    /// Maximum number of values of `model`. Default: 100.
    pub models: usize,
    /// Maximum number of series of `observer_events_total`, where each pair of a source and an
    /// event kind has two. Default: 10,000. Beyond the limit, further event kinds of a source are
    /// counted under `other`, which adds two series per source.
    pub event_series: usize,
    /// Maximum length of a label value in bytes. Default: 128. A longer value is counted under
    /// `other`, since a truncated value could equal another one.
    pub label_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { sources: 100, event_kinds: 100, models: 100, event_series: 10_000, label_bytes: 128 }
    }
}

impl PrometheusConfig {
    /// Creates a configuration without known values and with the default limits.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the sources that are exported as zero from the start.
    #[must_use]
    pub fn with_known_sources(
        mut self,
        sources: impl IntoIterator<Item = impl Into<String>>,
    ) -> Self {
        self.known.sources = sources.into_iter().map(Into::into).collect();
        self
    }

    /// Sets the event kinds that are exported as zero from the start, for each source.
    #[must_use]
    pub fn with_known_event_kinds(
        mut self,
        event_kinds: impl IntoIterator<Item = impl Into<String>>,
    ) -> Self {
        self.known.event_kinds = event_kinds.into_iter().map(Into::into).collect();
        self
    }

    /// Sets the models that are exported as zero from the start.
    #[must_use]
    pub fn with_known_models(
        mut self,
        models: impl IntoIterator<Item = impl Into<String>>,
    ) -> Self {
        self.known.models = models.into_iter().map(Into::into).collect();
        self
    }

    /// Sets the limits on the number of label values.
    #[must_use]
    pub fn with_limits(self, limits: Limits) -> Self {
        Self { limits, ..self }
    }

    /// Checks the configuration.
    ///
    /// # Errors
    /// If a value is invalid; the error names the first such key.
    pub(crate) fn check(&self) -> Result<(), BuildError> {
        if self.limits.label_bytes == 0 {
            return Err(BuildError::new("limits.label_bytes", "must be at least 1"));
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
                    "contains an empty value, which Prometheus treats as a missing label",
                ));
            }
            if let Some(long) = values.iter().find(|value| value.len() > self.limits.label_bytes) {
                let (length, limit) = (long.len(), self.limits.label_bytes);
                let problem =
                    format!("contains a value of {length} bytes; limits.label_bytes is {limit}");
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
    fn rejected(json: &str, expected: &str) {
        let config: PrometheusConfig = serde_json::from_str(json).unwrap();
        assert_eq!(config.check().unwrap_err().to_string(), expected);
    }

    #[test]
    fn all_keys_are_optional_and_unknown_keys_are_rejected() {
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
    fn invalid_values_are_rejected_by_key() {
        rejected(r#"{"limits":{"label_bytes":0}}"#, "`limits.label_bytes` must be at least 1");
        rejected(
            r#"{"limits":{"label_bytes":4},"known":{"models":["gpt-5"]}}"#,
            "`known.models` contains a value of 5 bytes; limits.label_bytes is 4",
        );
        rejected(
            r#"{"known":{"sources":["bot",""]}}"#,
            "`known.sources` contains an empty value, which Prometheus treats as a missing label",
        );
    }
}
