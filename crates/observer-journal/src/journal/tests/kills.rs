//! Kills of the process after a failed operation, and the next start.

use std::io;
use std::path::Path;

use crate::fs::{Fault, Faulty, FileSystem};
use crate::testing::{append, fill, numbers, open, options, record};

#[test]
fn recovery_makes_bytes_in_the_page_cache_durable_before_they_are_read() {
    let mut readable_but_rejected = 0;
    for seed in 0..40 {
        let disk = Faulty::new(seed);
        let (journal, _) = open(options(disk.clone()));
        fill(&journal, 1..=3);
        // Either the block, the zeros after it, or the sync fails, and then the rollback.
        let fails = disk.operations() + seed % 3;
        for operation in [fails, fails + 1] {
            disk.fail_at(operation, Fault::Error(io::ErrorKind::Other));
        }
        let rejected = append(&journal, vec![record(4)]).is_err();
        disk.clear_faults();
        disk.fail_at(disk.operations(), Fault::Kill);
        assert!(disk.list(Path::new("j")).is_err());
        drop(journal);
        disk.restart();

        let (journal, _) = open(options(disk.clone()));
        let readable = numbers(&journal);
        readable_but_rejected += usize::from(rejected && readable.len() == 4);
        disk.cut_power();
        drop(journal);
        disk.restart();
        let (journal, recovery) = open(options(disk));
        assert_eq!((numbers(&journal), recovery.lost), (readable, vec![]), "seed {seed}");
    }
    assert!(readable_but_rejected > 0);
}

#[test]
fn file_of_positions_counts_as_unknown_after_a_failed_store() {
    for operation in 0..6 {
        let disk = Faulty::new(operation);
        let (journal, _) = open(options(disk.clone()));
        journal.set_position("sink", 0, "".into());
        fill(&journal, 1..=1);
        journal.forget("sink");
        disk.fail_at(disk.operations() + operation, Fault::Error(io::ErrorKind::Other));
        let failed = journal.maintain().is_err();
        disk.clear_faults();
        journal.set_position("sink", 0, "".into());
        fill(&journal, 2..=2);
        disk.fail_at(disk.operations(), Fault::Kill);
        assert!(disk.list(Path::new("j")).is_err());
        drop(journal);
        disk.restart();

        let (journal, _) = open(options(disk.clone()));
        assert!(
            journal.position("sink").is_some(),
            "operation {operation}, failed: {failed}: the new reader has no position"
        );
        journal.forget("sink");
        journal.maintain().unwrap();
        journal.set_position("sink", 2, "".into());
        disk.fail_at(disk.operations() + operation, Fault::Error(io::ErrorKind::Other));
        let _ = journal.maintain();
        disk.clear_faults();
        journal.forget("sink");
        drop(journal);
        let (journal, _) = open(options(disk));
        assert_eq!(
            journal.position("sink"),
            None,
            "operation {operation}: the forgotten reader has a position"
        );
    }
}
