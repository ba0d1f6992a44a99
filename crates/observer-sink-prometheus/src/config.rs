//! Configuration of the sink.

use observer_core::BuildError;
use serde::Deserialize;

/// Configuration of a sink with `type = "prometheus"`. All keys are optional.
///
/// ```toml
/// [sinks.prometheus]
/// type = "prometheus"
/// limits = { sources = 100, event_kinds = 100, models = 100, source_models = 250 }
///
/// [sinks.prometheus.labels.known]
/// sources = ["bot"]
/// event_kinds = ["ok", "tests_failed"]
/// models = ["gpt-oss:120b"]
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
    /// Settings of labels.
    pub labels: LabelSettings,
    /// Further known values, under the name that version 0.1 has for [`LabelSettings::known`].
    pub known: Known,
    /// Limits on the number of label values.
    pub limits: Limits,
}

/// Settings of labels.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct LabelSettings {
    /// Label values that always have series of their own.
    pub known: Known,
}

/// Label values that always have series of their own, which are exported as zero from the start.
///
/// `rate` and `increase` miss the first event of a series that first appears with the value 1. The
/// series of known values appear with the value 0 before that. Each known source is combined with
/// each known event kind and model, and each new source with each known event kind; `ok="true"` and
/// `ok="false"` always appear together. Known values do not count towards the [`Limits`].
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

/// Limits on the number of label values, in addition to the [`Known`] ones. Further values are
/// counted under `other`.
///
/// Half of each limit is for the first values to arrive. Values beyond that get their own series
/// once they were seen in two different hours. When a limit is reached, such a value replaces the
/// one that has been idle for longest, if that is at least 30 days, and starts at zero. The time is
/// that of receipt.
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
    /// Maximum number of pairs of a source and a model. Default: 250. Each pair has 36 series.
    /// Beyond the limit, further models of a source are counted under `other`.
    pub source_models: usize,
    /// Maximum length of a label value in bytes. Default: 128. A longer value is counted under
    /// `other`, since a truncated value could equal another one.
    pub label_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            sources: 100,
            event_kinds: 100,
            models: 100,
            event_series: 10_000,
            source_models: 250,
            label_bytes: 128,
        }
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
        self.labels.known.sources = sources.into_iter().map(Into::into).collect();
        self
    }

    /// Sets the event kinds that are exported as zero from the start, for each source.
    #[must_use]
    pub fn with_known_event_kinds(
        mut self,
        event_kinds: impl IntoIterator<Item = impl Into<String>>,
    ) -> Self {
        self.labels.known.event_kinds = event_kinds.into_iter().map(Into::into).collect();
        self
    }

    /// Sets the models that are exported as zero from the start.
    #[must_use]
    pub fn with_known_models(
        mut self,
        models: impl IntoIterator<Item = impl Into<String>>,
    ) -> Self {
        self.labels.known.models = models.into_iter().map(Into::into).collect();
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
        self.labels.known.check("labels.known", self.limits.label_bytes)?;
        self.known.check("known", self.limits.label_bytes)
    }

    /// Returns the known values under both names.
    pub(crate) fn all_known(&self) -> Known {
        let join = |of: fn(&Known) -> &Vec<String>| {
            [of(&self.labels.known).as_slice(), of(&self.known)].concat()
        };
        Known {
            sources: join(|known| &known.sources),
            event_kinds: join(|known| &known.event_kinds),
            models: join(|known| &known.models),
        }
    }
}

impl Known {
    fn check(&self, key: &str, max_bytes: usize) -> Result<(), BuildError> {
        let lists = [
            ("sources", &self.sources),
            ("event_kinds", &self.event_kinds),
            ("models", &self.models),
        ];
        for (list, values) in lists {
            let error = |problem: String| Err(BuildError::new(format!("{key}.{list}"), problem));
            if values.iter().any(String::is_empty) {
                let problem = "contains an empty value, which Prometheus treats as a missing label";
                return error(problem.to_owned());
            }
            if let Some(long) = values.iter().find(|value| value.len() > max_bytes) {
                let length = long.len();
                return error(format!(
                    "contains a value of {length} bytes; limits.label_bytes is {max_bytes}"
                ));
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
        for json in [
            r#"{"limit":{}}"#,
            r#"{"labels":{"other":{}}}"#,
            r#"{"limits":{"model":1}}"#,
            r#"{"known":{"kinds":[]}}"#,
        ] {
            let error = serde_json::from_str::<PrometheusConfig>(json).unwrap_err().to_string();
            assert!(error.starts_with("unknown field"), "{error}");
        }
    }

    #[test]
    fn known_values_have_two_names() {
        let json =
            r#"{"labels":{"known":{"models":["a"]}},"known":{"models":["b"],"sources":["s"]}}"#;
        let known = serde_json::from_str::<PrometheusConfig>(json).unwrap().all_known();
        assert_eq!((known.models, known.sources), (vec!["a".into(), "b".into()], vec!["s".into()]));
    }

    #[test]
    fn invalid_values_are_rejected_by_key() {
        rejected(r#"{"limits":{"label_bytes":0}}"#, "`limits.label_bytes` must be at least 1");
        rejected(
            r#"{"limits":{"label_bytes":4},"known":{"models":["gpt-5"]}}"#,
            "`known.models` contains a value of 5 bytes; limits.label_bytes is 4",
        );
        rejected(
            r#"{"labels":{"known":{"sources":["bot",""]}}}"#,
            "`labels.known.sources` contains an empty value, which Prometheus treats as a missing label",
        );
    }
}
