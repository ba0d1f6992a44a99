//! Files of other programs, of other sinks, and of earlier versions.

use super::*;
use crate::ledger::{Entry, Kind};
use crate::siblings::FileSinks;
use observer_core::{Adopted, SinkContext};

const DAY: i64 = 86_400;

/// Envelope of a stranger, as a line.
fn foreign(seq: u64) -> String {
    format!("{}\n", envelope(seq, "stranger", TEN).to_json())
}

/// Removes what versions without a record of files did not have.
fn downgrade(fixture: &Fixture) {
    fs::remove_file(fixture.state().join("files")).unwrap();
    let path = fixture.state().join("position");
    let text = fs::read_to_string(&path).unwrap();
    let (json, _) = text.split_once('\n').unwrap();
    let mut value: serde_json::Value = serde_json::from_str(json).unwrap();
    for mark in value["files"].as_array_mut().unwrap() {
        mark.as_object_mut().unwrap().retain(|key, _| !["file", "end"].contains(&key.as_str()));
    }
    let json = value.to_string();
    let sum = crate::checksum::checksum(json.as_bytes());
    fs::write(&path, format!("{json}\n{sum:08x}\n")).unwrap();
}

fn unowned(writer: &Writer) -> u64 {
    writer.surroundings.counts.unowned.load(Ordering::Relaxed)
}

#[test]
fn files_of_strangers_are_neither_changed_nor_deleted_nor_packed() {
    let fixture = Fixture::with("{date}.jsonl", |config| {
        config.compression(Compression::Gzip).retain_total_size(0)
    });
    let mut writer = fixture.open();
    writer.write(&one(1, "bot", TEN - DAY));
    let names =
        ["2026-11-20.jsonl", "2026-11-22.jsonl", "2026-11-19.000001.jsonl", "2026-11-18.jsonl.gz"];
    for name in names {
        fs::write(fixture.base().join(name), "a note without an end").unwrap();
    }
    writer.write(&batch(2..=3));
    writer.flush_now();
    drop(writer);
    let mut writer = fixture.open();
    writer.write(&batch(4..=4));
    writer.flush_now();
    writer.janitor().wait();
    assert_eq!(unowned(&writer), 4);
    for name in names {
        assert_eq!(fs::read(fixture.base().join(name)).unwrap(), b"a note without an end");
    }
    let own = fs::read_to_string(fixture.base().join("2026-11-22.000001.jsonl")).unwrap();
    assert_eq!(own.lines().count(), 3);
    assert!(!fixture.base().join("2026-11-21.jsonl").exists(), "the sink's own file is deleted");
}

#[test]
fn folder_of_an_earlier_version_is_adopted() {
    let fixture = Fixture::with("{date}.jsonl", |config| {
        config.rotate_at_size(2 * line_length()).retain_total_size(4 * line_length())
    });
    let mut writer = fixture.open();
    writer.write(&batch(1..=5));
    writer.flush_now();
    writer.write(&batch(6..=6));
    drop(writer);
    downgrade(&fixture);
    fs::write(fixture.base().join("2026-11-21.jsonl"), "a note\n").unwrap();
    fs::write(fixture.base().join("2026-11-20.jsonl"), foreign(9)).unwrap();

    let mut writer = fixture.open();
    assert_eq!(unowned(&writer), 2, "a note, and an event past the position");
    writer.write(&batch(6..=7));
    writer.flush_now();
    writer.janitor().wait();
    let names = fixture.names();
    assert!(!names.contains(&"2026-11-22.000001.jsonl".to_owned()), "{names:?}");
    let own: Vec<_> = fixture
        .files()
        .into_iter()
        .filter(|(name, _)| name.starts_with("2026-11-22"))
        .flat_map(|(_, text)| text.lines().map(str::to_owned).collect::<Vec<_>>())
        .collect();
    assert_eq!(own.len(), 3, "{own:?}");
    assert_eq!(fs::read_to_string(fixture.base().join("2026-11-20.jsonl")).unwrap(), foreign(9));

    // An operator adopts what holds envelopes.
    let adopted = writer.adopt(now(TEN)).unwrap();
    assert_eq!(adopted, Adopted { adopted: 1, left: 1 });
    writer.janitor().wait();
    assert!(!fixture.base().join("2026-11-20.jsonl").exists());
    assert!(fixture.base().join("2026-11-21.jsonl").exists());
}

