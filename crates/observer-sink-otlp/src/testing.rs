//! Events for unit tests.

use std::sync::Arc;

use observer_core::{Envelope, Event, Timestamp, Uuid};

/// Returns an envelope whose id is `seq`, received one microsecond after 2026-01-01.
pub(crate) fn envelope(seq: u64, event: &str) -> Arc<Envelope> {
    Arc::new(Envelope {
        id: Uuid::from_u128(seq.into()),
        seq,
        received_at: Timestamp::from_microsecond(1_767_225_600_000_001).unwrap(),
        event: Event::parse(event.to_owned()).unwrap(),
    })
}
