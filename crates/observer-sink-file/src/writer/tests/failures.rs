//! Full disks, failing syncs, and other users of the same files.

use observer_core::{ErrorKind, SinkError};

use super::*;

fn space_for_a_line_and_a_part() -> Option<usize> {
    Some(usize::try_from(line_length()).unwrap() + 20)
}

#[test]
fn partly_written_batch_is_rolled_back() {
    let fixture = Fixture::new("{date}.jsonl");
    let mut writer = fixture.open();
    writer.write(&batch(1..=2));
    let before = fixture.files();
    fixture.faults(|faults| faults.free_bytes = space_for_a_line_and_a_part());
    let error = SinkError::from(writer.deliver(&batch(3..=5), LastReply::Received).unwrap_err());
    assert_eq!(error.kind, ErrorKind::Blocked);
    assert!(
        error.report().contains("2026-11-22.jsonl; free space on that disk"),
        "{}",
        error.report()
    );
    assert_eq!(fixture.files(), before);
    assert_eq!(writer.position().unwrap().seq, 2);
    fixture.faults(|faults| faults.free_bytes = None);
    writer.write(&batch(3..=5));
    assert_eq!(fixture.seqs_of_one(), [1, 2, 3, 4, 5]);
}

#[test]
fn remainder_of_a_partial_write_is_removed_before_the_next_one() {
    let fixture = Fixture::new("{date}.jsonl");
    let mut writer = fixture.open();
    fixture.faults(|faults| {
        (faults.free_bytes, faults.truncate) = (space_for_a_line_and_a_part(), true);
    });
    writer.deliver(&batch(1..=3), LastReply::Received).unwrap_err();
    fixture.faults(|faults| faults.free_bytes = None);
    let error = writer.deliver(&batch(1..=3), LastReply::Received).unwrap_err().to_string();
    assert!(error.starts_with("can't remove a partial write in"), "{error}");
    fixture.faults(|faults| faults.truncate = false);
    writer.write(&batch(1..=3));
    assert_eq!(fixture.seqs_of_one(), [1, 2, 3]);
}

#[test]
fn lines_of_a_failed_batch_in_complete_files_are_not_written_again() {
    let fixture = Fixture::new("{source}.jsonl");
    let events = Batch::new(1, vec![envelope(1, "a", TEN), envelope(2, "b", TEN)]);
    let mut writer = fixture.open();
    fixture.faults(|faults| faults.free_bytes = Some(envelope(1, "a", TEN).to_json().len() + 11));
    writer.deliver(&events, LastReply::Received).unwrap_err();
    assert_eq!(fixture.seqs(), [("a.jsonl".to_owned(), vec![1]), ("b.jsonl".to_owned(), vec![])]);
    // The same holds after a flush and a crash.
    writer.flush_now();
    drop(writer);
    fixture.faults(|faults| faults.free_bytes = None);
    let mut writer = fixture.open();
    assert_eq!(writer.position().unwrap().seq, 0);
    writer.write(&events);
    assert_eq!(fixture.seqs(), [("a.jsonl".to_owned(), vec![1]), ("b.jsonl".to_owned(), vec![2])]);
}

