//! Behavior on a full disk.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::segments;
use crate::fs::{FileSystem, OpenMode};
use crate::positions::reserve;
use crate::testing::{Switched, append, fill, numbers, open, options, record};
use crate::{AppendError, Hold, Options};

/// Returns a file system with a closed journal, its clock, and its options. The disk is not full
/// until [`Switched::fill_up`] is called.
fn journal_on_small_disk() -> (Switched, Arc<AtomicU64>, impl Fn() -> Options) {
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

fn free_space(fs: &Switched) {
    fs.switches.pages.store(0, Ordering::SeqCst);
}

#[test]
fn positions_are_stored_from_the_reserve_repeatedly() {
    let (fs, _, options) = journal_on_small_disk();
    let (journal, _) = open(options());
    fs.fill_up();
    for seq in 2..=60 {
        journal.set_position("archive", seq, "state".into());
        journal.maintain().unwrap();
        // Appends can't use the reserve.
        while append(&journal, vec![record(200)]).is_ok() {}
    }
    drop(journal);
    let (journal, _) = open(options());
    assert_eq!(journal.position("archive").unwrap().seq, 60);
}

#[test]
fn reserve_shrinks_while_other_programs_take_space_and_is_refilled_later() {
    let (fs, _, options) = journal_on_small_disk();
    let (journal, _) = open(options());
    fs.fill_up();
    fs.switches.set(|switches| &switches.takes_free_space, true);
    assert_eq!(journal.status().reserve_bytes, 64 * 1024);
    let mut commits = 0;
    loop {
        journal.set_position("archive", commits + 2, "".into());
        if journal.maintain().is_err() {
            break;
        }
        commits += 1;
    }
    assert!((10..20).contains(&commits), "{commits}");
    let reserve_bytes = journal.status().reserve_bytes;
    assert!(reserve_bytes < 4096, "{reserve_bytes} bytes are left");
    fs.switches.set(|switches| &switches.takes_free_space, false);
    free_space(&fs);
    journal.maintain().unwrap();
    let reserve = fs.memory.open(Path::new("j/positions.reserve"), OpenMode::Read).unwrap();
    assert_eq!(reserve.size().unwrap(), 64 * 1024);
    assert_eq!(journal.status().reserve_bytes, 64 * 1024);
}

#[test]
fn journal_opens_on_a_full_disk_with_any_size_of_the_reserve() {
    let (fs, _, options) = journal_on_small_disk();
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
        free_space(&fs);
    }
}

#[test]
fn journal_opens_if_overwriting_needs_space() {
    let (fs, _, options) = journal_on_small_disk();
    fs.switches.set(|switches| &switches.no_space, true);
    let (journal, _) = open(options());
    assert_eq!(numbers(&journal).len(), 400);
}

#[test]
fn maintenance_uses_space_of_expired_segments_without_an_append() {
    let (fs, now, options) = journal_on_small_disk();
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
fn maintenance_finds_free_space_at_once_after_a_long_time() {
    let (fs, now, options) = journal_on_small_disk();
    let (journal, _) = open(options());
    fs.fill_up();
    // The active segment fills up, too, so that a new one has to be created.
    let large = || crate::Record::new(1, [1; 16], vec![7; 9000]);
    for _ in 0..600 {
        let error = append(&journal, vec![large()]).unwrap_err();
        assert!(matches!(error, AppendError::Write { .. }), "{error}");
        journal.maintain().unwrap();
        now.fetch_add(1_000_000, Ordering::SeqCst);
    }
    free_space(&fs);
    journal.maintain().unwrap();
    assert!(journal.status().failure.is_none(), "{:?}", journal.status().failure);
    append(&journal, vec![large()]).unwrap();
}

#[test]
fn position_of_a_new_reader_is_stored_from_the_reserve() {
    let (fs, _, options) = journal_on_small_disk();
    let (journal, _) = open(options());
    fill(&journal, 401..=402);
    fs.fill_up();
    journal.set_position("new", 402, "".into());
    append(&journal, vec![record(403)]).unwrap();
}

#[test]
fn lost_positions_are_created_again_from_the_reserve() {
    let (fs, _, options) = journal_on_small_disk();
    fs.memory.open(Path::new("j/positions"), OpenMode::Write).unwrap().write_at(b"?", 10).unwrap();
    fs.fill_up();
    let (journal, recovery) = open(options());
    assert!(recovery.positions_lost);
    assert_eq!(numbers(&journal).len(), 400);
}

#[test]
fn other_errors_than_a_full_disk_use_no_reserve() {
    for is_full in [false, true] {
        let (fs, _, options) = journal_on_small_disk();
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
        // Released space is not available again as long as the disk is full.
        assert!(reserve >= if is_full { 48 } else { 64 } * 1024, "{reserve}");
    }
}

#[test]
fn refilling_fails_if_the_reserve_can_not_be_synced() {
    let fs = Switched::default();
    fs.switches.set(|switches| &switches.no_sync, true);
    assert!(reserve::refill(&fs, Path::new("j")).is_err());
}

#[test]
fn complete_reserve_is_refilled_after_its_use() {
    let (fs, _, options) = journal_on_small_disk();
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
    free_space(&fs);
    journal.maintain().unwrap();
    assert_eq!(reserve(), 64 * 1024);
}
