//! Tests of the journal through its public interface.

mod corruption;
mod durable;
mod epochs;
mod full;
mod generations;
mod housekeeping;
mod kills;
mod reading;
mod recovered;
mod removed;
mod versions;

use std::path::Path;

use crate::fs::{Disk, FileSystem, Memory, OpenMode};
use crate::testing::{
    Commit, Switched, append, append_of, fill, numbers, open, options, read, recent_keys, record,
    try_open,
};
use crate::{AppendError, Chunk, Durability, GapReason, Hold, OpenError, Options, StoredPosition};

/// Returns the names of the segments, oldest first.
fn segments(fs: &impl FileSystem) -> Vec<String> {
    let mut names = fs.list(Path::new("j")).unwrap();
    names.retain(|name| name.ends_with(".log"));
    names.sort();
    names
}

fn truncate_by(fs: &impl FileSystem, name: &str, bytes: u64) {
    let file = fs.open(&Path::new("j").join(name), OpenMode::Write).unwrap();
    file.truncate(file.size().unwrap() - bytes).unwrap();
}

/// Flips four bits of a byte, which can't be corrected.
fn flip(fs: &impl FileSystem, name: &str, offset: u64) {
    let file = fs.open(&Path::new("j").join(name), OpenMode::Write).unwrap();
    let mut byte = [0];
    file.read_at(&mut byte, offset).unwrap();
    file.write_at(&[byte[0] ^ 0xA5], offset).unwrap();
}

/// Options with segments of about 4 KiB.
fn small(fs: impl FileSystem) -> Options {
    options(fs).segment_size(4096)
}

#[test]
fn records_persist_after_reopening_and_appends_continue() {
    let dir = tempfile::tempdir().unwrap();
    let options = || Options::new(dir.path().join("j")).segment_size(4096);
    let (journal, recovery) = open(options());
    assert!(recovery.created);
    fill(&journal, 1..=200);
    assert_eq!(append(&journal, vec![record(201), record(202)]).unwrap().first_seq, 201);
    let epoch = journal.epoch();
    drop(journal);

    let (journal, recovery) = open(options());
    assert_eq!((recovery.created, recovery.head, recovery.torn_bytes), (false, 202, 0));
    fill(&journal, 203..=250);
    assert_eq!(numbers(&journal), (1..=250).collect::<Vec<_>>());
    assert_eq!(journal.epoch(), epoch);
    assert!(journal.status().segments > 2);
}

#[test]
fn commits_of_many_threads_are_reported_in_sequence_order() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, _) = open(Options::new(dir.path()));
    let order = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for thread in 0..8 {
            let (journal, order) = (&journal, order.clone());
            scope.spawn(move || {
                for number in thread * 50..(thread + 1) * 50 {
                    let order = order.clone();
                    let (sender, receiver) = std::sync::mpsc::channel();
                    let done = move |result: Result<Commit, AppendError>| {
                        order.lock().unwrap().push((result.unwrap().first_seq, record(number)));
                        sender.send(()).unwrap();
                    };
                    journal.append(append_of(vec![record(number)], done));
                    receiver.recv().unwrap();
                }
            });
        }
    });
    let order = order.lock().unwrap();
    assert_eq!(
        order.iter().map(|(seq, _)| *seq).collect::<Vec<_>>(),
        (1..=400).collect::<Vec<_>>()
    );
    assert!(read(&journal, 0).0 == *order, "each append has the sequence number of its own record");
}

#[test]
fn second_instance_in_the_same_folder_is_rejected() {
    let dir = tempfile::tempdir().unwrap();
    let first = try_open(Options::new(dir.path())).unwrap();
    assert!(matches!(try_open(Options::new(dir.path())), Err(OpenError::InUse { .. })));
    drop(first);
    assert!(try_open(Options::new(dir.path())).is_ok());
    assert!(Disk.list(dir.path()).unwrap().contains(&"positions".to_owned()));
}

