//! Removal of segments and files, and their leftovers.

use std::io::ErrorKind;
use std::path::Path;
use std::sync::{Arc, mpsc};

use super::{flip, segments, small, snapshot, truncate_by};
use crate::fs::{Fault, Faulty, FileSystem, Memory, OpenMode};
use crate::testing::{
    self, Switched, append, append_of, fill, numbers, open, options, read, recent_keys, record,
};
use crate::{Chunk, Durability, GapReason, Hold, Runner};

#[test]
fn dropping_the_journal_commits_all_queued_appends() {
    let memory = Memory::default();
    let (journal, _) = open(options(memory.clone()).runner(Runner::Thread));
    let (sender, receiver) = mpsc::channel();
    for number in 1..=5_000 {
        let sender = sender.clone();
        journal.append(append_of(vec![record(number)], move |result| {
            sender.send(result.is_ok()).unwrap();
        }));
    }
    drop(journal);
    assert_eq!(receiver.try_iter().filter(|committed| *committed).count(), 5_000);
    assert_eq!(open(options(memory)).1.head, 5_000);
}

#[test]
fn incomplete_last_block_is_reported_only_once() {
    let memory = Memory::default();
    let (journal, _) = open(options(memory.clone()));
    fill(&journal, 1..=3);
    drop(journal);
    truncate_by(&memory, &segments(&memory)[0], 5);
    let (_journal, recovery) = open(options(memory.clone()));
    assert!(recovery.torn_bytes > 0);
    let (_, recovery) = open(options(snapshot(&memory)));
    assert_eq!((recovery.head, recovery.torn_bytes), (2, 0));
}

#[test]
fn opening_removes_superseded_files() {
    let memory = Memory::default();
    let (journal, _) = open(options(memory.clone()));
    fill(&journal, 1..=3);
    drop(journal);
    let [name] = &segments(&memory)[..] else { panic!("there is more than one segment") };
    let copied = snapshot(&memory);
    copied.rename(&Path::new("j").join(name), Path::new("j/00000000000000000001-1.log")).unwrap();
    copied
        .open(&Path::new("j").join(name), OpenMode::Create)
        .unwrap()
        .write_at(&[7; 500], 0)
        .unwrap();
    let (journal, recovery) = open(options(copied.clone()));
    assert_eq!((recovery.head, recovery.quarantined.len()), (3, 0));
    assert_eq!(segments(&copied), ["00000000000000000001-1.log"]);
    assert_eq!(numbers(&journal), [1, 2, 3]);
}

#[test]
fn segment_with_a_gap_is_not_appended_to() {
    let memory = Memory::default();
    let (journal, _) = open(small(memory.clone()));
    fill(&journal, 1..=5);
    drop(journal);
    flip(&memory, &segments(&memory)[0], 88 + 10);
    let (journal, _) = open(small(memory.clone()));
    fill(&journal, 6..=200);
    drop(journal);
    let (journal, recovery) = open(small(memory));
    assert_eq!((recovery.head, recovery.lost.len()), (200, 0));
    let keys = recent_keys(&journal, usize::MAX, 0);
    // A footer would number its keys from the first record on.
    assert!(keys.iter().all(|(seq, key)| *key == record(*seq).key()));
    assert_eq!(keys.iter().map(|(seq, _)| *seq).collect::<Vec<_>>(), (2..=200).collect::<Vec<_>>());
}

#[test]
fn segment_whose_removal_fails_stays_readable() {
    let disk = Faulty::new(1);
    let late = Arc::new(|| u64::MAX / 2);
    let (journal, _) = open(small(disk.clone()));
    fill(&journal, 1..=200);
    drop(journal);
    let (journal, _) = open(small(disk.clone()).clock(late));
    journal.hold("sink", Hold::Optional);
    journal.maintain().unwrap();
    let before = journal.status().segments;
    journal.release("sink");
    disk.fail_at(disk.operations(), Fault::Error(ErrorKind::PermissionDenied));
    journal.maintain().unwrap_err();
    assert_eq!((journal.oldest(), journal.status().segments), (1, before));
    assert_eq!(numbers(&journal).len(), 200);
    journal.maintain().unwrap();
    assert_eq!(journal.status().segments, 1);
}

