//! The journal on a faulty disk, with its reference model.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::consumer::{Consumer, OPTIONAL, OWN, REQUIRED};
use super::reference::{RETAIN, Reference, SEGMENT, Segment};
use super::steps::{Case, Ending, Operation, Step};
use super::tally::Tally;
use crate::fs::{Fault, Faulty};
use crate::positions::Positions;
use crate::testing::{Journal, options};
use crate::{Hold, Options, Record};

pub(super) struct World {
    pub(super) disk: Faulty,
    clock: Arc<AtomicU64>,
    seed: u64,
    /// Hold of the second consumer.
    required: Hold,
    pub(super) journal: Option<Journal>,
    pub(super) reference: Reference,
    /// True if the reference model knows the segments exactly, because no fault affected them.
    pub(super) is_certain: bool,
    /// Time of a failed append, which may make the next ones fail.
    pub(super) failed_at: Option<u64>,
    /// True if no fault occurred since the journal was opened.
    pub(super) is_fault_free: bool,
    /// True if the power was cut since the journal was opened.
    pub(super) lost_power: bool,
    /// True if a write was interrupted, or was in progress at a failed sync.
    pub(super) may_be_torn: bool,
    /// All possible contents of the file of positions.
    pub(super) candidates: Vec<Positions>,
    /// All records that were acknowledged or read, by sequence number, including expired ones.
    pub(super) records: BTreeMap<u64, Record>,
    /// Last record of each block, by its first record.
    pub(super) blocks: BTreeMap<u64, u64>,
    pub(super) rejected: Vec<Rejected>,
    pub(super) consumers: [Consumer; 3],
    /// Number of faults before this step.
    faults_before: u64,
    /// Number of records that were appended, acknowledged or not.
    pub(super) numbers: u64,
    pub(super) tally: Tally,
}

/// Group that was not acknowledged, but may have been written.
pub(super) struct Rejected {
    pub(super) first_seq: u64,
    pub(super) records: Vec<Record>,
    /// True if the journal was opened without the group since.
    pub(super) is_old: bool,
    /// True if the group was rolled back. A power cut may undo the rollback.
    pub(super) is_undone: bool,
}

impl World {
    pub(super) fn new(case: &Case) -> Self {
        let reference = Reference {
            max_size: case.max_size,
            head: 0,
            segments: Vec::new(),
            unsynced_removals: Vec::new(),
            is_open: false,
            wanted: None,
            current: Positions::default(),
            durable: Positions::default(),
            held: BTreeMap::new(),
            removed: (0, 0),
        };
        let mut world = Self {
            disk: Faulty::new(case.seed),
            clock: Arc::new(AtomicU64::new(1_000_000_000_000)),
            seed: case.seed,
            required: case.required,
            journal: None,
            reference,
            is_certain: true,
            failed_at: None,
            is_fault_free: true,
            lost_power: false,
            may_be_torn: false,
            candidates: vec![Positions::default()],
            records: BTreeMap::new(),
            blocks: BTreeMap::new(),
            rejected: Vec::new(),
            consumers: ["optional", "required", "own"].map(Consumer::new),
            faults_before: 0,
            numbers: 0,
            tally: Tally::default(),
        };
        world.open(false, &Step { operation: Operation::Maintain, faults: None });
        world
    }

    pub(super) fn options(&self) -> Options {
        let clock = self.clock.clone();
        options(self.disk.clone())
            .seed(self.seed.wrapping_add(self.tally.opened))
            .clock(Arc::new(move || clock.load(Ordering::Relaxed)))
            .max_size(self.reference.max_size)
            .segment_size(SEGMENT)
            .retain(RETAIN)
    }

    pub(super) fn journal(&self) -> &Journal {
        self.journal.as_ref().expect("the journal is open between two steps")
    }

    pub(super) fn now(&self) -> u64 {
        self.clock.load(Ordering::Relaxed)
    }

    pub(super) fn pass(&self, micros: u64) {
        self.clock.fetch_add(micros, Ordering::Relaxed);
    }

    /// Returns whether a fault occurred in this step.
    pub(super) fn has_fault(&self) -> bool {
        self.disk.fault_count() > self.faults_before
    }

