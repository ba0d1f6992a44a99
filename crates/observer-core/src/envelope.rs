//! Accepted events with their identity and sequence number, and batches of them.

use std::sync::Arc;

use bytes::Bytes;
use jiff::Timestamp;
use jiff::tz::Offset;
use serde::Deserialize;
use serde_json::value::RawValue;
use uuid::Uuid;

use crate::event::{EventError, ParseOptions, Submission};
use crate::{Event, Position};

/// Accepted event with its identity, sequence number and time of receipt.
#[derive(Debug, PartialEq)]
pub struct Envelope {
    /// Identity of the event. Every delivery of the event has the same one, so a destination can
    /// recognise repeats.
    pub id: Uuid,
    /// Sequence number in the journal, from 1.
    pub seq: u64,
    /// Time of receipt by the observer's clock, in whole microseconds.
    pub received_at: Timestamp,
    /// Event as the producer sent it.
    pub event: Event,
}

/// Error type for a line that is no envelope.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EnvelopeError {
    /// The line is not an object with `id`, `received_at` and `event`.
    #[error("not an envelope of an event: {0}")]
    Envelope(serde_json::Error),
    /// The event inside is invalid.
    #[error(transparent)]
    Event(#[from] EventError),
}

impl Envelope {
    /// Parses a line of [`write_json`](Self::write_json). Other keys are ignored; an absent `seq`
    /// is 0. Only the phases of the options are used.
    ///
    /// ```
    /// use observer_core::{Envelope, ParseOptions};
    ///
    /// let line = concat!(
    ///     r#"{"id":"5f3c9b0e-6a53-5f0e-9e7e-0d8f1c2b3a49","seq":12,"#,
    ///     r#""received_at":"2026-01-01T00:00:00.000001Z","#,
    ///     r#""event":{"source":"bot","event_kind":"ok","ok":true}}"#,
    /// );
    /// let envelope = Envelope::parse(line, &ParseOptions::default())?;
    /// assert_eq!(envelope.to_json(), line);
    /// # Ok::<(), observer_core::EnvelopeError>(())
    /// ```
    ///
    /// # Errors
    /// If the line is no envelope, or its event is invalid.
    pub fn parse(line: impl Into<Bytes>, options: &ParseOptions) -> Result<Self, EnvelopeError> {
        #[derive(Deserialize)]
        struct Line<'a> {
            id: Uuid,
            #[serde(default)]
            seq: u64,
            received_at: Timestamp,
            #[serde(borrow)]
            event: &'a RawValue,
        }
        let line = line.into();
        let Line { id, seq, received_at, event } =
            serde_json::from_slice(&line).map_err(EnvelopeError::Envelope)?;
        let options = ParseOptions { strict: false, ..options.clone() };
        let event = Submission::parse_with(line.slice_ref(event.get().as_bytes()), &options)?.event;
        Ok(Self { id, seq, received_at, event })
    }

    /// Appends the envelope as one line of JSON without a line feed:
    /// `{"id":…,"seq":…,"received_at":…,"event":…}`.
    ///
    /// The event consists of the producer's bytes. Line breaks in them are replaced by spaces: in
    /// valid JSON they can only be white space between tokens (RFC 8259, section 7).
    pub fn write_json(&self, line: &mut Vec<u8>) {
        self.write(line, Some(self.seq));
    }

    /// Appends the envelope as [`write_json`](Self::write_json) does, without `seq`: for readers
    /// who may know some sources alone, since its gaps show how much others send.
    pub fn write_json_without_seq(&self, line: &mut Vec<u8>) {
        self.write(line, None);
    }

    fn write(&self, line: &mut Vec<u8>, seq: Option<u64>) {
        let raw = self.event.raw();
        line.reserve(raw.len() + 128);
        line.extend_from_slice(br#"{"id":""#);
        line.extend_from_slice(self.id.hyphenated().encode_lower(&mut [0; 36]).as_bytes());
        line.push(b'"');
        if let Some(seq) = seq {
            line.extend_from_slice(br#","seq":"#);
            write_number(line, seq);
        }
        line.extend_from_slice(br#","received_at":""#);
        write_time(line, self.received_at);
        line.extend_from_slice(br#"","event":"#);
        let start = line.len();
        line.extend_from_slice(raw);
        // Without a branch, so that the compiler vectorizes the loop.
        for byte in &mut line[start..] {
            *byte = if matches!(*byte, b'\n' | b'\r') { b' ' } else { *byte };
        }
        line.push(b'}');
    }

    /// Returns the line of [`write_json`](Self::write_json).
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

/// Appends a time in RFC 3339 with microseconds, as `{:.6}` formats it. Written by hand, since it
/// runs for every line that a sink writes.
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

/// One or more events for one sink, in the order of the journal.
///
/// Sequence numbers rise, but not always by one: events that the sink's filter rejects are missing.
/// A clone shares the events.
#[derive(Debug, Clone)]
pub struct Batch {
    epoch: u64,
    events: Vec<Arc<Envelope>>,
}

impl Batch {
    /// Creates a batch of events of the journal's `epoch`.
    ///
    /// # Panics
    /// Panics if `events` is empty: an empty batch has no position.
    #[must_use]
    pub fn new(epoch: u64, events: Vec<Arc<Envelope>>) -> Self {
        assert!(!events.is_empty(), "a batch holds at least one event");
        Self { epoch, events }
    }

    /// Returns the events, oldest first.
    #[must_use]
    pub fn events(&self) -> &[Arc<Envelope>] {
        &self.events
    }

    /// Returns the number of events; never 0.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "a batch is never empty")]
    pub fn len(&self) -> usize {
        self.events.len()
    }

    /// Returns the position of the last event, that is of a sink that accepted the whole batch.
    #[must_use]
    pub fn position(&self) -> Position {
        let last = self.events.last().expect("a batch holds at least one event");
        Position { epoch: self.epoch, seq: last.seq }
    }

    /// Splits the batch into two halves, of which the first may be larger by one event. Returns
    /// `None` for a single event.
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
    fn envelope_is_one_line_around_the_producers_bytes() {
        let envelope = envelope(7, "{\"source\":\"bot\",\r\n \"event_kind\":\"ok\",\"ok\":true}\n");
        assert_eq!(
            envelope.to_json(),
            concat!(
                r#"{"id":"00000000-0000-0000-0000-000000000007","seq":7,"#,
                r#""received_at":"2026-01-01T00:00:00.000001Z","#,
                r#""event":{"source":"bot",   "event_kind":"ok","ok":true}}"#,
            )
        );
        let again = Submission::parse(envelope.to_json()).unwrap();
        assert_eq!(again.id, Some(envelope.id));
    }

    #[test]
    fn line_that_is_no_envelope_is_an_error() {
        let event = r#"{"source":"s","event_kind":"k","ok":true}"#;
        let line = |event: &str| {
            let id = "00000000-0000-0000-0000-000000000007";
            format!(r#"{{"id":"{id}","received_at":"2026-01-01T00:00:00Z","event":{event}}}"#)
        };
        let parse = |line: String| Envelope::parse(line, &ParseOptions::default());
        assert_eq!(parse(line(event)).unwrap().seq, 0);
        for (line, error) in [
            (event.to_owned(), "not an envelope of an event: missing field `id`"),
            (line(event)[..90].to_owned(), "not an envelope of an event: EOF while parsing"),
            (line("7"), "an event is a JSON object, and this is a number"),
            (line(r#"{"source":"s","ok":true}"#), "`event_kind`"),
        ] {
            let found = parse(line.clone()).unwrap_err().to_string();
            assert!(found.contains(error), "{line}: {found}");
        }
    }

    #[test]
    fn phases_of_an_envelope_are_those_of_the_options() {
        let line = envelope(7, r#"{"source":"s","event_kind":"queued","ok":true}"#).to_json();
        let options = ParseOptions {
            phases: crate::Phases::new(["queued"]),
            strict: true,
            ..ParseOptions::default()
        };
        assert!(Envelope::parse(line.clone(), &options).unwrap().event.is_phase());
        assert!(!Envelope::parse(line, &ParseOptions::default()).unwrap().event.is_phase());
    }

    #[test]
    fn numbers_and_times_are_formatted_as_the_libraries_do() {
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
    fn batch_can_be_halved_down_to_one_event() {
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
