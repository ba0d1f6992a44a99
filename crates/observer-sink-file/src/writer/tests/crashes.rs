//! What a crash, a cancelled delivery or a lost sidecar must not do. A writer that is dropped
//! without a flush has crashed.

use super::*;

#[test]
fn lines_keep_the_order_and_the_producers_bytes() {
    let bench = Bench::new("{date}.jsonl");
    let raw = r#"{"source":"bot", "event_kind":"ok","ok":true,"extra":{"n":1e999,"n":0.10,"é":"\ud800"}}"#;
    let envelope = Arc::new(Envelope {
        id: Uuid::from_u128(5),
        seq: 1,
        received_at: Timestamp::from_second(TEN).unwrap(),
        event: Event::parse(raw).unwrap(),
    });
    let mut writer = bench.open();
    writer.take(&Batch::new(1, vec![Arc::clone(&envelope)]));
    writer.take(&batch(2..=4));
    assert_eq!(bench.seqs(), [("2026-11-22.jsonl".to_owned(), vec![1, 2, 3, 4])]);
    let text = bench.files().remove("2026-11-22.jsonl").unwrap();
    assert_eq!(text.lines().next().unwrap(), envelope.to_json());
    assert!(text.contains(raw));
}

#[test]
fn the_position_is_that_of_the_last_flush() {
    let bench = Bench::new("{date}.jsonl");
    let mut writer = bench.open();
    assert_eq!(writer.position(), None);
    writer.take(&batch(5..=7));
    writer.settle();
    writer.take(&batch(8..=9));
    drop(writer);
    assert_eq!(bench.open().position(), Some(Position { epoch: 1, seq: 7 }));
}

#[test]
fn what_was_written_before_a_crash_is_not_written_again() {
    for template in ["{date}.jsonl", "{source}/{date}.jsonl", "all.jsonl"] {
        let bench = Bench::new(template);
        let mut writer = bench.open();
        writer.take(&batch(1..=3));
        writer.settle();
        writer.take(&batch(4..=6));
        drop(writer);

        let mut writer = bench.open();
        assert_eq!(writer.position().unwrap().seq, 3);
        // The batch is cut differently after the restart, and its first answer gets lost.
        writer.take(&batch(4..=5));
        writer.deliver(&batch(4..=5), LastAnswer::Lost).unwrap();
        writer.take(&batch(6..=8));
        writer.take(&batch(9..=9));
        assert_eq!(bench.seqs_of_one(), [1, 2, 3, 4, 5, 6, 7, 8, 9], "{template}");
        assert!(writer.ahead.is_empty());
    }
}

#[test]
fn a_crash_right_after_a_crash_doubles_nothing() {
    let bench = Bench::new("{date}.jsonl");
    bench.open().take(&batch(1..=3));
    bench.open().take(&batch(1..=2));
    let mut writer = bench.open();
    writer.settle();
    drop(writer);
    bench.open().take(&batch(1..=4));
    assert_eq!(bench.seqs_of_one(), [1, 2, 3, 4]);
}

#[test]
fn lines_that_never_come_again_are_forgotten() {
    let bench = Bench::new("{date}.jsonl");
    let mut writer = bench.open();
    writer.take(&batch(1..=3));
    drop(writer);
    let mut writer = bench.open();
    assert_eq!(writer.ahead.len(), 3);
    writer.take(&batch(4..=4));
    writer.take(&batch(5..=5));
    assert!(writer.ahead.is_empty());
}

#[test]
fn lines_are_not_doubled_whose_file_was_packed_between_two_crashes() {
    let bench = Bench::with("all.jsonl", |config| {
        config.rotate_at_size(2 * line_length()).compression(Compression::Zstd)
    });
    let mut writer = bench.open();
    writer.take(&batch(1..=1));
    writer.settle();
    writer.take(&batch(2..=5));
    drop(writer);
    let writer = bench.open();
    writer.files().janitor().wait();
    drop(writer);
    bench.open().take(&batch(2..=6));
    let expected = [
        ("all.000001.jsonl.zst".to_owned(), vec![1, 2]),
        ("all.000002.jsonl.zst".to_owned(), vec![3, 4]),
        ("all.jsonl".to_owned(), vec![5, 6]),
    ];
    assert_eq!(bench.seqs(), expected);
}

#[test]
fn lines_past_the_last_flush_are_found_in_rotated_files() {
    let bench = Bench::with("{source}.jsonl", |config| config.rotate_at_size(3 * line_length()));
    let mut writer = bench.open();
    writer.take(&batch(1..=2));
    writer.settle();
    writer.take(&batch(3..=7));
    drop(writer);
    fs::rename(bench.base().join("bot.jsonl"), bench.base().join("elsewhere")).unwrap();
    // Too old to be found by its age: the sidecar knows it by its identity.
    let old = File::options().append(true).open(bench.base().join("bot.000001.jsonl")).unwrap();
    old.set_modified(at(0)).unwrap();
    let mut writer = bench.open();
    // 7 is in a file that was created after the flush and that isn't ours by its name any more.
    writer.take(&batch(3..=7));
    let expected = [
        ("bot.000001.jsonl".to_owned(), vec![1, 2, 3]),
        ("bot.000002.jsonl".to_owned(), vec![4, 5, 6]),
        ("bot.jsonl".to_owned(), vec![7]),
        ("elsewhere".to_owned(), vec![7]),
    ];
    assert_eq!(bench.seqs(), expected);
}

