//! Compression and retention of closed files.

use super::*;
use crate::disk::Identity;
use crate::ledger::{Entry, Kind};

const DAY: i64 = 86_400;

fn wait(writer: &Writer) {
    writer.janitor().wait();
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
fn late_event_of_an_earlier_day_begins_a_numbered_file_that_is_closed_when_idle() {
    let fixture = Fixture::with("{date}.jsonl", |config| config.compression(Compression::Gzip));
    let mut writer = fixture.open();
    writer.write(&batch(1..=2));
    writer.write(&one(3, "bot", TEN + DAY));
    writer.flush_now();
    wait(&writer);
    // A clock that is set back and forth makes no file for each flush.
    for seq in [4, 6, 8] {
        writer.write(&one(seq, "bot", TEN));
        writer.flush_now();
        writer.write(&one(seq + 1, "bot", TEN + DAY));
        writer.flush_now();
        wait(&writer);
    }
    let mut expected = vec![
        ("2026-11-22.000001.jsonl".to_owned(), vec![4, 6, 8]),
        ("2026-11-22.jsonl.gz".to_owned(), vec![1, 2]),
        ("2026-11-23.jsonl".to_owned(), vec![3, 5, 7, 9]),
    ];
    assert_eq!(fixture.seqs(), expected);
    writer.write(&one(10, "bot", TEN + DAY + 3600));
    writer.flush(now(TEN + 3600)).unwrap();
    wait(&writer);
    expected[0].0.push_str(".gz");
    expected[2].1.push(10);
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
    let temporary = base.join(".2026-11-21.jsonl.gz.tmp");
    fs::write(&temporary, "half").unwrap();
    let identity = Identity::of(&fs::metadata(&temporary).unwrap());
    let mut ledger = fixture.ledger();
    let (len, end) = (unpacked.len() as u64, 0);
    let entry = Entry { kind: Kind::Temporary, identity, len: 0, end, newest: 0 };
    ledger.put(".2026-11-21.jsonl.gz.tmp", entry);
    let last = unpacked.split_inclusive('\n').next_back().unwrap();
    let end = crate::checksum::checksum(last.as_bytes());
    ledger.put("2026-11-22.jsonl", Entry { kind: Kind::Closed, len, end, ..entry });
    ledger.write().unwrap();
    drop(ledger);
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
    // The age of a file is that of its events, not that of its last change.
    for name in fixture.names() {
        let file = File::options().append(true).open(fixture.base().join(name)).unwrap();
        file.set_modified(at(TEN)).unwrap();
    }
    writer.flush(now(TEN + 3600)).unwrap();
    wait(&writer);
    let mut left = vec!["bot/2026-11-20.jsonl", "bot/2026-11-21.jsonl", "bot/2026-11-22.jsonl"];
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
fn only_deletion_by_age_waits_after_a_jump_of_the_clock() {
    let fixture = Fixture::with("{date}.jsonl", |config| {
        config.retain_age(Duration::from_secs(30 * 86_400)).retain_total_size(3 * line_length())
    });
    let mut writer = fixture.open();
    for day in 0..3_i64 {
        writer.write(&one(1 + day.unsigned_abs(), "bot", TEN + (day - 2) * DAY));
        writer.flush_now();
    }
    // Forty days ahead for two seconds, and a boot in 1970.
    let jump = |wall, after| Now { wall, elapsed: now(TEN + after).elapsed };
    for (wall, after) in [(TEN + 40 * DAY, 1), (TEN + 40 * DAY, 2), (3, 3), (TEN + 4, 4)] {
        writer.flush(jump(wall, after)).unwrap();
        wait(&writer);
        assert_eq!(fixture.names().len(), 3, "{wall}");
    }
    // A restart does not end the wait.
    drop(writer);
    let mut writer = fixture.open();
    writer.flush(jump(TEN + 40 * DAY, 10)).unwrap();
    wait(&writer);
    assert_eq!(fixture.names().len(), 3);
    writer.write(&batch(4..=5));
    writer.flush(jump(TEN + 40 * DAY + 3600, 3610)).unwrap();
    wait(&writer);
    assert_eq!(fixture.names(), ["2026-11-22.jsonl"], "the limit on size applies at once");
}

#[test]
fn deletion_by_age_continues_a_day_after_the_jump_or_at_an_operators_word() {
    for confirmed in [false, true] {
        let fixture = Fixture::with("{source}/{date}.jsonl", |config| {
            config.retain_age(Duration::from_secs(30 * 86_400))
        });
        let mut writer = fixture.open();
        writer.write(&batch(1..=1));
        writer.flush_now();
        let later = |after| Now { wall: TEN + 40 * DAY + after, elapsed: now(TEN + after).elapsed };
        writer.flush(later(1)).unwrap();
        wait(&writer);
        assert_eq!(fixture.names().len(), 1);
        let next = if confirmed {
            writer.adopt(later(2)).unwrap();
            later(2)
        } else {
            later(DAY + 1)
        };
        writer.flush(next).unwrap();
        wait(&writer);
        // No event came since, and the file of an idle source ages out nevertheless.
        assert_eq!(fixture.names(), [""; 0], "{confirmed}");
    }
}

#[test]
fn file_that_is_about_to_be_deleted_is_not_compressed() {
    let fixture = Fixture::with("all.jsonl", |config| {
        config.rotate_at_size(1).compression(Compression::Gzip).retain_total_size(8 * line_length())
    });
    let mut writer = fixture.open();
    writer.write(&batch(1..=200));
    writer.flush_now();
    wait(&writer);
    let numbers: Vec<_> = fixture.seqs().into_iter().flat_map(|(_, seqs)| seqs).collect();
    assert_eq!(numbers.last(), Some(&200));
    assert!(numbers.len() <= 8 && numbers[0] > 190, "{numbers:?}");
    let sizes: u64 = fixture
        .names()
        .iter()
        .map(|name| fs::metadata(fixture.base().join(name)).unwrap().len())
        .sum();
    assert!(sizes <= 8 * line_length());
}

#[test]
fn numbers_continue_after_all_rotated_files_were_deleted() {
    let fixture =
        Fixture::with("all.jsonl", |config| config.rotate_at_size(1).retain_total_size(1));
    let mut writer = fixture.open();
    writer.write(&batch(1..=4));
    writer.flush_now();
    wait(&writer);
    assert_eq!(fixture.names(), ["all.jsonl"]);
    drop(writer);
    fixture.open().write(&batch(5..=5));
    // Retention may have deleted the rotated file already.
    assert_eq!(fixture.ledger().highest("all.jsonl"), 4);
}

#[test]
fn files_with_the_ending_of_an_earlier_template_stay_in_retention() {
    let mut fixture = Fixture::with("{date}.jsonl", |config| config.retain_total_size(1));
    let mut writer = fixture.open();
    writer.write(&one(1, "bot", TEN - DAY));
    writer.flush_now();
    drop(writer);
    fixture.template = "{date}.ndjson";
    let mut writer = fixture.open();
    writer.write(&batch(2..=2));
    writer.flush_now();
    wait(&writer);
    assert_eq!(fixture.names(), ["2026-11-22.ndjson"]);
}

#[test]
fn events_received_while_the_clock_was_set_back_between_flushes_are_not_old() {
    for crashes in [false, true] {
        let fixture = Fixture::with("all.jsonl", |config| {
            config.rotate_at_size(2 * line_length()).retain_age(Duration::from_secs(3600))
        });
        let mut writer = fixture.open();
        writer.write(&batch(1..=2));
        writer.flush_now();
        writer.write(&one(3, "bot", TEN - 2 * DAY));
        if crashes {
            drop(writer);
            writer = fixture.open();
        }
        writer.flush_now();
        writer.write(&one(4, "bot", TEN));
        writer.flush_now();
        wait(&writer);
        let seqs = fixture.seqs().into_iter().flat_map(|(_, seqs)| seqs);
        assert_eq!(seqs.collect::<Vec<_>>(), [1, 2, 3, 4], "crashes: {crashes}");
    }
}
