//! Batching of the lines of a stream into requests.

use std::time::Duration;

use bytes::Bytes;
use observer_core::{Submission, Uuid};
use observer_pipeline::Principal;
use observer_pipeline::identity::{Identity, Origin};
use tokio::io;
use tokio::time::{self, Instant};

use super::lines::{Line, Lines};

/// Maximum number of events of a request.
const MAX_EVENTS: usize = 500;

/// Maximum size of a request body, in bytes. A larger event is sent alone.
const MAX_BYTES: usize = 1 << 20;

/// Time for which the first event of a batch waits for further ones.
const LINGER: Duration = Duration::from_millis(50);

/// Upper bound of the envelope around an event, in bytes.
const ENVELOPE: usize = 64;

/// Event with its line number.
#[derive(Debug, PartialEq)]
pub(super) struct Item {
    /// Line number, from 1.
    pub(super) number: usize,
    pub(super) event: Bytes,
    /// Generated id for an event without an identity of its own, so that the observer recognises a
    /// repetition. For any other event it would change the identity.
    pub(super) id: Option<Uuid>,
}

impl Item {
    pub(super) fn new(number: usize, line: Bytes) -> Self {
        match Submission::parse(line.clone()) {
            Ok(submission)
                if Identity::of(&Principal::anonymous(), &submission, None).origin
                    == Origin::None =>
            {
                // Drops an envelope without an id.
                let event = submission.event.into_raw();
                Self { number, event, id: Some(Uuid::now_v7()) }
            }
            // The observer rejects what can't be parsed here, so it can't be stored twice.
            _ => Self { number, event: line, id: None },
        }
    }

    /// Writes the event as one line, in an envelope if it has a generated id.
    fn write(&self, body: &mut Vec<u8>) {
        match self.id {
            None => body.extend_from_slice(&self.event),
            Some(id) => {
                body.extend_from_slice(format!(r#"{{"id":"{id}","event":"#).as_bytes());
                body.extend_from_slice(&self.event);
                body.push(b'}');
            }
        }
        body.push(b'\n');
    }
}

/// Returns the items as the body of a request.
pub(super) fn ndjson(items: &[Item]) -> Bytes {
    let mut body = Vec::with_capacity(items.iter().map(|item| item.event.len() + ENVELOPE).sum());
    items.iter().for_each(|item| item.write(&mut body));
    body.into()
}

/// Next part of a stream.
#[derive(Debug, PartialEq)]
pub(super) enum Part {
    /// At least one event.
    Batch(Vec<Item>),
    /// Number of a line that is too long to send.
    TooLong(usize),
}

/// Stream of batches.
pub(super) struct Batches {
    lines: Lines,
    /// Result of a read that belongs after the batch returned before it.
    pending: Option<io::Result<Option<(usize, Line)>>>,
}

impl Batches {
    pub(super) fn new(lines: Lines) -> Self {
        Self { lines, pending: None }
    }

    /// Returns the next part: the lines that are available, after at most [`LINGER`].
    ///
    /// # Errors
    /// If the stream can't be read.
    pub(super) async fn next(&mut self) -> io::Result<Option<Part>> {
        let (mut items, mut bytes, mut deadline) = (Vec::new(), 0, None);
        loop {
            let line = match (self.pending.take(), deadline) {
                (Some(pending), _) => pending,
                (None, None) => self.lines.next().await,
                (None, Some(deadline)) => match time::timeout_at(deadline, self.lines.next()).await
                {
                    Ok(line) => line,
                    Err(_) => return Ok(Some(Part::Batch(items))),
                },
            };
            match line {
                Ok(Some((_, Line::Blank))) => {}
                Ok(Some((number, Line::Event(event))))
                    if items.is_empty()
                        || items.len() < MAX_EVENTS
                            && bytes + event.len() + ENVELOPE <= MAX_BYTES =>
                {
                    bytes += event.len() + ENVELOPE;
                    deadline.get_or_insert_with(|| Instant::now() + LINGER);
                    items.push(Item::new(number, event));
                }
                other if !items.is_empty() => {
                    self.pending = Some(other);
                    return Ok(Some(Part::Batch(items)));
                }
                Ok(Some((number, _))) => return Ok(Some(Part::TooLong(number))),
                Ok(None) => return Ok(None),
                Err(error) => return Err(error),
            }
        }
    }

    /// Returns the number of bytes read.
    pub(super) fn bytes_read(&self) -> u64 {
        self.lines.bytes_read()
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncWriteExt, BufReader};

    use super::*;

    fn numbers(part: Option<Part>) -> Vec<usize> {
        match part {
            Some(Part::Batch(items)) => items.iter().map(|item| item.number).collect(),
            other => panic!("expected a batch, found {other:?}"),
        }
    }

    fn batches(input: String) -> Batches {
        Batches::new(Lines::new(Box::new(BufReader::new(std::io::Cursor::new(input)))))
    }

    #[tokio::test]
    async fn batch_is_bounded_by_count_and_size() {
        let mut many = batches("{}\n\n".repeat(MAX_EVENTS + 1));
        assert_eq!(numbers(many.next().await.unwrap()).len(), MAX_EVENTS);
        assert_eq!(numbers(many.next().await.unwrap()), [2 * MAX_EVENTS + 1]);
        assert_eq!(many.next().await.unwrap(), None);

        let half = "x".repeat(MAX_BYTES / 2 - ENVELOPE);
        let mut large =
            batches(format!("{half}\n{half}\n{half}\n{}\n{{}}\n", "x".repeat(2 * MAX_BYTES)));
        for expected in [&[1, 2][..], &[3], &[4], &[5]] {
            assert_eq!(numbers(large.next().await.unwrap()), expected);
        }
    }

    #[tokio::test]
    async fn too_long_line_keeps_its_position() {
        let mut lines = batches(format!("1\n{}\n3\n", "x".repeat(super::super::lines::MAX_LINE)));
        assert_eq!(numbers(lines.next().await.unwrap()), [1]);
        assert_eq!(lines.next().await.unwrap(), Some(Part::TooLong(2)));
        assert_eq!(numbers(lines.next().await.unwrap()), [3]);
    }

    #[tokio::test(start_paused = true)]
    async fn partial_batch_is_returned_after_the_linger() {
        let (mut producer, consumer) = io::duplex(64);
        let mut slow = Batches::new(Lines::new(Box::new(BufReader::new(consumer))));
        producer.write_all(b"1\n2\n{\"half\":").await.unwrap();
        let start = Instant::now();
        assert_eq!(numbers(slow.next().await.unwrap()), [1, 2]);
        assert!(start.elapsed() <= Duration::from_millis(200), "{:?}", start.elapsed());
        producer.write_all(b"true}\n").await.unwrap();
        drop(producer);
        let rest = Item { number: 3, event: Bytes::from_static(b"{\"half\":true}"), id: None };
        assert_eq!(slow.next().await.unwrap(), Some(Part::Batch(vec![rest])));
        assert_eq!(slow.next().await.unwrap(), None);
    }
}