#[test]
fn incomplete_last_block_is_removed_and_reported() {
    let memory = Memory::default();
    let (journal, _) = open(options(memory.clone()));
    fill(&journal, 1..=3);
    drop(journal);
    truncate_by(&memory, &segments(&memory)[0], 5);

    let (journal, recovery) = open(options(memory.clone()));
    assert_eq!((recovery.head, recovery.lost.len()), (2, 0));
    assert_eq!(recovery.torn_bytes, (32 + 32 + "payload 3".len() as u64) - 5);
    fill(&journal, 4..=4);
    assert_eq!(numbers(&journal), [1, 2, 4]);
}

/// Copies the files as they are, as `kill -9` would leave them.
fn snapshot(fs: &Memory) -> Memory {
    let (copy, dir) = (Memory::default(), Path::new("j"));
    for name in fs.list(dir).unwrap() {
        let file = fs.open(&dir.join(&name), OpenMode::Read).unwrap();
        let mut bytes = vec![0; usize::try_from(file.size().unwrap()).unwrap()];
        file.read_at(&mut bytes, 0).unwrap();
        copy.open(&dir.join(&name), OpenMode::Create).unwrap().write_at(&bytes, 0).unwrap();
    }
    copy
}

#[test]
fn zeros_ahead_of_blocks_are_not_reported_as_torn() {
    let memory = Memory::default();
    let (journal, _) = open(options(memory.clone()));
    fill(&journal, 1..=3);
    let killed = snapshot(&memory);
    let name = &segments(&killed)[0];
    let size =
        |fs: &Memory| fs.open(&Path::new("j").join(name), OpenMode::Read).unwrap().size().unwrap();
    assert!(size(&killed) > 1 << 20, "syncs don't change the size of the file");
    drop(journal);
    assert!(size(&memory) < 1000, "closing removes the zeros");

    let half_written = snapshot(&killed);
    let end = 88 + 3 * (32 + 32 + 9);
    half_written
        .open(&Path::new("j").join(name), OpenMode::Write)
        .unwrap()
        .write_at(b"half a block", end)
        .unwrap();
    let (journal, recovery) = open(options(half_written));
    assert_eq!((recovery.head, recovery.torn_bytes), (3, 12));
    drop(journal);
    let (journal, recovery) = open(options(killed));
    assert_eq!((recovery.head, recovery.torn_bytes), (3, 0));
    fill(&journal, 4..=4);
    assert_eq!(numbers(&journal), [1, 2, 3, 4]);
}

#[test]
fn corrupt_block_in_the_middle_loses_only_its_records() {
    let memory = Memory::default();
    let (journal, _) = open(small(memory.clone()));
    fill(&journal, 1..=200);
    drop(journal);
    let block = 32 + 32 + "payload 1".len() as u64;
    // The payload of the second record, in a sealed segment.
    flip(&memory, &segments(&memory)[0], 88 + block + 70);

    let (journal, recovery) = open(small(memory));
    assert_eq!((recovery.head, recovery.torn_bytes), (200, 0));
    let (records, gaps) = read(&journal, 0);
    assert_eq!(gaps, [Chunk::Gap { first_seq: 2, last_seq: 2, reason: GapReason::Corrupt }]);
    let found: Vec<_> = records.into_iter().map(|(seq, _)| seq).collect();
    assert_eq!(found, (1..=200).filter(|seq| *seq != 2).collect::<Vec<_>>());
}

#[test]
fn corrupt_block_in_the_last_segment_is_not_reported_as_torn() {
    let memory = Memory::default();
    let (journal, _) = open(options(memory.clone()));
    fill(&journal, 1..=5);
    drop(journal);
    flip(&memory, &segments(&memory)[0], 88 + 10);

    let (journal, recovery) = open(options(memory));
    assert_eq!((recovery.head, recovery.torn_bytes, recovery.lost), (5, 0, vec![1..=1]));
    fill(&journal, 6..=6);
    let (records, gaps) = read(&journal, 0);
    assert_eq!(records.iter().map(|(seq, _)| *seq).collect::<Vec<_>>(), [2, 3, 4, 5, 6]);
    assert_eq!(gaps, [Chunk::Gap { first_seq: 1, last_seq: 1, reason: GapReason::Corrupt }]);
}

