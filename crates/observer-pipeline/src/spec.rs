//! Specification of a sink: its name, its settings and the sink itself.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use observer_core::{BatchSettings, EventSink, RetrySettings, SinkPart, SinkSettings, sink_name};

/// Sink with its name and the settings that every sink has.
pub struct SinkSpec {
    pub(crate) name: String,
    pub(crate) kind: String,
    pub(crate) sink: Arc<dyn EventSink>,
    pub(crate) settings: SinkSettings,
    pub(crate) batch: BatchSettings,
    pub(crate) fingerprint: Option<String>,
}

impl SinkSpec {
    /// Creates the specification of a sink with default settings.
    ///
    /// The sink's position and dead letters are stored under `name`: letters, digits, `-`, `_`, `.`
    /// and `/`.
    #[must_use]
    pub fn new(name: impl Into<String>, sink: Arc<dyn EventSink>) -> Self {
        Self {
            name: name.into(),
            kind: "custom".into(),
            sink,
            settings: SinkSettings::default(),
            batch: BatchSettings::default(),
            fingerprint: None,
        }
    }

    /// Returns the specifications of the sinks that one configuration was built into. The name of a
    /// part follows the name of the whole, as in `collector/logs`.
    pub fn from_parts(name: &str, parts: Vec<SinkPart>) -> impl Iterator<Item = Self> {
        parts.into_iter().map(move |part| {
            let name = sink_name::of_part(name, part.name.as_deref());
            Self::new(name, part.sink).batch(part.batch)
        })
    }

    /// Sets the type that the status shows.
    #[must_use]
    pub fn kind(self, kind: impl Into<String>) -> Self {
        Self { kind: kind.into(), ..self }
    }

    /// Sets the operator's settings.
    #[must_use]
    pub fn settings(self, settings: SinkSettings) -> Self {
        Self { settings, ..self }
    }

    /// Sets the batch limits of this kind of sink. The operator's settings take precedence.
    #[must_use]
    pub fn batch(self, batch: BatchSettings) -> Self {
        Self { batch, ..self }
    }

    /// Sets a fingerprint of the address, credentials and other settings of the sink, without
    /// secrets in the clear. When it changes, what the destination refused before is no evidence
    /// against its undecided events any more.
    #[must_use]
    pub fn fingerprint(self, fingerprint: impl Into<String>) -> Self {
        Self { fingerprint: Some(fingerprint.into()), ..self }
    }

    pub(crate) fn limits(&self) -> Limits {
        let batch = self.settings.batch.or(self.batch);
        Limits {
            max_events: batch.max_events.map_or(1_000, usize::from),
            max_bytes: batch.max_bytes.unwrap_or(4 << 20),
            linger: batch.linger.unwrap_or(Duration::from_millis(200)),
            timeout: self.settings.timeout.unwrap_or(Duration::from_secs(30)),
            retry: self.settings.retry,
            max_delivery: self.sink.max_events_per_delivery().map_or(usize::MAX, usize::from),
            max_dead_letters: self.settings.max_dead_letters,
        }
    }
}

impl fmt::Debug for SinkSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SinkSpec")
            .field("name", &self.name)
            .field("kind", &self.kind)
            .finish_non_exhaustive()
    }
}

/// Limits of a worker.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    pub(crate) max_events: usize,
    pub(crate) max_bytes: u64,
    pub(crate) linger: Duration,
    pub(crate) timeout: Duration,
    pub(crate) retry: RetrySettings,
    /// Largest number of events of one delivery.
    pub(crate) max_delivery: usize,
    pub(crate) max_dead_letters: Option<u64>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Scripted;

    #[test]
    fn name_of_a_part_follows_the_name_of_the_whole() {
        let part = |name: Option<&'static str>| SinkPart {
            name: name.map(Into::into),
            ..SinkPart::whole(Scripted::new())
        };
        let names = |parts| {
            SinkSpec::from_parts("collector", parts).map(|spec| spec.name).collect::<Vec<_>>()
        };
        assert_eq!(names(vec![part(None)]), ["collector"]);
        assert_eq!(
            names(vec![part(Some("logs")), part(Some("traces"))]),
            ["collector/logs", "collector/traces"]
        );
    }
}
