//! Readers, recent keys, and seeking by time, while records are appended and removed.

use std::io::ErrorKind;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::{flip, segments, small};
use crate::fs::{Fault, Faulty, FileSystem, Memory, OpenMode};
use crate::testing::{append, fill, open, options, read, recent_keys, record};
use crate::{Chunk, GapReason, Record, SeekResult};

#[test]
fn reader_at_the_head_reads_each_new_record() {
    let (journal, _) = open(options(Memory::default()).segment_size(4096));
    let mut reader = journal.reader(0);
    for number in 1..=200 {
        assert_eq!(reader.read().unwrap(), None);
        fill(&journal, number..=number);
        assert_eq!(reader.next_seq(), number);
        assert_eq!(
            reader.read().unwrap(),
            Some(Chunk::Records { first_seq: number, records: vec![record(number)] })
        );
    }
}

#[test]
fn removed_segment_is_a_gap_and_one_that_fails_to_open_is_an_error() {
    let disk = Faulty::new(1);
    let (journal, _) = open(options(disk.clone()).segment_size(4096));
    fill(&journal, 1..=200);
    let mut reader = journal.reader(0);
    disk.fail_at(disk.operations(), Fault::Error(ErrorKind::PermissionDenied));
    assert_eq!(reader.read().unwrap_err().kind(), ErrorKind::PermissionDenied);
    assert_eq!(
        reader.read().unwrap(),
        Some(Chunk::Records { first_seq: 1, records: vec![record(1)] })
    );

    let names = segments(&disk);
    disk.remove(&Path::new("j").join(&names[0])).unwrap();
    let last_seq = names[1].split('-').next().unwrap().parse::<u64>().unwrap() - 1;
    let gap = Chunk::Gap { first_seq: 1, last_seq, reason: GapReason::Corrupt };
    assert_eq!(journal.reader(0).read().unwrap(), Some(gap));
}

#[test]
fn recent_keys_are_limited_by_number_and_time() {
    let (journal, _) = open(options(Memory::default()).segment_size(4096));
    fill(&journal, 1..=300);
    // The time of a record is its number.
    for (max, since, first) in
        [(7, 0, 294), (20, 290, 290), (11, 290, 290), (10, 290, 291), (1000, 100, 100), (0, 0, 301)]
    {
        let keys = recent_keys(&journal, max, since);
        let expected: Vec<_> = (first..=300).map(|number| (number, record(number).key())).collect();
        assert!(keys == expected, "at most {max} since {since}: {} keys", keys.len());
    }
}

#[test]
fn known_position_of_a_sink_resolves_to_itself() {
    let memory = Memory::default();
    let (journal, _) = open(options(memory.clone()));
    fill(&journal, 1..=5);
    drop(journal);
    let (journal, _) = open(options(memory));
    let epoch = journal.epoch();
    fill(&journal, 6..=8);
    for (seq, delivered) in [(3, 0), (5, 0), (7, 7), (7, 8)] {
        assert_eq!(journal.translate(epoch, seq, delivered), Some(seq));
    }
    assert_eq!(journal.epoch(), epoch);
    journal.set_position("one", 3, "".into());
    journal.set_position("other", 4, "".into());
    let readers: Vec<_> =
        journal.positions().into_iter().map(|(name, stored)| (name, stored.seq)).collect();
    assert_eq!(readers, [("one".to_owned(), 3), ("other".to_owned(), 4)]);
}

#[test]
fn block_after_a_large_corrupt_one_is_found_at_any_offset() {
    // With some of these lengths, the next block begins at the edge of a window of the search.
    let around = (-6..=6).map(|by| 256 * 1024 - 63 + by);
    for length in around.chain([700_000, 900_001]) {
        let memory = Memory::default();
        let (journal, _) = open(options(memory.clone()));
        let large = crate::Record::new(1, [1; 16], vec![b'x'; length as usize]);
        append(&journal, vec![large.clone()]).unwrap();
        fill(&journal, 2..=3);
        assert_eq!(read(&journal, 0).0, [(1, large), (2, record(2)), (3, record(3))]);
        drop(journal);
        let name = &segments(&memory)[0];
        flip(&memory, name, 88 + 64 + 10);
        for has_no_header in [false, true] {
            if has_no_header {
                let file = memory.open(&Path::new("j").join(name), OpenMode::Write).unwrap();
                file.write_at(&[0; 88], 0).unwrap();
            }
            let (journal, recovery) = open(options(memory.clone()));
            assert_eq!((recovery.head, recovery.lost), (3, vec![1..=1]), "{length}");
            assert_eq!(read(&journal, 0).0, [(2, record(2)), (3, record(3))], "{length}");
        }
    }
}

#[test]
fn seek_finds_records_by_time_and_reports_removed_ones() {
    let now = Arc::new(AtomicU64::new(0));
    let clock = now.clone();
    let clock = Arc::new(move || clock.load(Ordering::SeqCst));
    let hour = Duration::from_secs(3600);
    let (journal, _) = open(small(Memory::default()).retain(hour).clock(clock));
    assert_eq!(journal.seek(0), SeekResult { first_seq: 1, gone_before: None });
    // The time of a record is its number; three records at a time have the same one.
    for number in (3..=300).step_by(3) {
        now.store(number, Ordering::SeqCst);
        append(&journal, vec![record(number); 3]).unwrap();
    }
    assert!(journal.status().segments > 4);
    let check = |since: u64, gone_before: Option<u64>| {
        let found = journal.seek(since);
        assert_eq!(found.gone_before, gone_before, "since {since}");
        let (records, _) = read(&journal, found.first_seq - 1);
        let (all, _) = read(&journal, 0);
        let wanted = |records: Vec<(u64, Record)>| {
            records
                .into_iter()
                .filter(|(_, record)| record.received_at >= since)
                .map(|(seq, _)| seq)
                .collect::<Vec<_>>()
        };
        assert_eq!(wanted(records), wanted(all), "since {since}");
        found.first_seq
    };
    let firsts: Vec<_> = (0..=301).map(|since| check(since, None)).collect();
    assert!(firsts.is_sorted() && firsts[301] > 250, "{firsts:?}");
    now.fetch_add(3_600_000_000 - 150, Ordering::SeqCst);
    journal.maintain().unwrap();
    let oldest = read(&journal, journal.oldest() - 1).0[0].1.received_at;
    assert!((3..150).contains(&oldest), "{oldest}");
    check(oldest - 1, Some(oldest));
    check(oldest, None);
}
