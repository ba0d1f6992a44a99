//! Event reader: recent events from the tail cache, older ones from the journal.

use std::collections::VecDeque;
use std::sync::Arc;

use observer_core::Envelope;
use observer_journal::{Chunk, GapReason, Reader};

use crate::event_log::EventLog;
use crate::event_log::record::envelope;
use crate::event_log::tail::Lookup;

/// Bytes of older events that are read at once.
const READ_AHEAD: usize = 1 << 20;
/// Number of events that are taken from the tail cache at once.
const TAKE: usize = 1024;

/// Next item of a reader.
#[derive(Debug)]
pub(crate) enum Item {
    Event(Arc<Envelope>),
    /// Events that the journal no longer has.
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

    /// Returns the part of the item up to `last`, if any.
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

/// Reader of the events in a range of sequence numbers, in order.
pub(crate) struct EventReader {
    event_log: EventLog,
    /// Last sequence number of the range.
    last: u64,
    /// Sequence number after the last item in `ready`.
    next: u64,
    ready: VecDeque<Item>,
    /// Reader of the journal while this reader is lagging.
    journal_reader: Option<Reader>,
}

impl EventReader {
    /// Creates a reader of the events after `after`, up to `last`.
    pub(crate) fn new(event_log: EventLog, after: u64, last: u64) -> Self {
        Self { event_log, last, next: after + 1, ready: VecDeque::new(), journal_reader: None }
    }

    /// Returns the next item without consuming it; `None` at the head and at the end of the range.
    ///
    /// Cancel safe: no item is lost.
    pub(crate) async fn peek(&mut self) -> std::io::Result<Option<&Item>> {
        if self.ready.is_empty() {
            self.fill().await?;
        }
        Ok(self.ready.front())
    }

    /// Consumes the item that [`peek`](Self::peek) returned.
    pub(crate) fn take(&mut self) -> Option<Item> {
        self.ready.pop_front()
    }

    /// Returns the sequence number of the next item.
    pub(crate) fn next_seq(&self) -> u64 {
        self.ready.front().map_or(self.next, Item::first_seq)
    }

    /// Returns whether the reader is lagging: the last items came from the journal, since they were
    /// too old for the tail cache.
    pub(crate) fn lags(&self) -> bool {
        self.journal_reader.is_some()
    }

    async fn fill(&mut self) -> std::io::Result<()> {
        if self.next > self.last {
            return Ok(());
        }
        match self.event_log.tail.read_from(self.next, TAKE) {
            Lookup::Found(events) => {
                self.journal_reader = None;
                self.add(events.into_iter().map(Item::Event).collect());
                return Ok(());
            }
            Lookup::NotYet => return Ok(()),
            Lookup::Evicted => {}
        }
        let reader = self.journal_reader.take().filter(|reader| reader.next_seq() == self.next);
        let reader = reader.unwrap_or_else(|| self.event_log.journal.reader(self.next - 1));
        let tagged_since = self.event_log.tagged_since;
        let read_ahead = move || read_ahead(reader, tagged_since);
        let (reader, items) = self.event_log.blocking.run(read_ahead).await??;
        self.journal_reader = Some(reader);
        self.add(items);
        Ok(())
    }

    fn add(&mut self, items: Vec<Item>) {
        self.ready.extend(items.into_iter().map_while(|item| item.up_to(self.last)));
        self.next = self.ready.back().map_or(self.next, |last| last.last_seq() + 1);
    }
}

fn read_ahead(mut reader: Reader, tagged_since: u64) -> std::io::Result<(Reader, Vec<Item>)> {
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
                    let is_tagged = record.received_at >= tagged_since;
                    items.push(Item::Event(Arc::new(envelope(seq, record, is_tagged))));
                }
            }
        }
    }
    Ok((reader, items))
}
