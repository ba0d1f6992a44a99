//! The `journal` commands, which verify, repair and export the journal of a stopped observer.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value;

use crate::support::{DEFAULTS, OBSERVER, Observer, agent_runs, archive, event_of};

fn observer(dir: &Path, arguments: &[&str]) -> Output {
    Command::new(OBSERVER).args(arguments).current_dir(dir).stdin(Stdio::null()).output().unwrap()
}

fn out(output: &Output) -> &str {
    std::str::from_utf8(&output.stdout).unwrap()
}

fn errors(output: &Output) -> &str {
    std::str::from_utf8(&output.stderr).unwrap()
}

/// Returns the folder of a stopped observer with 40 events, one in each block, and its archive.
async fn stopped() -> (tempfile::TempDir, Vec<String>) {
    let dir = tempfile::tempdir().unwrap();
    let observer = Observer::start(dir.path(), DEFAULTS);
    for run in agent_runs().into_iter().take(40) {
        assert_eq!(observer.post(run).await.status, 200);
    }
    observer.wait_until_caught_up().await;
    assert!(observer.terminate().0.success());
    let archive = archive(dir.path());
    assert_eq!(archive.len(), 40);
    (dir, archive)
}

fn segment(dir: &Path) -> PathBuf {
    dir.join("observer-data/journal/00000000000000000001-0.log")
}

/// Changes several bits of a byte in the middle of an event.
fn corrupt(dir: &Path, envelope: &str) {
    damage(dir, envelope, 0xA5);
}

fn damage(dir: &Path, envelope: &str, mask: u8) {
    let mut bytes = std::fs::read(segment(dir)).unwrap();
    let event = event_of(envelope).as_bytes();
    let at = bytes.windows(event.len()).position(|window| window == event).unwrap();
    bytes[at + event.len() / 2] ^= mask;
    std::fs::write(segment(dir), bytes).unwrap();
}

/// Returns the contents of every file of the journal.
fn files(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let paths = std::fs::read_dir(dir.join("observer-data/journal"))
        .unwrap()
        .map(|entry| entry.unwrap().path());
    paths
        .filter(|path| path.is_file())
        .map(|path| (path.clone(), std::fs::read(path).unwrap()))
        .collect()
}

#[tokio::test]
async fn export_equals_the_archive_and_keeps_its_ids_in_another_observer() {
    let (dir, archive) = stopped().await;
    let output = observer(dir.path(), &["journal", "export"]);
    assert!(output.status.success(), "{}", errors(&output));
    assert_eq!(out(&output).lines().collect::<Vec<_>>(), archive);
    assert_eq!(errors(&output), "40 events\n");

    let output = observer(
        dir.path(),
        &["journal", "export", "--from", "5", "--to", "7", "--output", "part.ndjson"],
    );
    assert!(output.status.success() && output.stdout.is_empty(), "{}", errors(&output));
    let part = dir.path().join("part.ndjson");
    assert_eq!(std::fs::read_to_string(&part).unwrap().lines().collect::<Vec<_>>(), archive[4..7]);

    let other = tempfile::tempdir().unwrap();
    let second = Observer::start(other.path(), DEFAULTS);
    let all = dir.path().join("all.ndjson");
    for (file, arguments) in [(&part, &["--from", "5", "--to", "7"][..]), (&all, &[])] {
        let path = file.to_str().unwrap();
        let export = [&["journal", "export", "--output", path], arguments].concat();
        assert!(observer(dir.path(), &export).status.success());
        let output = observer(other.path(), &["emit", "--url", &second.url, path]);
        assert!(output.status.success(), "{}", errors(&output));
    }
    second.wait_until_caught_up().await;
    let identity = |line: &String| {
        let envelope: Value = serde_json::from_str(line).unwrap();
        (envelope["id"].as_str().unwrap().to_owned(), event_of(line).to_owned())
    };
    let (mut exported, mut received): (Vec<_>, Vec<_>) =
        (archive.iter().map(identity).collect(), second.archive().iter().map(identity).collect());
    // The part was emitted first. Its events are duplicates in the complete export.
    exported[..7].rotate_left(4);
    received.truncate(40);
    assert_eq!(received[..3], exported[..3]);
    exported.sort();
    received.sort();
    assert_eq!(received, exported);
}

