//! The store over an in-memory and a faulty file system.

use observer_journal::fs::{Fault, Faulty, Memory};

use super::*;
use crate::dead_letters::store::tests::dead_letter;

fn store(fs: impl FileSystem) -> UndecidedStore {
    UndecidedStore::new(Arc::new(fs), "u/sink.ndjson".into(), Arc::new(|| 0))
}

fn loaded(fs: impl FileSystem, position: u64) -> UndecidedStore {
    let mut store = store(fs);
    store.load(position).unwrap();
    store
}

fn seqs(store: &UndecidedStore) -> Vec<u64> {
    store.events().map(|event| event.envelope.seq).collect()
}

fn totals(delivered: u64, dead: u64) -> Totals {
    Totals { delivered, dead }
}

#[test]
fn undecided_events_and_their_results_survive_a_restart() {
    let memory = Memory::default();
    let mut store = loaded(memory.clone(), 0);
    store.commit().unwrap();
    let files = memory.list("u".as_ref()).unwrap_or_default();
    assert!(files.is_empty(), "there is no file without an undecided event: {files:?}");
    for seq in 1..=4 {
        store.set_aside(dead_letter(seq), refused(seq));
        store.commit().unwrap();
    }
    store.resolve(1, AsideResult::Delivered);
    store.resolve(3, AsideResult::Dead);
    store.resolve(9, AsideResult::Dead);
    store.commit().unwrap();
    assert_eq!((seqs(&store), store.totals()), (vec![2, 4], totals(1, 1)));
    for _ in 0..2 {
        let mut store = loaded(memory.clone(), 4);
        assert_eq!((seqs(&store), store.totals()), (vec![2, 4], totals(1, 1)));
        let event = store.get(2).unwrap();
        assert_eq!(event.envelope.to_json(), dead_letter(2).envelope.to_json());
        assert_eq!((&*event.reason, event.attempts), ("422: \"no\"", 3));
        store.compact(4);
        store.commit().unwrap();
    }
}

