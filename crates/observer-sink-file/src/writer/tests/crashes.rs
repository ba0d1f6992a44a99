//! No line is lost or duplicated by a crash, a cancelled delivery or a lost sidecar. A writer that
//! is dropped without a flush stands for a crash.

use super::*;

#[test]
fn lines_keep_the_order_and_the_bytes_of_the_producer() {
    let fixture = Fixture::new("{date}.jsonl");
    let raw = r#"{"source":"bot", "event_kind":"ok","ok":true,"extra":{"n":1e999,"n":0.10,"é":"\ud800"}}"#;
    let envelope = Arc::new(Envelope {
        id: Uuid::from_u128(5),
        seq: 1,
        received_at: Timestamp::from_second(TEN).unwrap(),
        event: Event::parse(raw).unwrap(),
    });
    let mut writer = fixture.open();
    writer.write(&Batch::new(1, vec![Arc::clone(&envelope)]));
    writer.write(&batch(2..=4));
    assert_eq!(fixture.seqs(), [("2026-11-22.jsonl".to_owned(), vec![1, 2, 3, 4])]);
    let text = fixture.files().remove("2026-11-22.jsonl").unwrap();
    assert_eq!(text.lines().next().unwrap(), envelope.to_json());
    assert!(text.contains(raw));
}

#[test]
fn position_is_that_of_the_last_flush() {
    let fixture = Fixture::new("{date}.jsonl");
    let mut writer = fixture.open();
    assert_eq!(writer.position(), None);
    writer.write(&batch(5..=7));
    writer.flush_now();
    writer.write(&batch(8..=9));
    drop(writer);
    assert_eq!(fixture.open().position(), Some(Position { epoch: 1, seq: 7 }));
}

#[test]
fn lines_written_before_a_crash_are_not_written_again() {
    for template in ["{date}.jsonl", "{source}/{date}.jsonl", "all.jsonl"] {
        let fixture = Fixture::new(template);
        let mut writer = fixture.open();
        writer.write(&batch(1..=3));
        writer.flush_now();
        writer.write(&batch(4..=6));
        drop(writer);

        let mut writer = fixture.open();
        assert_eq!(writer.position().unwrap().seq, 3);
        // Batches have other limits after the restart, and the first reply is lost.
        writer.write(&batch(4..=5));
        writer.deliver(&batch(4..=5), LastReply::Lost).unwrap();
        writer.write(&batch(6..=8));
        writer.write(&batch(9..=9));
        assert_eq!(fixture.seqs_of_one(), [1, 2, 3, 4, 5, 6, 7, 8, 9], "{template}");
        assert!(writer.ahead.is_empty());
    }
}

#[test]
fn two_crashes_in_a_row_duplicate_nothing() {
    let fixture = Fixture::new("{date}.jsonl");
    fixture.open().write(&batch(1..=3));
    fixture.open().write(&batch(1..=2));
    let mut writer = fixture.open();
    writer.flush_now();
    drop(writer);
    fixture.open().write(&batch(1..=4));
    assert_eq!(fixture.seqs_of_one(), [1, 2, 3, 4]);
}

#[test]
fn events_that_are_not_delivered_again_are_forgotten() {
    let fixture = Fixture::new("{date}.jsonl");
    let mut writer = fixture.open();
    writer.write(&batch(1..=3));
    drop(writer);
    let mut writer = fixture.open();
    assert_eq!(writer.ahead.len(), 3);
    writer.write(&batch(4..=4));
    writer.write(&batch(5..=5));
    assert!(writer.ahead.is_empty());
}

#[test]
fn lines_of_a_file_compressed_between_two_crashes_are_not_duplicated() {
    let fixture = Fixture::with("all.jsonl", |config| {
        config.rotate_at_size(2 * line_length()).compression(Compression::Zstd)
    });
    let mut writer = fixture.open();
    writer.write(&batch(1..=1));
    writer.flush_now();
    writer.write(&batch(2..=5));
    drop(writer);
    let writer = fixture.open();
    writer.janitor().wait();
    drop(writer);
    fixture.open().write(&batch(2..=6));
    let expected = [
        ("all.000001.jsonl.zst".to_owned(), vec![1, 2]),
        ("all.000002.jsonl.zst".to_owned(), vec![3, 4]),
        ("all.jsonl".to_owned(), vec![5, 6]),
    ];
    assert_eq!(fixture.seqs(), expected);
}

#[test]
fn lines_after_the_last_flush_are_found_in_rotated_files() {
    let fixture =
        Fixture::with("{source}.jsonl", |config| config.rotate_at_size(3 * line_length()));
    let mut writer = fixture.open();
    writer.write(&batch(1..=2));
    writer.flush_now();
    writer.write(&batch(3..=7));
    drop(writer);
    fs::rename(fixture.base().join("bot.jsonl"), fixture.base().join("elsewhere")).unwrap();
    // The file is older than the sidecar, so only its identity can find it.
    let old = File::options().append(true).open(fixture.base().join("bot.000001.jsonl")).unwrap();
    old.set_modified(at(0)).unwrap();
    let mut writer = fixture.open();
    // The line of 7 is found, too: the record of files has the inode.
    writer.write(&batch(3..=7));
    let expected = [
        ("bot.000001.jsonl".to_owned(), vec![1, 2, 3]),
        ("bot.000002.jsonl".to_owned(), vec![4, 5, 6]),
        ("elsewhere".to_owned(), vec![7]),
    ];
    assert_eq!(fixture.seqs(), expected);
}

