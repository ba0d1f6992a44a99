//! Segments that were abandoned before their first commit.

use std::io::ErrorKind;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::fs::{Fault, Faulty};
use crate::testing::{Journal, Switched, append, fill, numbers, open, options, record};
use crate::{Options, Record};

/// Journal on a faulty disk.
struct Attempt {
    disk: Faulty,
    now: Arc<AtomicU64>,
    journal: Journal,
}

impl Attempt {
    /// Returns a journal whose first block is written, but could not be synced.
    fn with_failed_sync() -> Self {
        let (disk, now) = (Faulty::new(1), Arc::new(AtomicU64::new(1_000_000)));
        let (journal, _) = open(Self::options(&disk, &now));
        let attempt = Self { disk, now, journal };
        // Four operations create the segment. The block, the zeros after it, and the sync follow.
        attempt.fail_append(&[6]);
        attempt
    }

    fn options(disk: &Faulty, now: &Arc<AtomicU64>) -> Options {
        let now = now.clone();
        let clock = Arc::new(move || now.load(Ordering::Relaxed));
        options(disk.clone()).segment_size(4096).max_size(16 * 1024).clock(clock)
    }

    /// Runs an append in which these operations fail, and advances the clock.
    fn fail_append(&self, operations: &[u64]) {
        self.fail_at(operations);
        append(&self.journal, vec![record(99)]).unwrap_err();
        self.disk.clear_faults();
        self.now.fetch_add(60_000_000, Ordering::Relaxed);
    }

    /// Makes these of the next operations fail.
    fn fail_at(&self, operations: &[u64]) {
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
fn abandoned_file_that_could_not_be_removed_does_not_replace_its_successor() {
    let attempt = Attempt::with_failed_sync();
    // Four operations create the next segment; the removal of the abandoned one fails.
    attempt.fail_at(&[4]);
    fill(&attempt.journal, 1..=500);
    assert_eq!(attempt.disk.fault_count(), 2);
    let oldest = attempt.journal.oldest();
    assert!(oldest > 60, "the first segment must have expired");
    let journal = attempt.reopened();
    assert_eq!(journal.oldest(), oldest);
}

#[test]
fn file_whose_creation_failed_does_not_replace_a_later_one() {
    let attempt = Attempt::with_failed_sync();
    // The next segment is created and written. Its sync fails, and so does its removal.
    attempt.fail_append(&[2, 3]);
    assert_eq!(attempt.disk.fault_count(), 3);
    fill(&attempt.journal, 1..=3);
    assert_eq!(numbers(&attempt.reopened()), [1, 2, 3]);
}

#[test]
fn last_sequence_number_survives_a_kill_while_an_abandoned_segment_is_replaced() {
    for operation in 0..7 {
        let (disk, now) = (Faulty::new(1), Arc::new(AtomicU64::new(1_000_000)));
        let (journal, _) = open(Attempt::options(&disk, &now));
        let attempt = Attempt { disk, now, journal };
        let large = |size| vec![Record::new(1, [0; 16], vec![7; size])];
        append(&attempt.journal, large(12_000)).unwrap();
        // Three operations seal the segment, four create the next one, and one removes the first.
        // The write fails, and so does its rollback.
        attempt.fail_at(&[8, 9]);
        append(&attempt.journal, large(6_000)).unwrap_err();
        assert_eq!((attempt.disk.fault_count(), attempt.journal.oldest()), (2, 2));
        attempt.now.fetch_add(60_000_000, Ordering::Relaxed);
        attempt.disk.fail_at(attempt.disk.operations() + operation, Fault::Kill);
        append(&attempt.journal, vec![record(2)]).unwrap_err();
        attempt.disk.restart();
        let journal = attempt.reopened();
        assert!(journal.head() >= 1, "killed at {operation}: the sequence numbers begin again");
    }
}

#[test]
fn pause_after_a_failed_sync_does_not_follow_the_time_of_the_system() {
    let disk = Switched::default();
    let wall = Arc::new(AtomicU64::new(10_000_000_000));
    let monotonic = Arc::new(AtomicU64::new(0));
    let clock = |of: &Arc<AtomicU64>| {
        let of = of.clone();
        Arc::new(move || of.load(Ordering::SeqCst)) as crate::Clock
    };
    let options = options(disk.clone()).clock(clock(&monotonic)).wall_clock(clock(&wall));
    let (journal, _) = open(options);
    append(&journal, vec![record(1)]).unwrap();
    disk.switches.set(|switches| &switches.no_sync, true);
    append(&journal, vec![record(2)]).unwrap_err();
    disk.switches.set(|switches| &switches.no_sync, false);
    // An hour back, while the pause of 100 ms lasts and after it.
    wall.store(6_400_000_000, Ordering::SeqCst);
    append(&journal, vec![record(2)]).unwrap_err();
    monotonic.store(100_000, Ordering::SeqCst);
    assert_eq!(append(&journal, vec![record(2)]).unwrap().first_seq, 2);
    assert_eq!(numbers(&journal), [1, 2]);
}
