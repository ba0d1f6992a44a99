//! What a worker reads: the last events from memory, older ones from the journal.

use std::collections::VecDeque;
use std::sync::Arc;

use observer_core::Envelope;
use observer_journal::{Chunk, GapReason, Reader};

use crate::record::envelope;
use crate::source::Source;
use crate::source::tail::Look;

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
    pub(crate) fn first_seq(&self) -> u64 {
        match self {
            Self::Event(envelope) => envelope.seq,
            Self::Gap { last_seq, count, .. } => last_seq + 1 - count,
        }
    }

    pub(crate) fn last_seq(&self) -> u64 {
        match self {
            Self::Event(envelope) => envelope.seq,
            Self::Gap { last_seq, .. } => *last_seq,
        }
    }

    /// What of it comes no later than `last`.
    fn up_to(self, last: u64) -> Option<Self> {
        let first_seq = self.first_seq();
        match self {
            Self::Gap { last_seq, reason, .. } if first_seq <= last && last_seq > last => {
                Some(Self::Gap { last_seq: last, count: last + 1 - first_seq, reason })
            }
            item => (first_seq <= last).then_some(item),
        }
    }
}

pub(crate) struct Feed {
    source: Source,
    /// Where it ends.
    last: u64,
    /// The sequence number after the last one in `ready`.
    next: u64,
    ready: VecDeque<Item>,
    reader: Option<Reader>,
}

impl Feed {
    /// What comes after `after`, up to `last`.
    pub(crate) fn new(source: Source, after: u64, last: u64) -> Self {
        Self { source, last, next: after + 1, ready: VecDeque::new(), reader: None }
    }

    /// Look at the next item; `None` at the head and at the end. Nothing is lost when this is
    /// dropped half-way.
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
        if self.next > self.last {
            return Ok(());
        }
        match self.source.tail.from(self.next, TAKE) {
            Look::Found(events) => {
                self.reader = None;
                self.add(events.into_iter().map(Item::Event).collect());
                return Ok(());
            }
            Look::NotYet => return Ok(()),
            Look::Gone => {}
        }
        let reader = self.reader.take().filter(|reader| reader.next_seq() == self.next);
        let reader = reader.unwrap_or_else(|| self.source.journal.reader(self.next - 1));
        let (reader, items) = self.source.blocking.run(move || read_ahead(reader)).await??;
        self.reader = Some(reader);
        self.add(items);
        Ok(())
    }

    fn add(&mut self, items: Vec<Item>) {
        self.ready.extend(items.into_iter().map_while(|item| item.up_to(self.last)));
        self.next = self.ready.back().map_or(self.next, |last| last.last_seq() + 1);
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