#[test]
fn missing_segment_is_a_gap() {
    let memory = Memory::default();
    let (journal, _) = open(small(memory.clone()));
    fill(&journal, 1..=200);
    drop(journal);
    let names = segments(&memory);
    memory.remove(&Path::new("j").join(&names[1])).unwrap();
    let first = |name: &str| name.split('-').next().unwrap().parse::<u64>().unwrap();

    let (journal, _) = open(small(memory));
    let (records, gaps) = read(&journal, 0);
    let (from, to) = (first(&names[1]), first(&names[2]) - 1);
    assert_eq!(gaps, [Chunk::Gap { first_seq: from, last_seq: to, reason: GapReason::Corrupt }]);
    assert_eq!(records.len() as u64, 200 - (to - from + 1));
}

#[test]
fn failed_write_is_rolled_back_and_the_next_one_succeeds() {
    let fs = Switched::default();
    let (journal, _) = open(options(fs.clone()));
    fill(&journal, 1..=1);
    fs.switches.set(|switches| &switches.no_space, true);
    let error = append(&journal, vec![record(2)]).unwrap_err();
    let AppendError::Write { source, .. } = &error else { panic!("{error}") };
    assert_eq!(source.kind(), std::io::ErrorKind::StorageFull);
    assert!(journal.status().failure.is_some());
    fs.switches.set(|switches| &switches.no_space, false);
    fill(&journal, 3..=3);
    assert!(journal.status().failure.is_none());
    assert_eq!(numbers(&journal), [1, 3]);
    drop(journal);
    let (journal, recovery) = open(options(fs));
    assert_eq!((recovery.torn_bytes, numbers(&journal)), (0, vec![1, 3]));
}

#[test]
fn failed_sync_ends_the_use_of_the_segment() {
    let fs = Switched::default();
    let now = std::sync::Arc::new(std::sync::atomic::AtomicU64::new(1_000_000));
    let clock = now.clone();
    let options = || {
        let clock = clock.clone();
        options(fs.clone())
            .clock(std::sync::Arc::new(move || clock.load(std::sync::atomic::Ordering::SeqCst)))
    };
    let (journal, _) = open(options());
    fill(&journal, 1..=1);
    fs.switches.set(|switches| &switches.no_sync, true);
    assert!(matches!(append(&journal, vec![record(2)]), Err(AppendError::Sync { .. })));
    fs.switches.set(|switches| &switches.no_sync, false);
    assert!(
        matches!(append(&journal, vec![record(3)]), Err(AppendError::Sync { .. })),
        "the next segment is tried without a pause"
    );
    assert_eq!(numbers(&journal), [1], "readers continue");
    now.fetch_add(100_000, std::sync::atomic::Ordering::SeqCst);
    fill(&journal, 4..=5);
    assert_eq!(segments(&fs).len(), 2);
    assert_eq!(numbers(&journal), [1, 4, 5]);
    drop(journal);
    let (journal, recovery) = open(options());
    assert_eq!(
        (recovery.head, numbers(&journal)),
        (3, vec![1, 4, 5]),
        "rejected records must not be read"
    );
}

#[test]
fn failed_creation_of_a_segment_does_not_prevent_later_appends() {
    let fs = Switched::default();
    let (journal, _) = open(options(fs.clone()));
    fs.switches.set(|switches| &switches.no_create, true);
    assert!(append(&journal, vec![record(1)]).is_err());
    fs.switches.set(|switches| &switches.no_create, false);
    drop(journal);
    let (journal, recovery) = open(options(fs.clone()));
    assert_eq!(recovery.head, 0);
    fill(&journal, 1..=1);
    drop(journal);
    assert_eq!(segments(&fs).len(), 1);
}

#[test]
fn commit_is_reported_after_the_write_and_its_sync() {
    let fs = Switched::default();
    let (journal, _) = open(options(fs.clone()));
    fill(&journal, 1..=1);
    fs.switches.operations.lock().unwrap().clear();
    let switches = fs.switches.clone();
    journal.append(append_of(vec![record(2)], move |_| {
        assert_eq!(*switches.operations.lock().unwrap(), ["write", "sync"]);
    }));
    fs.switches.operations.lock().unwrap().clear();
    journal.set_position("archive", 2, "state".into());
    journal.maintain().unwrap();
    assert_eq!(*fs.switches.operations.lock().unwrap(), ["write", "sync", "rename", "sync_dir"]);
    fs.switches.operations.lock().unwrap().clear();
    journal.maintain().unwrap();
    assert!(
        fs.switches.operations.lock().unwrap().is_empty(),
        "unchanged positions are not written"
    );
}