#[test]
fn a_file_that_was_renamed_between_flush_and_crash_is_found_by_its_identity() {
    let bench = Bench::new("all.jsonl");
    let mut writer = bench.open();
    writer.take(&batch(1..=2));
    writer.settle();
    writer.take(&batch(3..=4));
    drop(writer);
    fs::rename(bench.base().join("all.jsonl"), bench.base().join("all.jsonl.1")).unwrap();
    bench.open().take(&batch(3..=5));
    let expected =
        [("all.jsonl".to_owned(), vec![5]), ("all.jsonl.1".to_owned(), vec![1, 2, 3, 4])];
    assert_eq!(bench.seqs(), expected);
}

#[test]
fn a_torn_tail_is_cut_and_its_event_written_again() {
    let bench = Bench::new("{date}.jsonl");
    let mut writer = bench.open();
    writer.take(&batch(1..=2));
    writer.settle();
    writer.take(&batch(3..=4));
    drop(writer);
    let path = bench.base().join("2026-11-22.jsonl");
    let len = fs::metadata(&path).unwrap().len();
    File::options().write(true).open(&path).unwrap().set_len(len - 9).unwrap();
    bench.open().take(&batch(3..=4));
    assert_eq!(bench.seqs_of_one(), [1, 2, 3, 4]);
}

#[test]
fn without_a_sidecar_the_tail_is_still_not_doubled() {
    for damage in
        [|path: &Path| fs::remove_file(path).unwrap(), |path: &Path| fs::write(path, "{}").unwrap()]
    {
        let bench = Bench::new("{date}.jsonl");
        let mut writer = bench.open();
        writer.take(&batch(1..=4));
        writer.settle();
        drop(writer);
        damage(&bench.state().join("position"));
        let mut writer = bench.open();
        assert_eq!(writer.position(), None);
        writer.take(&batch(3..=6));
        assert_eq!(bench.seqs_of_one(), [1, 2, 3, 4, 5, 6]);
    }
}

#[test]
fn deleted_files_leave_the_position() {
    let bench = Bench::new("{date}.jsonl");
    let mut writer = bench.open();
    writer.take(&batch(1..=4));
    writer.settle();
    drop(writer);
    fs::remove_dir_all(bench.base()).unwrap();
    let mut writer = bench.open();
    assert_eq!(writer.position().unwrap().seq, 4);
    writer.take(&batch(5..=5));
    assert_eq!(bench.seqs_of_one(), [5]);
}

#[test]
fn in_a_new_epoch_old_numbers_are_new_events() {
    let bench = Bench::new("{date}.jsonl");
    let mut writer = bench.open();
    writer.take(&batch(1..=3));
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
    writer.take(&next);
    drop(writer);
    // The old epoch was settled, and the new one on record, before its first line.
    let mut writer = bench.open();
    assert_eq!(writer.position(), Some(Position { epoch: 2, seq: 1 }));
    writer.take(&next);
    writer.settle();
    assert_eq!(bench.seqs_of_one(), [1, 2, 3, 2, 3]);
    assert_eq!(writer.position(), Some(Position { epoch: 2, seq: 3 }));
}

#[test]
fn a_cancelled_delivery_is_not_repeated_in_the_file() {
    let bench = Bench::new("{date}.jsonl");
    let mut writer = bench.open();
    writer.take(&batch(1..=3));
    writer.deliver(&batch(1..=3), LastAnswer::Lost).unwrap();
    writer.deliver(&batch(1..=5), LastAnswer::Lost).unwrap();
    writer.take(&batch(6..=6));
    assert_eq!(bench.seqs_of_one(), [1, 2, 3, 4, 5, 6]);
}

#[test]
fn an_event_that_is_sent_again_on_purpose_is_written_again() {
    let bench = Bench::new("{date}.jsonl");
    let mut writer = bench.open();
    writer.take(&batch(1..=3));
    writer.take(&batch(2..=2));
    assert_eq!(writer.position().unwrap().seq, 3);
    // Also between a cancelled delivery and its repetition, which still writes nothing.
    writer.take(&batch(4..=5));
    writer.deliver(&batch(1..=1), LastAnswer::Lost).unwrap();
    writer.take(&batch(4..=5));
    assert_eq!(bench.seqs_of_one(), [1, 2, 3, 2, 4, 5, 1]);
    // Also twice, when only the first time was cancelled.
    writer.take(&batch(2..=2));
    writer.deliver(&batch(2..=2), LastAnswer::Lost).unwrap();
    writer.take(&batch(2..=2));
    assert_eq!(bench.seqs_of_one(), [1, 2, 3, 2, 4, 5, 1, 2, 2]);
}