#[test]
fn reader_finds_an_expired_gap_while_a_segment_is_being_removed() {
    let fs = Switched::default();
    let late = Arc::new(|| u64::MAX / 2);
    let (journal, _) = open(small(fs.clone()));
    fill(&journal, 1..=200);
    drop(journal);
    let (journal, _) = open(small(fs.clone()).clock(late));
    let (removed, unblock) = fs.switches.block_after_remove();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            journal.maintain().unwrap();
            // If nothing was removed, this ends the wait for it.
            fs.switches.block_after_remove()
        });
        removed.recv().unwrap();
        let first = journal.reader(0).read().unwrap();
        assert!(
            matches!(first, Some(Chunk::Gap { first_seq: 1, reason: GapReason::Expired, .. })),
            "{first:?}"
        );
        drop(unblock);
    });
    assert_eq!(journal.status().segments, 1);
}

#[test]
fn records_of_a_file_that_was_set_aside_are_corrupt_and_not_expired() {
    let memory = Memory::default();
    let (journal, _) = open(small(memory.clone()));
    fill(&journal, 1..=200);
    drop(journal);
    let names = segments(&memory);
    // The oldest segment is gone, and nothing of the second one is readable.
    let first = |at: usize| names[at].split('-').next().unwrap().parse::<u64>().unwrap();
    memory.remove(&Path::new("j").join(&names[0])).unwrap();
    let file = memory.open(&Path::new("j").join(&names[1]), OpenMode::Write).unwrap();
    file.write_at(&vec![b'?'; file.size().unwrap() as usize], 0).unwrap();
    let gap = |first_seq, end: u64, reason| Chunk::Gap { first_seq, last_seq: end - 1, reason };
    let expected =
        [gap(1, first(1), GapReason::Expired), gap(first(1), first(2), GapReason::Corrupt)];
    // The second start finds the file under its new name.
    for quarantined in [1, 0] {
        let (journal, recovery) = open(small(memory.clone()));
        assert_eq!(recovery.quarantined.len(), quarantined);
        assert_eq!(read(&journal, 0).1, expected);
        assert_eq!(read(&journal, first(1)).1[0], gap(first(1) + 1, first(2), GapReason::Corrupt));
    }
}

#[test]
fn full_queue_rejects_appends_until_it_has_space() {
    let (journal, _) = open(options(Memory::default()).runner(Runner::Thread).max_size(1 << 30));
    let large = || crate::Record::new(1, [0; 16], vec![7; 8 << 20]);
    let (unblock, blocked) = mpsc::channel::<()>();
    let (started, has_started) = mpsc::channel();
    journal.append(append_of(vec![record(1)], move |_| {
        started.send(()).unwrap();
        let _ = blocked.recv();
    }));
    has_started.recv().unwrap();
    let (sender, receiver) = mpsc::channel();
    let append = || {
        let sender = sender.clone();
        journal
            .append(append_of(vec![large()], move |result| sender.send(result.map(drop)).unwrap()));
    };
    (0..4).for_each(|_| append());
    assert!(receiver.try_recv().is_err(), "the queue accepts 32 MiB and one more append");
    append();
    assert!(matches!(receiver.try_recv(), Ok(Err(crate::AppendError::Busy))));
    drop(unblock);
    (0..4).for_each(|_| assert!(receiver.recv().unwrap().is_ok()));
    append();
    assert!(receiver.recv().unwrap().is_ok());
}

#[test]
fn renamed_segment_is_not_read_under_its_new_name() {
    let memory = Memory::default();
    let (journal, _) = open(options(memory.clone()));
    fill(&journal, 1..=3);
    drop(journal);
    let path = Path::new("j").join(&segments(&memory)[0]);
    memory.rename(&path, Path::new("j/00000000000000000005-0.log")).unwrap();
    let (journal, recovery) = open(options(memory));
    assert_eq!((recovery.head, recovery.quarantined.len(), recovery.new_epoch), (0, 1, false));
    assert_eq!(numbers(&journal), [0; 0]);
}

/// Returns a journal of several segments at its size limit, with its files, the last record of its
/// oldest segment, and its last record.
fn at_its_limit() -> (Memory, testing::Journal, u64, u64) {
    let memory = Memory::default();
    let (journal, _) = open(small(memory.clone()).max_size(32 * 1024));
    journal.hold("archive", Hold::Required);
    journal.set_position("archive", 0, "".into());
    let full = (1..).find(|number| append(&journal, vec![record(*number)]).is_err()).unwrap();
    let second = segments(&memory)[1].split('-').next().unwrap().parse::<u64>().unwrap();
    (memory, journal, second - 1, full - 1)
}

#[test]
fn oldest_segment_is_removed_once_the_required_reader_is_done_with_it() {
    let (_, journal, last, head) = at_its_limit();
    for (position, is_accepted) in [(last - 1, false), (last, true)] {
        journal.set_position("archive", position, "".into());
        journal.maintain().unwrap();
        assert_eq!(
            append(&journal, vec![record(head + 1)]).is_ok(),
            is_accepted,
            "{position} of {last}"
        );
    }
    assert_eq!(journal.oldest(), last + 1);
}

