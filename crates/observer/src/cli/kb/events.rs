//! Events of one source: a file, or the journal.

use std::cmp::Reverse;
use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context, bail};
use observer_core::{Envelope, ParseOptions, Submission, Timestamp, Uuid};
use observer_journal::{Chunk, GapReason, OfflineJournal, Reader, Record};

use super::files::{Input, Line, Lines};

/// Bytes of a record in the journal beside its event, about.
const RECORD: u64 = 36;

/// Result of reading on.
#[derive(Debug)]
pub(super) enum Read {
    /// An event, with its epoch if it is in the journal.
    Event(Envelope, Option<u64>),
    Unreadable(Unreadable),
}

/// Limit of the events in bytes that are sorted in memory.
const MAX_SORTED: usize = 1 << 30;

/// Something that can't be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Unreadable {
    /// Name of the file, or the journal.
    pub(super) source: String,
    /// Line, if it is one.
    pub(super) line: Option<u64>,
    pub(super) detail: String,
    /// Number of events, as far as it is known.
    pub(super) events: u64,
}

/// Events of one source, in the order in which they were received.
pub(super) enum Events {
    File(Box<FileEvents>),
    Journal(Box<JournalEvents>),
}

impl Events {
    /// Returns the next event, or what can't be read.
    ///
    /// # Errors
    /// If a file can't be opened, or the journal can't be read.
    pub(super) fn next(&mut self) -> anyhow::Result<Option<Read>> {
        match self {
            Self::File(events) => events.next(),
            Self::Journal(events) => events.next(),
        }
    }

    /// Closes a file until the next call of [`next`](Self::next).
    pub(super) fn pause(&mut self) {
        if let Self::File(events) = self
            && events.input != Input::Stdin
        {
            events.lines = None;
        }
    }
}

/// Envelopes in a file, one on each line.
///
/// A page of `GET /v1/events` has the newest event first. The first two events tell such a file
/// from others; it is read whole, and put into order.
pub(super) struct FileEvents {
    input: Input,
    options: ParseOptions,
    bytes: Arc<AtomicU64>,
    lines: Option<Lines>,
    /// Lines that were read.
    read: u64,
    is_ended: bool,
    order: Order,
}

/// Order of the events of a file.
enum Order {
    Unknown,
    /// Oldest first. The event was read to find that out.
    OldestFirst(Option<Read>),
    /// Whole content, the newest event first.
    NewestFirst(Vec<Read>),
}

impl FileEvents {
    /// Creates the events of a file; `bytes` counts what is read.
    pub(super) fn new(input: Input, options: ParseOptions, bytes: Arc<AtomicU64>) -> Self {
        let order = Order::Unknown;
        Self { input, options, bytes, lines: None, read: 0, is_ended: false, order }
    }

    fn next(&mut self) -> anyhow::Result<Option<Read>> {
        match &mut self.order {
            Order::NewestFirst(events) => return Ok(events.pop()),
            Order::OldestFirst(peeked) if peeked.is_some() => return Ok(peeked.take()),
            Order::OldestFirst(_) => return self.read(),
            Order::Unknown => {}
        }
        let first = match self.read()? {
            Some(Read::Event(first, _)) => first,
            other => return Ok(other),
        };
        let second = self.read()?;
        self.order = match second {
            Some(Read::Event(second, _)) if is_before(&second, &first) => {
                Order::NewestFirst(self.newest_first(vec![first, second])?)
            }
            second => {
                self.order = Order::OldestFirst(second);
                return Ok(Some(Read::Event(first, None)));
            }
        };
        self.next()
    }

    fn read(&mut self) -> anyhow::Result<Option<Read>> {
        if self.is_ended {
            return Ok(None);
        }
        let line = self.next_line().with_context(|| format!("{} can't be read", self.input.name()));
        let line = match line {
            Ok(line) => line,
            // The end of a compressed file may be missing, or a part of it damaged.
            Err(error) if self.lines.is_some() => {
                self.is_ended = true;
                let detail = format!("the rest can't be read: {}", error.root_cause());
                return Ok(Some(self.unreadable(self.read + 1, detail)));
            }
            Err(error) => return Err(error),
        };
        Ok(match line {
            None => {
                (self.is_ended, self.lines) = (true, None);
                None
            }
            Some(Line::TooLong(number)) => {
                Some(self.unreadable(number, "the line is too long for an event".to_owned()))
            }
            Some(Line::Text { number, text, is_last }) => {
                Some(match Envelope::parse(text, &self.options) {
                    Ok(envelope) => Read::Event(envelope, None),
                    Err(_) if is_last => {
                        self.unreadable(number, "the last line is incomplete".to_owned())
                    }
                    Err(error) => self.unreadable(number, error.to_string()),
                })
            }
        })
    }

