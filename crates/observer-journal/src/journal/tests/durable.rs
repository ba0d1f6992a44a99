//! Durability on a disk that loses unsynced writes, and on one that fails.

use std::io::ErrorKind;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::{segments, small, snapshot};
use crate::fs::{Fault, Faulty, FileSystem, Memory, OpenMode};
use crate::testing::{
    Switched, Switches, append, fill, numbers, open, options, recent_keys, record,
};
use crate::{AppendError, Durability, Hold, OfflineJournal, SegmentState};

/// Seeds of the disks, which determine the unsynced writes that are lost.
const SEEDS: std::ops::Range<u64> = 0..12;

fn size(fs: &impl FileSystem, name: &str) -> u64 {
    fs.open(&Path::new("j").join(name), OpenMode::Read).unwrap().size().unwrap()
}

#[test]
fn maintenance_makes_unsynced_records_of_all_segments_durable() {
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
fn failed_sync_of_a_full_segment_with_unsynced_records_is_an_error() {
    let fs = Switched::default();
    let (journal, _) = open(small(fs.clone()).durability(Durability::Write));
    fill(&journal, 1..=54);
    fs.switches.set(|switches| &switches.no_sync, true);
    assert!(matches!(append(&journal, vec![record(55)]), Err(AppendError::Sync { .. })));
}

#[test]
fn recovered_records_are_durable_before_they_are_read() {
    let memory = Memory::default();
    let (journal, _) = open(options(memory.clone()));
    fill(&journal, 1..=5);
    let files = snapshot(&memory);
    for seed in SEEDS {
        // All bytes are in the page cache, and none on the disk.
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

/// Returns a clock and the time that it shows.
fn clock() -> (Arc<AtomicU64>, crate::Clock) {
    let now = Arc::new(AtomicU64::new(1_000_000));
    let clock = now.clone();
    (now, Arc::new(move || clock.load(Ordering::SeqCst)))
}

/// Time in microseconds that is longer than any pause after a failed sync.
const LONG: u64 = 60_000_000;

#[test]
fn failed_creation_of_a_segment_leaves_no_file() {
    for failing in 0..7 {
        let (now, clock) = clock();
        let disk = Faulty::new(1);
        let options = || options(disk.clone()).clock(clock.clone());
        let (journal, _) = open(options());
        let assert_no_leftovers = || {
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
        let is_accepted = append(&journal, vec![record(2)]).is_ok();
        assert_eq!(disk.fault_count(), 2);
        assert_no_leftovers();
        now.fetch_add(LONG, Ordering::SeqCst);
        fill(&journal, 3..=4);
        assert_no_leftovers();
        // The sync of this file failed last, so the next segment has another name.
        let name = Path::new("j/00000000000000000002-0.log");
        assert!(failing != 6 || !disk.files().contains_key(name));
        let wanted: &[u64] = if is_accepted { &[1, 2, 3, 4] } else { &[1, 3, 4] };
        assert_eq!(numbers(&journal), wanted, "operation {failing}");
        disk.cut_power();
        drop(journal);
        disk.restart();
        assert_eq!(numbers(&open(options()).0), wanted, "operation {failing}");
    }
}

#[test]
fn failed_sync_in_maintenance_ends_the_use_of_the_segment() {
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
fn failed_write_leaves_the_file_with_its_complete_blocks_only() {
    let fs = Switched::default();
    let (journal, _) = open(options(fs.clone()));
    fill(&journal, 1..=1);
    let name = &segments(&fs)[0];
    fs.switches.set(|switches| &switches.no_space, true);
    append(&journal, vec![record(2)]).unwrap_err();
    let blocks = 88 + (32 + 32 + 9);
    assert_eq!(size(&fs, name), blocks, "the partial write and the zeros are removed");
    // The probe for free space leaves no bytes, either.
    journal.maintain().unwrap();
    assert_eq!(size(&fs, name), blocks);
    fs.switches.set(|switches| &switches.no_space, false);
    journal.maintain().unwrap();
    assert!(journal.status().failure.is_none());
    assert_eq!(size(&fs, name), blocks);
}

#[test]
fn failed_rollback_of_a_write_or_probe_ends_the_use_of_the_segment() {
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
            // The probe is written, but its rollback fails.
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
fn commit_succeeds_without_space_for_zeros() {
    let disk = Faulty::new(3);
    let (journal, _) = open(options(disk.clone()));
    // The zeros are written after the header and the block.
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
fn segment_sealed_before_it_is_full_ends_with_its_footer() {
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
fn commit_succeeds_if_the_footer_can_not_be_written() {
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
    assert_eq!(found.damage, [], "a partial footer is removed");
}

#[test]
fn position_that_could_not_be_stored_releases_no_segment() {
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
fn pause_doubles_with_each_failed_sync_but_not_on_a_full_disk() {
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
        let mut attempts = || {
            let error = match append(&journal, vec![record(2)]).unwrap_err() {
                AppendError::Write { source, .. } | AppendError::Sync { source, .. } => source,
                error => panic!("{error}"),
            };
            // During a pause, the last error is returned again.
            !last.replace(error.clone()).is_some_and(|last| Arc::ptr_eq(&last, &error))
        };
        fill(&journal, 1..=1);
        fs.switches.set(|switches| &switches.no_sync, true);
        assert!(attempts());
        fs.switches.set(|switches| &switches.no_sync, false);
        fs.switches.set(failing, true);
        for pause in pauses {
            now.fetch_add(pause - 1, Ordering::SeqCst);
            assert!(!attempts(), "attempted before {pause} µs");
            now.fetch_add(1, Ordering::SeqCst);
            assert!(attempts(), "not attempted after {pause} µs");
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
fn small_blocks_always_have_zeros_ahead() {
    const FILL_SIZE: u64 = 2 << 20;
    let memory = Memory::default();
    let (journal, _) = open(options(memory.clone()));
    let mut end = 88;
    for number in 0..50 {
        append(&journal, vec![crate::Record::new(number, [0; 16], vec![b'x'; 50_000])]).unwrap();
        end += 32 + 32 + 50_000;
        let size = size(&memory, &segments(&memory)[0]);
        assert!(end < size && size <= end + FILL_SIZE, "{size} bytes with {end} in use");
    }
}

#[test]
fn number_of_records_in_a_segment_is_limited() {
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
        "each full segment has 32 groups"
    );
}

#[test]
fn keys_of_rejected_records_are_not_recent() {
    let (now, clock) = clock();
    let fs = Switched::default();
    let (journal, _) = open(options(fs.clone()).clock(clock));
    fill(&journal, 1..=1);
    fs.switches.set(|switches| &switches.no_sync, true);
    append(&journal, vec![record(2), record(3)]).unwrap_err();
    fs.switches.set(|switches| &switches.no_sync, false);
    now.fetch_add(LONG, Ordering::SeqCst);
    fill(&journal, 4..=4);
    // The complete block of the rejected records is in the first segment.
    let keys = recent_keys(&journal, usize::MAX, 0);
    assert_eq!(keys, [(1, record(1).key()), (2, record(4).key())]);
}
