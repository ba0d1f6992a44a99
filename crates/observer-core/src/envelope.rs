//! An event with what the observer knows about it, and a run of them on their way to a sink.

use std::sync::Arc;

use jiff::Timestamp;
use jiff::tz::Offset;
use uuid::Uuid;

use crate::{Event, Position};

/// An event as the observer hands it out.
#[derive(Debug, PartialEq)]
pub struct Envelope {
    /// The event's identity. A redelivery has the same one, so that a repeat can be seen on the far
    /// side.
    pub id: Uuid,
    /// Its place in the journal, from 1.
    pub seq: u64,
    /// When the observer took it in, in whole microseconds.
    pub received_at: Timestamp,
    /// What the producer sent.
    pub event: Event,
}

impl Envelope {
    /// Append `{"id":…,"seq":…,"received_at":…,"event":…}` in one line, without a line feed at its
    /// end.
    ///
    /// The event is the producer's own bytes. Line breaks in them can only be white space between
    /// tokens (RFC 8259, section 7); they become spaces, so that an envelope is always one line.
    pub fn write_json(&self, line: &mut Vec<u8>) {
        let raw = self.event.raw();
        line.reserve(raw.len() + 128);
        line.extend_from_slice(br#"{"id":""#);
        line.extend_from_slice(self.id.hyphenated().encode_lower(&mut [0; 36]).as_bytes());
        line.extend_from_slice(br#"","seq":"#);
        write_number(line, self.seq);
        line.extend_from_slice(br#","received_at":""#);
        write_time(line, self.received_at);
        line.extend_from_slice(br#"","event":"#);
        let start = line.len();
        line.extend_from_slice(raw);
        // Without a branch, so that it goes many bytes at a time.
        for byte in &mut line[start..] {
            *byte = if matches!(*byte, b'\n' | b'\r') { b' ' } else { *byte };
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

fn write_number(line: &mut Vec<u8>, mut number: u64) {
    let mut digits = [0; 20];
    let mut start = digits.len();
    loop {
        start -= 1;
        digits[start] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            break;
        }
    }
    line.extend_from_slice(&digits[start..]);
}

/// RFC 3339 with six digits of the second, as `{:.6}` writes it: by hand, since this is done for
/// each line of each file.
fn write_time(line: &mut Vec<u8>, time: Timestamp) {
    let civil = Offset::UTC.to_datetime(time);
    let Ok(year) = u32::try_from(civil.year()) else {
        line.extend_from_slice(format!("{time:.6}").as_bytes());
        return;
    };
    let small = |number: i8| u32::from(number.unsigned_abs());
    let micros = civil.subsec_nanosecond().unsigned_abs() / 1000;
    let parts = [
        (year, 4, b'-'),
        (small(civil.month()), 2, b'-'),
        (small(civil.day()), 2, b'T'),
        (small(civil.hour()), 2, b':'),
        (small(civil.minute()), 2, b':'),
        (small(civil.second()), 2, b'.'),
        (micros, 6, b'Z'),
    ];
    for (mut number, width, after) in parts {
        let mut digits = [b'0'; 6];
        for digit in digits[..width].iter_mut().rev() {
            *digit = b'0' + (number % 10) as u8;
            number /= 10;
        }
        line.extend_from_slice(&digits[..width]);
        line.push(after);
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
    fn numbers_and_times_are_written_as_others_write_them() {
        let micros = [
            0,
            1,
            -1,
            999_999,
            1_767_225_600_000_001,
            -62_135_596_800_000_000,
            -70_000_000_000_000_000,
        ];
        for time in micros.map(|micros| Timestamp::from_microsecond(micros).unwrap()) {
            let mut line = Vec::new();
            write_time(&mut line, time);
            assert_eq!(String::from_utf8(line).unwrap(), format!("{time:.6}"));
        }
        for number in [0, 9, 10, 1_234_567_890, u64::MAX] {
            let mut line = Vec::new();
            write_number(&mut line, number);
            assert_eq!(String::from_utf8(line).unwrap(), number.to_string());
        }
    }

    #[test]
    fn a_batch_halves_until_one_is_left() {
        let events = (1..=3)
            .map(|seq| Arc::new(envelope(seq, r#"{"source":"s","event_kind":"k","ok":true}"#)));
        let batch = Batch::new(9, events.collect());
        assert_eq!(batch.position(), Position { epoch: 9, seq: 3 });
        let (left, right) = batch.halves().unwrap();
        assert_eq!((left.len(), right.len()), (2, 1));
        assert_eq!(left.position(), Position { epoch: 9, seq: 2 });
        assert!(right.halves().is_none());
    }
}
