//! Lines of a stream, as many at a time as go into one request.

use std::time::Duration;

use bytes::Bytes;
use observer_core::{Submission, Uuid};
use observer_pipeline::identity::{Identity, Origin};
use tokio::io;
use tokio::time::{self, Instant};

use super::lines::{Line, Lines};

/// The most events of one request.
const MAX_EVENTS: usize = 500;

/// The most bytes of one request; a longer event goes alone.
const MAX_BYTES: usize = 1 << 20;

/// How long the first event of a batch waits for others.
const LINGER: Duration = Duration::from_millis(50);

/// More than an item has around its event, in bytes.
const FRAME: usize = 64;

/// One event, and where it stood.
#[derive(Debug, PartialEq)]
pub(super) struct Item {
    /// The line, from 1.
    pub(super) number: usize,
    pub(super) event: Bytes,
    /// A name of ours, for an event by which the observer would not know a repeat for what it is.
    /// It would be a new identity for any other.
    pub(super) id: Option<Uuid>,
}

impl Item {
    pub(super) fn new(number: usize, line: Bytes) -> Self {
        match Submission::parse(line.clone()) {
            Ok(Submission { event, id })
                if Identity::of(&event, id, None).origin == Origin::None =>
            {
                // Without an envelope that had no name either.
                Self { number, event: event.raw().clone(), id: Some(Uuid::now_v7()) }
            }
            // What can't be read here is refused there, and so isn't stored twice.
            _ => Self { number, event: line, id: None },
        }
    }

    /// As one line: the event, in an envelope if it needs a name.
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

/// The body of a request.
pub(super) fn ndjson(items: &[Item]) -> Bytes {
    let mut body = Vec::with_capacity(items.iter().map(|item| item.event.len() + FRAME).sum());
    items.iter().for_each(|item| item.write(&mut body));
    body.into()
}

/// What comes next in a stream.
#[derive(Debug, PartialEq)]
pub(super) enum Part {
    /// One event at least.
    Batch(Vec<Item>),
    /// The line with this number is too long to be sent.
    TooLong(usize),
}

/// A stream as batches.
pub(super) struct Batches {
    lines: Lines,
    /// What was read, and belongs after the batch before it.
    held: Option<io::Result<Option<(usize, Line)>>>,
}

impl Batches {
    pub(super) fn new(lines: Lines) -> Self {
        Self { lines, held: None }
    }

    /// A batch is what is there, and waits for more only briefly.
    pub(super) async fn next(&mut self) -> io::Result<Option<Part>> {
        let (mut items, mut bytes, mut due) = (Vec::new(), 0, None);
        loop {
            let line = match (self.held.take(), due) {
                (Some(held), _) => held,
                (None, None) => self.lines.next().await,
                (None, Some(due)) => match time::timeout_at(due, self.lines.next()).await {
                    Ok(line) => line,
                    Err(_) => return Ok(Some(Part::Batch(items))),
                },
            };
            match line {
                Ok(Some((_, Line::Blank))) => {}
                Ok(Some((number, Line::Event(event))))
                    if items.is_empty()
                        || items.len() < MAX_EVENTS && bytes + event.len() + FRAME <= MAX_BYTES =>
                {
                    bytes += event.len() + FRAME;
                    due.get_or_insert_with(|| Instant::now() + LINGER);
                    items.push(Item::new(number, event));
                }
                other if !items.is_empty() => {
                    self.held = Some(other);
                    return Ok(Some(Part::Batch(items)));
                }
                Ok(Some((number, _))) => return Ok(Some(Part::TooLong(number))),
                Ok(None) => return Ok(None),
                Err(error) => return Err(error),
            }
        }
    }

    /// How many bytes were read.
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
            other => panic!("no batch but {other:?}"),
        }
    }

    fn batches(input: String) -> Batches {
        Batches::new(Lines::new(Box::new(BufReader::new(std::io::Cursor::new(input)))))
    }

    #[tokio::test]
    async fn a_batch_is_full_by_number_or_by_size() {
        let mut many = batches("{}\n\n".repeat(MAX_EVENTS + 1));
        assert_eq!(numbers(many.next().await.unwrap()).len(), MAX_EVENTS);
        assert_eq!(numbers(many.next().await.unwrap()), [2 * MAX_EVENTS + 1]);
        assert_eq!(many.next().await.unwrap(), None);

        let half = "x".repeat(MAX_BYTES / 2 - FRAME);
        let mut large =
            batches(format!("{half}\n{half}\n{half}\n{}\n{{}}\n", "x".repeat(2 * MAX_BYTES)));
        for expected in [&[1, 2][..], &[3], &[4], &[5]] {
            assert_eq!(numbers(large.next().await.unwrap()), expected);
        }
    }

    #[tokio::test]
    async fn a_line_that_is_too_long_keeps_its_place() {
        let mut lines = batches(format!("1\n{}\n3\n", "x".repeat(super::super::lines::MAX_LINE)));
        assert_eq!(numbers(lines.next().await.unwrap()), [1]);
        assert_eq!(lines.next().await.unwrap(), Some(Part::TooLong(2)));
        assert_eq!(numbers(lines.next().await.unwrap()), [3]);
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_there_is_sent_when_nothing_follows() {
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