#[test]
fn adoption_leaves_files_that_match_another_sinks_template() {
    let fixture = Fixture::new("{source}/{date}.jsonl");
    let mut writer = fixture.open();
    writer.write(&Batch::new(1, vec![envelope(1, "all", TEN), envelope(2, "bot", TEN)]));
    writer.write(&one(3, "bot", TEN + DAY));
    writer.flush_now();
    drop(writer);
    downgrade(&fixture);
    let position = fixture.state().join("position");
    let text = fs::read_to_string(&position).unwrap();
    let (json, _) = text.split_once('\n').unwrap();
    let mut value: serde_json::Value = serde_json::from_str(json).unwrap();
    value["files"] = serde_json::json!([]);
    let json = value.to_string();
    let sum = crate::checksum::checksum(json.as_bytes());
    fs::write(&position, format!("{json}\n{sum:08x}\n")).unwrap();

    let sinks = FileSinks::default();
    let config = FileConfig::new(format!("{}/all/{{date}}.jsonl", fixture.base().display()));
    let counts = Arc::default();
    let context = SinkContext::new("all", fixture.folder.path().join("other"));
    sinks.add(&context, &config.check().unwrap(), &counts);
    let surroundings = Surroundings { sinks, name: "sources".to_owned(), counts: Arc::default() };
    let writer = Writer::open(
        fixture.settings(),
        &fixture.state(),
        Arc::new(RealDisk),
        now(TEN),
        surroundings,
    )
    .unwrap();
    assert_eq!(unowned(&writer), 1);
    let ledger = lock(&writer.ledger);
    let keys: Vec<_> = ledger.files().map(|(key, _)| key).collect();
    assert_eq!(keys, ["bot/2026-11-22.jsonl", "bot/2026-11-23.jsonl"]);
}

/// Copies a folder with new inodes.
fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &to.join(entry.file_name()));
        } else {
            fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
        }
    }
}

#[test]
fn files_are_recognised_after_a_copy_of_the_data_folder() {
    for flushed in [false, true] {
        let fixture = Fixture::new("{source}/{date}.jsonl");
        let mut writer = fixture.open();
        writer.write(&batch(1..=2));
        writer.flush_now();
        writer.write(&one(3, "new", TEN));
        if flushed {
            writer.flush_now();
        }
        writer.write(&batch(4..=4));
        drop(writer);
        let original = fixture.files();
        let copied = Fixture::new("{source}/{date}.jsonl");
        copy(fixture.folder.path(), copied.folder.path());
        let mut writer = copied.open();
        if !flushed {
            writer.write(&one(3, "new", TEN));
        }
        writer.write(&batch(4..=5));
        let expected = [
            ("bot/2026-11-22.jsonl".to_owned(), vec![1, 2, 4, 5]),
            ("new/2026-11-22.jsonl".to_owned(), vec![3]),
        ];
        assert_eq!(copied.seqs(), expected, "{flushed}");
        drop(writer);
        // A file that the copy lacks is not looked for at its former path.
        fs::remove_file(copied.base().join("new/2026-11-22.jsonl")).unwrap();
        let mut writer = copied.open();
        writer.adopt(now(TEN)).unwrap();
        assert!(lock(&writer.ledger).files().all(|(key, _)| !key.starts_with('/')));
        assert_eq!(fixture.files(), original, "the original is not touched");
        assert_eq!(unowned(&writer), 0);
    }
}

#[test]
fn files_are_recognised_after_the_base_was_renamed() {
    let mut fixture = Fixture::with("{date}.jsonl", |config| config.retain_total_size(0));
    let mut writer = fixture.open();
    writer.write(&one(1, "bot", TEN - DAY));
    writer.write(&batch(2..=2));
    writer.flush_now();
    writer.write(&batch(3..=3));
    drop(writer);
    fs::create_dir(fixture.base().join("sub")).unwrap();
    for name in fixture.names() {
        fs::rename(fixture.base().join(&name), fixture.base().join("sub").join(&name)).unwrap();
    }
    fixture.template = "sub/{date}.jsonl";
    let mut writer = fixture.open();
    writer.write(&batch(3..=4));
    writer.flush_now();
    writer.janitor().wait();
    assert_eq!(fixture.seqs(), [("sub/2026-11-22.jsonl".to_owned(), vec![2, 3, 4])]);
}

