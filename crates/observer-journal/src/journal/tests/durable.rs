//! What has to be on the disk, and when: over a disk that forgets what was not synced, and over one
//! that fails.

use std::io::ErrorKind;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::{killed, segments, small};
use crate::fs::{Fault, Faulty, FileSystem, Memory, OpenMode};
use crate::testing::{Switched, Switches, append, fill, numbers, open, options, record};
use crate::{AppendError, Durability, Hold, OfflineJournal, SegmentState};

/// What a disk forgets is drawn from its seed.
const SEEDS: std::ops::Range<u64> = 0..12;

fn size(fs: &impl FileSystem, name: &str) -> u64 {
    fs.open(&Path::new("j").join(name), OpenMode::Read).unwrap().size().unwrap()
}

#[test]
fn what_was_only_written_is_durable_after_maintenance_also_in_sealed_segments() {
    for seed in SEEDS {
        let disk = Faulty::new(seed);
        let options = || small(disk.clone()).durability(Durability::Write);
        let (journal, _) = open(options());
        fill(&journal, 1..=200);
        assert!(journal.status().segments > 2);
        journal.maintain().unwrap();
        disk.cut_power();
        drop(journal);
        disk.restart();
        let (journal, recovery) = open(options());
        assert_eq!((recovery.head, recovery.torn_bytes), (200, 0), "seed {seed}");
        assert_eq!(numbers(&journal), (1..=200).collect::<Vec<_>>(), "seed {seed}");
    }
}

#[test]
fn a_segment_that_can_not_be_synced_when_it_is_full_is_no_small_matter_for_what_was_only_written() {
    let fs = Switched::default();
    let (journal, _) = open(small(fs.clone()).durability(Durability::Write));
    fill(&journal, 1..=54);
    fs.switches.set(|switches| &switches.no_sync, true);
    assert!(matches!(append(&journal, vec![record(55)]), Err(AppendError::Sync { .. })));
}

#[test]
fn what_is_recovered_is_durable_before_it_is_served() {
    let memory = Memory::default();
    let (journal, _) = open(options(memory.clone()));
    fill(&journal, 1..=5);
    let files = killed(&memory);
    for seed in SEEDS {
        // All of it is with the operating system still, and nothing is on the disk.
        let disk = Faulty::new(seed);
        for name in files.list(Path::new("j")).unwrap() {
            let mut bytes = vec![0; usize::try_from(size(&files, &name)).unwrap()];
            let path = Path::new("j").join(&name);
            files.open(&path, OpenMode::Read).unwrap().read_at(&mut bytes, 0).unwrap();
            disk.open(&path, OpenMode::Create).unwrap().write_at(&bytes, 0).unwrap();
        }
        let (journal, recovery) = open(options(disk.clone()));
        assert_eq!(recovery.head, 5);
        disk.cut_power();
        drop(journal);
        disk.restart();
        let (journal, recovery) = open(options(disk));
        assert_eq!((recovery.head, recovery.torn_bytes), (5, 0), "seed {seed}");
        assert_eq!(numbers(&journal), [1, 2, 3, 4, 5], "seed {seed}");
    }
}

/// A clock that stands still until it is told.
fn clock() -> (Arc<AtomicU64>, crate::Clock) {
    let now = Arc::new(AtomicU64::new(1_000_000));
    let clock = now.clone();
    (now, Arc::new(move || clock.load(Ordering::SeqCst)))
}

/// Past any pause after a failed sync.
const LONG: u64 = 60_000_000;

#[test]
fn whatever_fails_while_a_segment_begins_nothing_is_left_of_it() {
    for failing in 0..7 {
        let (now, clock) = clock();
        let disk = Faulty::new(1);
        let options = || options(disk.clone()).clock(clock.clone());
        let (journal, _) = open(options());
        let is_tidy = || {
            let files = disk
                .files()
                .into_keys()
                .filter(|path| path.extension().is_some_and(|end| end == "log"));
            assert_eq!(files.count(), journal.status().segments, "operation {failing}");
        };
        fill(&journal, 1..=1);
        disk.fail_at(disk.operations() + 1, Fault::Error(ErrorKind::Other));
        assert!(matches!(append(&journal, vec![record(2)]), Err(AppendError::Sync { .. })));
        now.fetch_add(LONG, Ordering::SeqCst);
        disk.fail_at(disk.operations() + failing, Fault::Error(ErrorKind::Other));
        let taken = append(&journal, vec![record(2)]).is_ok();
        assert_eq!(disk.fault_count(), 2);
        is_tidy();
        now.fetch_add(LONG, Ordering::SeqCst);
        fill(&journal, 3..=4);
        is_tidy();
        // Its own sync is what failed last: it is not written to again under that name.
        let name = Path::new("j/00000000000000000002-0.log");
        assert!(failing != 6 || !disk.files().contains_key(name));
        let wanted: &[u64] = if taken { &[1, 2, 3, 4] } else { &[1, 3, 4] };
        assert_eq!(numbers(&journal), wanted, "operation {failing}");
        disk.cut_power();
        drop(journal);
        disk.restart();
        assert_eq!(numbers(&open(options()).0), wanted, "operation {failing}");
    }
}

