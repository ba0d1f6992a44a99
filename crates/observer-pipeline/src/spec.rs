//! A sink as it is handed to a pipeline.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use observer_core::{BatchSettings, EventSink, RetrySettings, SinkPart, SinkSettings, sink_name};

/// A sink with its name and what every sink can be told.
pub struct SinkSpec {
    pub(crate) name: String,
    pub(crate) kind: String,
    pub(crate) sink: Arc<dyn EventSink>,
    pub(crate) settings: SinkSettings,
    pub(crate) batch: BatchSettings,
}

impl SinkSpec {
    /// A sink and the name that its position is kept under: letters, digits, `-`, `_`, `.` and `/`.
    #[must_use]
    pub fn new(name: impl Into<String>, sink: Arc<dyn EventSink>) -> Self {
        Self {
            name: name.into(),
            kind: "custom".into(),
            sink,
            settings: SinkSettings::default(),
            batch: BatchSettings::default(),
        }
    }

    /// What a configuration was built into: one sink, or several whose own names follow the sink's,
    /// as in `collector/logs`.
    pub fn from_parts(name: &str, parts: Vec<SinkPart>) -> impl Iterator<Item = Self> {
        parts.into_iter().map(move |part| {
            let name = sink_name::of_part(name, part.name.as_deref());
            Self::new(name, part.sink).batch(part.batch)
        })
    }

    /// The type that its status shows.
    #[must_use]
    pub fn kind(self, kind: impl Into<String>) -> Self {
        Self { kind: kind.into(), ..self }
    }

    /// What the operator says.
    #[must_use]
    pub fn settings(self, settings: SinkSettings) -> Self {
        Self { settings, ..self }
    }

    /// The batches that suit the sink where the operator says nothing.
    #[must_use]
    pub fn batch(self, batch: BatchSettings) -> Self {
        Self { batch, ..self }
    }

    pub(crate) fn limits(&self) -> Limits {
        let batch = self.settings.batch.or(self.batch);
        Limits {
            max_events: batch.max_events.map_or(1_000, usize::from),
            max_bytes: batch.max_bytes.unwrap_or(4 << 20),
            linger: batch.linger.unwrap_or(Duration::from_millis(200)),
            timeout: self.settings.timeout.unwrap_or(Duration::from_secs(30)),
            retry: self.settings.retry,
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

/// What a worker keeps to.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    pub(crate) max_events: usize,
    pub(crate) max_bytes: u64,
    pub(crate) linger: Duration,
    pub(crate) timeout: Duration,
    pub(crate) retry: RetrySettings,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Scripted;

    #[test]
    fn parts_have_the_name_of_the_whole_before_their_own() {
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
