//! Segments that were given up before anything was committed in them.

use std::io::ErrorKind;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::fs::{Fault, Faulty};
use crate::testing::{Journal, append, fill, numbers, open, options, record};
use crate::{Options, Record};

struct Tried {
    disk: Faulty,
    now: Arc<AtomicU64>,
    journal: Journal,
}

impl Tried {
    /// A journal whose first block was written, and could not be made durable.
    fn once() -> Self {
        let (disk, now) = (Faulty::new(1), Arc::new(AtomicU64::new(1_000_000)));
        let (journal, _) = open(Self::options(&disk, &now));
        let tried = Self { disk, now, journal };
        // Four operations begin the segment; then come the block, the zeros behind it, and the
        // sync.
        tried.fails(&[6]);
        tried
    }

    fn options(disk: &Faulty, now: &Arc<AtomicU64>) -> Options {
        let now = now.clone();
        let clock = Arc::new(move || now.load(Ordering::Relaxed));
        options(disk.clone()).segment_size(4096).max_size(16 * 1024).clock(clock)
    }

    /// An append fails with these operations, and some time goes by.
    fn fails(&self, operations: &[u64]) {
        self.arm(operations);
        append(&self.journal, vec![record(99)]).unwrap_err();
        self.disk.clear_faults();
        self.now.fetch_add(60_000_000, Ordering::Relaxed);
    }

    fn arm(&self, operations: &[u64]) {
        for operation in operations {
            self.disk.fail_at(self.disk.operations() + operation, Fault::Error(ErrorKind::Other));
        }
    }

    fn reopened(self) -> Journal {
        drop(self.journal);
        open(Self::options(&self.disk, &self.now)).0
    }
}

#[test]
fn one_that_could_not_be_removed_does_not_come_back_for_the_one_in_its_place() {
    let tried = Tried::once();
    // The next segment is begun with four.
    tried.arm(&[4]);
    fill(&tried.journal, 1..=500);
    assert_eq!(tried.disk.fault_count(), 2);
    let oldest = tried.journal.oldest();
    assert!(oldest > 60, "the first segment has expired");
    let journal = tried.reopened();
    assert_eq!(journal.oldest(), oldest);
}

#[test]
fn one_that_could_not_be_begun_is_not_taken_for_a_later_one() {
    let tried = Tried::once();
    // The next is made, and written to; it is not made durable, and can't be removed.
    tried.fails(&[2, 3]);
    assert_eq!(tried.disk.fault_count(), 3);
    fill(&tried.journal, 1..=3);
    assert_eq!(numbers(&tried.reopened()), [1, 2, 3]);
}

#[test]
fn the_last_number_is_not_forgotten_while_one_takes_the_place_of_another() {
    for operation in 0..7 {
        let (disk, now) = (Faulty::new(1), Arc::new(AtomicU64::new(1_000_000)));
        let (journal, _) = open(Tried::options(&disk, &now));
        let tried = Tried { disk, now, journal };
        let large = |size| vec![Record::new(1, [0; 16], vec![7; size])];
        append(&tried.journal, large(12_000)).unwrap();
        // Three operations seal that segment, four begin the next, and one makes room. The write
        // fails, and can't be rolled back.
        tried.arm(&[8, 9]);
        append(&tried.journal, large(6_000)).unwrap_err();
        assert_eq!((tried.disk.fault_count(), tried.journal.oldest()), (2, 2));
        tried.now.fetch_add(60_000_000, Ordering::Relaxed);
        tried.disk.fail_at(tried.disk.operations() + operation, Fault::Kill);
        append(&tried.journal, vec![record(2)]).unwrap_err();
        tried.disk.restart();
        let journal = tried.reopened();
        assert!(journal.head() >= 1, "killed at {operation}, the first record of all is forgotten");
    }
}
