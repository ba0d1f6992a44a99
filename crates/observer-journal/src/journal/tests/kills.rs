//! A process that is killed right after a sync failed, and its successor.

use std::io;
use std::path::Path;

use crate::fs::{Fault, Faulty, FileSystem};
use crate::testing::{append, fill, numbers, open, options, record};

#[test]
fn what_the_page_cache_alone_has_is_made_durable_before_anyone_sees_it() {
    let mut shown_though_refused = 0;
    for seed in 0..40 {
        let disk = Faulty::new(seed);
        let (journal, _) = open(options(disk.clone()));
        fill(&journal, 1..=3);
        // The block, the zeros ahead of it, and the sync; and then what would take it back.
        let fails = disk.operations() + seed % 3;
        for operation in [fails, fails + 1] {
            disk.fail_at(operation, Fault::Error(io::ErrorKind::Other));
        }
        let refused = append(&journal, vec![record(4)]).is_err();
        disk.clear_faults();
        disk.fail_at(disk.operations(), Fault::Kill);
        assert!(disk.list(Path::new("j")).is_err());
        drop(journal);
        disk.restart();

        let (journal, _) = open(options(disk.clone()));
        let shown = numbers(&journal);
        shown_though_refused += usize::from(refused && shown.len() == 4);
        disk.cut_power();
        drop(journal);
        disk.restart();
        let (journal, recovery) = open(options(disk));
        assert_eq!((numbers(&journal), recovery.lost), (shown, vec![]), "seed {seed}");
    }
    assert!(shown_though_refused > 0);
}

#[test]
fn after_positions_could_not_be_stored_nothing_is_taken_for_what_the_file_holds() {
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
            "operation {operation} failed: {failed}; it would begin elsewhere"
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
        assert_eq!(journal.position("sink"), None, "operation {operation}: it was forgotten");
    }
}
