//! An event with what the observer knows about it, and a run of them on their way to a sink.

use std::sync::Arc;

use jiff::Timestamp;
use uuid::Uuid;

use crate::{Event, Position};

/// An event as the observer hands it out.
#[derive(Debug, PartialEq)]
pub struct Envelope {
    /// The event's identity. A redelivery has the same one, so that a repeat can be seen on the far side.
    pub id: Uuid,
    /// Its place in the journal, from 1.
    pub seq: u64,
    /// When the observer took it in, in whole microseconds.
    pub received_at: Timestamp,
    /// What the producer sent.
    pub event: Event,
}

impl Envelope {
    /// Append `{"id":…,"seq":…,"received_at":…,"event":…}` in one line, without a line feed at its end.
    ///
    /// The event is the producer's own bytes. Line breaks in them can only be white space between tokens (RFC 8259, section 7);
    /// they become spaces, so that an envelope is always one line.
    pub fn write_json(&self, line: &mut Vec<u8>) {
        use std::io::Write;

        let raw = self.event.raw();
        line.reserve(raw.len() + 128);
        write!(line, r#"{{"id":"{}","seq":{},"received_at":"{:.6}","event":"#, self.id, self.seq, self.received_at)
            .expect("writing to a Vec can't fail");
        let start = line.len();
        line.extend_from_slice(raw);
        for byte in &mut line[start..] {
            if matches!(byte, b'\n' | b'\r') {
                *byte = b' ';
            }
        }
        line.push(b'}');
    }

    /// The line of [`write_json`](Self::write_json) as a string.
    #[must_use]
    pub fn to_json(&self) -> String {
        let mut line = Vec::new();
        self.write_json(&mut line);
        String::from_utf8(line).expect("an event is UTF-8")
    }
}

/// Events on their way to one sink: in the order of the journal, at least one of them.
///
/// Sequence numbers rise, but not always by one: what the sink's filter held back is missing.
#[derive(Debug, Clone)]
pub struct Batch {
    epoch: u64,
    events: Vec<Arc<Envelope>>,
}

impl Batch {
    /// A batch of the journal's `epoch`.
    ///
    /// # Panics
    /// If there are no events: an empty batch would have no position.
    #[must_use]
    pub fn new(epoch: u64, events: Vec<Arc<Envelope>>) -> Self {
        assert!(!events.is_empty(), "a batch holds at least one event");
        Self { epoch, events }
    }

    /// The events, oldest first.
    #[must_use]
    pub fn events(&self) -> &[Arc<Envelope>] {
        &self.events
    }

    /// How many there are; never 0.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "a batch is never empty")]
    pub fn len(&self) -> usize {
        self.events.len()
    }

    /// The position of the last event: where a sink stands that took the whole batch.
    #[must_use]
    pub fn position(&self) -> Position {
        let last = self.events.last().expect("a batch holds at least one event");
        Position { epoch: self.epoch, seq: last.seq }
    }

    /// The same events as two batches, the first one not the smaller; `None` for a batch of one.
    #[must_use]
    pub fn halves(&self) -> Option<(Self, Self)> {
        if self.events.len() < 2 {
            return None;
        }
        let (left, right) = self.events.split_at(self.events.len().div_ceil(2));
        Some((Self::new(self.epoch, left.to_vec()), Self::new(self.epoch, right.to_vec())))
    }
}

impl<'a> IntoIterator for &'a Batch {
    type Item = &'a Arc<Envelope>;
    type IntoIter = std::slice::Iter<'a, Arc<Envelope>>;

    fn into_iter(self) -> Self::IntoIter {
        self.events.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Submission;

    fn envelope(seq: u64, raw: &str) -> Envelope {
        Envelope {
            id: Uuid::from_u128(seq.into()),
            seq,
            received_at: Timestamp::from_microsecond(1_767_225_600_000_001).unwrap(),
            event: Event::parse(raw.to_owned()).unwrap(),
        }
    }

    #[test]
    fn an_envelope_is_one_line_around_the_producers_own_bytes() {
        let envelope = envelope(7, "{\"source\":\"bot\",\r\n \"event_kind\":\"ok\",\"ok\":true}\n");
        assert_eq!(
            envelope.to_json(),
            r#"{"id":"00000000-0000-0000-0000-000000000007","seq":7,"received_at":"2026-01-01T00:00:00.000001Z","event":{"source":"bot",   "event_kind":"ok","ok":true}}"#
        );
        let again = Submission::parse(envelope.to_json()).unwrap();
        assert_eq!(again.id, Some(envelope.id));
    }

    #[test]
    fn a_batch_halves_until_one_is_left() {
        let events = (1..=3).map(|seq| Arc::new(envelope(seq, r#"{"source":"s","event_kind":"k","ok":true}"#)));
        let batch = Batch::new(9, events.collect());
        assert_eq!(batch.position(), Position { epoch: 9, seq: 3 });
        let (left, right) = batch.halves().unwrap();
        assert_eq!((left.len(), right.len()), (2, 1));
        assert_eq!(left.position(), Position { epoch: 9, seq: 2 });
        assert!(right.halves().is_none());
    }
}