fn refused(seq: u64) -> StoredEvidence {
    let json = format!(r#"{{"refused_ms":{seq},"failed":{{"rounds":{seq},"ms":{seq}}}}}"#);
    serde_json::from_str(&json).unwrap()
}

#[test]
fn evidence_survives_a_restart_and_a_compaction() {
    let memory = Memory::default();
    let mut store = loaded(memory.clone(), 0);
    (1..=3).for_each(|seq| store.set_aside(dead_letter(seq), refused(seq)));
    store.commit().unwrap();
    store.add_evidence(2, refused(20));
    store.add_evidence(9, refused(9));
    store.resolve(1, AsideResult::Dead);
    store.commit().unwrap();
    for _ in 0..2 {
        let mut store = loaded(memory.clone(), 2);
        let found = [1, 2, 3, 9].map(|seq| store.evidence(seq));
        let none = StoredEvidence::default();
        assert_eq!(found, [none, refused(20), none, none]);
        store.compact(2);
        store.commit().unwrap();
    }
}

#[test]
fn file_without_evidence_is_opened() {
    let memory = Memory::default();
    let mut lines = br#"{"version":1,"delivered":7,"dead":2}"#.to_vec();
    lines.push(b'\n');
    write_line(&mut lines, &dead_letter(4), observer_core::Timestamp::UNIX_EPOCH);
    let file = memory.open("u/sink.ndjson".as_ref(), OpenMode::Create).unwrap();
    file.write_at(&lines, 0).unwrap();
    let mut store = loaded(memory.clone(), 9);
    assert_eq!((seqs(&store), store.totals()), (vec![4], totals(7, 2)));
    assert_eq!(store.evidence(4), StoredEvidence::default());
    assert!(!store.is_outdated);
    store.add_evidence(4, refused(1));
    store.commit().unwrap();
    assert_eq!(loaded(memory, 9).evidence(4), refused(1));
}

#[test]
fn lines_after_the_committed_position_are_dropped_for_good() {
    let memory = Memory::default();
    let mut store = loaded(memory.clone(), 0);
    (1..=4).for_each(|seq| store.set_aside(dead_letter(seq), refused(seq)));
    store.resolve(4, AsideResult::Delivered);
    store.commit().unwrap();
    let mut store = loaded(memory.clone(), 2);
    assert_eq!((seqs(&store), store.totals()), (vec![1, 2], totals(0, 0)));
    store.commit().unwrap();
    assert_eq!(seqs(&loaded(memory, 4)), [1, 2]);
}

#[test]
fn rewind_drops_events_after_the_position() {
    let memory = Memory::default();
    let mut store = loaded(memory.clone(), 0);
    store.set_aside(dead_letter(1), refused(1));
    store.commit().unwrap();
    store.set_aside(dead_letter(2), refused(2));
    store.commit().unwrap();
    store.rewind(1);
    assert_eq!(seqs(&store), [1]);
    store.commit().unwrap();
    assert_eq!(seqs(&loaded(memory, 9)), [1]);
}

#[test]
fn file_is_compacted_when_it_has_many_outdated_lines() {
    let memory = Memory::default();
    let mut store = loaded(memory.clone(), 0);
    let mut seq = 0;
    while !store.wants_compaction() {
        seq += 1;
        store.set_aside(dead_letter(seq), refused(seq));
        store.resolve(seq, AsideResult::Delivered);
        store.commit().unwrap();
    }
    store.compact(seq);
    store.commit().unwrap();
    assert!(!store.wants_compaction());
    let size = memory.open("u/sink.ndjson".as_ref(), OpenMode::Read).unwrap().size().unwrap();
    assert!(size < 100, "{size}");
    assert_eq!(loaded(memory, seq).totals(), totals(seq, 0));
}

#[test]
fn counts_are_reconciled_with_an_account() {
    let memory = Memory::default();
    for (set_aside, expected, counted) in
        [(3, totals(1, 0), 3), (7, totals(5, 0), 7), (1, totals(0, 0), 2), (0, totals(0, 0), 2)]
    {
        let mut store = loaded(memory.clone(), 0);
        (1..=3).for_each(|seq| store.set_aside(dead_letter(seq), refused(seq)));
        store.resolve(1, AsideResult::Delivered);
        assert_eq!(store.reconcile(set_aside), counted, "{set_aside}");
        assert_eq!(store.totals(), expected, "{set_aside}");
    }
}

#[test]
fn newer_format_is_refused_by_name() {
    let memory = Memory::default();
    let file = memory.open("sink.ndjson".as_ref(), OpenMode::Create).unwrap();
    file.write_at(br#"{"version":2,"delivered":0,"dead":0}"#, 0).unwrap();
    let mut store = UndecidedStore::new(Arc::new(memory), "sink.ndjson".into(), Arc::new(|| 0));
    let error = store.load(9).unwrap_err().to_string();
    assert!(error.contains("sink.ndjson has version 2"), "{error}");
}

#[test]
fn committed_changes_survive_any_fault() {
    let other = Fault::Error(io::ErrorKind::Other);
    for fault in [Fault::PowerCut, Fault::Kill, other, Fault::Error(io::ErrorKind::StorageFull)] {
        for operation in 0..40 {
            let disk = Faulty::new(operation);
            let mut store = loaded(disk.clone(), 0);
            disk.fail_at(disk.operations() + operation, fault);
            let mut committed = Vec::new();
            for seq in 1..=4 {
                store.set_aside(dead_letter(seq), refused(seq));
                if store.commit().is_ok() {
                    committed = (1..=seq).collect();
                }
            }
            if disk.is_off() {
                disk.restart();
            } else {
                disk.clear_faults();
                store.commit().unwrap();
                committed = (1..=4).collect();
            }
            disk.cut_power();
            disk.restart();
            let found = seqs(&loaded(disk.clone(), 9));
            assert!(
                found.starts_with(&committed),
                "{fault:?} {operation}: {found:?} of {committed:?}"
            );
        }
    }
}

#[test]
fn evidence_is_forgotten_when_the_settings_of_the_sink_change() {
    let cases = [
        (Some("a"), Some("a"), true),
        (Some("a"), Some("b"), false),
        (None, Some("a"), true),
        (Some("a"), None, true),
    ];
    for (before, after, is_kept) in cases {
        for is_restarted in [false, true] {
            let memory = Memory::default();
            let mut first = store(memory.clone());
            first.set_fingerprint(before);
            first.load(0).unwrap();
            first.set_aside(dead_letter(1), refused(1));
            first.commit().unwrap();
            let mut second = if is_restarted { store(memory.clone()) } else { first };
            second.set_fingerprint(after);
            second.load(1).unwrap();
            let expected = if is_kept { refused(1) } else { StoredEvidence::default() };
            assert_eq!(second.evidence(1), expected, "{before:?} {after:?}");
            assert_eq!(seqs(&second), [1]);
            second.commit().unwrap();

            // The new settings are stored.
            let mut third = store(memory);
            third.set_fingerprint(after);
            third.load(1).unwrap();
            assert_eq!(third.evidence(1), expected, "{before:?} {after:?}");
        }
    }
}

#[test]
fn removed_file_is_written_anew_by_the_next_commit() {
    for has_changes in [true, false] {
        let memory = Memory::default();
        let mut store = loaded(memory.clone(), 0);
        store.set_aside(dead_letter(1), refused(1));
        store.commit().unwrap();
        memory.remove("u/sink.ndjson".as_ref()).unwrap();
        if has_changes {
            store.set_aside(dead_letter(2), refused(2));
        }
        store.commit().unwrap();
        let expected = if has_changes { vec![1, 2] } else { vec![1] };
        assert_eq!(seqs(&loaded(memory, 2)), expected);
    }
}
