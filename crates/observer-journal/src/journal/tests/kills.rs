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
            disk.fail_at(operation, Fault::Fails(io::ErrorKind::Other));
        }
        let refused = append(&journal, vec![record(4)]).is_err();
        disk.call_off();
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
