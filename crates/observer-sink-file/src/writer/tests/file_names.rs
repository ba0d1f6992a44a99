//! Assignment of lines to files.

use super::*;

#[test]
fn hostile_sources_get_distinct_files_inside_the_base() {
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
        let fixture = Fixture::new(template);
        let mut writer = fixture.open();
        let events = (1..).zip(&sources).map(|(seq, source)| envelope(seq, source, TEN)).collect();
        writer.write(&Batch::new(1, events));
        let files = fixture.seqs();
        assert_eq!(files.len(), sources.len(), "{files:?}");
        assert!(files.iter().all(|(_, seqs)| seqs.len() == 1), "{files:?}");
        let beside = fs::read_dir(fixture.folder.path()).unwrap();
        let mut beside: Vec<_> = beside.map(|entry| entry.unwrap().file_name()).collect();
        beside.sort();
        assert_eq!(beside, ["base", "state"]);
    }
}

#[cfg(unix)]
#[test]
fn folders_with_placeholders_do_not_follow_links() {
    let outside = tempfile::tempdir().unwrap();
    let fixture = Fixture::new("{source}/{date}.jsonl");
    fs::create_dir(fixture.base()).unwrap();
    let link = fixture.base().join("bot");
    std::os::unix::fs::symlink(outside.path(), &link).unwrap();
    let mut writer = fixture.open();
    writer.write(&batch(1..=1));
    fs::remove_file(&link).unwrap();
    writer.write(&batch(2..=2));
    let expected = [
        ("%62ot/2026-11-22.jsonl".to_owned(), vec![1]),
        ("bot/2026-11-22.jsonl".to_owned(), vec![2]),
    ];
    assert_eq!(fixture.seqs(), expected);

    let fixture = Fixture::new("{date}/{source}.jsonl");
    fs::create_dir(fixture.base()).unwrap();
    let link = "2026-11-22";
    std::os::unix::fs::symlink(outside.path(), fixture.base().join(link)).unwrap();
    let error = fixture.open().deliver(&batch(1..=1), LastReply::Received).unwrap_err().to_string();
    assert!(error.contains(link) && error.contains("does not follow links"), "{error}");
    assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 0);
}

#[cfg(unix)]
#[test]
fn link_to_a_file_that_does_not_exist_yet_is_followed() {
    let fixture = Fixture::new("all.jsonl");
    let disk = tempfile::tempdir().unwrap();
    fs::create_dir(fixture.base()).unwrap();
    let target = disk.path().join("data.jsonl");
    std::os::unix::fs::symlink(&target, fixture.base().join("all.jsonl")).unwrap();
    fixture.open().write(&batch(1..=2));
    assert_eq!(fs::read_to_string(target).unwrap().lines().count(), 2);
}

#[test]
fn file_is_rotated_before_it_exceeds_the_maximum_size() {
    let fixture =
        Fixture::with("{source}.jsonl", |config| config.rotate_at_size(2 * line_length()));
    let mut writer = fixture.open();
    writer.write(&batch(1..=5));
    writer.write(&Batch::new(
        1,
        vec![envelope(6, "bot", TEN), envelope(7, "bot", TEN), envelope(8, "cat", TEN)],
    ));
    drop(writer);
    // Numbers continue after a restart, and no file is overwritten.
    fixture.open().write(&batch(9..=10));
    let expected = [
        ("bot.000001.jsonl".to_owned(), vec![1, 2]),
        ("bot.000002.jsonl".to_owned(), vec![3, 4]),
        ("bot.000003.jsonl".to_owned(), vec![5, 6]),
        ("bot.000004.jsonl".to_owned(), vec![7, 9]),
        ("bot.jsonl".to_owned(), vec![10]),
        ("cat.jsonl".to_owned(), vec![8]),
    ];
    assert_eq!(fixture.seqs(), expected);
}

#[test]
fn line_longer_than_the_maximum_size_gets_its_own_file() {
    let fixture = Fixture::with("all.jsonl", |config| config.rotate_at_size(1));
    fixture.open().write(&batch(1..=3));
    let expected = [
        ("all.000001.jsonl".to_owned(), vec![1]),
        ("all.000002.jsonl".to_owned(), vec![2]),
        ("all.jsonl".to_owned(), vec![3]),
    ];
    assert_eq!(fixture.seqs(), expected);
}