#[test]
fn after_maintenance_that_could_not_sync_a_fresh_segment_is_begun() {
    let (now, clock) = clock();
    let fs = Switched::default();
    let (journal, _) = open(options(fs.clone()).durability(Durability::Write).clock(clock));
    fill(&journal, 1..=2);
    fs.switches.set(|switches| &switches.no_sync, true);
    assert!(matches!(journal.maintain(), Err(AppendError::Sync { .. })));
    fs.switches.set(|switches| &switches.no_sync, false);
    now.fetch_add(LONG, Ordering::SeqCst);
    fill(&journal, 3..=3);
    assert_eq!(segments(&fs).len(), 2);
    assert_eq!(numbers(&journal), [1, 2, 3]);
}

#[test]
fn a_write_that_fails_leaves_the_file_as_long_as_its_blocks() {
    let fs = Switched::default();
    let (journal, _) = open(options(fs.clone()));
    fill(&journal, 1..=1);
    let name = &segments(&fs)[0];
    fs.switches.set(|switches| &switches.no_space, true);
    append(&journal, vec![record(2)]).unwrap_err();
    let blocks = 88 + (32 + 32 + 9);
    assert_eq!(size(&fs, name), blocks, "what was written of it is gone, and so are the zeros");
    // Whether there is space again is found out without leaving anything either.
    journal.maintain().unwrap();
    assert_eq!(size(&fs, name), blocks);
    fs.switches.set(|switches| &switches.no_space, false);
    journal.maintain().unwrap();
    assert!(journal.status().failure.is_none());
    assert_eq!(size(&fs, name), blocks);
}

#[test]
fn where_half_a_write_or_a_probe_stays_a_fresh_segment_is_begun() {
    for probe in [false, true] {
        let disk = Faulty::new(2);
        let (journal, _) = open(options(disk.clone()));
        fill(&journal, 1..=1);
        let fails =
            |after| disk.fail_at(disk.operations() + after, Fault::Error(ErrorKind::StorageFull));
        fails(0);
        if !probe {
            fails(1);
        }
        append(&journal, vec![record(2)]).unwrap_err();
        if probe {
            // It is written, and can't be cut off again.
            fails(1);
            journal.maintain().unwrap();
            assert!(journal.status().failure.is_some());
        }
        fill(&journal, 3..=3);
        assert_eq!(segments(&disk).len(), 2, "probe: {probe}");
        assert_eq!(numbers(&journal), [1, 3]);
    }
}

#[test]
fn zeros_that_there_is_no_space_for_are_done_without() {
    let disk = Faulty::new(3);
    let (journal, _) = open(options(disk.clone()));
    // Behind the header and the block.
    let ahead = {
        let other = Faulty::new(3);
        let (journal, _) = open(options(other.clone()));
        let before = other.operations();
        fill(&journal, 1..=1);
        other.operations() - before - 2
    };
    disk.fail_at(disk.operations() + ahead, Fault::Error(ErrorKind::StorageFull));
    fill(&journal, 1..=1);
    assert_eq!(size(&disk, &segments(&disk)[0]), 88 + (32 + 32 + 9));
}

#[test]
fn a_segment_that_is_sealed_before_it_is_full_ends_in_its_footer() {
    let memory = Memory::default();
    let (journal, _) = open(small(memory.clone()));
    fill(&journal, 1..=3);
    let large = crate::Record::new(4, [4; 16], vec![b'x'; 4000]);
    append(&journal, vec![large]).unwrap();
    drop(journal);
    let found = OfflineJournal::open(small(memory)).unwrap().inspect().unwrap();
    assert_eq!(found.damage, []);
    assert_eq!(
        found.segments.iter().map(|segment| segment.state).collect::<Vec<_>>(),
        [SegmentState::Sealed, SegmentState::Open]
    );
}

#[test]
fn a_footer_that_can_not_be_written_is_done_without() {
    let (now, clock) = clock();
    let fs = Switched::default();
    let (journal, _) = open(small(fs.clone()).clock(clock));
    fill(&journal, 1..=54);
    fs.switches.set(|switches| &switches.no_space, true);
    append(&journal, vec![record(55)]).unwrap_err();
    fs.switches.set(|switches| &switches.no_space, false);
    now.fetch_add(LONG, Ordering::SeqCst);
    fill(&journal, 55..=56);
    drop(journal);
    let found = OfflineJournal::open(small(fs)).unwrap().inspect().unwrap();
    assert_eq!((found.head, found.records), (56, 56));
    assert_eq!(found.damage, [], "half a footer would be damage");
}