    /// Reads the rest of the file, and returns all of it with the newest event first.
    fn newest_first(&mut self, first: Vec<Envelope>) -> anyhow::Result<Vec<Read>> {
        let (mut events, mut unreadable, mut bytes) = (first, Vec::new(), 0);
        while let Some(read) = self.read()? {
            match read {
                Read::Event(envelope, _) => {
                    bytes += envelope.event.raw().len();
                    // Parsed fields would stay in memory with the event.
                    events.push(Envelope { event: envelope.event.unparsed(), ..envelope });
                }
                Read::Unreadable(_) => unreadable.push(read),
            }
            if bytes > MAX_SORTED {
                let name = self.input.name();
                bail!("{name} has its newest event first, and is too large for that; reverse it");
            }
        }
        // Exports one after the other, or of several journals.
        if !events.is_sorted_by(|a, b| a.seq >= b.seq) {
            events.sort_by_key(|event| Reverse((event.received_at, event.seq)));
        }
        let events = events.into_iter().map(|envelope| Read::Event(envelope, None));
        Ok(events.chain(unreadable).collect())
    }

    fn next_line(&mut self) -> io::Result<Option<Line>> {
        if self.lines.is_none() {
            let mut lines = self.input.open(&self.bytes)?;
            lines.skip(self.read)?;
            self.lines = Some(lines);
        }
        let lines = self.lines.as_mut().expect("it was opened if it was closed");
        let line = lines.next();
        self.read = lines.number();
        line
    }

    fn unreadable(&self, line: u64, detail: String) -> Read {
        let (source, line) = (self.input.name(), Some(line));
        Read::Unreadable(Unreadable { source, line, detail, events: 1 })
    }
}

fn is_before(a: &Envelope, b: &Envelope) -> bool {
    (a.seq, a.received_at) < (b.seq, b.received_at) && a.received_at <= b.received_at
}

/// Events of the journal.
pub(super) struct JournalEvents {
    reader: Reader,
    epoch: Option<u64>,
    options: ParseOptions,
    bytes: Arc<AtomicU64>,
    records: VecDeque<(u64, Record)>,
    /// Last record.
    head: Arc<AtomicU64>,
}

impl JournalEvents {
    /// Creates the events of a journal; `bytes` counts what is read. `head` is set to the last
    /// record once all are read.
    ///
    /// # Errors
    /// If the journal can't be read.
    pub(super) fn new(
        journal: &OfflineJournal,
        options: ParseOptions,
        bytes: Arc<AtomicU64>,
        head: Arc<AtomicU64>,
    ) -> anyhow::Result<Self> {
        let (reader, epoch) = (journal.reader(0)?, journal.epoch()?);
        Ok(Self { reader, epoch, options, bytes, records: VecDeque::new(), head })
    }

    fn next(&mut self) -> anyhow::Result<Option<Read>> {
        loop {
            if let Some((seq, record)) = self.records.pop_front() {
                let read = RECORD + record.payload.len() as u64;
                self.bytes.fetch_add(read, Ordering::Relaxed);
                return Ok(Some(self.event(seq, record)));
            }
            match self.reader.read().context("the journal can't be read")? {
                None => {
                    self.head.store(self.reader.next_seq() - 1, Ordering::Relaxed);
                    return Ok(None);
                }
                Some(Chunk::Records { first_seq, records }) => {
                    self.records = (first_seq..).zip(records).collect();
                }
                Some(Chunk::Gap { reason: GapReason::Expired, .. }) => {}
                Some(Chunk::Gap { first_seq, last_seq, .. }) => {
                    return Ok(Some(Read::Unreadable(Unreadable {
                        source: "the journal".to_owned(),
                        line: None,
                        detail: format!("records {first_seq} to {last_seq} are corrupt"),
                        events: last_seq - first_seq + 1,
                    })));
                }
            }
        }
    }

    fn event(&self, seq: u64, record: Record) -> Read {
        let micros = i64::try_from(record.received_at).unwrap_or(i64::MAX);
        let received_at = Timestamp::from_microsecond(micros).unwrap_or(Timestamp::MAX);
        match Submission::parse_with(record.payload, &self.options) {
            Ok(Submission { event, .. }) => {
                let id = Uuid::from_bytes(record.id);
                Read::Event(Envelope { id, seq, received_at, event }, self.epoch)
            }
            Err(error) => Read::Unreadable(Unreadable {
                source: "the journal".to_owned(),
                line: None,
                detail: format!("record {seq}: {error}"),
                events: 1,
            }),
        }
    }
}
