//! What is done to the journal and to the plain model of it, and how they compare.

use std::sync::mpsc;

use super::plain::{Plain, Segment, block_size};
use super::world::{Refused, World};
use crate::positions::Positions;
use crate::testing::{Commit, append_of};
use crate::{AppendError, Record};

/// The longest time for which no fresh segment is tried after a failure, in microseconds.
const LONGEST_PAUSE: u64 = 30_000_000;

impl World {
    pub(super) fn append(&mut self, sizes: &[Vec<u16>]) {
        let now = self.now();
        let mut record = |size: &u16| {
            self.numbers += 1;
            let text = format!("{} {}", self.numbers, "x".repeat(usize::from(*size)));
            Record::new(now, u128::from(self.numbers).to_le_bytes(), text)
        };
        let appends: Vec<Vec<_>> =
            sizes.iter().map(|sizes| sizes.iter().map(&mut record).collect()).collect();
        let records = appends.concat();
        let (count, size) = (records.len() as u64, block_size(&records));
        let first_seq = self.plain.head + 1;
        let mut then = self.plain.clone();
        let expected = then.append(count, size, now);

        self.try_to_store();
        match self.commit(appends) {
            Ok(()) => {
                assert!(
                    !self.certain() || expected.is_ok(),
                    "taken, although {expected:?} is not done with the oldest"
                );
                self.keep(first_seq, records);
                then.head = self.plain.head;
                self.change(then);
                if !self.disk.is_off() {
                    (self.sure, self.plain.is_open, self.failed_at) = (true, true, None);
                }
            }
            Err(AppendError::Full { holder, wanted, .. }) => {
                assert_eq!((wanted, holder.as_str()), (size, "required"));
                assert!(
                    !self.certain() || expected == Err(holder),
                    "full, where there should be room"
                );
                then.head = self.plain.head;
                self.change(then);
                self.tally.full += 1;
            }
            Err(error) => {
                let paused = self.failed_at.is_some_and(|at| now < at + LONGEST_PAUSE);
                assert!(self.struck() || paused, "nothing went wrong, and yet: {error}");
                then.head = self.plain.head;
                self.change(then);
                self.sure = false;
                self.tally.refused += 1;
                if self.struck() {
                    self.failed_at = Some(now);
                    let is_undone = matches!(error, AppendError::Write { .. })
                        && !self.disk.is_off()
                        && !self.struck_again();
                    self.may_be_torn |= !is_undone;
                    self.refused.push(Refused { first_seq, records, is_old: false, is_undone });
                }
            }
        }
    }

    /// All in one group: each is told what became of it, and all the same.
    fn commit(&mut self, appends: Vec<Vec<Record>>) -> Result<(), AppendError> {
        let (sender, receiver) = mpsc::channel();
        let told = |records: &Vec<Record>| {
            let sender = sender.clone();
            append_of(records.clone(), move |result| sender.send(result).unwrap())
        };
        let group = appends.iter().map(told).collect();
        let journal = self.journal();
        journal.log().commit(group, &*journal.on_commit);
        let results: Vec<_> = receiver.try_iter().collect();
        assert_eq!(results.len(), appends.len());
        let mut first_seq = self.plain.head + 1;
        let outcome = results[0].clone().map(drop);
        for (records, result) in appends.into_iter().zip(results) {
            assert_eq!(result.is_ok(), outcome.is_ok(), "all or none");
            let count = records.len() as u64;
            assert!(result.is_err() || result.unwrap() == Commit { first_seq, records });
            first_seq += count;
        }
        outcome
    }

    /// It is there from now on.
    pub(super) fn keep(&mut self, first_seq: u64, records: Vec<Record>) {
        self.tally.acknowledged += 1;
        self.plain.head = first_seq + records.len() as u64 - 1;
        self.blocks.insert(first_seq, self.plain.head);
        self.records.extend((first_seq..).zip(records));
    }

    pub(super) fn maintain(&mut self) {
        let mut then = self.plain.clone();
        then.maintain(self.now());
        self.try_to_store();
        let failed_before = self.journal().status().failure.is_some();
        let result = self.journal().maintain();
        assert!(result.is_ok() || self.struck(), "nothing went wrong, and yet: {result:?}");
        if self.disk.is_off() {
            return self.change(then);
        }
        if result.is_ok() {
            self.candidates = vec![self.plain.said.clone()];
        }
        if self.struck() && failed_before {
            self.sure = false;
            self.failed_at = self.failed_at.map(|_| self.now());
        }
        self.change(then);
        if !self.sure && self.journal().status().failure.is_none() {
            (self.sure, self.plain.is_open, self.failed_at) = (true, true, None);
        }
    }

    /// The positions as they are said to be may come into the file now.
    pub(super) fn try_to_store(&mut self) {
        if !self.candidates.contains(&self.plain.said) {
            self.candidates.push(self.plain.said.clone());
        }
    }

    /// This is in the file, or as much of it as is in there whichever of them the file is.
    pub(super) fn may_be_durable(&self, durable: &Positions) -> bool {
        let is_part = |candidate: &Positions| {
            let readers = &candidate.readers;
            candidate.epochs == durable.epochs
                && durable.readers.iter().all(|(name, stored)| readers.get(name) == Some(stored))
        };
        self.candidates.iter().any(is_part)
    }

    /// The journal does just what the plain model says.
    pub(super) fn certain(&self) -> bool {
        self.sure && !self.struck()
    }

    /// Here the plain model ends up if nothing goes wrong.
    fn change(&mut self, then: Plain) {
        let before = std::mem::replace(&mut self.plain, then);
        if self.disk.is_off() {
            // How far it came isn't known.
            self.plain.undead.extend(before.undead);
            self.plain.undead.extend(before.segments);
            return;
        }
        if self.certain() {
            return;
        }
        let found = self.segments();
        let gone = |segment: &&Segment| {
            found.first().is_none_or(|oldest| segment.first_seq < oldest.first_seq)
        };
        let gone: Vec<_> = before.segments.iter().filter(gone).copied().collect();
        if self.sure {
            let oldest = found.first().map_or(self.plain.head + 1, |segment| segment.first_seq);
            assert!(
                oldest <= self.plain.oldest(),
                "more is gone than had to go: {before:#?}, and then {found:#?}"
            );
        }
        self.plain.undead = before.undead;
        self.plain.undead.extend(gone);
        // What was begun is open, also where something went wrong after that.
        let last = |segments: &[Segment]| segments.last().map(|segment| segment.first_seq);
        self.plain.is_open = before.is_open || last(&found) != last(&before.segments);
        self.plain.segments = found;
        self.plain.wanted = match self.journal().status().failure {
            Some(AppendError::Full { wanted, .. }) => Some(wanted),
            _ => None,
        };
        let durable = self.journal().shared.readers().durable.clone();
        assert!(self.may_be_durable(&durable) || durable == before.durable);
        self.plain.durable = durable;
    }
}