#[test]
fn a_position_that_could_not_be_stored_gives_no_segment_away() {
    let fs = Switched::default();
    let (journal, _) = open(small(fs.clone()).max_size(32 * 1024));
    journal.hold("archive", Hold::Required);
    journal.set_position("archive", 0, "".into());
    let full = (1..=2000).find(|number| append(&journal, vec![record(*number)]).is_err()).unwrap();
    journal.set_position("archive", full - 1, "".into());
    fs.switches.set(|switches| &switches.no_sync, true);
    journal.maintain().unwrap_err();
    fs.switches.set(|switches| &switches.no_sync, false);
    assert!(matches!(append(&journal, vec![record(full)]), Err(AppendError::Full { .. })));
    assert_eq!(journal.oldest(), 1);
    journal.maintain().unwrap();
    fill(&journal, full..=full);
}

#[test]
fn each_sync_that_fails_doubles_the_pause_before_the_next_try_and_a_full_disk_does_not() {
    let doubled = (0..9).map(|time| 100_000 << time).chain([30_000_000; 2]).collect();
    type Switch = fn(&Switches) -> &AtomicBool;
    let failing: [(Switch, Vec<u64>); 2] = [
        (|switches| &switches.no_sync, doubled),
        (|switches| &switches.no_create, vec![100_000; 5]),
    ];
    for (failing, pauses) in failing {
        let (now, clock) = clock();
        let fs = Switched::default();
        let (journal, _) = open(options(fs.clone()).clock(clock));
        let mut last = None;
        let mut tries = || {
            let error = match append(&journal, vec![record(2)]).unwrap_err() {
                AppendError::Write { source, .. } | AppendError::Sync { source, .. } => source,
                error => panic!("{error}"),
            };
            // In a pause it is the last error that is told again.
            !last.replace(error.clone()).is_some_and(|last| Arc::ptr_eq(&last, &error))
        };
        fill(&journal, 1..=1);
        fs.switches.set(|switches| &switches.no_sync, true);
        assert!(tries());
        fs.switches.set(|switches| &switches.no_sync, false);
        fs.switches.set(failing, true);
        for pause in pauses {
            now.fetch_add(pause - 1, Ordering::SeqCst);
            assert!(!tries(), "sooner than after {pause} µs");
            now.fetch_add(1, Ordering::SeqCst);
            assert!(tries(), "not after {pause} µs");
        }
        fs.switches.set(failing, false);
        now.fetch_add(30_000_000, Ordering::SeqCst);
        fill(&journal, 2..=2);
        fs.switches.set(|switches| &switches.no_sync, true);
        append(&journal, vec![record(3)]).unwrap_err();
        fs.switches.set(|switches| &switches.no_sync, false);
        now.fetch_add(100_000, Ordering::SeqCst);
        fill(&journal, 3..=3);
    }
}

#[test]
fn there_are_always_zeros_ahead_of_small_blocks() {
    const AHEAD: u64 = 2 << 20;
    let memory = Memory::default();
    let (journal, _) = open(options(memory.clone()));
    let mut end = 88;
    for number in 0..50 {
        append(&journal, vec![crate::Record::new(number, [0; 16], vec![b'x'; 50_000])]).unwrap();
        end += 32 + 32 + 50_000;
        let size = size(&memory, &segments(&memory)[0]);
        assert!(end < size && size <= end + AHEAD, "{size} bytes with {end} in use");
    }
}

#[test]
fn a_segment_has_only_so_many_records_however_small() {
    let memory = Memory::default();
    let (journal, _) = open(options(memory.clone()));
    for _ in 0..33 {
        append(&journal, (0..4096).map(|number| crate::Record::new(number, [0; 16], "")).collect())
            .unwrap();
    }
    let names = segments(&memory);
    assert_eq!(
        names,
        ["00000000000000000001-0.log", "00000000000000131073-0.log"],
        "32 groups each"
    );
}

#[test]
fn the_keys_of_what_was_refused_are_not_recent() {
    let (now, clock) = clock();
    let fs = Switched::default();
    let (journal, _) = open(options(fs.clone()).clock(clock));
    fill(&journal, 1..=1);
    fs.switches.set(|switches| &switches.no_sync, true);
    append(&journal, vec![record(2), record(3)]).unwrap_err();
    fs.switches.set(|switches| &switches.no_sync, false);
    now.fetch_add(LONG, Ordering::SeqCst);
    fill(&journal, 4..=4);
    // Their block stands in the first segment, whole.
    let keys = journal.recent_keys(usize::MAX, 0).unwrap().collect::<Vec<_>>();
    assert_eq!(keys, [(1, record(1).key()), (2, record(4).key())]);
}
