//! What is removed and when, and what is left over.

use std::io::ErrorKind;
use std::path::Path;
use std::sync::{Arc, mpsc};

use super::{flip, killed, segments, small, truncate_by};
use crate::fs::{Fault, Faulty, FileSystem, Memory, OpenMode};
use crate::testing::{self, Switched, append, append_of, fill, numbers, open, options, record};
use crate::{Chunk, Durability, GapReason, Hold, Runner};

#[test]
fn what_was_appended_is_committed_before_the_journal_is_gone() {
    let memory = Memory::default();
    let (journal, _) = open(options(memory.clone()).runner(Runner::Thread));
    let (sender, receiver) = mpsc::channel();
    for number in 1..=5_000 {
        let sender = sender.clone();
        journal.append(append_of(vec![record(number)], move |result| {
            sender.send(result.is_ok()).unwrap()
        }));
    }
    drop(journal);
    assert_eq!(receiver.try_iter().filter(|committed| *committed).count(), 5_000);
    assert_eq!(open(options(memory)).1.head, 5_000);
}

#[test]
fn a_torn_tail_is_gone_once_it_was_recovered() {
    let memory = Memory::default();
    let (journal, _) = open(options(memory.clone()));
    fill(&journal, 1..=3);
    drop(journal);
    truncate_by(&memory, &segments(&memory)[0], 5);
    let (_journal, recovery) = open(options(memory.clone()));
    assert!(recovery.torn_bytes > 0);
    let (_, recovery) = open(options(killed(&memory)));
    assert_eq!((recovery.head, recovery.torn_bytes), (2, 0));
}

#[test]
fn a_file_that_was_given_up_goes_when_the_journal_is_opened() {
    let memory = Memory::default();
    let (journal, _) = open(options(memory.clone()));
    fill(&journal, 1..=3);
    drop(journal);
    let [name] = &segments(&memory)[..] else { panic!("it fits into one") };
    let copied = killed(&memory);
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
fn a_segment_with_a_hole_is_not_gone_on_with() {
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
    let keys = journal.recent_keys(usize::MAX, 0).unwrap().collect::<Vec<_>>();
    // Its footer would count from the first record on.
    assert!(keys.iter().all(|(seq, key)| *key == record(*seq).key()));
    assert_eq!(keys.iter().map(|(seq, _)| *seq).collect::<Vec<_>>(), (2..=200).collect::<Vec<_>>());
}

#[test]
fn a_segment_that_can_not_be_removed_is_still_there() {
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
fn a_reader_that_comes_while_a_segment_is_removed_is_told_that_it_expired() {
    let fs = Switched::default();
    let late = Arc::new(|| u64::MAX / 2);
    let (journal, _) = open(small(fs.clone()));
    fill(&journal, 1..=200);
    drop(journal);
    let (journal, _) = open(small(fs.clone()).clock(late));
    let (removed, go_on) = fs.switches.stop_after_remove();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            journal.maintain().unwrap();
            // If nothing was removed, nobody has to wait for that.
            fs.switches.stop_after_remove()
        });
        removed.recv().unwrap();
        let first = journal.reader(0).read().unwrap();
        assert!(
            matches!(first, Some(Chunk::Gap { first_seq: 1, reason: GapReason::Expired, .. })),
            "{first:?}"
        );
        drop(go_on);
    });
    assert_eq!(journal.status().segments, 1);
}

#[test]
fn more_than_can_wait_is_refused_until_there_is_room_again() {
    let (journal, _) = open(options(Memory::default()).runner(Runner::Thread).max_size(1 << 30));
    let large = || crate::Record::new(1, [0; 16], vec![7; 8 << 20]);
    let (go_on, waiting) = mpsc::channel::<()>();
    let (begun, has_begun) = mpsc::channel();
    journal.append(append_of(vec![record(1)], move |_| {
        begun.send(()).unwrap();
        let _ = waiting.recv();
    }));
    has_begun.recv().unwrap();
    let (sender, receiver) = mpsc::channel();
    let append = || {
        let sender = sender.clone();
        journal
            .append(append_of(vec![large()], move |result| sender.send(result.map(drop)).unwrap()));
    };
    (0..4).for_each(|_| append());
    assert!(receiver.try_recv().is_err(), "32 MiB may wait, and what comes then");
    append();
    assert!(matches!(receiver.try_recv(), Ok(Err(crate::AppendError::Busy))));
    drop(go_on);
    (0..4).for_each(|_| assert!(receiver.recv().unwrap().is_ok()));
    append();
    assert!(receiver.recv().unwrap().is_ok());
}

#[test]
fn a_file_under_the_name_of_another_is_not_taken_for_it() {
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

/// A journal of several segments at its limit, the records of the oldest of them, and the last
/// record of all.
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
fn room_is_made_as_soon_as_a_required_reader_has_all_of_the_oldest_segment_and_not_before() {
    let (_, journal, last, head) = at_its_limit();
    for (position, is_taken) in [(last - 1, false), (last, true)] {
        journal.set_position("archive", position, "".into());
        journal.maintain().unwrap();
        assert_eq!(
            append(&journal, vec![record(head + 1)]).is_ok(),
            is_taken,
            "{position} of {last}"
        );
    }
    assert_eq!(journal.oldest(), last + 1);
}

#[test]
fn a_segment_is_retired_as_soon_as_its_last_record_is_settled_and_not_before() {
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
fn a_segment_that_someone_removed_is_no_reason_to_stop() {
    let (memory, journal, last, head) = at_its_limit();
    memory.remove(&Path::new("j").join(&segments(&memory)[0])).unwrap();
    journal.set_position("archive", head, "".into());
    journal.maintain().unwrap();
    fill(&journal, head + 1..=head + 1);
    assert_eq!(journal.oldest(), last + 1);
}

/// How many single operations keep a journal from being opened when they fail like this.
fn refusals(error: ErrorKind) -> usize {
    let mut refused = 0;
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
            Err(_) => refused += 1,
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
    refused
}

#[test]
fn whatever_fails_while_a_journal_is_opened_nothing_is_taken_for_lost() {
    let (failed, full) = (refusals(ErrorKind::Other), refusals(ErrorKind::StorageFull));
    assert!(full > 5);
    assert_eq!(
        failed,
        full + 1,
        "on a full disk it is enough to sync what is there, without writing it again"
    );
}

#[test]
fn an_empty_journal_begins_with_its_first_record() {
    for durability in [Durability::Fsync, Durability::Write] {
        let (journal, _) = open(options(Memory::default()).durability(durability));
        assert_eq!((journal.head(), journal.oldest(), journal.durability()), (0, 1, durability));
    }
}

#[test]
fn a_segment_that_was_sealed_last_is_whole() {
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
fn a_torn_tail_is_told_to_its_last_byte_however_long() {
    let memory = Memory::default();
    let (journal, _) = open(options(memory.clone()));
    append(&journal, vec![crate::Record::new(1, [1; 16], vec![7; 700_000])]).unwrap();
    drop(journal);
    truncate_by(&memory, &segments(&memory)[0], 5);
    let (_journal, recovery) = open(options(memory));
    assert_eq!((recovery.head, recovery.torn_bytes), (0, 32 + 32 + 700_000 - 5));
}
