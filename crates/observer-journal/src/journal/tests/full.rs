//! A disk without space.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::segments;
use crate::fs::{FileSystem, OpenMode};
use crate::positions::reserve;
use crate::testing::{Switched, append, fill, numbers, open, options, record};
use crate::{AppendError, Hold, Options};

/// A time that goes on when it is told to, and a journal on a disk that is full.
fn full() -> (Switched, Arc<AtomicU64>, impl Fn() -> Options) {
    let (fs, now) = (Switched::default(), Arc::new(AtomicU64::new(1_000_000)));
    let (files, clock) = (fs.clone(), now.clone());
    let options = move || {
        let clock = clock.clone();
        options(files.clone())
            .segment_size(8192)
            .clock(Arc::new(move || clock.load(Ordering::SeqCst)))
    };
    let (journal, _) = open(options());
    fill(&journal, 1..=400);
    for name in ["archive", "metrics"] {
        journal.set_position(name, 1, "".into());
    }
    journal.maintain().unwrap();
    drop(journal);
    (fs, now, options)
}

fn give_space(fs: &Switched) {
    fs.switches.pages.store(0, Ordering::SeqCst);
}

#[test]
fn positions_are_committed_from_the_reserve_again_and_again() {
    let (fs, _, options) = full();
    let (journal, _) = open(options());
    fs.fill_up();
    for seq in 2..=60 {
        journal.set_position("archive", seq, "state".into());
        journal.maintain().unwrap();
        // Whoever appends gets none of it.
        while append(&journal, vec![record(200)]).is_ok() {}
    }
    drop(journal);
    let (journal, _) = open(options());
    assert_eq!(journal.position("archive").unwrap().seq, 60);
}

#[test]
fn a_reserve_that_others_take_from_lasts_for_a_while_and_comes_back() {
    let (fs, _, options) = full();
    let (journal, _) = open(options());
    fs.fill_up();
    fs.switches.set(|switches| &switches.takes_free_space, true);
    let mut commits = 0;
    loop {
        journal.set_position("archive", commits + 2, "".into());
        if journal.maintain().is_err() {
            break;
        }
        commits += 1;
    }
    assert!((10..20).contains(&commits), "{commits}");
    fs.switches.set(|switches| &switches.takes_free_space, false);
    give_space(&fs);
    journal.maintain().unwrap();
    let reserve = fs.memory.open(Path::new("j/positions.reserve"), OpenMode::Read).unwrap();
    assert_eq!(reserve.size().unwrap(), 64 * 1024);
}

#[test]
fn a_journal_opens_on_a_full_disk_whatever_is_left_of_the_reserve() {
    let (fs, _, options) = full();
    for reserve in [Some(64 * 1024), Some(4096), Some(0), None] {
        let path = Path::new("j/positions.reserve");
        match reserve {
            Some(size) => fs.memory.open(path, OpenMode::Create).unwrap().truncate(size).unwrap(),
            None => fs.memory.remove(path).unwrap(),
        }
        fs.fill_up();
        let (journal, recovery) = open(options());
        assert_eq!((recovery.positions_lost, numbers(&journal).len()), (false, 400), "{reserve:?}");
        drop(journal);
        give_space(&fs);
    }
}

#[test]
fn a_journal_opens_where_even_writing_over_takes_space() {
    let (fs, _, options) = full();
    fs.switches.set(|switches| &switches.no_space, true);
    let (journal, _) = open(options());
    assert_eq!(numbers(&journal).len(), 400);
}

#[test]
fn space_that_readers_give_back_is_used_without_anyone_asking() {
    let (fs, now, options) = full();
    let options = || options().retain(std::time::Duration::ZERO);
    let (journal, _) = open(options());
    journal.hold("archive", Hold::Required);
    fs.fill_up();
    while append(&journal, vec![record(200)]).is_ok() {}
    journal.maintain().unwrap();
    let before = segments(&fs).len();
    now.fetch_add(1_000_000, Ordering::SeqCst);
    journal.set_position("archive", journal.head(), "".into());
    journal.maintain().unwrap();
    assert!(segments(&fs).len() < before);
    now.fetch_add(1_000_000, Ordering::SeqCst);
    journal.maintain().unwrap();
    assert!(journal.status().failure.is_none());
    append(&journal, vec![record(300)]).unwrap();
}

#[test]
fn a_disk_that_was_full_for_long_is_used_as_soon_as_it_is_not() {
    let (fs, now, options) = full();
    let (journal, _) = open(options());
    fs.fill_up();
    // Until the last segment is full, too, so that one has to be created.
    let large = || crate::Record::new(1, [1; 16], vec![7; 9000]);
    for _ in 0..600 {
        let error = append(&journal, vec![large()]).unwrap_err();
        assert!(matches!(error, AppendError::Write { .. }), "{error}");
        journal.maintain().unwrap();
        now.fetch_add(1_000_000, Ordering::SeqCst);
    }
    give_space(&fs);
    journal.maintain().unwrap();
    assert!(journal.status().failure.is_none(), "{:?}", journal.status().failure);
    append(&journal, vec![large()]).unwrap();
}

#[test]
fn a_new_reader_is_admitted_from_the_reserve_where_there_are_zeros_left_to_write_to() {
    let (fs, _, options) = full();
    let (journal, _) = open(options());
    fill(&journal, 401..=402);
    fs.fill_up();
    journal.set_position("newcomer", 402, "".into());
    append(&journal, vec![record(403)]).unwrap();
}

#[test]
fn positions_that_are_lost_are_begun_anew_from_the_reserve() {
    let (fs, _, options) = full();
    fs.memory.open(Path::new("j/positions"), OpenMode::Write).unwrap().write_at(b"?", 10).unwrap();
    fs.fill_up();
    let (journal, recovery) = open(options());
    assert!(recovery.positions_lost);
    assert_eq!(numbers(&journal).len(), 400);
}

#[test]
fn a_disk_that_fails_in_another_way_costs_no_reserve() {
    for is_full in [false, true] {
        let (fs, _, options) = full();
        let (journal, _) = open(options());
        if is_full {
            fs.fill_up();
        }
        fs.switches.set(|switches| &switches.no_sync, true);
        journal.set_position("archive", 2, "".into());
        journal.maintain().unwrap_err();
        let reserve = fs
            .memory
            .open(Path::new("j/positions.reserve"), OpenMode::Read)
            .unwrap()
            .size()
            .unwrap();
        // What was given up to try it is lost, as long as there is no space to take it back.
        assert!(reserve >= if is_full { 48 } else { 64 } * 1024, "{reserve}");
    }
}

#[test]
fn a_reserve_that_can_not_be_synced_is_not_there_yet() {
    let fs = Switched::default();
    fs.switches.set(|switches| &switches.no_sync, true);
    assert!(reserve::refill(&fs, Path::new("j")).is_err());
}

#[test]
fn a_reserve_that_was_whole_is_taken_back_after_it_was_used() {
    let (fs, _, options) = full();
    let (journal, _) = open(options());
    let reserve = || {
        fs.memory.open(Path::new("j/positions.reserve"), OpenMode::Read).unwrap().size().unwrap()
    };
    journal.set_position("archive", 2, "".into());
    journal.maintain().unwrap();
    fs.fill_up();
    fs.switches.set(|switches| &switches.takes_free_space, true);
    journal.set_position("archive", 3, "".into());
    journal.maintain().unwrap();
    assert!(reserve() < 64 * 1024);
    fs.switches.set(|switches| &switches.takes_free_space, false);
    give_space(&fs);
    journal.maintain().unwrap();
    assert_eq!(reserve(), 64 * 1024);
}