#[test]
fn file_renamed_between_flush_and_crash_is_found_by_its_identity() {
    let fixture = Fixture::new("all.jsonl");
    let mut writer = fixture.open();
    writer.write(&batch(1..=2));
    writer.flush_now();
    writer.write(&batch(3..=4));
    drop(writer);
    fs::rename(fixture.base().join("all.jsonl"), fixture.base().join("all.jsonl.1")).unwrap();
    fixture.open().write(&batch(3..=5));
    let expected =
        [("all.jsonl".to_owned(), vec![5]), ("all.jsonl.1".to_owned(), vec![1, 2, 3, 4])];
    assert_eq!(fixture.seqs(), expected);
}

#[test]
fn torn_line_is_removed_and_its_event_written_again() {
    let fixture = Fixture::new("{date}.jsonl");
    let mut writer = fixture.open();
    writer.write(&batch(1..=2));
    writer.flush_now();
    writer.write(&batch(3..=4));
    drop(writer);
    let path = fixture.base().join("2026-11-22.jsonl");
    let len = fs::metadata(&path).unwrap().len();
    File::options().write(true).open(&path).unwrap().set_len(len - 9).unwrap();
    fixture.open().write(&batch(3..=4));
    assert_eq!(fixture.seqs_of_one(), [1, 2, 3, 4]);
}

#[test]
fn ends_of_files_are_not_duplicated_without_a_sidecar() {
    for damage in
        [|path: &Path| fs::remove_file(path).unwrap(), |path: &Path| fs::write(path, "{}").unwrap()]
    {
        let fixture = Fixture::new("{date}.jsonl");
        let mut writer = fixture.open();
        writer.write(&batch(1..=4));
        writer.flush_now();
        drop(writer);
        damage(&fixture.state().join("position"));
        let mut writer = fixture.open();
        assert_eq!(writer.position(), None);
        writer.write(&batch(3..=6));
        assert_eq!(fixture.seqs_of_one(), [1, 2, 3, 4, 5, 6]);
    }
}

#[test]
fn position_survives_the_deletion_of_files() {
    let fixture = Fixture::new("{date}.jsonl");
    let mut writer = fixture.open();
    writer.write(&batch(1..=4));
    writer.flush_now();
    drop(writer);
    fs::remove_dir_all(fixture.base()).unwrap();
    let mut writer = fixture.open();
    assert_eq!(writer.position().unwrap().seq, 4);
    writer.write(&batch(5..=5));
    assert_eq!(fixture.seqs_of_one(), [5]);
}

#[test]
fn sequence_numbers_of_a_new_epoch_denote_new_events() {
    let fixture = Fixture::new("{date}.jsonl");
    let mut writer = fixture.open();
    writer.write(&batch(1..=3));
    let event = |seq: u64| {
        let old = envelope(seq, "bot", TEN);
        let event = Event::parse(old.event.raw().clone()).unwrap();
        Arc::new(Envelope {
            id: Uuid::from_u128(seq.into()),
            seq,
            received_at: old.received_at,
            event,
        })
    };
    let next = Batch::new(2, vec![event(2), event(3)]);
    writer.write(&next);
    drop(writer);
    // The old epoch was durable and the new one recorded before the first line of the new one.
    let mut writer = fixture.open();
    assert_eq!(writer.position(), Some(Position { epoch: 2, seq: 1 }));
    writer.write(&next);
    writer.flush_now();
    assert_eq!(fixture.seqs_of_one(), [1, 2, 3, 2, 3]);
    assert_eq!(writer.position(), Some(Position { epoch: 2, seq: 3 }));
}

#[test]
fn repeated_delivery_after_a_cancelled_one_writes_nothing() {
    let fixture = Fixture::new("{date}.jsonl");
    let mut writer = fixture.open();
    writer.write(&batch(1..=3));
    writer.deliver(&batch(1..=3), LastReply::Lost).unwrap();
    writer.deliver(&batch(1..=5), LastReply::Lost).unwrap();
    writer.write(&batch(6..=6));
    assert_eq!(fixture.seqs_of_one(), [1, 2, 3, 4, 5, 6]);
}

#[test]
fn event_that_is_sent_again_on_purpose_is_written_again() {
    let fixture = Fixture::new("{date}.jsonl");
    let mut writer = fixture.open();
    writer.write(&batch(1..=3));
    writer.write(&batch(2..=2));
    assert_eq!(writer.position().unwrap().seq, 3);
    // The same holds between a cancelled delivery and its repetition, which writes nothing.
    writer.write(&batch(4..=5));
    writer.deliver(&batch(1..=1), LastReply::Lost).unwrap();
    writer.write(&batch(4..=5));
    assert_eq!(fixture.seqs_of_one(), [1, 2, 3, 2, 4, 5, 1]);
    // The same holds for a third delivery after the second one was cancelled.
    writer.write(&batch(2..=2));
    writer.deliver(&batch(2..=2), LastReply::Lost).unwrap();
    writer.write(&batch(2..=2));
    assert_eq!(fixture.seqs_of_one(), [1, 2, 3, 2, 4, 5, 1, 2, 2]);
}
