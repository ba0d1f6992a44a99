//! What a worker reads: the last events from memory, older ones from the journal.

use std::collections::VecDeque;
use std::sync::Arc;

use observer_core::Envelope;
use observer_journal::{Chunk, GapReason, Journal, Reader};

use crate::blocking::Blocking;
use crate::ingest::envelope;
use crate::tail::{Look, Tail};

/// How many bytes of older events are read at once.
const READ_AHEAD: usize = 1 << 20;
/// How many events are taken from memory at once.
const TAKE: usize = 1024;

/// What comes next.
#[derive(Debug)]
pub(crate) enum Item {
    Event(Arc<Envelope>),
    /// Events that are not there any more.
    Gap {
        last_seq: u64,
        count: u64,
        reason: GapReason,
    },
}

impl Item {
    pub(crate) fn last_seq(&self) -> u64 {
        match self {
            Self::Event(envelope) => envelope.seq,
            Self::Gap { last_seq, .. } => *last_seq,
        }
    }
}

pub(crate) struct Feed {
    blocking: Blocking,
    journal: Arc<Journal>,
    tail: Arc<Tail>,
    /// The sequence number after the last one in `ready`.
    next: u64,
    ready: VecDeque<Item>,
    reader: Option<Reader>,
}

impl Feed {
    pub(crate) fn new(blocking: Blocking, journal: Arc<Journal>, tail: Arc<Tail>, after: u64) -> Self {
        Self { blocking, journal, tail, next: after + 1, ready: VecDeque::new(), reader: None }
    }

    /// Look at the next item; `None` at the head. Nothing is lost when this is dropped half-way.
    pub(crate) async fn peek(&mut self) -> std::io::Result<Option<&Item>> {
        if self.ready.is_empty() {
            self.fill().await?;
        }
        Ok(self.ready.front())
    }

    /// The item that was looked at.
    pub(crate) fn take(&mut self) -> Option<Item> {
        self.ready.pop_front()
    }

    /// Whether what was read last came from the journal, being too old to be in memory.
    pub(crate) fn lags(&self) -> bool {
        self.reader.is_some()
    }

    async fn fill(&mut self) -> std::io::Result<()> {
        match self.tail.from(self.next, TAKE) {
            Look::Found(events) => {
                self.reader = None;
                self.add(events.into_iter().map(Item::Event).collect());
                return Ok(());
            }
            Look::NotYet => return Ok(()),
            Look::Gone => {}
        }
        let reader = self.reader.take().filter(|reader| reader.next_seq() == self.next);
        let reader = reader.unwrap_or_else(|| self.journal.reader(self.next - 1));
        let (reader, items) = self.blocking.run(move || read_ahead(reader)).await??;
        self.reader = Some(reader);
        self.add(items);
        Ok(())
    }

    fn add(&mut self, items: Vec<Item>) {
        self.next = items.last().map_or(self.next, |last| last.last_seq() + 1);
        self.ready.extend(items);
    }
}

fn read_ahead(mut reader: Reader) -> std::io::Result<(Reader, Vec<Item>)> {
    let (mut items, mut bytes) = (Vec::new(), 0);
    while bytes < READ_AHEAD
        && let Some(chunk) = reader.read()?
    {
        match chunk {
            Chunk::Gap { first_seq, last_seq, reason } => {
                items.push(Item::Gap { last_seq, count: last_seq - first_seq + 1, reason });
            }
            Chunk::Records { first_seq, records } => {
                for (seq, record) in (first_seq..).zip(records) {
                    bytes += record.payload.len();
                    items.push(Item::Event(Arc::new(envelope(seq, record))));
                }
            }
        }
    }
    Ok((reader, items))
}
