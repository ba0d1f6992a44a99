use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::*;
use crate::fs::{Fault, Faulty, Memory};
use crate::{Append, Journal, Options, Record, Runner};

const DIR: &str = "j";

fn key(number: u64) -> Key {
    Key { received_at: number, tag: 3, id: u128::from(number).to_le_bytes(), checksum: 7 }
}

fn numbered(range: std::ops::Range<u64>) -> Vec<(u64, Key)> {
    range.map(|number| (number, key(number))).collect()
}

fn visited(keys: &RemovedKeys, fs: &dyn FileSystem, end: u64) -> Vec<u64> {
    let mut found = Vec::new();
    let visit = |seq, read| {
        assert_eq!(read, key(seq));
        found.push(seq);
    };
    keys.visit(fs, Path::new(DIR), end, visit).unwrap();
    found
}

const ALL: RememberedKeys = RememberedKeys { micros: 1000, max: 1000 };

#[test]
fn keys_are_read_again_in_order_with_their_sequence_numbers() {
    let (fs, dir) = (Memory::default(), Path::new(DIR));
    let mut keys = RemovedKeys::default();
    let with_gap = [numbered(10..12), numbered(14..16)].concat();
    for added in [numbered(1..4), with_gap.clone(), with_gap] {
        keys.add(&fs, dir, &added, (ALL, 20)).unwrap();
    }
    let mut again = RemovedKeys::load(&fs, dir).unwrap();
    again.add(&fs, dir, &numbered(14..16), (ALL, 20)).unwrap();
    again.add(&fs, dir, &numbered(16..18), (ALL, 20)).unwrap();
    assert_eq!(visited(&again, &fs, 100), [1, 2, 3, 10, 11, 14, 15, 16, 17]);
    assert_eq!(visited(&again, &fs, 15), [1, 2, 3, 10, 11, 14], "records that are still there");
}

#[test]
fn files_go_with_the_window_and_beyond_the_number_of_keys() {
    for (remembered, expected) in [
        (RememberedKeys { micros: 1000, max: 4 }, vec![3, 4, 5, 6, 7, 8]),
        (RememberedKeys { micros: 1000, max: 2 }, vec![5, 6, 7, 8]),
        (RememberedKeys { micros: 3, max: 1000 }, vec![5, 6, 7, 8]),
        (RememberedKeys { micros: 2, max: 1000 }, vec![6, 7, 8]),
    ] {
        let (fs, dir) = (Memory::default(), Path::new(DIR));
        for first in [1, 3, 5, 7] {
            let mut keys = RemovedKeys::load(&fs, dir).unwrap();
            keys.add(&fs, dir, &numbered(first..first + 2), (remembered, 8)).unwrap();
        }
        let found = visited(&RemovedKeys::load(&fs, dir).unwrap(), &fs, 100);
        assert_eq!(found, expected, "{remembered:?}");
    }
}

#[test]
fn corrupt_chunk_and_torn_end_hide_no_other_keys() {
    let (fs, dir) = (Memory::default(), Path::new(DIR));
    let mut keys = RemovedKeys::default();
    for first in [1, 3, 5] {
        keys.add(&fs, dir, &numbered(first..first + 2), (ALL, 8)).unwrap();
    }
    let file = fs.open(&dir.join(name(1)), OpenMode::Write).unwrap();
    let size = file.size().unwrap();
    file.write_at(b"?", size / 3 + HEADER_SIZE as u64 + 1).unwrap();
    file.truncate(size - 1).unwrap();
    assert_eq!(visited(&RemovedKeys::load(&fs, dir).unwrap(), &fs, 100), [1, 2]);
    file.truncate(size).unwrap();
    assert_eq!(RemovedKeys::load(&fs, dir).unwrap().files[0].keys, 6);
}

#[test]
fn file_of_a_later_version_is_refused() {
    let (fs, dir) = (Memory::default(), Path::new(DIR));
    fs.open(&dir.join(name(1)), OpenMode::Create).unwrap().write_at(b"OBSVKEY2", 0).unwrap();
    let error = RemovedKeys::load(&fs, dir).unwrap_err();
    assert!(matches!(error, OpenError::Newer { ref found, known: 1, .. } if found == "2"));
}

/// Commits `count` records one by one, at the times 1 to `count`, and removes what expires.
fn fill(fs: impl FileSystem, count: u64) {
    let now = Arc::new(AtomicU64::new(0));
    let Some(journal) = journal(fs, now.clone()) else { return };
    for number in journal.head() + 1..=count {
        now.store(number, Ordering::SeqCst);
        let record = Record::new(number, u128::from(number).to_le_bytes(), vec![0; 1500]);
        journal.append(Append::new(vec![record], ()));
        let _ = journal.maintain();
    }
}

fn journal(fs: impl FileSystem, now: Arc<AtomicU64>) -> Option<Journal> {
    let options = Options::new(DIR)
        .file_system(fs)
        .runner(Runner::Caller)
        .segment_size(4096)
        .retain(Duration::ZERO)
        .remember_keys(Duration::from_secs(1), 1000)
        .clock(Arc::new(move || now.load(Ordering::SeqCst)));
    Journal::open(options, |_| ()).ok().map(|(journal, _)| journal)
}

#[test]
fn no_fault_between_keys_and_removal_forgets_a_record() {
    let free = Faulty::new(0);
    fill(free.clone(), 12);
    let operations = free.operations();
    for fault in [Fault::Kill, Fault::PowerCut] {
        for at in 0..operations {
            let disk = Faulty::new(at);
            disk.fail_at(at, fault);
            fill(disk.clone(), 12);
            if disk.is_off() {
                disk.restart();
            }
            let journal = journal(disk.clone(), Arc::default()).unwrap();
            let mut found = Vec::new();
            journal.visit_recent_keys(1000, 0, |seq, _| found.push(seq)).unwrap();
            let expected: Vec<_> = (1..=journal.head()).collect();
            assert_eq!(found, expected, "{fault:?} at {at}");
            assert!(journal.oldest() > 1 || at < operations - 20, "segments are removed");
        }
    }
}
