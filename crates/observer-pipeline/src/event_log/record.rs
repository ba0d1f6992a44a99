//! Conversion of journal records to events.

use observer_core::{Envelope, Event, Timestamp, Uuid};
use observer_journal::Record;

use crate::ingest::principal::is_phase;

/// Returns the envelope of a committed event. If the record is tagged, the tag says whether the
/// event is a phase; otherwise the default phases decide.
pub(crate) fn envelope(seq: u64, record: Record, is_tagged: bool) -> Envelope {
    let received_at = timestamp(record.received_at);
    let event = Event::from_parsed(record.payload);
    Envelope {
        id: Uuid::from_bytes(record.id),
        seq,
        received_at,
        event: if is_tagged { event.with_phase(is_phase(record.tag)) } else { event },
    }
}

/// Converts a time of the journal's clock, in microseconds since the Unix epoch.
pub(crate) fn timestamp(micros: u64) -> Timestamp {
    Timestamp::from_microsecond(i64::try_from(micros).unwrap_or(i64::MAX)).unwrap_or(Timestamp::MAX)
}
