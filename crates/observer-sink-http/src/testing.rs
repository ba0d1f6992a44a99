//! Events for tests.

use std::sync::Arc;

use observer_core::{Batch, Envelope, Event, Timestamp, Uuid};

pub(crate) fn envelope(seq: u64, event: &str) -> Arc<Envelope> {
    Arc::new(Envelope {
        id: Uuid::from_u128(seq.into()),
        seq,
        received_at: Timestamp::from_microsecond(1_767_225_600_000_001).unwrap(),
        event: Event::parse(event.to_owned()).unwrap(),
    })
}

/// Returns a batch of the events 1 to `count`.
pub(crate) fn batch(count: u64) -> Batch {
    let event =
        |seq| envelope(seq, &format!(r#"{{"source":"bot","event_kind":"e{seq}","ok":true}}"#));
    Batch::new(1, (1..=count).map(event).collect())
}
