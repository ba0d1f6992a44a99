//! Conversion of journal records to events.

use observer_core::{Envelope, Event, Timestamp, Uuid};
use observer_journal::Record;

/// Returns the envelope of a committed event.
pub(crate) fn envelope(seq: u64, record: Record) -> Envelope {
    let received_at = timestamp(record.received_at);
    Envelope {
        id: Uuid::from_bytes(record.id),
        seq,
        received_at,
        event: Event::from_parsed(record.payload),
    }
}

/// Converts a time of the journal's clock, in microseconds since the Unix epoch.
pub(crate) fn timestamp(micros: u64) -> Timestamp {
    Timestamp::from_microsecond(i64::try_from(micros).unwrap_or(i64::MAX)).unwrap_or(Timestamp::MAX)
}
