//! Compression and retention of closed files.

use super::*;

const DAY: i64 = 86_400;

fn wait(writer: &Writer) {
    writer.files().janitor().wait();
}

#[test]
fn closed_files_are_compressed_without_loss() {
    for (compression, suffix) in [(Compression::Gzip, ".gz"), (Compression::Zstd, ".zst")] {
        let mut fixture = Fixture::new("{date}.jsonl");
        fixture.configure = match compression {
            Compression::Zstd => {
                |config| config.compression(Compression::Zstd).rotate_at_size(2 * line_length())
            }
            _ => |config| config.compression(Compression::Gzip).rotate_at_size(2 * line_length()),
        };
        let mut writer = fixture.open();
        writer.write(&batch(1..=3));
        wait(&writer);
        // The sidecar does not cover the lines yet, and recovery does not read compressed files.
        assert_eq!(fixture.names(), ["2026-11-22.000001.jsonl", "2026-11-22.jsonl"]);
        writer.flush_now();
        wait(&writer);
        writer.write(&one(4, "bot", TEN + DAY));
        writer.flush_now();
        wait(&writer);
        let expected = [
            (format!("2026-11-22.000001.jsonl{suffix}"), vec![1, 2]),
            (format!("2026-11-22.jsonl{suffix}"), vec![3]),
            ("2026-11-23.jsonl".to_owned(), vec![4]),
        ];
        assert_eq!(fixture.seqs(), expected);
    }
}

#[test]
fn late_event_of_an_earlier_day_is_kept_beside_the_compressed_file() {
    let fixture = Fixture::with("{date}.jsonl", |config| config.compression(Compression::Gzip));
    let mut writer = fixture.open();
    writer.write(&batch(1..=2));
    writer.write(&one(3, "bot", TEN + DAY));
    writer.flush_now();
    wait(&writer);
    writer.write(&one(4, "bot", TEN));
    writer.flush_now();
    writer.write(&one(5, "bot", TEN + DAY));
    writer.flush_now();
    wait(&writer);
    let expected = [
        ("2026-11-22.000001.jsonl.gz".to_owned(), vec![4]),
        ("2026-11-22.jsonl.gz".to_owned(), vec![1, 2]),
        ("2026-11-23.jsonl".to_owned(), vec![3, 5]),
    ];
    assert_eq!(fixture.seqs(), expected);
}

#[test]
fn compression_interrupted_by_a_crash_is_finished_at_the_start() {
    let fixture = Fixture::with("{date}.jsonl", |config| config.compression(Compression::Gzip));
    let mut writer = fixture.open();
    writer.write(&batch(1..=2));
    writer.write(&one(3, "bot", TEN + DAY));
    writer.flush_now();
    wait(&writer);
    let base = fixture.base();
    let unpacked = fixture.files().remove("2026-11-22.jsonl.gz").unwrap();
    drop(writer);
    // Two crashes: one between the renaming and the deletion of the original, one in the middle of
    // a compression.
    fs::write(base.join("2026-11-22.jsonl"), &unpacked).unwrap();
    fs::write(base.join(".2026-11-21.jsonl.gz.tmp"), "half").unwrap();
    fs::write(base.join(".notes.tmp"), "of another program").unwrap();
    let writer = fixture.open();
    wait(&writer);
    assert_eq!(fixture.names(), [".notes.tmp", "2026-11-22.jsonl.gz", "2026-11-23.jsonl"]);
    assert_eq!(fixture.files()["2026-11-22.jsonl.gz"], unpacked);
}

#[test]
fn retention_by_age_deletes_only_old_files_of_the_sink() {
    let fixture = Fixture::with("{source}/{date}.jsonl", |config| {
        config.retain_age(Duration::from_secs(3 * 86_400))
    });
    let mut writer = fixture.open();
    let foreign =
        ["2026-11-19.jsonl", "bot/2026-11-19.jsonl.bak", "bot/deep/2026-11-19.jsonl", "notes.txt"];
    for name in foreign {
        let path = fixture.base().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, "").unwrap();
    }
    for (seq, source, day) in
        [(1, "bot", 19), (2, "gone", 19), (3, "bot", 20), (4, "bot", 21), (5, "bot", 22)]
    {
        writer.write(&one(seq, source, TEN + (day - 22) * DAY));
    }
    writer.flush_now();
    for name in fixture.names() {
        let modified = if name.contains("11-20") { at(TEN - DAY) } else { at(TEN - 9 * DAY) };
        File::options()
            .append(true)
            .open(fixture.base().join(name))
            .unwrap()
            .set_modified(modified)
            .unwrap();
    }
    writer.flush(at(TEN + 3600)).unwrap();
    wait(&writer);
    let mut left = vec!["bot/2026-11-20.jsonl", "bot/2026-11-22.jsonl"];
    left.extend(foreign);
    left.sort_unstable();
    assert_eq!(fixture.names(), left);
    assert!(!fixture.base().join("gone").exists());
}

#[test]
fn retention_by_size_counts_all_files_and_deletes_the_oldest() {
    let fixture = Fixture::with("all.jsonl", |config| {
        config.rotate_at_size(1).retain_total_size(3 * line_length())
    });
    let mut writer = fixture.open();
    writer.write(&batch(1..=5));
    for index in 1..=4 {
        let path = fixture.base().join(format!("all.00000{index}.jsonl"));
        File::options().append(true).open(path).unwrap().set_modified(at(TEN + index)).unwrap();
    }
    writer.flush_now();
    wait(&writer);
    let expected = [
        ("all.000003.jsonl".to_owned(), vec![3]),
        ("all.000004.jsonl".to_owned(), vec![4]),
        ("all.jsonl".to_owned(), vec![5]),
    ];
    assert_eq!(fixture.seqs(), expected);
}

#[test]
fn file_of_an_earlier_day_in_use_is_neither_compressed_nor_deleted() {
    let fixture = Fixture::with("{date}.jsonl", |config| {
        config.compression(Compression::Gzip).retain_total_size(1)
    });
    let mut writer = fixture.open();
    writer.write(&one(1, "bot", TEN + DAY));
    writer.flush_now();
    wait(&writer);
    writer.write(&one(2, "bot", TEN));
    let settings = fixture.settings();
    let listing = Listing::read(&settings.template).unwrap();
    writer.schedule_maintenance(&listing, at(TEN));
    wait(&writer);
    assert_eq!(fixture.names(), ["2026-11-22.jsonl", "2026-11-23.jsonl"]);
}
