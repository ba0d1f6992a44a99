//! Configuration of the sink.

use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use jiff::SignedDuration;
use observer_core::{
    BatchSettings, BuildError, SinkConfig, SinkContext, SinkPart, Timestamp, units,
};
use observer_figures::state::Rules;
use serde::Deserialize;

use crate::settings::{Clock, Settings};
use crate::sink::KbSink;

/// Smallest `max_size`.
const MIN_SIZE: u64 = 16 * 1024 * 1024;

/// Configuration of the knowledge base (`type = "kb"`).
#[derive(Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct KbConfig {
    /// Folder of the file.
    pub path: PathBuf,
    /// Largest size on disk in bytes. Past it, the oldest events are deleted.
    #[serde(deserialize_with = "units::size")]
    pub max_size: u64,
    /// Time after which events are deleted; never by default.
    #[serde(deserialize_with = "units::optional_duration")]
    pub retain: Option<Duration>,
    /// Thresholds of the states of problems.
    pub states: StatesConfig,
    /// Signatures that belong to another problem, by signature.
    pub aliases: HashMap<String, String>,
    #[serde(skip)]
    clock: Option<Clock>,
}

/// Thresholds of the states of problems.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct StatesConfig {
    /// Time since the first attempt within which a problem is `new`.
    #[serde(deserialize_with = "units::duration")]
    pub new_for: Duration,
    /// Attempts, all failures, from which a problem is `broken`.
    pub broken_attempts: u64,
    /// Time within which a success and a later failure make a problem `flaky`.
    #[serde(deserialize_with = "units::duration")]
    pub flaky_within: Duration,
    /// Successes since the last failure from which a problem is `fixed`.
    pub fixed_successes: u32,
    /// Time without a failure from which a problem is `fixed`.
    #[serde(deserialize_with = "units::duration")]
    pub fixed_after: Duration,
}

impl Default for StatesConfig {
    fn default() -> Self {
        const DAY: Duration = Duration::from_secs(24 * 60 * 60);
        Self {
            new_for: DAY * 7,
            broken_attempts: 3,
            flaky_within: DAY * 14,
            fixed_successes: 3,
            fixed_after: DAY * 7,
        }
    }
}

impl StatesConfig {
    fn rules(&self) -> Result<Rules, BuildError> {
        let time = |key: &'static str, time: Duration| {
            SignedDuration::try_from(time)
                .ok()
                .filter(|time| *time <= SignedDuration::from_hours(24 * 36_500))
                .ok_or_else(|| BuildError::new(key, "must be at most 36500 days"))
        };
        if self.broken_attempts == 0 {
            return Err(BuildError::new("states.broken_attempts", "must be at least 1"));
        }
        if self.fixed_successes == 0 {
            return Err(BuildError::new("states.fixed_successes", "must be at least 1"));
        }
        Ok(Rules {
            new_for: time("states.new_for", self.new_for)?,
            broken_attempts: self.broken_attempts,
            flaky_within: time("states.flaky_within", self.flaky_within)?,
            fixed_successes: self.fixed_successes,
            fixed_after: time("states.fixed_after", self.fixed_after)?,
            ..Rules::default()
        })
    }
}

impl Default for KbConfig {
    fn default() -> Self {
        Self::in_dir("observer-data/kb")
    }
}

