//! Full disks, failing syncs, and other users.

use observer_core::{ErrorKind, SinkError};

use super::*;

fn room_for_a_line_and_a_bit() -> Option<usize> {
    Some(usize::try_from(line_length()).unwrap() + 20)
}

#[test]
fn a_half_written_batch_is_rolled_back() {
    let bench = Bench::new("{date}.jsonl");
    let mut writer = bench.open();
    writer.take(&batch(1..=2));
    let whole = bench.files();
    bench.faults(|faults| faults.room = room_for_a_line_and_a_bit());
    let error = SinkError::from(writer.deliver(&batch(3..=5), LastAnswer::Heard).unwrap_err());
    assert_eq!(error.kind, ErrorKind::Blocked);
    assert!(
        error.report().contains("2026-11-22.jsonl; free space on that disk"),
        "{}",
        error.report()
    );
    assert_eq!(bench.files(), whole);
    assert_eq!(writer.position().unwrap().seq, 2);
    bench.faults(|faults| faults.room = None);
    writer.take(&batch(3..=5));
    assert_eq!(bench.seqs_of_one(), [1, 2, 3, 4, 5]);
}

#[test]
fn half_a_write_that_stays_is_cut_off_before_the_next_one() {
    let bench = Bench::new("{date}.jsonl");
    let mut writer = bench.open();
    bench.faults(|faults| (faults.room, faults.truncate) = (room_for_a_line_and_a_bit(), true));
    writer.deliver(&batch(1..=3), LastAnswer::Heard).unwrap_err();
    bench.faults(|faults| faults.room = None);
    let error = writer.deliver(&batch(1..=3), LastAnswer::Heard).unwrap_err().to_string();
    assert!(error.starts_with("can't cut off half a write in"), "{error}");
    bench.faults(|faults| faults.truncate = false);
    writer.take(&batch(1..=3));
    assert_eq!(bench.seqs_of_one(), [1, 2, 3]);
}

#[test]
fn what_one_file_took_of_a_failed_batch_is_not_written_again() {
    let bench = Bench::new("{source}.jsonl");
    let events = Batch::new(1, vec![envelope(1, "a", TEN), envelope(2, "b", TEN)]);
    let mut writer = bench.open();
    bench.faults(|faults| faults.room = Some(envelope(1, "a", TEN).to_json().len() + 11));
    writer.deliver(&events, LastAnswer::Heard).unwrap_err();
    assert_eq!(bench.seqs(), [("a.jsonl".to_owned(), vec![1]), ("b.jsonl".to_owned(), vec![])]);
    // Nor after a flush and a crash.
    writer.settle();
    drop(writer);
    bench.faults(|faults| faults.room = None);
    let mut writer = bench.open();
    assert_eq!(writer.position().unwrap().seq, 0);
    writer.take(&events);
    assert_eq!(bench.seqs(), [("a.jsonl".to_owned(), vec![1]), ("b.jsonl".to_owned(), vec![2])]);
}