#[test]
fn file_is_rotated_by_the_first_event_of_the_next_window() {
    let fixture =
        Fixture::with("all.jsonl", |config| config.rotate_every(Duration::from_secs(3600)));
    let mut writer = fixture.open();
    let events = [(1, 0), (2, 3599), (3, 3600), (4, 3000), (5, 7000)];
    writer
        .write(&Batch::new(1, events.map(|(seq, after)| envelope(seq, "bot", TEN + after)).into()));
    drop(writer);
    // After a restart, the last line determines the window.
    fixture.open().write(&one(6, "bot", TEN + 7199));
    let mut writer = fixture.open();
    writer.write(&one(7, "bot", TEN + 4 * 3600));
    let expected = [
        ("all.000001.jsonl".to_owned(), vec![1, 2]),
        ("all.000002.jsonl".to_owned(), vec![3, 4, 5, 6]),
        ("all.jsonl".to_owned(), vec![7]),
    ];
    assert_eq!(fixture.seqs(), expected);
}

#[test]
fn renamed_or_deleted_file_is_created_again() {
    let fixture = Fixture::new("all.jsonl");
    let mut writer = fixture.open();
    let path = fixture.base().join("all.jsonl");
    writer.write(&batch(1..=2));
    fs::rename(&path, fixture.base().join("all.jsonl.1")).unwrap();
    writer.write(&batch(3..=4));
    let expected = [("all.jsonl".to_owned(), vec![3, 4]), ("all.jsonl.1".to_owned(), vec![1, 2])];
    assert_eq!(fixture.seqs(), expected);
    fs::remove_dir_all(fixture.base()).unwrap();
    writer.write(&batch(5..=5));
    writer.flush_now();
    assert_eq!(fixture.seqs_of_one(), [5]);
}

#[test]
fn file_that_was_truncated_in_place_is_continued() {
    let fixture = Fixture::with("all.jsonl", |config| config.rotate_at_size(3 * line_length()));
    let mut writer = fixture.open();
    writer.write(&batch(1..=2));
    File::options().write(true).open(fixture.base().join("all.jsonl")).unwrap().set_len(0).unwrap();
    writer.write(&batch(3..=5));
    fixture.faults(|faults| faults.free_bytes = Some(5));
    writer.deliver(&one(6, "cat", TEN), LastReply::Received).unwrap_err();
    assert_eq!(fixture.seqs()[0].1, [3, 4, 5]);
}

#[test]
fn number_of_open_files_is_limited() {
    let fixture = Fixture::with("{source}.jsonl", |config| config.max_open_files(3));
    let mut writer = fixture.open();
    for round in 0..3 {
        let events = (0..10)
            .map(|source| envelope(round * 10 + source + 1, &source.to_string(), TEN))
            .collect();
        writer.write(&Batch::new(1, events));
        assert_eq!(writer.files().open_count(), 3);
    }
    assert_eq!(fixture.faults.lock().unwrap().synced, 0);
    writer.flush_now();
    // Evicted files are synced as well.
    assert_eq!(fixture.faults.lock().unwrap().synced, 10);
    let expected: Vec<_> = (0..10)
        .map(|source| (format!("{source}.jsonl"), vec![source + 1, source + 11, source + 21]))
        .collect();
    assert_eq!(fixture.seqs(), expected);
}

#[test]
fn lines_in_evicted_files_are_found_after_a_crash() {
    let fixture = Fixture::with("{source}.jsonl", |config| config.max_open_files(1));
    let events = |first: u64| {
        Batch::new(
            1,
            (0..5).map(|source| envelope(first + source, &source.to_string(), TEN)).collect(),
        )
    };
    let mut writer = fixture.open();
    writer.write(&events(1));
    writer.flush_now();
    writer.write(&events(6));
    drop(writer);
    fixture.open().write(&events(6));
    let expected: Vec<_> =
        (0..5).map(|source| (format!("{source}.jsonl"), vec![source + 1, source + 6])).collect();
    assert_eq!(fixture.seqs(), expected);
}