#[test]
fn maintenance_syncs_records_that_are_only_written() {
    let fs = Switched::default();
    let (journal, _) = open(options(fs.clone()).durability(Durability::Write));
    fill(&journal, 1..=1);
    fs.switches.operations.lock().unwrap().clear();
    fill(&journal, 2..=3);
    assert_eq!(*fs.switches.operations.lock().unwrap(), ["write", "write"]);
    journal.maintain().unwrap();
    assert_eq!(fs.switches.operations.lock().unwrap()[2], "sync");
}

#[test]
fn positions_persist_after_reopening() {
    let memory = Memory::default();
    let (journal, _) = open(options(memory.clone()));
    fill(&journal, 1..=5);
    journal.set_position("archive", 3, "state".into());
    let epoch = journal.epoch();
    drop(journal);
    let (journal, _) = open(options(memory));
    assert_eq!(
        journal.position("archive"),
        Some(StoredPosition { epoch, seq: 3, state: "state".into() })
    );
    journal.forget("archive");
    assert_eq!((journal.position("archive"), journal.positions().len()), (None, 0));
}

#[test]
fn position_of_a_new_reader_is_durable_before_the_next_record() {
    let memory = Memory::default();
    let (journal, _) = open(options(memory.clone()));
    fill(&journal, 1..=5);
    journal.set_position("webhook", 5, "".into());
    fill(&journal, 6..=6);
    let (journal, _) = open(options(snapshot(&memory)));
    assert_eq!(journal.position("webhook").unwrap().seq, 5);
}

#[test]
fn lost_positions_are_reported() {
    let memory = Memory::default();
    let (journal, _) = open(options(memory.clone()));
    fill(&journal, 1..=5);
    let epoch = journal.epoch();
    drop(journal);
    memory.remove(Path::new("j/positions")).unwrap();
    let (journal, recovery) = open(options(memory));
    assert!(recovery.positions_lost && !recovery.created);
    assert_eq!(journal.epoch(), epoch);
}

#[test]
fn oldest_segments_are_removed_at_the_size_limit_and_readers_find_a_gap() {
    let memory = Memory::default();
    let options = || small(memory.clone()).max_size(32 * 1024);
    let (journal, _) = open(options());
    journal.hold("slow", Hold::Optional);
    fill(&journal, 1..=2000);
    assert!(journal.status().bytes <= 32 * 1024);
    let oldest = journal.oldest();
    assert!(oldest > 1000);
    let (records, gaps) = read(&journal, 0);
    assert_eq!(
        gaps,
        [Chunk::Gap { first_seq: 1, last_seq: oldest - 1, reason: GapReason::Expired }]
    );
    assert_eq!(records.first().unwrap().0, oldest);
    assert_eq!(records.last().unwrap().0, 2000);
}

#[test]
fn required_reader_makes_a_full_journal_reject_new_records() {
    let memory = Memory::default();
    let (journal, _) = open(small(memory).max_size(32 * 1024));
    journal.hold("archive", Hold::Required);
    journal.set_position("archive", 0, "".into());
    let full = (1..=2000).find_map(|number| {
        append(&journal, vec![record(number)]).err().map(|error| (number, error))
    });
    let (number, error) = full.unwrap();
    assert!(matches!(&error, AppendError::Full { holder, .. } if holder == "archive"), "{error}");
    assert_eq!(numbers(&journal).len() as u64, number - 1, "no record is removed");
    journal.maintain().unwrap();
    assert!(journal.status().failure.is_some(), "the journal is still full");

    journal.set_position("archive", number - 1, "".into());
    assert!(append(&journal, vec![record(number)]).is_err(), "the position is not durable yet");
    journal.maintain().unwrap();
    journal.maintain().unwrap();
    assert!(
        journal.status().failure.is_none(),
        "maintenance finds the free space without an append"
    );
    append(&journal, vec![record(number)]).unwrap();
}