#[test]
fn changed_path_after_a_crash_duplicates_no_line() {
    let mut fixture = Fixture::new("old/{date}.jsonl");
    let mut writer = fixture.open();
    writer.write(&batch(1..=2));
    writer.flush_now();
    writer.write(&batch(3..=4));
    drop(writer);
    fixture.template = "new/{date}.jsonl";
    let mut writer = fixture.open();
    writer.write(&batch(3..=6));
    let expected = [
        ("new/2026-11-22.jsonl".to_owned(), vec![5, 6]),
        ("old/2026-11-22.jsonl".to_owned(), vec![1, 2, 3, 4]),
    ];
    assert_eq!(fixture.seqs(), expected);
}

#[test]
fn sinks_that_swap_paths_after_a_crash_write_each_event_twice() {
    let folder = tempfile::tempdir().unwrap();
    let open = |state: &str, path: &str| {
        let config = FileConfig::new(format!("{}/{path}/{{date}}.jsonl", folder.path().display()));
        let state = folder.path().join(state);
        let settings = Arc::new(config.check().unwrap());
        Writer::open(settings, &state, Arc::new(RealDisk), now(TEN), Surroundings::default())
            .unwrap()
    };
    for (first, second) in [("x", "y"), ("y", "x")] {
        for (state, path) in [("one", first), ("two", second)] {
            let mut writer = open(state, path);
            if first == "x" {
                writer.write(&batch(1..=2));
            }
            // In one of them the flush comes before all lines.
            if first == "x" && state == "one" {
                writer.flush_now();
            }
            if first == "y" && state == "two" {
                writer.write(&batch(1..=2));
            }
            writer.write(&batch(3..=4));
        }
    }
    let mut lines = 0;
    for path in ["x", "y"] {
        for entry in fs::read_dir(folder.path().join(path)).unwrap() {
            lines += fs::read_to_string(entry.unwrap().path()).unwrap().lines().count();
        }
    }
    assert_eq!(lines, 8);
}

