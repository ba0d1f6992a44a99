//! Positions after the journal has lost its end.

use std::path::Path;

use super::{segments, truncate_by};
use crate::fs::{Faulty, FileSystem, Memory};
use crate::testing::{fill, open, options};

#[test]
fn journal_with_a_lost_end_begins_an_epoch_and_skips_no_record() {
    let memory = Memory::default();
    let (journal, _) = open(options(memory.clone()));
    fill(&journal, 1..=5);
    journal.set_position("ahead", 5, "".into());
    journal.set_position("behind", 2, "".into());
    let old = journal.epoch();
    drop(journal);
    truncate_by(&memory, &segments(&memory)[0], 2 * (32 + 32 + 9));

    let (journal, recovery) = open(options(memory.clone()));
    assert!(recovery.new_epoch && journal.epoch() > old);
    assert_eq!(journal.position("ahead").unwrap().seq, 3);
    assert_eq!(journal.position("behind").unwrap().seq, 2);
    assert_eq!(
        (journal.lost_after_position("ahead"), journal.lost_after_position("behind")),
        (0, 2)
    );
    journal.set_position("behind", 2, "".into());
    assert_eq!(journal.lost_after_position("behind"), 0, "the reader has counted them");
    fill(&journal, 6..=8);
    assert_eq!(journal.translate(old, 5, 0), Some(3), "the position that a sink stores itself");
    drop(journal);

    for name in segments(&memory) {
        memory.remove(&Path::new("j").join(name)).unwrap();
    }
    let (journal, _) = open(options(memory));
    assert_eq!(
        (journal.head(), journal.position("behind").unwrap().seq),
        (0, 0),
        "all segments were removed"
    );
}

#[test]
fn resolving_a_position_after_the_head_begins_an_epoch() {
    let memory = Memory::default();
    let (journal, _) = open(options(memory));
    let old = journal.epoch();
    fill(&journal, 1..=4);
    journal.set_position("other", 4, "".into());
    assert_eq!(journal.translate(old, 9, 0), Some(0));
    assert_ne!(journal.epoch(), old);
    assert_eq!(
        journal.position("other").unwrap().seq,
        4,
        "a reader of the new records keeps its position"
    );
    assert_eq!(journal.translate(7, 1, 0), None);
}

#[test]
fn epoch_that_begins_after_opening_is_durable() {
    let disk = Faulty::new(1);
    let (journal, _) = open(options(disk.clone()));
    let old = journal.epoch();
    fill(&journal, 1..=4);
    assert_eq!(journal.translate(old, 3, 0), Some(0), "the journal lost three records of the sink");
    disk.cut_power();
    drop(journal);
    disk.restart();
    let (journal, _) = open(options(disk));
    assert_ne!(journal.epoch(), old);
    assert_eq!(
        journal.translate(old, 3, 0),
        Some(0),
        "the sink has not received the records that replaced them"
    );
}

#[test]
fn sink_of_the_first_epoch_skips_no_record_after_two_losses() {
    let memory = Memory::default();
    let (journal, _) = open(options(memory.clone()));
    let first = journal.epoch();
    fill(&journal, 1..=2);
    drop(journal);
    let (journal, _) = open(options(memory.clone()));
    assert_eq!(journal.translate(first, 4, 0), Some(2), "two of four records were lost");
    drop(journal);

    for name in segments(&memory) {
        memory.remove(&Path::new("j").join(name)).unwrap();
    }
    let (journal, _) = open(options(memory.clone()));
    assert_eq!(journal.translate(first, 4, 0), Some(0), "all records were lost");
    fill(&journal, 5..=9);
    drop(journal);
    let (journal, _) = open(options(memory));
    assert_eq!(
        journal.translate(first, 4, 0),
        Some(0),
        "the sink has received none of the new records"
    );
}