#[test]
fn journal_without_space_for_a_large_record_keeps_reporting_the_failure() {
    let (journal, _) = open(small(Memory::default()).max_size(32 * 1024));
    journal.hold("archive", Hold::Required);
    let large = |number| crate::Record::new(number, [0; 16], vec![7; 20_000]);
    append(&journal, vec![large(1)]).unwrap();
    let error = append(&journal, vec![large(2)]).unwrap_err();
    assert!(matches!(error, AppendError::Full { wanted, .. } if wanted > 20_000), "{error}");
    journal.maintain().unwrap();
    assert!(
        journal.status().failure.is_some(),
        "there is space for a small record, but not for a large one"
    );
    fill(&journal, 3..=3);
    assert!(journal.status().failure.is_none());
}

#[test]
fn segments_are_kept_for_the_retention_time_and_for_held_readers() {
    let memory = Memory::default();
    let now = std::sync::Arc::new(std::sync::atomic::AtomicU64::new(1_000_000));
    let clock = now.clone();
    let clock = move || clock.load(std::sync::atomic::Ordering::SeqCst);
    let hour = std::time::Duration::from_secs(3600);
    let (journal, _) = open(small(memory).retain(hour).clock(std::sync::Arc::new(clock)));
    journal.hold("slow", Hold::Optional);
    fill(&journal, 1..=500);
    journal.set_position("slow", 500, "".into());
    journal.maintain().unwrap();
    assert_eq!(journal.oldest(), 1, "segments are not an hour old yet");
    now.fetch_add(3_600_000_001, std::sync::atomic::Ordering::SeqCst);
    journal.set_position("slow", 100, "".into());
    journal.maintain().unwrap();
    let oldest = journal.oldest();
    assert!(
        (2..=101).contains(&oldest),
        "{oldest}: only segments that `slow` is done with are removed"
    );
    journal.release("slow");
    journal.maintain().unwrap();
    assert_eq!(journal.status().segments, 1);
}

#[test]
fn recent_keys_are_read_from_footers_and_from_blocks() {
    let memory = Memory::default();
    let (journal, _) = open(small(memory.clone()));
    fill(&journal, 1..=300);
    let all = recent_keys(&journal, usize::MAX, 0);
    assert_eq!(all.len(), 300);
    assert!(
        all.iter()
            .enumerate()
            .all(|(at, (seq, key))| *seq == at as u64 + 1 && *key == record(*seq).key())
    );
    assert_eq!(recent_keys(&journal, 7, 0), all[293..]);
    assert_eq!(recent_keys(&journal, usize::MAX, 250), all[249..]);
    assert_eq!(recent_keys(&journal, 60, 250), all[249..], "both limits apply");
    drop(journal);
    // Without a valid footer, the keys are read from the blocks.
    let name = &segments(&memory)[0];
    truncate_by(&memory, name, 1);
    let (journal, _) = open(small(memory));
    assert_eq!(recent_keys(&journal, usize::MAX, 0), all);
}

proptest::proptest! {
    #[test]
    fn flipped_byte_neither_prevents_opening_nor_affects_other_blocks(at in 0_u64..6000) {
        let memory = Memory::default();
        let (journal, _) = open(small(memory.clone()));
        fill(&journal, 1..=120);
        drop(journal);
        let mut offset = at;
        for name in segments(&memory) {
            let file = memory.open(&Path::new("j").join(&name), OpenMode::Read).unwrap();
            let size = file.size().unwrap();
            if offset < size {
                flip(&memory, &name, offset);
                break;
            }
            offset -= size;
        }
        let (journal, recovery) = open(small(memory));
        let (records, _) = read(&journal, 0);
        proptest::prop_assert!(records.iter().all(|(seq, found)| *found == record(*seq)));
        // The last block counts as torn if a byte of it is flipped.
        proptest::prop_assert!(records.len() >= 119, "{} records, {recovery:?}", records.len());
    }
}
