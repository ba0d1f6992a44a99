//! Which line stands in which file.

use super::*;

#[test]
fn hostile_sources_stay_inside_the_base_and_apart() {
    let sources = [
        "..",
        ".",
        "../../x",
        "/etc/passwd",
        "a/b",
        "a\\b",
        "a%2Fb",
        "nul\0",
        "new\nline",
        "bot",
        "bot.000001",
    ];
    let long = "x".repeat(4000);
    let longer = format!("{long}y");
    let sources: Vec<_> = sources.into_iter().chain([long.as_str(), &longer]).collect();
    for template in ["{source}.jsonl", "{source}/{date}.jsonl", "{date}/x-{source}.jsonl"] {
        let bench = Bench::new(template);
        let mut writer = bench.open();
        let events = (1..).zip(&sources).map(|(seq, source)| envelope(seq, source, TEN)).collect();
        writer.take(&Batch::new(1, events));
        let files = bench.seqs();
        assert_eq!(files.len(), sources.len(), "{files:?}");
        assert!(files.iter().all(|(_, seqs)| seqs.len() == 1), "{files:?}");
        let beside = fs::read_dir(bench.folder.path()).unwrap();
        let mut beside: Vec<_> = beside.map(|entry| entry.unwrap().file_name()).collect();
        beside.sort();
        assert_eq!(beside, ["base", "state"]);
    }
}

#[cfg(unix)]
#[test]
fn names_made_of_events_do_not_follow_links() {
    let outside = tempfile::tempdir().unwrap();
    let links = [
        ("{source}/{date}.jsonl", "bot"),
        ("{source}.jsonl", "bot.jsonl"),
        ("{date}/x/all.jsonl", "2026-11-22"),
    ];
    for (template, link) in links {
        let bench = Bench::new(template);
        fs::create_dir(bench.base()).unwrap();
        let target = if link.ends_with("jsonl") {
            outside.path().join("x")
        } else {
            outside.path().to_owned()
        };
        std::os::unix::fs::symlink(target, bench.base().join(link)).unwrap();
        let error = bench.open().deliver(&batch(1..=1), LastAnswer::Heard).unwrap_err().to_string();
        assert!(error.contains(link) && error.contains("don't follow links"), "{error}");
    }
    assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 0);
}

#[test]
fn a_file_is_put_aside_before_it_grows_past_its_size() {
    let bench = Bench::with("{source}.jsonl", |config| config.rotate_at_size(2 * line_length()));
    let mut writer = bench.open();
    writer.take(&batch(1..=5));
    writer.take(&Batch::new(
        1,
        vec![envelope(6, "bot", TEN), envelope(7, "bot", TEN), envelope(8, "cat", TEN)],
    ));
    drop(writer);
    // The numbers go on after a restart, and nothing is overwritten.
    bench.open().take(&batch(9..=10));
    let expected = [
        ("bot.000001.jsonl".to_owned(), vec![1, 2]),
        ("bot.000002.jsonl".to_owned(), vec![3, 4]),
        ("bot.000003.jsonl".to_owned(), vec![5, 6]),
        ("bot.000004.jsonl".to_owned(), vec![7, 9]),
        ("bot.jsonl".to_owned(), vec![10]),
        ("cat.jsonl".to_owned(), vec![8]),
    ];
    assert_eq!(bench.seqs(), expected);
}

#[test]
fn a_line_longer_than_the_size_stands_alone() {
    let bench = Bench::with("all.jsonl", |config| config.rotate_at_size(1));
    bench.open().take(&batch(1..=3));
    let expected = [
        ("all.000001.jsonl".to_owned(), vec![1]),
        ("all.000002.jsonl".to_owned(), vec![2]),
        ("all.jsonl".to_owned(), vec![3]),
    ];
    assert_eq!(bench.seqs(), expected);
}