impl KbConfig {
    /// Creates a configuration with the file in this folder, and defaults for the rest.
    #[must_use]
    pub fn in_dir(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            max_size: 10 << 30,
            retain: None,
            states: StatesConfig::default(),
            aliases: HashMap::new(),
            clock: None,
        }
    }

    /// Sets the clock by which states and ages are computed.
    #[must_use]
    pub fn with_clock(mut self, clock: impl Fn() -> Timestamp + Send + Sync + 'static) -> Self {
        self.clock = Some(Arc::new(clock));
        self
    }

    /// Checks the values.
    pub(crate) fn settings(self, context: &SinkContext) -> Result<Settings, BuildError> {
        if self.path.as_os_str().is_empty() {
            return Err(BuildError::new("path", "must not be empty"));
        }
        if self.max_size < MIN_SIZE {
            return Err(BuildError::new("max_size", "must be at least \"16MiB\""));
        }
        if self.retain.is_some_and(|retain| retain < Duration::from_secs(60)) {
            return Err(BuildError::new("retain", "must be at least \"1m\""));
        }
        Ok(Settings {
            folder: self.path,
            max_size: self.max_size,
            retain: self.retain,
            rules: self.states.rules()?,
            aliases: resolved(&self.aliases)?,
            prices: Arc::clone(&context.prices),
            clock: self.clock.unwrap_or_else(|| Arc::new(Timestamp::now)),
        })
    }
}

/// Follows aliases of aliases.
fn resolved(aliases: &HashMap<String, String>) -> Result<HashMap<String, String>, BuildError> {
    let mut resolved = HashMap::new();
    for (alias, target) in aliases {
        let mut end = target;
        let mut steps = 0;
        while let Some(next) = aliases.get(end) {
            end = next;
            steps += 1;
            if steps > aliases.len() {
                let problem = format!("must not lead back to itself, as \"{alias}\" does");
                return Err(BuildError::new("aliases", problem));
            }
        }
        resolved.insert(alias.clone(), end.clone());
    }
    Ok(resolved)
}

impl SinkConfig for KbConfig {
    const TYPE: &'static str = "kb";

    fn build(self, context: &SinkContext) -> Result<Vec<SinkPart>, BuildError> {
        let sink = KbSink::new(self, context)?;
        let store = sink.store();
        Ok(vec![SinkPart::whole(Arc::new(sink)).with_batch(Self::batch()).with_store(store)])
    }
}

impl KbConfig {
    /// Returns the default batch settings. Large batches cost less, and an event that waits for
    /// half a second is still in the answer to the next question.
    #[must_use]
    pub fn batch() -> BatchSettings {
        BatchSettings {
            max_events: NonZeroUsize::new(8_192),
            max_bytes: Some(16 << 20),
            linger: Some(Duration::from_millis(250)),
        }
    }
}

impl std::fmt::Debug for KbConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KbConfig")
            .field("path", &self.path)
            .field("max_size", &self.max_size)
            .field("retain", &self.retain)
            .field("states", &self.states)
            .field("aliases", &self.aliases)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn error(config: KbConfig) -> String {
        config.settings(&SinkContext::new("kb", "unused")).unwrap_err().to_string()
    }

    #[test]
    fn invalid_values_are_named() {
        let config = || KbConfig::in_dir("kb");
        assert_eq!(
            error(KbConfig { max_size: 1, ..config() }),
            "`max_size` must be at least \"16MiB\""
        );
        assert_eq!(
            error(KbConfig { path: PathBuf::new(), ..config() }),
            "`path` must not be empty"
        );
        let states = StatesConfig { broken_attempts: 0, ..StatesConfig::default() };
        assert_eq!(
            error(KbConfig { states, ..config() }),
            "`states.broken_attempts` must be at least 1"
        );
    }

    #[test]
    fn aliases_of_aliases_are_followed_and_circles_refused() {
        let aliases = |pairs: &[(&str, &str)]| {
            pairs.iter().map(|(from, to)| ((*from).to_owned(), (*to).to_owned())).collect()
        };
        let resolved = resolved(&aliases(&[("a", "b"), ("b", "c")])).unwrap();
        assert_eq!((resolved["a"].as_str(), resolved["b"].as_str()), ("c", "c"));
        let circle = aliases(&[("a", "b"), ("b", "a")]);
        assert!(error(KbConfig { aliases: circle, ..KbConfig::in_dir("kb") }).contains("itself"));
    }

    #[test]
    fn default_thresholds_are_those_of_the_rules() {
        assert_eq!(StatesConfig::default().rules().unwrap(), Rules::default());
    }
}
