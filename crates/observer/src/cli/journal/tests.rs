use std::path::Path;

use insta::assert_snapshot;
use observer_journal::fs::{FileSystem, Memory, OpenMode};
use observer_journal::{Append, Journal, OfflineJournal, Options, Record, Runner};

use super::{repair, verify};

fn options(memory: &Memory) -> Options {
    Options::new("journal").file_system(memory.clone()).runner(Runner::Caller).segment_size(4096)
}

/// 70 records in two segments, the first of them sealed.
fn journal() -> Memory {
    let memory = Memory::default();
    let (journal, _) = Journal::open(options(&memory), |_| {}).unwrap();
    for number in 1..=70 {
        journal.append(Append::new(vec![Record::new(number, [7; 16], "a payload")], ()));
    }
    assert_eq!(journal.head(), 70);
    journal.set_position("archive", 70, "".into());
    journal.set_position("hooks", 12, "".into());
    memory
}

fn write(memory: &Memory, name: &str, offset: u64) {
    memory
        .open(&Path::new("journal").join(name), OpenMode::Write)
        .unwrap()
        .write_at(b"????", offset)
        .unwrap();
}

#[test]
fn intact_journal_is_reported_by_segments_and_sinks() {
    let stopped = OfflineJournal::open(options(&journal())).unwrap();
    let (text, is_intact) = verify::report(&stopped, false).unwrap();
    assert!(is_intact);
    assert_snapshot!(text, @"
    journal  journal
    records  1 to 70 (70 readable, 6.7 KiB)

    segment                     records   readable  bytes  state
    00000000000000000001-0.log  1 to 54   54        5574   sealed
    00000000000000000055-0.log  55 to 70  16        1256   open

    sink     position  pending
    archive  70        0
    hooks    12        58

    every record is readable
    ");
}

#[test]
fn damage_and_repair_actions_are_listed() {
    let memory = journal();
    write(&memory, "00000000000000000001-0.log", 5);
    write(&memory, "00000000000000000001-0.log", 300);
    write(&memory, "00000000000000000055-0.log", 88 + 16 * 73);
    let stopped = OfflineJournal::open(options(&memory)).unwrap();
    let (text, is_intact) = verify::report(&stopped, false).unwrap();
    assert!(!is_intact);
    assert_snapshot!(text, @"
    journal  journal
    records  1 to 70 (69 readable, 6.7 KiB)

    segment                     records   readable  bytes  state
    00000000000000000001-0.log  1 to 54   53        5574   sealed
    00000000000000000055-0.log  55 to 70  16        1260   open

    sink     position  pending
    archive  70        0
    hooks    12        58

    3 problems, 1 record lost:
      00000000000000000001-0.log: bytes 0 to 43: a header is corrupt; nothing is lost
      00000000000000000001-0.log: bytes 234 to 306: record 3 can't be read
      00000000000000000055-0.log: bytes 1256 to 1259: incomplete bytes at the end: an interrupted write, or corrupt last records
    run `observer journal repair` to repair the journal; lost records stay lost
    ");
    let (text, is_intact) = repair::report(&stopped, false).unwrap();
    assert!(!is_intact);
    assert_snapshot!(text, @"
    journal  journal

    file                        bytes         action                                    kept in
    00000000000000000001-0.log  0 to 87       both headers rewritten                    00000000000000000001-0.log.from-0.corrupt
    00000000000000000055-0.log  1256 to 1259  truncated after the last complete record  00000000000000000055-0.log.from-1256.corrupt

    1 record lost permanently:
      00000000000000000001-0.log: bytes 234 to 306: record 3 can't be read
    ");
    let (text, _) = verify::report(&stopped, true).unwrap();
    assert_snapshot!(text, @r#"{"damage":[{"bytes":{"length":73,"offset":234},"explained":"record 3 can't be read","file":"00000000000000000001-0.log","kind":"blocks","records":{"first_seq":3,"last_seq":3}}],"head":70,"journal":"journal","lost":1,"lost_earlier":[],"oldest":1,"records":69,"repairable":false,"segments":[{"bytes":5574,"file":"00000000000000000001-0.log","first_seq":1,"last_seq":54,"records":53,"sealed":true},{"bytes":1256,"file":"00000000000000000055-0.log","first_seq":55,"last_seq":70,"records":16,"sealed":false}],"sinks":[{"name":"archive","pending":0,"position":70},{"name":"hooks","pending":58,"position":12}]}"#);
}
