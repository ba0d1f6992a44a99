//! A journal on a disk that fails, beside what it should hold.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::consumer::Consumer;
use super::plain::{Plain, RETAIN, SEGMENT, Segment};
use super::steps::{Case, Ending, Step, What};
use super::tally::Tally;
use crate::fs::{Fault, Faulty};
use crate::positions::Positions;
use crate::testing::{Journal, options};
use crate::{Hold, Options, Record};

pub(super) const OPTIONAL: usize = 0;
pub(super) const REQUIRED: usize = 1;
/// Keeps its position itself, and no segments are kept for it.
pub(super) const OWN: usize = 2;

pub(super) struct World {
    pub(super) disk: Faulty,
    clock: Arc<AtomicU64>,
    seed: u64,
    /// How the consumer of that name is held.
    required: Hold,
    pub(super) journal: Option<Journal>,
    pub(super) plain: Plain,
    /// Nothing went wrong that leaves the plain model in doubt about the segments.
    pub(super) sure: bool,
    /// When something went wrong with an append that may be to blame for the next ones.
    pub(super) failed_at: Option<u64>,
    /// Nothing went wrong since the journal was opened.
    pub(super) quiet: bool,
    /// The power was cut since the journal was opened.
    pub(super) lost_power: bool,
    /// Something is being written as the journal ends, or was when a sync failed.
    pub(super) may_be_torn: bool,
    /// All that may stand in the file of positions.
    pub(super) candidates: Vec<Positions>,
    /// All records that were acknowledged or served, by their sequence numbers, also those that
    /// have expired since.
    pub(super) records: BTreeMap<u64, Record>,
    /// The last record of each block by its first one.
    pub(super) blocks: BTreeMap<u64, u64>,
    pub(super) refused: Vec<Refused>,
    pub(super) consumers: [Consumer; 3],
    /// Operations that had gone wrong before this step.
    wrong: u64,
    /// How many records there were, of all that were appended.
    pub(super) numbers: u64,
    pub(super) tally: Tally,
}

/// A group that was not acknowledged, and may have been written all the same.
pub(super) struct Refused {
    pub(super) first_seq: u64,
    pub(super) records: Vec<Record>,
    /// The journal was opened without it since.
    pub(super) is_old: bool,
    /// It was taken back, but that may be undone by a power cut.
    pub(super) is_undone: bool,
}

impl World {
    pub(super) fn new(case: &Case) -> Self {
        let plain = Plain {
            max_size: case.max_size,
            head: 0,
            segments: Vec::new(),
            undead: Vec::new(),
            is_open: false,
            wanted: None,
            said: Positions::default(),
            durable: Positions::default(),
            held: BTreeMap::new(),
            gone: (0, 0),
        };
        let mut world = Self {
            disk: Faulty::new(case.seed),
            clock: Arc::new(AtomicU64::new(1_000_000_000_000)),
            seed: case.seed,
            required: case.required,
            journal: None,
            plain,
            sure: true,
            failed_at: None,
            quiet: true,
            lost_power: false,
            may_be_torn: false,
            candidates: vec![Positions::default()],
            records: BTreeMap::new(),
            blocks: BTreeMap::new(),
            refused: Vec::new(),
            consumers: ["optional", "required", "own"].map(Consumer::new),
            wrong: 0,
            numbers: 0,
            tally: Tally::default(),
        };
        world.open(false, &Step { what: What::Maintain, faults: None });
        world
    }

    pub(super) fn options(&self) -> Options {
        let clock = self.clock.clone();
        options(self.disk.clone())
            .seed(self.seed.wrapping_add(self.tally.opened))
            .clock(Arc::new(move || clock.load(Ordering::Relaxed)))
            .max_size(self.plain.max_size)
            .segment_size(SEGMENT)
            .retain(RETAIN)
    }

    pub(super) fn journal(&self) -> &Journal {
        self.journal.as_ref().expect("it is open between two steps")
    }

    pub(super) fn now(&self) -> u64 {
        self.clock.load(Ordering::Relaxed)
    }

