//! Interface between the suite and the sink that it verifies.

use std::sync::Arc;

use async_trait::async_trait;
use observer_core::{Envelope, EventSink, Submission, Uuid};

/// Destination of a sink: a folder, a database, a receiver.
///
/// An implementation owns what the test needs for as long as the destination exists, such as a
/// `TempDir` or a server. The suite creates a new destination for each clause.
#[async_trait]
pub trait Destination: Send + Sync {
    /// Builds a sink that writes to this destination, with the contents that are already there.
    ///
    /// The suite calls it again after each simulated crash, once the previous sink is dropped.
    fn sink(&self) -> Arc<dyn EventSink>;

    /// Returns the current contents. The suite calls it only while no sink exists.
    async fn contents(&self) -> Contents;

    /// Returns whether the destination stores this event; by default it stores all.
    ///
    /// Some sinks omit events, for example those without a duration. The suite calls it for events
    /// with unusual fields only. All other events have every field except `usage`, `id`,
    /// `timestamp` and `traceparent`.
    fn stores(&self, envelope: &Envelope) -> bool {
        let _ = envelope;
        true
    }

    /// Makes the destination reject this event whenever it arrives, and accept all others.
    ///
    /// By default it returns [`Outage::Unsupported`], and the suite skips what depends on it.
    async fn reject(&self, event: &Envelope) -> Outage {
        let _ = event;
        Outage::Unsupported
    }

    /// Makes the destination accept the first `count` events of the next delivery and fail then,
    /// once, with a state that passes.
    ///
    /// By default it returns [`Outage::Unsupported`], and the suite skips what depends on it.
    async fn fail_after(&self, count: usize) -> Outage {
        let _ = count;
        Outage::Unsupported
    }

    /// Makes the destination unavailable to the sink.
    ///
    /// By default it returns [`Outage::Unsupported`], and the suite skips what depends on it.
    async fn make_unavailable(&self) -> Outage {
        Outage::Unsupported
    }

    /// Reverts [`make_unavailable`](Self::make_unavailable).
    async fn make_available(&self) {}
}

/// Result of a request to a [`Destination`] to fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outage {
    /// The destination fails as requested.
    Simulated,
    /// A test has no way to make the destination fail like this.
    Unsupported,
}

/// Contents of a destination.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Contents {
    /// Each stored event, in the order of arrival, repeats included.
    Events(Vec<StoredEvent>),
    /// Number of distinct events, for a destination that stores aggregates only.
    Count(u64),
}

/// One event in a destination.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredEvent {
    /// Id of the event.
    pub id: Uuid,
    /// JSON of the producer, or `None` if the destination stores events in another form.
    pub raw: Option<String>,
}

impl Contents {
    /// Parses lines that each hold an [envelope](StoredEvent::from_json).
    ///
    /// # Panics
    /// If a line is not an envelope; the message shows the line.
    #[must_use]
    pub fn from_lines(text: &str) -> Self {
        Self::Events(text.lines().map(StoredEvent::from_json).collect())
    }
}

impl StoredEvent {
    /// Parses an envelope that [`Envelope::write_json`](observer_core::Envelope::write_json) wrote.
    ///
    /// # Panics
    /// If `json` is not an envelope.
    #[must_use]
    pub fn from_json(json: &str) -> Self {
        let start: String = json.chars().take(300).collect();
        let submission = Submission::parse(json.to_owned())
            .unwrap_or_else(|error| panic!("not an envelope: {error}: {start}"));
        let id = submission.id.unwrap_or_else(|| panic!("an event without an envelope: {start}"));
        Self { id, raw: Some(String::from_utf8_lossy(submission.event.raw()).into_owned()) }
    }
}