#[test]
fn expired_segment_is_removed_once_the_reader_is_done_with_it() {
    let (memory, journal, last, _) = at_its_limit();
    journal.set_position("archive", 0, "".into());
    journal.maintain().unwrap();
    drop(journal);
    let (journal, _) = open(small(memory).clock(Arc::new(|| u64::MAX / 2)));
    journal.hold("archive", Hold::Optional);
    for (position, oldest) in [(last - 1, 1), (last, last + 1)] {
        journal.set_position("archive", position, "".into());
        journal.maintain().unwrap();
        assert_eq!(journal.oldest(), oldest);
    }
}

#[test]
fn missing_file_does_not_prevent_the_removal_of_its_segment() {
    let (memory, journal, last, head) = at_its_limit();
    memory.remove(&Path::new("j").join(&segments(&memory)[0])).unwrap();
    journal.set_position("archive", head, "".into());
    journal.maintain().unwrap();
    fill(&journal, head + 1..=head + 1);
    assert_eq!(journal.oldest(), last + 1);
}

/// Returns the number of file operations whose failure with this error prevents opening a journal.
fn failed_openings(error: ErrorKind) -> usize {
    let mut failed = 0;
    for failing in 0.. {
        let disk = Faulty::new(1);
        let (journal, _) = open(small(disk.clone()));
        fill(&journal, 1..=100);
        journal.set_position("archive", 70, "".into());
        drop(journal);
        disk.fail_at(disk.operations() + failing, Fault::Error(error));
        let opened = testing::try_open(small(disk.clone()));
        let is_over = disk.fault_count() == 0;
        match opened {
            Err(_) => failed += 1,
            Ok((journal, recovery)) => {
                assert!(
                    !recovery.positions_lost && !recovery.created && !recovery.new_epoch,
                    "operation {failing}"
                );
                assert_eq!(
                    (recovery.head, recovery.quarantined.len(), recovery.lost.len()),
                    (100, 0, 0)
                );
                assert_eq!(journal.position("archive").unwrap().seq, 70);
            }
        }
        let (journal, recovery) = open(small(disk.clone()));
        assert_eq!(
            (recovery.head, journal.position("archive").unwrap().seq),
            (100, 70),
            "operation {failing}"
        );
        if is_over {
            break;
        }
    }
    failed
}

#[test]
fn failure_during_opening_is_not_reported_as_a_loss() {
    let (failed, full) =
        (failed_openings(ErrorKind::Other), failed_openings(ErrorKind::StorageFull));
    assert!(full > 5);
    assert_eq!(
        failed,
        full + 1,
        "on a full disk, the last block is synced without writing it again"
    );
}

#[test]
fn empty_journal_begins_at_sequence_number_1() {
    for durability in [Durability::Fsync, Durability::Write] {
        let (journal, _) = open(options(Memory::default()).durability(durability));
        // A journal in memory doesn't claim more, whatever its options are.
        let stated = journal.durability();
        assert_eq!((journal.head(), journal.oldest(), stated), (0, 1, Durability::Memory));
    }
}

#[test]
fn sealed_last_segment_is_recovered_without_a_torn_block() {
    let fs = Switched::default();
    let (journal, _) = open(small(fs.clone()));
    fill(&journal, 1..=54);
    fs.switches.set(|switches| &switches.no_create, true);
    append(&journal, vec![record(55)]).unwrap_err();
    fs.switches.set(|switches| &switches.no_create, false);
    drop(journal);
    let (journal, recovery) = open(small(fs.clone()));
    assert_eq!((recovery.head, recovery.torn_bytes), (54, 0));
    fill(&journal, 55..=60);
    assert_eq!(segments(&fs).len(), 2);
    assert_eq!(numbers(&journal), (1..=60).collect::<Vec<_>>());
}

#[test]
fn incomplete_last_block_of_any_length_is_reported_with_its_exact_size() {
    let memory = Memory::default();
    let (journal, _) = open(options(memory.clone()));
    append(&journal, vec![crate::Record::new(1, [1; 16], vec![7; 700_000])]).unwrap();
    drop(journal);
    truncate_by(&memory, &segments(&memory)[0], 5);
    let (_journal, recovery) = open(options(memory));
    assert_eq!((recovery.head, recovery.torn_bytes), (0, 32 + 32 + 700_000 - 5));
}