#[test]
fn a_file_is_put_aside_with_the_first_event_of_the_next_window() {
    let bench = Bench::with("all.jsonl", |config| config.rotate_every(Duration::from_secs(3600)));
    let mut writer = bench.open();
    let events = [(1, 0), (2, 3599), (3, 3600), (4, 3000), (5, 7000)];
    writer
        .take(&Batch::new(1, events.map(|(seq, after)| envelope(seq, "bot", TEN + after)).into()));
    drop(writer);
    // After a restart, the last line tells the window.
    bench.open().take(&one(6, "bot", TEN + 7199));
    let mut writer = bench.open();
    writer.take(&one(7, "bot", TEN + 4 * 3600));
    let expected = [
        ("all.000001.jsonl".to_owned(), vec![1, 2]),
        ("all.000002.jsonl".to_owned(), vec![3, 4, 5, 6]),
        ("all.jsonl".to_owned(), vec![7]),
    ];
    assert_eq!(bench.seqs(), expected);
}

#[test]
fn a_renamed_or_deleted_file_is_opened_anew() {
    let bench = Bench::new("all.jsonl");
    let mut writer = bench.open();
    let path = bench.base().join("all.jsonl");
    writer.take(&batch(1..=2));
    fs::rename(&path, bench.base().join("all.jsonl.1")).unwrap();
    writer.take(&batch(3..=4));
    let expected = [("all.jsonl".to_owned(), vec![3, 4]), ("all.jsonl.1".to_owned(), vec![1, 2])];
    assert_eq!(bench.seqs(), expected);
    fs::remove_dir_all(bench.base()).unwrap();
    writer.take(&batch(5..=5));
    writer.settle();
    assert_eq!(bench.seqs_of_one(), [5]);
}

#[test]
fn a_file_that_was_emptied_in_place_is_gone_on_with() {
    let bench = Bench::with("all.jsonl", |config| config.rotate_at_size(3 * line_length()));
    let mut writer = bench.open();
    writer.take(&batch(1..=2));
    File::options().write(true).open(bench.base().join("all.jsonl")).unwrap().set_len(0).unwrap();
    writer.take(&batch(3..=5));
    bench.faults(|faults| faults.room = Some(5));
    writer.deliver(&one(6, "cat", TEN), LastAnswer::Heard).unwrap_err();
    assert_eq!(bench.seqs()[0].1, [3, 4, 5]);
}

#[test]
fn no_more_files_are_open_than_allowed() {
    let bench = Bench::with("{source}.jsonl", |config| config.max_open_files(3));
    let mut writer = bench.open();
    for round in 0..3 {
        let events = (0..10)
            .map(|source| envelope(round * 10 + source + 1, &source.to_string(), TEN))
            .collect();
        writer.take(&Batch::new(1, events));
        assert_eq!(writer.files().open_count(), 3);
    }
    assert_eq!(bench.faults.lock().unwrap().synced, 0);
    writer.settle();
    // Those that had to make room, too.
    assert_eq!(bench.faults.lock().unwrap().synced, 10);
    let expected: Vec<_> = (0..10)
        .map(|source| (format!("{source}.jsonl"), vec![source + 1, source + 11, source + 21]))
        .collect();
    assert_eq!(bench.seqs(), expected);
}

#[test]
fn lines_in_files_that_made_room_for_others_are_found_after_a_crash() {
    let bench = Bench::with("{source}.jsonl", |config| config.max_open_files(1));
    let events = |first: u64| {
        Batch::new(
            1,
            (0..5).map(|source| envelope(first + source, &source.to_string(), TEN)).collect(),
        )
    };
    let mut writer = bench.open();
    writer.take(&events(1));
    writer.settle();
    writer.take(&events(6));
    drop(writer);
    bench.open().take(&events(6));
    let expected: Vec<_> =
        (0..5).map(|source| (format!("{source}.jsonl"), vec![source + 1, source + 6])).collect();
    assert_eq!(bench.seqs(), expected);
}