#[test]
fn a_failed_sync_leaves_the_position_and_is_made_good_by_the_next() {
    let bench = Bench::new("{date}.jsonl");
    let mut writer = bench.open();
    writer.take(&batch(1..=2));
    writer.settle();
    writer.take(&batch(3..=4));
    bench.faults(|faults| faults.sync = true);
    writer.flush(at(TEN)).unwrap_err();
    let recorded = fs::read_to_string(bench.state().join("position")).unwrap();
    assert!(recorded.contains(r#""seq":2"#), "{recorded}");
    // The system may have given up the pages: they are written once more, which shows in the time.
    let path = bench.base().join("2026-11-22.jsonl");
    File::options().append(true).open(&path).unwrap().set_modified(at(0)).unwrap();
    bench.faults(|faults| faults.sync = false);
    writer.settle();
    assert_ne!(fs::metadata(&path).unwrap().modified().unwrap(), at(0));
    assert_eq!(bench.seqs_of_one(), [1, 2, 3, 4]);
    drop(writer);
    assert_eq!(bench.open().position().unwrap().seq, 4);
}

#[test]
fn what_comes_again_after_a_failed_flush_is_not_written_twice() {
    let bench = Bench::new("{date}.jsonl");
    let mut writer = bench.open();
    writer.take(&batch(1..=2));
    writer.settle();
    writer.take(&batch(3..=4));
    writer.take(&batch(5..=6));
    bench.faults(|faults| faults.sync = true);
    writer.flush(at(TEN)).unwrap_err();
    bench.faults(|faults| faults.sync = false);
    // The pipeline goes back to the last flush that succeeded, and may cut its batches elsewhere.
    writer.take(&batch(3..=3));
    writer.take(&batch(4..=7));
    writer.settle();
    assert_eq!(bench.seqs_of_one(), [1, 2, 3, 4, 5, 6, 7]);
}

#[test]
fn what_was_written_last_is_durable_before_the_next_file_begins() {
    for (template, second) in [("{date}.jsonl", TEN + 86_400), ("all.jsonl", TEN + 3600)] {
        let bench = Bench::with(template, |config| config.rotate_every(Duration::from_secs(3600)));
        let mut writer = bench.open();
        writer.take(&batch(1..=2));
        bench.faults(|faults| faults.sync = true);
        let next = one(3, "bot", second);
        writer.deliver(&next, LastAnswer::Heard).unwrap_err();
        assert_eq!(bench.seqs_of_one(), [1, 2]);
        bench.faults(|faults| faults.sync = false);
        writer.take(&next);
        let seqs: Vec<_> = bench.seqs().into_iter().map(|(_, seqs)| seqs).collect();
        assert_eq!(seqs, [vec![1, 2], vec![3]], "{template}");
    }
}

#[test]
fn a_new_epoch_does_not_begin_before_the_old_one_is_durable() {
    let bench = Bench::new("all.jsonl");
    let mut writer = bench.open();
    writer.take(&batch(1..=2));
    bench.faults(|faults| faults.sync = true);
    writer.deliver(&batch_in(2, 1..=1), LastAnswer::Heard).unwrap_err();
    let recorded = fs::read_to_string(bench.state().join("position")).unwrap();
    assert!(recorded.contains(r#""epoch":1"#), "{recorded}");
}

#[test]
fn a_second_user_of_the_state_is_refused() {
    let bench = Bench::new("all.jsonl");
    let first = bench.open();
    let error = SinkError::from(bench.try_open().map(drop).unwrap_err());
    assert_eq!(error.kind, ErrorKind::Blocked);
    assert!(
        error.report().contains("is locked: another observer or another sink"),
        "{}",
        error.report()
    );
    drop(first);
    bench.open();
}

#[test]
fn a_second_sink_with_the_same_path_is_refused() {
    let bench = Bench::new("all.jsonl");
    let open = |state: &str| {
        Writer::open(
            bench.settings(),
            &bench.folder.path().join(state),
            Arc::new(RealDisk),
            at(TEN),
        )
        .unwrap()
    };
    let (mut first, mut second) = (open("one"), open("two"));
    first.take(&batch(1..=1));
    let error = SinkError::from(second.deliver(&batch(2..=2), LastAnswer::Heard).unwrap_err());
    assert_eq!(error.kind, ErrorKind::Blocked);
    assert!(error.report().ends_with("give each sink its own `path`"), "{}", error.report());
    drop(first);
    second.take(&batch(2..=2));
    assert_eq!(bench.seqs_of_one(), [1, 2]);
}

#[test]
fn the_sidecar_stays_small_however_much_a_failed_flush_leaves_open() {
    let bench = Bench::new("{date}.jsonl");
    let mut writer = bench.open();
    writer.take(&batch(1..=2000));
    bench.faults(|faults| faults.sync = true);
    writer.flush(at(TEN)).unwrap_err();
    writer.take(&batch(1..=1000));
    bench.faults(|faults| faults.sync = false);
    writer.settle();
    assert_eq!(fs::metadata(bench.state().join("position")).unwrap().len(), 16 * 1024);
    writer.take(&batch(1001..=2001));
    drop(writer);
    let mut writer = bench.open();
    assert_eq!(writer.position().unwrap().seq, 2000);
    writer.take(&batch(2001..=2002));
    assert_eq!(bench.seqs_of_one(), (1..=2002).collect::<Vec<_>>());
}
