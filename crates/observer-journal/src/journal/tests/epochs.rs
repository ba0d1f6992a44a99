//! What positions mean after the journal has lost its end.

use std::path::Path;

use super::{segments, truncate_by};
use crate::fs::{Faulty, FileSystem, Memory};
use crate::testing::{fill, open, options};

#[test]
fn a_journal_that_lost_its_end_begins_an_epoch_and_skips_nothing() {
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
    fill(&journal, 6..=8);
    assert_eq!(journal.resolve(old, 5, 0), Some(3), "a sink's own position");
    drop(journal);

    for name in segments(&memory) {
        memory.remove(&Path::new("j").join(name)).unwrap();
    }
    let (journal, _) = open(options(memory));
    assert_eq!((journal.head(), journal.position("behind").unwrap().seq), (0, 0), "wiped");
}

#[test]
fn a_sink_that_has_more_than_the_journal_begins_an_epoch_late() {
    let memory = Memory::default();
    let (journal, _) = open(options(memory));
    let old = journal.epoch();
    fill(&journal, 1..=4);
    journal.set_position("other", 4, "".into());
    assert_eq!(journal.resolve(old, 9, 0), Some(0));
    assert_ne!(journal.epoch(), old);
    assert_eq!(journal.position("other").unwrap().seq, 4, "who was served since stays where it is");
    assert_eq!(journal.resolve(7, 1, 0), None);
}

#[test]
fn an_epoch_that_begins_late_is_not_forgotten() {
    let disk = Faulty::new(1);
    let (journal, _) = open(options(disk.clone()));
    let old = journal.epoch();
    fill(&journal, 1..=4);
    assert_eq!(journal.resolve(old, 3, 0), Some(0), "it has three that the journal lost");
    disk.cut_power();
    drop(journal);
    disk.restart();
    let (journal, _) = open(options(disk));
    assert_ne!(journal.epoch(), old);
    assert_eq!(
        journal.resolve(old, 3, 0),
        Some(0),
        "nor does it have those that came in their readers"
    );
}

#[test]
fn a_journal_that_loses_its_end_twice_skips_nothing_for_a_sink_of_the_first_epoch() {
    let memory = Memory::default();
    let (journal, _) = open(options(memory.clone()));
    let first = journal.epoch();
    fill(&journal, 1..=2);
    drop(journal);
    let (journal, _) = open(options(memory.clone()));
    assert_eq!(journal.resolve(first, 4, 0), Some(2), "two of four were lost");
    drop(journal);

    for name in segments(&memory) {
        memory.remove(&Path::new("j").join(name)).unwrap();
    }
    let (journal, _) = open(options(memory.clone()));
    assert_eq!(journal.resolve(first, 4, 0), Some(0), "and now all of them");
    fill(&journal, 5..=9);
    drop(journal);
    let (journal, _) = open(options(memory));
    assert_eq!(journal.resolve(first, 4, 0), Some(0), "it has none of the new ones");
}
