//! How a sink is configured: what each type brings, and what every sink has.

use std::borrow::Cow;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::{EventSink, Filter, units};

/// The configuration of one type of sink: what stands in the operator's file, and how sinks come of
/// it.
///
/// The keys that every sink has ([`SinkSettings`]) are taken out before; a config names its own
/// alone and should deny unknown fields, so that a typing error is found.
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
/// #     async fn deliver(&self, _: &Batch) -> Result<Receipt, SinkError> { Ok(Receipt::accepted()) }
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
///             return Err(BuildError::new("subject", "holds a space"));
///         }
///         Ok(vec![SinkPart::whole(Arc::new(Nats))])
///     }
/// }
/// ```
pub trait SinkConfig: DeserializeOwned + Send + 'static {
    /// What `type` in the configuration says.
    const TYPE: &'static str;

    /// Make the sink, or several where one configuration stands for parts that must not hold each
    /// other up.
    ///
    /// Building reaches nothing outside the process; that is what [`EventSink::check`] is for.
    ///
    /// # Errors
    /// What in the configuration can't be.
    fn build(self, context: &SinkContext) -> Result<Vec<SinkPart>, BuildError>;
}

/// What a sink is told about its surroundings when it is built.
#[derive(Debug, Clone)]
pub struct SinkContext {
    /// The operator's name for the sink.
    pub name: String,
    /// A folder of this sink's own for what it keeps beside its data; it may not exist yet.
    pub state_dir: PathBuf,
}

/// One sink that a configuration stands for.
pub struct SinkPart {
    /// What tells it from its siblings: `logs` makes `collector/logs` of a sink named `collector`.
    /// `None` for a sink that is whole.
    pub name: Option<Cow<'static, str>>,
    /// The sink.
    pub sink: Arc<dyn EventSink>,
    /// The batches that suit it where the operator says nothing.
    pub batch: BatchSettings,
}

impl SinkPart {
    /// The only sink of its configuration.
    #[must_use]
    pub fn whole(sink: Arc<dyn EventSink>) -> Self {
        Self { name: None, sink, batch: BatchSettings::default() }
    }

    /// The batches that suit it where the operator says nothing.
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

/// What in a sink's configuration can't be.
#[derive(Debug, thiserror::Error)]
#[error("`{key}` {problem}")]
pub struct BuildError {
    /// The key at fault, as it stands in the file.
    pub key: Cow<'static, str>,
    /// What is wrong with it, as it follows the key: `must not be empty`.
    pub problem: String,
}

impl BuildError {
    /// A `key` and what is wrong with it.
    pub fn new(key: impl Into<Cow<'static, str>>, problem: impl Into<String>) -> Self {
        Self { key: key.into(), problem: problem.into() }
    }
}

/// The keys that every sink has, whatever its type.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct SinkSettings {
    /// Which events the sink gets. Applies from the sink's position on.
    pub filter: Filter,
    /// How events are gathered for one delivery.
    pub batch: BatchSettings,
    /// What happens after a failed delivery.
    pub retry: RetrySettings,
    /// How long one delivery, flush or check may take. 30 s where nothing is said.
    #[serde(deserialize_with = "units::optional_duration")]
    pub timeout: Option<Duration>,
    /// Answer producers with 503 rather than expire what this sink has not had.
    pub required: bool,
    /// Where a sink begins that has no position yet.
    pub start: Start,
}

impl SinkSettings {
    /// The names of the keys, for those who take them out of a larger table.
    pub const KEYS: [&str; 6] = ["filter", "batch", "retry", "timeout", "required", "start"];
}

/// How events are gathered for one delivery. What is not set is left to the sink's type.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BatchSettings {
    /// At most this many events.
    pub max_events: Option<NonZeroUsize>,
    /// At most this many bytes of events; one event that is larger goes alone.
    #[serde(deserialize_with = "units::optional_size")]
    pub max_bytes: Option<u64>,
    /// How long a batch that isn't full may wait for more.
    #[serde(deserialize_with = "units::optional_duration")]
    pub linger: Option<Duration>,
}

impl BatchSettings {
    /// These settings, with `others` where nothing is said.
    #[must_use]
    pub fn or(self, others: Self) -> Self {
        Self {
            max_events: self.max_events.or(others.max_events),
            max_bytes: self.max_bytes.or(others.max_bytes),
            linger: self.linger.or(others.linger),
        }
    }
}

/// What happens after a failed delivery: a pause drawn evenly from nothing to a bound that doubles
/// each time (full jitter).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RetrySettings {
    /// The bound of the first pause.
    #[serde(deserialize_with = "units::duration")]
    pub initial: Duration,
    /// The bound that pauses never pass, but for a far side that asks for more.
    #[serde(deserialize_with = "units::duration")]
    pub max: Duration,
    /// Put a batch aside as dead letters when it was tried for this long. Never, where nothing is
    /// said.
    #[serde(deserialize_with = "units::optional_duration")]
    pub give_up_after: Option<Duration>,
}

impl Default for RetrySettings {
    fn default() -> Self {
        Self {
            initial: Duration::from_millis(500),
            max: Duration::from_secs(30),
            give_up_after: None,
        }
    }
}

/// Where a sink begins that has no position yet.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Start {
    /// With the next event that comes in.
    #[default]
    Latest,
    /// With the oldest event that the journal still has.
    Earliest,
}