#[test]
fn failed_sync_keeps_the_position_and_the_next_one_recovers() {
    let fixture = Fixture::new("{date}.jsonl");
    let mut writer = fixture.open();
    writer.write(&batch(1..=2));
    writer.flush_now();
    writer.write(&batch(3..=4));
    fixture.faults(|faults| faults.sync = true);
    writer.flush(now(TEN)).unwrap_err();
    let recorded = fs::read_to_string(fixture.state().join("position")).unwrap();
    assert!(recorded.contains(r#""seq":2"#), "{recorded}");
    // The system may have dropped the pages, so they are written again. The modification time
    // shows it.
    let path = fixture.base().join("2026-11-22.jsonl");
    File::options().append(true).open(&path).unwrap().set_modified(at(0)).unwrap();
    fixture.faults(|faults| faults.sync = false);
    writer.flush_now();
    assert_ne!(fs::metadata(&path).unwrap().modified().unwrap(), at(0));
    assert_eq!(fixture.seqs_of_one(), [1, 2, 3, 4]);
    drop(writer);
    assert_eq!(fixture.open().position().unwrap().seq, 4);
}

#[test]
fn events_delivered_again_after_a_failed_flush_are_not_duplicated() {
    let fixture = Fixture::new("{date}.jsonl");
    let mut writer = fixture.open();
    writer.write(&batch(1..=2));
    writer.flush_now();
    writer.write(&batch(3..=4));
    writer.write(&batch(5..=6));
    fixture.faults(|faults| faults.sync = true);
    writer.flush(now(TEN)).unwrap_err();
    fixture.faults(|faults| faults.sync = false);
    // The pipeline starts again after the last successful flush, with other limits of batches.
    writer.write(&batch(3..=3));
    writer.write(&batch(4..=7));
    writer.flush_now();
    assert_eq!(fixture.seqs_of_one(), [1, 2, 3, 4, 5, 6, 7]);
}

#[test]
fn lines_are_durable_before_the_next_file_is_created() {
    for (template, second) in [("{date}.jsonl", TEN + 86_400), ("all.jsonl", TEN + 3600)] {
        let fixture =
            Fixture::with(template, |config| config.rotate_every(Duration::from_secs(3600)));
        let mut writer = fixture.open();
        writer.write(&batch(1..=2));
        fixture.faults(|faults| faults.sync = true);
        let next = one(3, "bot", second);
        writer.deliver(&next, LastReply::Received).unwrap_err();
        assert_eq!(fixture.seqs_of_one(), [1, 2]);
        fixture.faults(|faults| faults.sync = false);
        writer.write(&next);
        let seqs: Vec<_> = fixture.seqs().into_iter().map(|(_, seqs)| seqs).collect();
        assert_eq!(seqs, [vec![1, 2], vec![3]], "{template}");
    }
}

#[test]
fn new_epoch_does_not_begin_before_the_old_one_is_durable() {
    let fixture = Fixture::new("all.jsonl");
    let mut writer = fixture.open();
    writer.write(&batch(1..=2));
    fixture.faults(|faults| faults.sync = true);
    writer.deliver(&batch_in(2, 1..=1), LastReply::Received).unwrap_err();
    let recorded = fs::read_to_string(fixture.state().join("position")).unwrap();
    assert!(recorded.contains(r#""epoch":1"#), "{recorded}");
}

#[test]
fn second_sink_with_the_same_state_folder_is_rejected() {
    let fixture = Fixture::new("all.jsonl");
    let first = fixture.open();
    let error = SinkError::from(fixture.try_open().map(drop).unwrap_err());
    assert_eq!(error.kind, ErrorKind::Blocked);
    assert!(error.report().contains("is locked: another observer or sink"), "{}", error.report());
    drop(first);
    fixture.open();
}

#[test]
fn second_sink_with_the_same_path_writes_numbered_files() {
    let fixture = Fixture::new("all.jsonl");
    let open = |state: &str| {
        Writer::open(
            fixture.settings(),
            &fixture.folder.path().join(state),
            Arc::new(RealDisk),
            now(TEN),
            Surroundings::default(),
        )
        .unwrap()
    };
    let (mut first, mut second) = (open("one"), open("two"));
    first.write(&batch(1..=1));
    second.write(&batch(2..=2));
    first.write(&batch(3..=3));
    drop((first, second));
    open("two").write(&batch(4..=4));
    open("one").write(&batch(5..=5));
    let expected =
        [("all.000001.jsonl".to_owned(), vec![2, 4]), ("all.jsonl".to_owned(), vec![1, 3, 5])];
    assert_eq!(fixture.seqs(), expected);
}

#[test]
fn sidecar_stays_small_after_a_failed_flush_of_many_events() {
    let fixture = Fixture::new("{date}.jsonl");
    let mut writer = fixture.open();
    writer.write(&batch(1..=2000));
    fixture.faults(|faults| faults.sync = true);
    writer.flush(now(TEN)).unwrap_err();
    writer.write(&batch(1..=1000));
    fixture.faults(|faults| faults.sync = false);
    writer.flush_now();
    assert_eq!(fs::metadata(fixture.state().join("position")).unwrap().len(), 16 * 1024);
    writer.write(&batch(1001..=2001));
    drop(writer);
    let mut writer = fixture.open();
    assert_eq!(writer.position().unwrap().seq, 2000);
    writer.write(&batch(2001..=2002));
    assert_eq!(fixture.seqs_of_one(), (1..=2002).collect::<Vec<_>>());
}
