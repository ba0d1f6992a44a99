//! Steps of the consumers: reading, going back, committing, and resuming after the journal is
//! opened.

use super::consumer::{OPTIONAL, OWN};
use super::world::World;
use crate::{Chunk, GapReason, StoredPosition};

/// Returns the number of a record.
fn number(id: [u8; 16]) -> u64 {
    u64::try_from(u128::from_le_bytes(id)).unwrap()
}

impl World {
    pub(super) fn read(&mut self, at: usize, chunks: u8) {
        let mut reader = self.consumers[at]
            .reader
            .take()
            .expect("the consumer has resumed since the journal was opened");
        for _ in 0..chunks {
            let next = self.consumers[at].next;
            match reader.read() {
                Err(error) if self.disk.is_off() => return assert!(self.has_fault(), "{error}"),
                Err(error) => assert!(self.has_fault(), "{error}"),
                Ok(None) => {
                    assert!(
                        next > self.reference.head,
                        "record {next} of {} is not read",
                        self.reference.head
                    );
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

    /// Checks that a chunk read at `next` is what the journal should contain there. Returns the
    /// sequence number after it.
    pub(super) fn check_chunk(&self, next: u64, chunk: &Chunk) -> u64 {
        let oldest = self.reference.oldest();
        if next < oldest {
            let gap =
                Chunk::Gap { first_seq: next, last_seq: oldest - 1, reason: GapReason::Expired };
            assert_eq!(*chunk, gap, "the expired records are a gap");
            return oldest;
        }
        let (_, last) =
            self.blocks.range(..=next).next_back().expect("the oldest record has a block");
        let records: Vec<_> =
            self.records.range(next..=*last).map(|(_, record)| record.clone()).collect();
        assert_eq!(*chunk, Chunk::Records { first_seq: next, records });
        last + 1
    }

    pub(super) fn move_back(&mut self, of_255: u8) {
        let to = (self.consumers[OPTIONAL].next - 1) * u64::from(of_255) / 255;
        self.consumers[OPTIONAL].reader = Some(self.journal().reader(to));
        self.consumers[OPTIONAL].next = to + 1;
    }

    pub(super) fn commit_position(&mut self, at: usize) {
        let consumer = &self.consumers[at];
        let seq = consumer.next - 1;
        let epoch = self.journal().epoch();
        if at == OWN {
            self.consumers[at].own = Some((epoch, seq));
            return;
        }
        let state = bytes::Bytes::from(format!("{} has {seq} at {}", consumer.name, self.now()));
        self.journal().set_position(consumer.name, seq, state.clone());
        self.reference
            .current
            .readers
            .insert(consumer.name.to_owned(), StoredPosition { epoch, seq, state });
    }

    /// Resumes the consumers at their positions after the journal is opened.
    pub(super) fn resume(&mut self) {
        for at in 0..OWN {
            let stored = self.journal().position(self.consumers[at].name);
            let seq = stored.map_or(0, |stored| stored.seq);
            assert_eq!(
                seq,
                self.reference
                    .position(self.reference.current.readers.get(self.consumers[at].name))
            );
            let reader = self.journal().reader(seq);
            self.consumers[at].resume_after(seq, reader);
        }
        let own = &mut self.consumers[OWN];
        if std::mem::replace(&mut own.is_absent, true) {
            // The journal was closed before this consumer resumed. New records may have sequence
            // numbers that it has read, which the journal can't detect.
            own.own = None;
        }
        own.reader = None;
    }

    /// Resumes the consumer that stores its position itself.
    pub(super) fn resume_own(&mut self) {
        let epochs = self.reference.current.epochs.len();
        let own = self.consumers[OWN].own;
        let found = own.and_then(|(epoch, seq)| self.journal().translate(epoch, seq, 0));
        let now = self.now();
        let head = self.journal().state.opened_head;
        let expected =
            own.and_then(|(epoch, seq)| self.reference.resolve_own(epoch, seq, head, now));
        assert_eq!(found, expected);
        let seq = found.unwrap_or(0);
        let reader = self.journal().reader(seq);
        self.consumers[OWN].resume_after(seq, reader);
        self.consumers[OWN].is_absent = false;
        if self.reference.current.epochs.len() > epochs {
            self.candidates = vec![self.reference.current.clone()];
            self.tally.late_epochs += 1;
        }
    }

    /// Checks that no consumer is past a record that it has not read.
    pub(super) fn check_consumers(&self) {
        for consumer in self.consumers.iter().filter(|consumer| !consumer.is_absent) {
            for (seq, seen) in &consumer.seen {
                let is = self.records.get(seq).map(|record| number(record.id));
                assert_eq!(is, Some(*seen), "{} has read another record as {seq}", consumer.name);
            }
        }
    }
}
