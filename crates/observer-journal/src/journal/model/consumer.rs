//! Those who read.

use std::collections::BTreeMap;

use super::world::{OPTIONAL, OWN, World};
use crate::{Chunk, GapReason, Reader, StoredPosition};

pub(super) struct Consumer {
    pub(super) name: &'static str,
    reader: Option<Reader>,
    /// The record that it reads next.
    next: u64,
    /// The last record that it has seen.
    reached: u64,
    /// The numbers of the records up to that one, but for those that had expired.
    seen: BTreeMap<u64, u64>,
    /// Epoch and sequence number, where it keeps them itself.
    own: Option<(u64, u64)>,
    /// It has not come back since the journal was opened.
    pub(super) waits: bool,
}

impl Consumer {
    pub(super) fn new(name: &'static str) -> Self {
        Self {
            name,
            reader: None,
            next: 1,
            reached: 0,
            seen: BTreeMap::new(),
            own: None,
            waits: false,
        }
    }

    /// What it has seen after that counts no more.
    fn go_on_after(&mut self, seq: u64, reader: Reader) {
        assert!(seq <= self.reached, "{} has never been at {seq}", self.name);
        self.seen.split_off(&(seq + 1));
        (self.reached, self.next, self.reader) = (seq, seq + 1, Some(reader));
    }
}

/// Which record that is.
fn number(id: [u8; 16]) -> u64 {
    u64::try_from(u128::from_le_bytes(id)).unwrap()
}

impl World {
    pub(super) fn read(&mut self, at: usize, chunks: u8) {
        let mut reader =
            self.consumers[at].reader.take().expect("it reads on since the journal was opened");
        for _ in 0..chunks {
            let next = self.consumers[at].next;
            match reader.read() {
                Err(error) if self.disk.is_off() => return assert!(self.struck(), "{error}"),
                Err(error) => assert!(self.struck(), "{error}"),
                Ok(None) => {
                    assert!(next > self.plain.head, "no more after {next} of {}", self.plain.head)
                }
                Ok(Some(chunk)) => {
                    let after = self.check_chunk(next, &chunk);
                    let consumer = &mut self.consumers[at];
                    (consumer.next, consumer.reached) = (after, consumer.reached.max(after - 1));
                    if let Chunk::Records { first_seq, records } = chunk {
                        let numbers = records.iter().map(|record| number(record.id));
                        self.consumers[at].seen.extend((first_seq..).zip(numbers));
                    } else {
                        self.tally.gaps += 1;
                    }
                }
            }
            assert_eq!(reader.next_seq(), self.consumers[at].next);
        }
        self.consumers[at].reader = Some(reader);
    }

    /// What is read at `next` is just what is there. Gives the place after it.
    pub(super) fn check_chunk(&self, next: u64, chunk: &Chunk) -> u64 {
        let oldest = self.plain.oldest();
        if next < oldest {
            let gap =
                Chunk::Gap { first_seq: next, last_seq: oldest - 1, reason: GapReason::Expired };
            assert_eq!(*chunk, gap, "what has expired is told, and nothing else");
            return oldest;
        }
        let (_, last) =
            self.blocks.range(..=next).next_back().expect("the oldest record has a block");
        let records: Vec<_> =
            self.records.range(next..=*last).map(|(_, record)| record.clone()).collect();
        assert_eq!(*chunk, Chunk::Records { first_seq: next, records });
        last + 1
    }

    pub(super) fn go_back(&mut self, of_255: u8) {
        let to = (self.consumers[OPTIONAL].next - 1) * u64::from(of_255) / 255;
        self.consumers[OPTIONAL].reader = Some(self.journal().reader(to));
        self.consumers[OPTIONAL].next = to + 1;
    }

    pub(super) fn settle(&mut self, at: usize) {
        let consumer = &self.consumers[at];
        let seq = consumer.next - 1;
        let epoch = self.journal().epoch();
        if at == OWN {
            self.consumers[at].own = Some((epoch, seq));
            return;
        }
        let state = bytes::Bytes::from(format!("{} has {seq} at {}", consumer.name, self.now()));
        self.journal().set_position(consumer.name, seq, state.clone());
        self.plain
            .said
            .readers
            .insert(consumer.name.to_owned(), StoredPosition { epoch, seq, state });
    }

    /// After opening, consumers go on from where the journal says they are.
    pub(super) fn resume(&mut self) {
        for at in 0..OWN {
            let stored = self.journal().position(self.consumers[at].name);
            let seq = stored.map_or(0, |stored| stored.seq);
            assert_eq!(
                seq,
                self.plain.position(self.plain.said.readers.get(self.consumers[at].name))
            );
            let reader = self.journal().reader(seq);
            self.consumers[at].go_on_after(seq, reader);
        }
        let own = &mut self.consumers[OWN];
        if std::mem::replace(&mut own.waits, true) {
            // The journal ended before it came. What was appended meanwhile may have taken numbers
            // that it knows, and then no one can tell.
            own.own = None;
        }
        own.reader = None;
    }

    /// The one that keeps its position itself.
    pub(super) fn come_back(&mut self) {
        let epochs = self.plain.said.epochs.len();
        let own = self.consumers[OWN].own;
        let found = own.and_then(|(epoch, seq)| self.journal().resolve(epoch, seq, 0));
        let now = self.now();
        let head = self.journal().shared.opened_head;
        let expected = own.and_then(|(epoch, seq)| self.plain.comes_back(epoch, seq, head, now));
        assert_eq!(found, expected);
        let seq = found.unwrap_or(0);
        let reader = self.journal().reader(seq);
        self.consumers[OWN].go_on_after(seq, reader);
        self.consumers[OWN].waits = false;
        if self.plain.said.epochs.len() > epochs {
            self.candidates = vec![self.plain.said.clone()];
            self.tally.late_epochs += 1;
        }
    }

    /// No one stands behind a record that it has not seen.
    pub(super) fn check_consumers(&self) {
        for consumer in self.consumers.iter().filter(|consumer| !consumer.waits) {
            for (seq, seen) in &consumer.seen {
                let is = self.records.get(seq).map(|record| number(record.id));
                assert_eq!(is, Some(*seen), "{} has seen another record as {seq}", consumer.name);
            }
        }
    }
}
