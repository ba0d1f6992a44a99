//! Configuration of sinks: the keys of each type, and the keys that every sink has.

use std::borrow::Cow;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::query::EventStore;
use crate::{EventSink, Filter, NoPrices, Pricing, units};

/// Configuration of one type of sink.
///
/// It is deserialized from the sink's table in the operator's file, without `type` and the keys of
/// [`SinkSettings`]. It should deny unknown fields, so that a typing error is reported.
///
/// ```
/// use std::path::PathBuf;
/// use std::sync::Arc;
///
/// use observer_core::{BuildError, SinkConfig, SinkContext, SinkPart};
/// # use observer_core::{Batch, EventSink, Receipt, SinkError};
/// # struct Nats;
/// # #[async_trait::async_trait]
/// # impl EventSink for Nats {
/// #     async fn deliver(&self, _: &Batch) -> Result<Receipt, SinkError> {
/// #         Ok(Receipt::accepted())
/// #     }
/// #     async fn flush(&self) -> Result<(), SinkError> { Ok(()) }
/// #     async fn check(&self) -> Result<(), SinkError> { Ok(()) }
/// # }
///
/// #[derive(serde::Deserialize)]
/// #[serde(deny_unknown_fields)]
/// struct NatsConfig {
///     subject: String,
/// }
///
/// impl SinkConfig for NatsConfig {
///     const TYPE: &'static str = "nats";
///
///     fn build(self, _context: &SinkContext) -> Result<Vec<SinkPart>, BuildError> {
///         if self.subject.contains(' ') {
///             return Err(BuildError::new("subject", "must not contain a space"));
///         }
///         Ok(vec![SinkPart::whole(Arc::new(Nats))])
///     }
/// }
/// ```
pub trait SinkConfig: DeserializeOwned + Send + 'static {
    /// Value of `type` in the configuration.
    const TYPE: &'static str;

    /// Builds the sink, or several that must not delay each other, such as one for each signal.
    ///
    /// Building connects to nothing; [`EventSink::check`] verifies that the destination is
    /// reachable.
    ///
    /// # Errors
    /// If a value is invalid.
    fn build(self, context: &SinkContext) -> Result<Vec<SinkPart>, BuildError>;
}

/// Context in which a sink is built.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct SinkContext {
    /// Name that the operator gave the sink.
    pub name: String,
    /// Folder for the sink's own state. No other sink uses it. It may not exist yet.
    pub state_dir: PathBuf,
    /// Prices of models, for sinks that sum costs.
    pub prices: Arc<dyn Pricing>,
}

impl SinkContext {
    /// Returns the context of a sink with this name and state folder, without prices.
    #[must_use]
    pub fn new(name: impl Into<String>, state_dir: impl Into<PathBuf>) -> Self {
        Self { name: name.into(), state_dir: state_dir.into(), prices: Arc::new(NoPrices) }
    }

    /// Sets the prices of models.
    #[must_use]
    pub fn with_prices(mut self, prices: Arc<dyn Pricing>) -> Self {
        self.prices = prices;
        self
    }
}

/// One of the sinks that a configuration builds.
pub struct SinkPart {
    /// Name among the parts of the configuration: the part `logs` of `collector` is
    /// `collector/logs`, see [`sink_name`](crate::sink_name). `None` for the only sink.
    pub name: Option<Cow<'static, str>>,
    /// The sink.
    pub sink: Arc<dyn EventSink>,
    /// Default batch settings of the sink.
    pub batch: BatchSettings,
    /// Store of what the sink accepted, if it answers queries.
    pub store: Option<Arc<dyn EventStore>>,
    /// Warnings about valid settings that rarely are what the operator wants.
    pub warnings: Vec<String>,
}

impl SinkPart {
    /// Creates the only part of a configuration.
    #[must_use]
    pub fn whole(sink: Arc<dyn EventSink>) -> Self {
        Self {
            name: None,
            sink,
            batch: BatchSettings::default(),
            store: None,
            warnings: Vec::new(),
        }
    }

    /// Sets the store that answers queries about the events of the sink. One sink of a program can
    /// have one.
    #[must_use]
    pub fn with_store(self, store: Arc<dyn EventStore>) -> Self {
        Self { store: Some(store), ..self }
    }

    /// Adds a warning about the settings, which `observer check` shows: it names the key, and what
    /// to do.
    #[must_use]
    pub fn with_warning(mut self, warning: impl Into<String>) -> Self {
        self.warnings.push(warning.into());
        self
    }

    /// Sets the default batch settings.
    #[must_use]
    pub fn with_batch(self, batch: BatchSettings) -> Self {
        Self { batch, ..self }
    }
}

