//! What the suite needs to know of a sink: how it is built, and what is behind it.

use std::sync::Arc;

use async_trait::async_trait;
use observer_core::{Envelope, EventSink, Submission, Uuid};

/// Where the events of one sink end up: a folder, a database, a receiver. Each clause of the
/// contract gets a new one.
///
/// What a test keeps of it (a `TempDir`, a server) lives as long as this does.
#[async_trait]
pub trait Destination: Send + Sync {
    /// The sink, over what is there already. Called again after each simulated crash; the sink
    /// before is dropped by then.
    fn sink(&self) -> Arc<dyn EventSink>;

    /// What is there now. Asked when no sink is.
    async fn contents(&self) -> Contents;

    /// Whether this event leaves anything here. All do, unless a sink has nothing to say of some,
    /// such as of those that don't tell how long they took. It is asked of events with unusual
    /// fields; all others of the suite have every field of an event but `usage`, `id`, `timestamp`
    /// and `traceparent`.
    fn stores(&self, envelope: &Envelope) -> bool {
        let _ = envelope;
        true
    }

    /// Make it so that the sink can't reach its far side. `Outage::Unsupported` says that a test can't
    /// do that.
    async fn make_unavailable(&self) -> Outage {
        Outage::Unsupported
    }

    /// Undo that.
    async fn make_available(&self) {}
}

/// Whether a far side could be broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outage {
    /// The sink can't reach it now.
    Simulated,
    /// There is no way to do that in a test; what depends on it is left out.
    Unsupported,
}

/// What a far side has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Contents {
    /// Each event, in the order in which it came and as often as it came.
    Events(Vec<StoredEvent>),
    /// Of a far side that doesn't keep events: how many different ones it had.
    Count(u64),
}

/// One event as a far side has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredEvent {
    /// Its identity.
    pub id: Uuid,
    /// The producer's bytes, of a far side that keeps them.
    pub raw: Option<String>,
}

impl Contents {
    /// Envelopes, one on each line.
    ///
    /// # Panics
    /// With the line, if one is no envelope.
    #[must_use]
    pub fn from_lines(text: &str) -> Self {
        Self::Events(text.lines().map(StoredEvent::from_json).collect())
    }
}

impl StoredEvent {
    /// Read an envelope as [`Envelope::write_json`](observer_core::Envelope::write_json) makes it.
    ///
    /// # Panics
    /// If it is none.
    #[must_use]
    pub fn from_json(line: &str) -> Self {
        let start: String = line.chars().take(300).collect();
        let submission = Submission::parse(line.to_owned())
            .unwrap_or_else(|error| panic!("no envelope: {error}: {start}"));
        let id = submission
            .id
            .unwrap_or_else(|| panic!("an event without the envelope around it: {start}"));
        Self { id, raw: Some(String::from_utf8_lossy(submission.event.raw()).into_owned()) }
    }
}