#[cfg(unix)]
#[test]
fn file_with_the_freed_inode_of_an_archived_one_is_not_touched() {
    let fixture = Fixture::new("all.jsonl");
    let mut writer = fixture.open();
    writer.write(&batch(1..=2));
    writer.flush_now();
    drop(writer);
    let path = fixture.base().join("all.jsonl");
    // The archived file is gone, and a backup got its inode: with the same name, with another one,
    // longer, shorter, and torn.
    let long = (20..30).map(foreign).collect::<String>();
    let torn = format!("{}{}", foreign(30), r#"{"id":"#);
    for text in [&long, &torn, &foreign(31)] {
        fs::write(&path, text).unwrap();
        fixture.open().write(&batch(1..=3));
        assert_eq!(&fs::read_to_string(&path).unwrap(), text);
    }
    fs::rename(&path, fixture.base().join("backup.zst")).unwrap();
    fs::write(fixture.base().join("backup.zst"), "packed").unwrap();
    fixture.open().write(&batch(4..=4));
    assert_eq!(fs::read(fixture.base().join("backup.zst")).unwrap(), b"packed");
}

#[test]
fn torn_record_of_a_file_is_skipped() {
    let fixture = Fixture::new("{source}.jsonl");
    let mut writer = fixture.open();
    writer.write(&one(1, "a", TEN));
    writer.write(&one(2, "b", TEN));
    writer.flush_now();
    drop(writer);
    let path = fixture.state().join("files");
    let mut text = fs::read_to_string(&path).unwrap();
    text.push_str(r#"01234567 {"file":{"path":"c.js"#);
    fs::write(&path, &text).unwrap();
    let mut writer = fixture.open();
    writer.write(&one(3, "a", TEN));
    writer.write(&one(4, "c", TEN));
    drop(writer);
    fixture.open().write(&one(5, "c", TEN));
    let expected = [
        ("a.jsonl".to_owned(), vec![1, 3]),
        ("b.jsonl".to_owned(), vec![2]),
        ("c.jsonl".to_owned(), vec![4, 5]),
    ];
    assert_eq!(fixture.seqs(), expected);
}

#[cfg(unix)]
#[test]
fn linked_active_file_is_rotated_where_its_data_is() {
    let fixture = Fixture::with("all.jsonl", |config| config.rotate_at_size(2 * line_length()));
    let disk = fixture.folder.path().join("disk");
    fs::create_dir(&disk).unwrap();
    fs::create_dir(fixture.base()).unwrap();
    std::os::unix::fs::symlink(disk.join("data.jsonl"), fixture.base().join("all.jsonl")).unwrap();
    fs::write(disk.join("data.jsonl"), "").unwrap();
    fixture.open().write(&batch(1..=3));
    let mut names: Vec<_> =
        fs::read_dir(&disk).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["data.000001.jsonl", "data.jsonl"]);
    assert!(fixture.base().join("all.jsonl").is_symlink());
}

#[test]
fn later_format_of_the_record_is_refused_by_name() {
    let fixture = Fixture::new("all.jsonl");
    drop(fixture.open());
    let json = r#"{"ledger":{"format":2,"base":"/x","state":"/y"}}"#;
    let sum = crate::checksum::checksum(json.as_bytes());
    fs::write(fixture.state().join("files"), format!("{sum:08x} {json}\n")).unwrap();
    let error = fixture.try_open().map(drop).unwrap_err().to_string();
    assert!(error.contains("files has version 2 of its format"), "{error}");
}

#[test]
fn entries_of_deleted_files_leave_the_record() {
    let fixture = Fixture::with("all.jsonl", |config| config.rotate_at_size(1));
    let mut writer = fixture.open();
    writer.write(&batch(1..=3));
    writer.flush_now();
    drop(writer);
    fs::remove_file(fixture.base().join("all.000001.jsonl")).unwrap();
    drop(fixture.open());
    let ledger = fixture.ledger();
    let kinds: Vec<(&str, Kind)> =
        ledger.files().map(|(key, Entry { kind, .. })| (key, *kind)).collect();
    assert_eq!(kinds, [("all.000002.jsonl", Kind::Closed), ("all.jsonl", Kind::Open)]);
    // An unmounted folder is no reason to forget all files.
    fs::rename(fixture.base(), fixture.folder.path().join("elsewhere")).unwrap();
    drop(fixture.open());
    assert_eq!(fixture.ledger().files().count(), 2);
}

#[test]
fn length_that_was_recorded_before_the_sidecar_hides_no_line() {
    let fixture = Fixture::new("all.jsonl");
    let mut writer = fixture.open();
    writer.write(&batch(1..=3));
    // The crash comes between the record of the file and the sidecar.
    writer.files.sync().unwrap();
    writer.files.record();
    drop(writer);
    drop(fixture.open());
    fixture.open().write(&batch(1..=4));
    assert_eq!(fixture.seqs_of_one(), [1, 2, 3, 4]);
    // The same after a flush, with lines that a recovery recorded.
    let mut writer = fixture.open();
    writer.write(&batch(1..=4));
    writer.flush_now();
    writer.write(&batch(5..=6));
    drop(writer);
    let position = fs::read(fixture.state().join("position")).unwrap();
    drop(fixture.open());
    fs::write(fixture.state().join("position"), position).unwrap();
    fixture.open().write(&batch(5..=7));
    assert_eq!(fixture.seqs_of_one(), [1, 2, 3, 4, 5, 6, 7]);
}

#[test]
fn files_sort_in_the_order_of_writing_if_a_stranger_takes_the_name_of_a_compressed_one() {
    let fixture = Fixture::with("all.jsonl", |config| {
        config.compression(Compression::Gzip).rotate_at_size(2 * line_length())
    });
    let mut writer = fixture.open();
    writer.write(&batch(1..=3));
    // The file of 1 and 2 is closed, and is compressed after the flush.
    let stranger = fixture.base().join("all.000001.jsonl.gz");
    fs::write(&stranger, "a note").unwrap();
    writer.write(&batch(4..=7));
    writer.flush_now();
    writer.janitor().wait();
    assert_eq!(fs::read_to_string(&stranger).unwrap(), "a note");
    fs::remove_file(&stranger).unwrap();
    let written = fixture.seqs().into_iter().flat_map(|(_, seqs)| seqs);
    assert_eq!(written.collect::<Vec<_>>(), [1, 2, 3, 4, 5, 6, 7]);

    // Compression is repeated once the name is free.
    writer.write(&batch(8..=9));
    writer.flush_now();
    writer.janitor().wait();
    let packed = ["all.000001.jsonl.gz", "all.000002.jsonl.gz", "all.000003.jsonl.gz"];
    assert_eq!(fixture.names()[..3], packed);
}