impl std::fmt::Debug for SinkPart {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SinkPart")
            .field("name", &self.name)
            .field("batch", &self.batch)
            .finish_non_exhaustive()
    }
}

/// Error of an invalid value in a sink's configuration.
#[derive(Debug, thiserror::Error)]
#[error("`{key}` {problem}")]
pub struct BuildError {
    /// Key within the sink's table, such as `auth.bearer`.
    pub key: Cow<'static, str>,
    /// Problem, worded to follow the key: `must not be empty`.
    pub problem: String,
}

impl BuildError {
    /// Creates an error from a key and its problem.
    pub fn new(key: impl Into<Cow<'static, str>>, problem: impl Into<String>) -> Self {
        Self { key: key.into(), problem: problem.into() }
    }
}

/// Settings that every sink has, whatever its type.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct SinkSettings {
    /// Events that the sink receives. A changed filter applies after the sink's position.
    pub filter: Filter,
    /// Size of a batch.
    pub batch: BatchSettings,
    /// Back-off after a failed delivery.
    pub retry: RetrySettings,
    /// Longest time for one delivery, flush or check; 30 s by default.
    #[serde(deserialize_with = "units::optional_duration")]
    pub timeout: Option<Duration>,
    /// True if ingest responds 503 instead of expiring events that this sink has not received.
    pub required: bool,
    /// First event for a sink without a position.
    pub start: Start,
    /// Largest total size of the sink's dead letters in bytes; 64 MiB by default. A sink is parked
    /// when its next dead letter would exceed it.
    #[serde(deserialize_with = "units::optional_size")]
    pub max_dead_letters: Option<u64>,
}

impl SinkSettings {
    /// Names of the keys, for a caller that separates them from the keys of the sink's type.
    pub const KEYS: [&str; 7] =
        ["filter", "batch", "retry", "timeout", "required", "start", "max_dead_letters"];
}

/// Size of a batch. The type of the sink has defaults for settings that are absent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BatchSettings {
    /// Largest number of events.
    pub max_events: Option<NonZeroUsize>,
    /// Largest total size of events in bytes. A larger event is delivered alone.
    #[serde(deserialize_with = "units::optional_size")]
    pub max_bytes: Option<u64>,
    /// Longest time that a batch waits until it is full.
    #[serde(deserialize_with = "units::optional_duration")]
    pub linger: Option<Duration>,
}

impl BatchSettings {
    /// Returns these settings, with `defaults` for absent ones.
    #[must_use]
    pub fn or(self, defaults: Self) -> Self {
        Self {
            max_events: self.max_events.or(defaults.max_events),
            max_bytes: self.max_bytes.or(defaults.max_bytes),
            linger: self.linger.or(defaults.linger),
        }
    }
}

/// Back-off after a failed delivery, and the evidence that makes an event a dead letter.
///
/// The back-off is exponential with full jitter: a pause is random between zero and a bound, which
/// doubles with each failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RetrySettings {
    /// Bound of the first pause.
    #[serde(deserialize_with = "units::duration")]
    pub initial: Duration,
    /// Largest bound. A longer `Retry-After` overrides it.
    #[serde(deserialize_with = "units::duration")]
    pub max: Duration,
    /// Longest delay that a destination can request.
    #[serde(deserialize_with = "units::duration")]
    pub max_retry_after: Duration,
    /// Time after which failing events become dead letters without evidence; never by default.
    #[serde(deserialize_with = "units::optional_duration")]
    pub give_up_after: Option<Duration>,
    /// Evidence for events with which the destination fails.
    pub failed: Evidence,
    /// Evidence for events that the destination refuses.
    pub denied: Evidence,
}

impl Default for RetrySettings {
    fn default() -> Self {
        Self {
            initial: Duration::from_millis(500),
            max: Duration::from_secs(30),
            max_retry_after: Duration::from_secs(24 * 60 * 60),
            give_up_after: None,
            failed: Evidence { rounds: 8, over: Duration::from_secs(600) },
            denied: Evidence { rounds: 3, over: Duration::from_secs(60) },
        }
    }
}

/// Evidence that an event is at fault, rather than the destination.
///
/// A round is a refusal of the event after the destination accepted another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Evidence {
    /// Number of rounds.
    pub rounds: u32,
    /// Shortest time between the first refusal and the last one.
    #[serde(deserialize_with = "units::duration")]
    pub over: Duration,
}

/// First event for a sink without a position.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Start {
    /// The next event that is accepted.
    #[default]
    Latest,
    /// The oldest event in the journal.
    Earliest,
}