    pub(super) fn pass(&self, micros: u64) {
        self.clock.fetch_add(micros, Ordering::Relaxed);
    }

    /// Something went wrong in this step.
    pub(super) fn struck(&self) -> bool {
        self.disk.fault_count() > self.wrong
    }

    /// More than one thing went wrong in this step, so what was begun may not even have been taken
    /// back.
    pub(super) fn struck_again(&self) -> bool {
        self.disk.fault_count() > self.wrong + 1
    }

    pub(super) fn arm(&self, step: &Step) {
        let Some((after, faults)) = &step.faults else { return };
        for (operation, fault) in (self.disk.operations() + u64::from(*after)..).zip(faults) {
            self.disk.fail_at(operation, *fault);
        }
    }

    pub(super) fn step(&mut self, step: &Step) {
        self.wrong = self.disk.fault_count();
        let waits = self.consumers[OWN].waits;
        // It may come back after more was appended.
        if waits && !matches!(step.what, What::Append(_)) {
            self.come_back();
        }
        match step.what {
            What::Reopen(_) | What::LoseTheEnd { .. } => {}
            _ => self.arm(step),
        }
        match &step.what {
            What::Append(sizes) => self.append(sizes),
            What::Read { consumer, chunks } => self.read(*consumer, *chunks),
            What::GoBack { of_255 } => self.go_back(*of_255),
            What::Settle { consumer } => self.settle(*consumer),
            What::Maintain => self.maintain(),
            What::Wait { seconds } => self.pass(u64::from(*seconds) * 1_000_000),
            What::Release => {
                self.journal().release("optional");
                self.plain.held.remove("optional");
            }
            What::Forget => {
                self.journal().forget("optional");
                self.plain.held.remove("optional");
                self.plain.said.readers.remove("optional");
            }
            What::Reopen(ending) => self.reopen(*ending, None, step),
            What::LoseTheEnd { ending, segments, of_255 } => {
                self.reopen(*ending, Some((*segments, *of_255)), step)
            }
        }
        self.disk.clear_faults();
        self.quiet &= !self.struck();
        self.may_be_torn |= self.struck_again();
        if self.disk.is_off() {
            self.journal = None;
            self.ended_by(step);
            self.disk.restart();
            self.open(false, step);
        } else {
            self.tally.errors += u64::from(self.struck());
        }
        if waits && self.consumers[OWN].waits {
            self.come_back();
        }
        self.check();
    }

    /// What went wrong in this step has ended it.
    pub(super) fn ended_by(&mut self, step: &Step) {
        self.lost_power |=
            step.faults.as_ref().is_some_and(|(_, faults)| faults.contains(&Fault::PowerCut));
        self.may_be_torn = true;
    }

    /// At the end of a case.
    pub(super) fn finish(&mut self) {
        self.check_records();
        self.step(&Step { what: What::Reopen(Ending::Closed), faults: None });
        (self.tally.made_room, self.tally.retired) = self.plain.gone;
    }

    /// As the journal lists them.
    pub(super) fn segments(&self) -> Vec<Segment> {
        let listed = self.journal().shared.segments();
        let plain = |segment: &crate::segment::Segment| Segment {
            first_seq: segment.name.first_seq,
            size: segment.size,
            created_at: segment.header.created_at,
        };
        listed.iter().map(plain).collect()
    }

    /// In good order, if nothing goes wrong.
    pub(super) fn close(&mut self) {
        let mut then = self.plain.clone();
        then.maintain(self.now());
        self.try_to_store();
        let before = std::mem::replace(&mut self.plain, then);
        self.journal = None;
        if !self.struck() {
            self.candidates = vec![self.plain.said.clone()];
        }
        if !self.certain() {
            self.plain.undead.extend(before.undead);
            self.plain.undead.extend(before.segments);
        }
    }

    pub(super) fn hold(&mut self) {
        for (consumer, hold) in [(OPTIONAL, Hold::Optional), (REQUIRED, self.required)] {
            let name = self.consumers[consumer].name;
            self.journal().hold(name, hold);
            self.plain.held.insert(name.to_owned(), hold);
        }
    }
}
