//! Steps of the journal and of the reference model, and their comparison.

use std::sync::mpsc;

use super::reference::{Reference, Segment, block_size};
use super::world::{Rejected, World};
use crate::positions::Positions;
use crate::testing::{Commit, append_of};
use crate::{AppendError, Record};

/// Longest pause before a new segment after a failure, in microseconds.
const LONGEST_PAUSE: u64 = 30_000_000;

impl World {
    pub(super) fn append(&mut self, sizes: &[Vec<u16>]) {
        let now = self.now();
        let mut record = |size: &u16| {
            self.numbers += 1;
            let text = format!("{} {}", self.numbers, "x".repeat(usize::from(*size)));
            let tag = u16::try_from(self.numbers * 37 % 1024).unwrap();
            Record::new(now, u128::from(self.numbers).to_le_bytes(), text).with_tag(tag)
        };
        let appends: Vec<Vec<_>> =
            sizes.iter().map(|sizes| sizes.iter().map(&mut record).collect()).collect();
        let records = appends.concat();
        let (count, size) = (records.len() as u64, block_size(&records));
        let first_seq = self.reference.head + 1;
        let mut then = self.reference.clone();
        let expected = then.append(count, size, now);

        self.add_candidate();
        match self.commit(appends) {
            Ok(()) => {
                assert!(
                    !self.must_match() || expected.is_ok(),
                    "accepted, although the model expects {expected:?}"
                );
                self.add_acknowledged(first_seq, records);
                then.head = self.reference.head;
                self.apply(then);
                if !self.disk.is_off() {
                    (self.is_certain, self.reference.is_open, self.failed_at) = (true, true, None);
                }
            }
            Err(AppendError::Full { holder, wanted, .. }) => {
                assert_eq!((wanted, holder.as_str()), (size, "required"));
                assert!(
                    !self.must_match() || expected == Err(holder),
                    "full, although the model expects space"
                );
                then.head = self.reference.head;
                self.apply(then);
                self.tally.full += 1;
            }
            Err(error) => {
                let paused = self.failed_at.is_some_and(|at| now < at + LONGEST_PAUSE);
                assert!(self.has_fault() || paused, "error without a fault: {error}");
                then.head = self.reference.head;
                self.apply(then);
                self.is_certain = false;
                self.tally.rejected += 1;
                if self.has_fault() {
                    self.failed_at = Some(now);
                    let is_undone = matches!(error, AppendError::Write { .. })
                        && !self.disk.is_off()
                        && !self.has_several_faults();
                    self.may_be_torn |= !is_undone;
                    self.rejected.push(Rejected { first_seq, records, is_old: false, is_undone });
                }
            }
        }
    }

    /// Commits appends as one group, and checks that all have the same result.
    fn commit(&mut self, appends: Vec<Vec<Record>>) -> Result<(), AppendError> {
        let (sender, receiver) = mpsc::channel();
        let append = |records: &Vec<Record>| {
            let sender = sender.clone();
            append_of(records.clone(), move |result| sender.send(result).unwrap())
        };
        let group = appends.iter().map(append).collect();
        let journal = self.journal();
        journal.log().commit(group, &*journal.on_commit);
        let results: Vec<_> = receiver.try_iter().collect();
        assert_eq!(results.len(), appends.len());
        let mut first_seq = self.reference.head + 1;
        let first_result = results[0].clone().map(drop);
        for (records, result) in appends.into_iter().zip(results) {
            assert_eq!(
                first_result.is_ok(),
                result.is_ok(),
                "the appends of a group have the same result"
            );
            let count = records.len() as u64;
            assert!(result.is_err() || result.unwrap() == Commit { first_seq, records });
            first_seq += count;
        }
        first_result
    }

    /// Adds acknowledged records to the reference.
    pub(super) fn add_acknowledged(&mut self, first_seq: u64, records: Vec<Record>) {
        self.tally.acknowledged += 1;
        self.reference.head = first_seq + records.len() as u64 - 1;
        self.blocks.insert(first_seq, self.reference.head);
        self.records.extend((first_seq..).zip(records));
    }

    pub(super) fn maintain(&mut self) {
        let mut then = self.reference.clone();
        then.maintain(self.now());
        self.add_candidate();
        let failed_before = self.journal().status().failure.is_some();
        let result = self.journal().maintain();
        assert!(result.is_ok() || self.has_fault(), "error without a fault: {result:?}");
        if self.disk.is_off() {
            return self.apply(then);
        }
        if result.is_ok() {
            self.candidates = vec![self.reference.current.clone()];
        }
        if self.has_fault() && failed_before {
            self.is_certain = false;
            self.failed_at = self.failed_at.map(|_| self.now());
        }
        self.apply(then);
        if !self.is_certain && self.journal().status().failure.is_none() {
            (self.is_certain, self.reference.is_open, self.failed_at) = (true, true, None);
        }
    }

    /// Adds the current positions to the possible contents of the file.
    pub(super) fn add_candidate(&mut self) {
        if !self.candidates.contains(&self.reference.current) {
            self.candidates.push(self.reference.current.clone());
        }
    }

    /// Returns whether the readers in `durable` are in one of the possible contents of the file.
    pub(super) fn may_be_durable(&self, durable: &Positions) -> bool {
        let is_part = |candidate: &Positions| {
            let readers = &candidate.readers;
            candidate.epochs == durable.epochs
                && durable.readers.iter().all(|(name, stored)| readers.get(name) == Some(stored))
        };
        self.candidates.iter().any(is_part)
    }

    /// Returns whether the journal must behave exactly as the reference model.
    pub(super) fn must_match(&self) -> bool {
        self.is_certain && !self.has_fault()
    }

    /// Replaces the reference model by `then`, its state without faults, and adapts it to the
    /// faults that occurred.
    fn apply(&mut self, then: Reference) {
        let before = std::mem::replace(&mut self.reference, then);
        if self.disk.is_off() {
            // The operation at which the process ended is unknown.
            self.reference.unsynced_removals.extend(before.unsynced_removals);
            self.reference.unsynced_removals.extend(before.segments);
            return;
        }
        if self.must_match() {
            return;
        }
        let found = self.segments();
        let removed = |segment: &&Segment| {
            found.first().is_none_or(|oldest| segment.first_seq < oldest.first_seq)
        };
        let removed: Vec<_> = before.segments.iter().filter(removed).copied().collect();
        if self.is_certain {
            let oldest = found.first().map_or(self.reference.head + 1, |segment| segment.first_seq);
            assert!(
                oldest <= self.reference.oldest(),
                "too many segments were removed: {before:#?}, and then {found:#?}"
            );
        }
        self.reference.unsynced_removals = before.unsynced_removals;
        self.reference.unsynced_removals.extend(removed);
        // A new segment is open, even if a fault occurred after its creation.
        let last = |segments: &[Segment]| segments.last().map(|segment| segment.first_seq);
        self.reference.is_open = before.is_open || last(&found) != last(&before.segments);
        self.reference.segments = found;
        self.reference.wanted = match self.journal().status().failure {
            Some(AppendError::Full { wanted, .. }) => Some(wanted),
            _ => None,
        };
        let durable = self.journal().state.readers().durable.clone();
        assert!(self.may_be_durable(&durable) || durable == before.durable);
        self.reference.durable = durable;
    }
}