    /// Returns whether several faults occurred in this step, so that a rollback may have failed,
    /// too.
    pub(super) fn has_several_faults(&self) -> bool {
        self.disk.fault_count() > self.faults_before + 1
    }

    pub(super) fn arm(&self, step: &Step) {
        let Some((after, faults)) = &step.faults else { return };
        for (operation, fault) in (self.disk.operations() + u64::from(*after)..).zip(faults) {
            self.disk.fail_at(operation, *fault);
        }
    }

    pub(super) fn step(&mut self, step: &Step) {
        self.faults_before = self.disk.fault_count();
        let is_absent = self.consumers[OWN].is_absent;
        // During an append, the consumer resumes afterwards.
        if is_absent && !matches!(step.operation, Operation::Append(_)) {
            self.resume_own();
        }
        match step.operation {
            Operation::Reopen(_) | Operation::LoseEnd { .. } => {}
            _ => self.arm(step),
        }
        match &step.operation {
            Operation::Append(sizes) => self.append(sizes),
            Operation::Read { consumer, chunks } => self.read(*consumer, *chunks),
            Operation::MoveBack { of_255 } => self.move_back(*of_255),
            Operation::Commit { consumer } => self.commit_position(*consumer),
            Operation::Maintain => self.maintain(),
            Operation::Wait { seconds } => self.pass(u64::from(*seconds) * 1_000_000),
            Operation::Release => {
                self.journal().release("optional");
                self.reference.held.remove("optional");
            }
            Operation::Forget => {
                self.journal().forget("optional");
                self.reference.held.remove("optional");
                self.reference.current.readers.remove("optional");
            }
            Operation::Reopen(ending) => self.reopen(*ending, None, step),
            Operation::LoseEnd { ending, segments, of_255 } => {
                self.reopen(*ending, Some((*segments, *of_255)), step);
            }
        }
        self.disk.clear_faults();
        self.is_fault_free &= !self.has_fault();
        self.may_be_torn |= self.has_several_faults();
        if self.disk.is_off() {
            self.journal = None;
            self.ended_by(step);
            self.disk.restart();
            self.open(false, step);
        } else {
            self.tally.errors += u64::from(self.has_fault());
        }
        if is_absent && self.consumers[OWN].is_absent {
            self.resume_own();
        }
        self.check();
    }

    /// Records that a fault in this step ended the process.
    pub(super) fn ended_by(&mut self, step: &Step) {
        self.lost_power |=
            step.faults.as_ref().is_some_and(|(_, faults)| faults.contains(&Fault::PowerCut));
        self.may_be_torn = true;
    }

    /// Ends the case.
    pub(super) fn finish(&mut self) {
        self.check_records();
        self.step(&Step { operation: Operation::Reopen(Ending::Closed), faults: None });
        (self.tally.removed_for_space, self.tally.removed_expired) = self.reference.removed;
    }

    /// Returns the journal's list of segments.
    pub(super) fn segments(&self) -> Vec<Segment> {
        let listed = self.journal().state.segments();
        let reference = |segment: &crate::segment::Segment| Segment {
            first_seq: segment.name.first_seq,
            size: segment.size,
            created_at: segment.header.created_at,
        };
        listed.iter().map(reference).collect()
    }

    /// Closes the journal.
    pub(super) fn close(&mut self) {
        let mut then = self.reference.clone();
        then.maintain(self.now());
        self.add_candidate();
        let before = std::mem::replace(&mut self.reference, then);
        self.journal = None;
        if !self.has_fault() {
            self.candidates = vec![self.reference.current.clone()];
        }
        if !self.must_match() {
            self.reference.unsynced_removals.extend(before.unsynced_removals);
            self.reference.unsynced_removals.extend(before.segments);
        }
    }

    pub(super) fn hold(&mut self) {
        for (consumer, hold) in [(OPTIONAL, Hold::Optional), (REQUIRED, self.required)] {
            let name = self.consumers[consumer].name;
            self.journal().hold(name, hold);
            self.reference.held.insert(name.to_owned(), hold);
        }
    }
}
