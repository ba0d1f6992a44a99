//! Closed files: packed, and deleted in time.

use super::*;

const DAY: i64 = 86_400;

fn wait(writer: &Writer) {
    writer.files().janitor().wait();
}

#[test]
fn closed_files_are_packed_and_lose_nothing() {
    for (compression, suffix) in [(Compression::Gzip, ".gz"), (Compression::Zstd, ".zst")] {
        let mut bench = Bench::new("{date}.jsonl");
        bench.configure = match compression {
            Compression::Zstd => {
                |config| config.compression(Compression::Zstd).rotate_at_size(2 * line_length())
            }
            _ => |config| config.compression(Compression::Gzip).rotate_at_size(2 * line_length()),
        };
        let mut writer = bench.open();
        writer.take(&batch(1..=3));
        wait(&writer);
        // Not before its lines are settled: the next recovery would not find them.
        assert_eq!(bench.names(), ["2026-11-22.000001.jsonl", "2026-11-22.jsonl"]);
        writer.settle();
        wait(&writer);
        writer.take(&one(4, "bot", TEN + DAY));
        writer.settle();
        wait(&writer);
        let expected = [
            (format!("2026-11-22.000001.jsonl{suffix}"), vec![1, 2]),
            (format!("2026-11-22.jsonl{suffix}"), vec![3]),
            ("2026-11-23.jsonl".to_owned(), vec![4]),
        ];
        assert_eq!(bench.seqs(), expected);
    }
}

#[test]
fn an_event_of_an_earlier_day_comes_late_and_is_kept_beside_the_packed_ones() {
    let bench = Bench::with("{date}.jsonl", |config| config.compression(Compression::Gzip));
    let mut writer = bench.open();
    writer.take(&batch(1..=2));
    writer.take(&one(3, "bot", TEN + DAY));
    writer.settle();
    wait(&writer);
    writer.take(&one(4, "bot", TEN));
    writer.settle();
    writer.take(&one(5, "bot", TEN + DAY));
    writer.settle();
    wait(&writer);
    let expected = [
        ("2026-11-22.000001.jsonl.gz".to_owned(), vec![4]),
        ("2026-11-22.jsonl.gz".to_owned(), vec![1, 2]),
        ("2026-11-23.jsonl".to_owned(), vec![3, 5]),
    ];
    assert_eq!(bench.seqs(), expected);
}

#[test]
fn what_a_crash_left_of_a_compression_is_finished_at_the_start() {
    let bench = Bench::with("{date}.jsonl", |config| config.compression(Compression::Gzip));
    let mut writer = bench.open();
    writer.take(&batch(1..=2));
    writer.take(&one(3, "bot", TEN + DAY));
    writer.settle();
    wait(&writer);
    let base = bench.base();
    let unpacked = bench.files().remove("2026-11-22.jsonl.gz").unwrap();
    drop(writer);
    // As between the renaming and the deletion of the original, and as in the middle of the
    // packing.
    fs::write(base.join("2026-11-22.jsonl"), &unpacked).unwrap();
    fs::write(base.join(".2026-11-21.jsonl.gz.tmp"), "half").unwrap();
    fs::write(base.join(".notes.tmp"), "someone else's").unwrap();
    let writer = bench.open();
    wait(&writer);
    assert_eq!(bench.names(), [".notes.tmp", "2026-11-22.jsonl.gz", "2026-11-23.jsonl"]);
    assert_eq!(bench.files()["2026-11-22.jsonl.gz"], unpacked);
}

#[test]
fn retention_deletes_what_is_old_and_nothing_else() {
    let bench = Bench::with("{source}/{date}.jsonl", |config| {
        config.retain_age(Duration::from_secs(3 * 86_400))
    });
    let mut writer = bench.open();
    let foreign =
        ["2026-11-19.jsonl", "bot/2026-11-19.jsonl.bak", "bot/deep/2026-11-19.jsonl", "notes.txt"];
    for name in foreign {
        let path = bench.base().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, "").unwrap();
    }
    for (seq, source, day) in
        [(1, "bot", 19), (2, "gone", 19), (3, "bot", 20), (4, "bot", 21), (5, "bot", 22)]
    {
        writer.take(&one(seq, source, TEN + (day - 22) * DAY));
    }
    writer.settle();
    for name in bench.names() {
        let modified = if name.contains("11-20") { at(TEN - DAY) } else { at(TEN - 9 * DAY) };
        File::options()
            .append(true)
            .open(bench.base().join(name))
            .unwrap()
            .set_modified(modified)
            .unwrap();
    }
    writer.flush(at(TEN + 3600)).unwrap();
    wait(&writer);
    let mut left = vec!["bot/2026-11-20.jsonl", "bot/2026-11-22.jsonl"];
    left.extend(foreign);
    left.sort_unstable();
    assert_eq!(bench.names(), left);
    assert!(!bench.base().join("gone").exists());
}

#[test]
fn retention_by_size_counts_everything_and_takes_the_oldest() {
    let bench = Bench::with("all.jsonl", |config| {
        config.rotate_at_size(1).retain_total_size(3 * line_length())
    });
    let mut writer = bench.open();
    writer.take(&batch(1..=5));
    for index in 1..=4 {
        let path = bench.base().join(format!("all.00000{index}.jsonl"));
        File::options().append(true).open(path).unwrap().set_modified(at(TEN + index)).unwrap();
    }
    writer.settle();
    wait(&writer);
    let expected = [
        ("all.000003.jsonl".to_owned(), vec![3]),
        ("all.000004.jsonl".to_owned(), vec![4]),
        ("all.jsonl".to_owned(), vec![5]),
    ];
    assert_eq!(bench.seqs(), expected);
}

#[test]
fn a_file_of_an_earlier_day_that_is_written_to_is_neither_packed_nor_deleted() {
    let bench = Bench::with("{date}.jsonl", |config| {
        config.compression(Compression::Gzip).retain_total_size(1)
    });
    let mut writer = bench.open();
    writer.take(&one(1, "bot", TEN + DAY));
    writer.settle();
    wait(&writer);
    writer.take(&one(2, "bot", TEN));
    let settings = bench.settings();
    let listing = Listing::read(&settings.template).unwrap();
    writer.tidy(&listing, at(TEN));
    wait(&writer);
    assert_eq!(bench.names(), ["2026-11-22.jsonl", "2026-11-23.jsonl"]);
}