#[tokio::test]
async fn corrupt_record_is_reported_with_its_location_and_the_others_are_exported() {
    let (dir, archive) = stopped().await;
    let output = observer(dir.path(), &["journal", "verify"]);
    assert!(output.status.success(), "{}{}", out(&output), errors(&output));
    assert!(out(&output).contains("\nrecords  1 to 40 (40 readable, "), "{}", out(&output));
    assert!(out(&output).ends_with("\nevery record is readable\n"), "{}", out(&output));

    corrupt(dir.path(), &archive[9]);
    let before = files(dir.path());
    let output = observer(dir.path(), &["journal", "verify"]);
    assert_eq!(output.status.code(), Some(1), "{}", out(&output));
    assert!(
        out(&output).contains("\n1 problem, 1 record lost:\n  00000000000000000001-0.log: bytes "),
        "{}",
        out(&output)
    );
    let end = ": record 10 can't be read\na repair would change nothing; lost records stay lost\n";
    assert!(out(&output).ends_with(end), "{}", out(&output));

    let output = observer(dir.path(), &["journal", "verify", "--json"]);
    let found: Value = serde_json::from_str(out(&output)).unwrap();
    assert_eq!(
        (&found["head"], &found["records"], &found["lost"]),
        (&40.into(), &39.into(), &1.into())
    );
    assert_eq!(
        found["sinks"][0],
        serde_json::json!({ "name": "archive", "position": 40, "pending": 0 })
    );
    let damage = &found["damage"][0];
    assert_eq!(damage["records"], serde_json::json!({ "first_seq": 10, "last_seq": 10 }));
    assert_eq!(damage["bytes"]["length"], 32 + 32 + event_of(&archive[9]).len());

    let output = observer(dir.path(), &["journal", "export"]);
    assert_eq!(output.status.code(), Some(1));
    let wanted: Vec<_> =
        archive.iter().enumerate().filter(|(at, _)| *at != 9).map(|(_, line)| line).collect();
    assert_eq!(out(&output).lines().collect::<Vec<_>>(), wanted);
    assert!(
        errors(&output).starts_with("39 events\nskipped unreadable data:\n  "),
        "{}",
        errors(&output)
    );
    let output = observer(dir.path(), &["journal", "export", "--from", "11"]);
    assert!(output.status.success(), "the requested range is intact: {}", errors(&output));
    assert_eq!(files(dir.path()), before, "verify and export change nothing");

    let output = observer(dir.path(), &["journal", "repair"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        out(&output).contains("no repair needed\n\n1 record lost permanently:\n"),
        "{}",
        out(&output)
    );
}

#[tokio::test]
async fn torn_end_is_repaired_and_its_bytes_are_kept() {
    let (dir, archive) = stopped().await;
    let mut bytes = std::fs::read(segment(dir.path())).unwrap();
    // Zeros may follow the last block.
    let end = bytes.iter().rposition(|byte| *byte != 0).unwrap() + 1;
    bytes.truncate(end);
    bytes.extend(b"half a block");
    std::fs::write(segment(dir.path()), bytes).unwrap();
    assert_eq!(observer(dir.path(), &["journal", "verify"]).status.code(), Some(1));

    let output = observer(dir.path(), &["journal", "repair", "--json"]);
    assert!(output.status.success(), "{}{}", out(&output), errors(&output));
    let report: Value = serde_json::from_str(out(&output)).unwrap();
    let action = &report["actions"][0];
    assert_eq!(
        (&action["done"], &action["bytes"]["length"]),
        (&"truncated after the last complete record".into(), &12.into())
    );
    let kept = dir.path().join(action["kept_in"].as_str().unwrap());
    assert_eq!(std::fs::read(kept).unwrap(), b"half a block");

    assert!(observer(dir.path(), &["journal", "verify"]).status.success());
    let again = Observer::start(dir.path(), DEFAULTS);
    assert_eq!(again.post(r#"{"source":"job","event_kind":"ok","ok":true}"#).await.status, 200);
    again.wait_until_caught_up().await;
    assert_eq!(again.archive()[..40], archive);
    assert_eq!(again.archive().len(), 41);
}

#[tokio::test]
async fn verify_and_repair_report_the_same_number_of_records_at_a_cut_end() {
    let (dir, archive) = stopped().await;
    let mut bytes = std::fs::read(segment(dir.path())).unwrap();
    let event = event_of(&archive[37]).as_bytes();
    let at = bytes.windows(event.len()).position(|window| window == event).unwrap();
    bytes.truncate(at + 1);
    std::fs::write(segment(dir.path()), bytes).unwrap();
    let report = |command: &str| {
        let output = observer(dir.path(), &["journal", command, "--json"]);
        let report: Value = serde_json::from_str(out(&output)).unwrap();
        (output.status.code(), report)
    };

    let (code, found) = report("verify");
    assert_eq!((code, &found["lost"], &found["repairable"]), (Some(1), &3.into(), &true.into()));
    let (code, repaired) = report("repair");
    assert_eq!((code, &repaired["lost"]), (Some(1), &3.into()), "{repaired}");
    assert_eq!(repaired["actions"][0]["done"], "truncated after the last complete record");
    let explained = "the end of the journal is lost: a sink has already received records 38 to 40";
    assert_eq!(repaired["damage"][0]["explained"], explained);

    // Nothing is left to repair, and the loss is not forgotten.
    let (code, found) = report("verify");
    assert_eq!(
        (code, &found["lost"], &found["damage"]),
        (Some(0), &0.into(), &Value::Array(vec![]))
    );
    let lost = serde_json::json!([{ "first_seq": 38, "last_seq": 40 }]);
    assert_eq!((&found["lost_earlier"], &found["repairable"]), (&lost, &false.into()));
    let output = observer(dir.path(), &["journal", "verify"]);
    let end = "\n3 records lost earlier at the end of the journal:\n  records 38 to 40\n\n\
               every record is readable\n";
    assert!(out(&output).ends_with(end), "{}", out(&output));
    let output = observer(dir.path(), &["journal", "repair"]);
    assert!(output.status.success(), "{}", out(&output));
}

#[tokio::test]
async fn journal_in_use_or_absent_is_left_unchanged() {
    let dir = tempfile::tempdir().unwrap();
    let running = Observer::start(dir.path(), DEFAULTS);
    for command in ["verify", "repair", "export"] {
        let output = observer(dir.path(), &["journal", command]);
        assert_eq!(output.status.code(), Some(2));
        let expected = "observer: the journal at observer-data/journal is in use by another \
                        process; stop the observer first\n";
        assert_eq!(errors(&output), expected);
    }
    assert_eq!(running.post(r#"{"source":"job","event_kind":"ok","ok":true}"#).await.status, 200);

    let empty = tempfile::tempdir().unwrap();
    for command in ["verify", "repair", "export"] {
        let output = observer(empty.path(), &["journal", command]);
        assert_eq!(output.status.code(), Some(2));
        assert_eq!(errors(&output), "observer: there is no journal at observer-data/journal\n");
    }
    assert_eq!(std::fs::read_dir(empty.path()).unwrap().count(), 0);
    let output = observer(empty.path(), &["journal", "export", "--from", "3", "--to", "2"]);
    assert_eq!(output.status.code(), Some(2));
}

/// Returns the folder of a stopped observer with 40 events in one block, and its archive.
async fn stopped_batch() -> (tempfile::TempDir, Vec<String>) {
    let dir = tempfile::tempdir().unwrap();
    let observer = Observer::start(dir.path(), DEFAULTS);
    let runs: Vec<_> = agent_runs().into_iter().take(40).collect();
    let batch = observer.client().post(format!("{}/v1/events", observer.url));
    assert_eq!(observer.send(batch.body(runs.join("\n"))).await.status, 200);
    // Another block follows, so that the first one is known to be complete.
    assert_eq!(observer.post(r#"{"source":"job","event_kind":"ok","ok":true}"#).await.status, 200);
    observer.wait_until_caught_up().await;
    assert!(observer.terminate().0.success());
    let archive = archive(dir.path());
    assert_eq!(archive.len(), 41);
    (dir, archive)
}

#[tokio::test]
async fn damaged_event_of_a_batch_is_the_only_one_lost() {
    let (dir, archive) = stopped_batch().await;
    corrupt(dir.path(), &archive[9]);
    let wanted: Vec<_> =
        archive.iter().enumerate().filter(|(at, _)| *at != 9).map(|(_, line)| line).collect();
    // A repair changes nothing about it, and reports the same number.
    for _ in 0..2 {
        let output = observer(dir.path(), &["journal", "verify", "--json"]);
        let found: Value = serde_json::from_str(out(&output)).unwrap();
        assert_eq!((&found["records"], &found["lost"]), (&40.into(), &1.into()), "{found}");
        let lost = serde_json::json!({ "first_seq": 10, "last_seq": 10 });
        assert_eq!(found["damage"][0]["records"], lost);
        let output = observer(dir.path(), &["journal", "export"]);
        assert_eq!(out(&output).lines().collect::<Vec<_>>(), wanted);
        let output = observer(dir.path(), &["journal", "repair", "--json"]);
        let report: Value = serde_json::from_str(out(&output)).unwrap();
        assert_eq!(report["lost"], 1, "{report}");
    }

    let late = format!(
        "{DEFAULTS}[sinks.late]\ntype = \"file\"\npath = \"late/all.jsonl\"\nstart = \"earliest\"\n"
    );
    let again = Observer::start(dir.path(), &late);
    again.wait_until_caught_up().await;
    let lines = crate::support::read_lines(&dir.path().join("late"));
    assert_eq!(lines.iter().collect::<Vec<_>>(), wanted);
    let sinks = again.get("/v1/sinks").await.json();
    let sink = &sinks["sinks"].as_array().unwrap().iter().find(|sink| sink["name"] == "late");
    assert_eq!(sink.unwrap()["delivered"], 40, "{sinks}");
}

#[tokio::test]
async fn flipped_bit_loses_nothing_and_a_repair_corrects_it() {
    let (dir, archive) = stopped_batch().await;
    let intact = std::fs::read(segment(dir.path())).unwrap();
    damage(dir.path(), &archive[20], 0x10);
    let output = observer(dir.path(), &["journal", "export"]);
    assert_eq!(out(&output).lines().collect::<Vec<_>>(), archive);
    let output = observer(dir.path(), &["journal", "verify", "--json"]);
    assert_eq!(output.status.code(), Some(1));
    let found: Value = serde_json::from_str(out(&output)).unwrap();
    assert_eq!((&found["lost"], &found["damage"][0]["kind"]), (&0.into(), &"flipped_bit".into()));
    let output = observer(dir.path(), &["journal", "repair"]);
    assert!(output.status.success(), "{}", out(&output));
    assert!(out(&output).contains("a flipped bit corrected"), "{}", out(&output));
    let repaired = std::fs::read(segment(dir.path())).unwrap();
    assert_eq!(repaired[..archive[0].len()], intact[..archive[0].len()]);
    assert!(observer(dir.path(), &["journal", "verify"]).status.success());
}
