//! Sources whose folder has the name of a file, and paths that lead to the same file.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use super::{check, config, contents, event, post};
use crate::support::Observer;

/// Posts two events of each source, kills and starts the observer in between, and asserts that each
/// sink holds every event once and is not parked.
async fn assert_complete(dir: &Path, paths: [&str; 2], sources: &[&str]) {
    let (one, two) = (("one", paths[0], ""), ("two", paths[1], ""));
    let config = config(&[one, two]);
    let (is_valid, report) = check(dir, &config);
    assert!(is_valid, "{report}");
    assert!(report.contains("sinks.one and sinks.two: a producer can send a source"), "{report}");
    for round in 0..2 {
        let observer = Observer::start(dir, &config);
        for source in sources {
            assert_eq!(observer.post(event(source, round)).await.status, 200);
        }
        observer.wait_until_caught_up().await;
        for sink in observer.get("/v1/sinks").await.json()["sinks"].as_array().unwrap() {
            assert_eq!(sink["state"], "running", "{sink}");
        }
        observer.kill();
    }
    let mut counts = BTreeMap::<String, usize>::new();
    for (_, bytes) in contents(&dir.join("ev")) {
        for line in String::from_utf8(bytes).unwrap().lines() {
            let envelope: serde_json::Value = serde_json::from_str(line).unwrap();
            *counts.entry(envelope["id"].to_string()).or_default() += 1;
        }
    }
    assert_eq!(counts.len(), 2 * sources.len());
    assert!(counts.values().all(|count| *count == 2), "each event is in both sinks: {counts:?}");
    // The sinks recognise all of their files.
    assert!(!check(dir, &config).1.contains("unowned"));
}

#[tokio::test]
async fn source_with_the_name_of_another_sinks_file_parks_no_sink() {
    let paths = ["ev/all.jsonl", "ev/{source}/{date}.jsonl"];
    for sources in [["worker", "all.jsonl"], ["all.jsonl", "worker"]] {
        let dir = tempfile::tempdir().unwrap();
        assert_complete(dir.path(), paths, &sources).await;
    }
}

#[tokio::test]
async fn sources_whose_files_and_folders_have_the_same_names_park_no_sink() {
    let paths = ["ev/{source}.jsonl", "ev/{source}/{source}.jsonl"];
    let sources = ["a", "a.jsonl", "a.jsonl.jsonl", "%61.jsonl", "a.jsonl.gz"];
    let dir = tempfile::tempdir().unwrap();
    assert_complete(dir.path(), paths, &sources).await;
    let dir = tempfile::tempdir().unwrap();
    let reversed: Vec<_> = sources.into_iter().rev().collect();
    assert_complete(dir.path(), [paths[1], paths[0]], &reversed).await;
}

#[tokio::test]
async fn obstacle_in_the_place_of_a_sources_folder_is_left_alone_and_parks_no_sink() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("ev");
    fs::create_dir(&folder).unwrap();
    symlink("/nowhere/at/all", folder.join("dangling")).unwrap();
    symlink("/tmp", folder.join("linked")).unwrap();
    fs::write(folder.join("note"), "a note").unwrap();
    let config = config(&[("archive", "ev/{source}/{date}.jsonl", "")]);
    let mut observer = Observer::start(dir.path(), &config);
    for source in ["dangling", "linked", "note"] {
        post(&observer, source, 2).await;
        let entry = observer.wait_for_log(
            "a link or file has the name of a source's folder; continuing in another folder",
        );
        assert!(entry["obstacle"].as_str().unwrap().ends_with(source), "{entry}");
        let apart = format!("%{:02X}{}", source.as_bytes()[0], &source[1..]);
        let files = contents(&folder.join(apart));
        let lines = files.iter().map(|(_, bytes)| bytes.iter().filter(|byte| **byte == b'\n'));
        assert_eq!(lines.flatten().count(), 2, "{source}");
    }
    assert_eq!(fs::read_to_string(folder.join("note")).unwrap(), "a note");
}

#[tokio::test]
async fn link_to_a_file_of_another_sink_is_an_overlap() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("ev")).unwrap();
    symlink("all.jsonl", dir.path().join("ev/link.jsonl")).unwrap();
    symlink("2026-01-01.jsonl", dir.path().join("ev/day.jsonl")).unwrap();
    symlink("link.jsonl", dir.path().join("ev/other.jsonl")).unwrap();
    let overlapping = [
        ["ev/all.jsonl", "ev/link.jsonl"],
        ["ev/day.jsonl", "ev/{date}.jsonl"],
        ["ev/other.jsonl", "ev/{source}.jsonl"],
    ];
    for [first, second] in overlapping {
        let (is_valid, report) =
            check(dir.path(), &config(&[("one", first, ""), ("two", second, "")]));
        assert!(!is_valid && report.contains("and so can `sinks.one.path`"), "{first}: {report}");
    }
    let apart = config(&[("one", "ev/day.jsonl", ""), ("two", "ev/link.jsonl", "")]);
    let (is_valid, report) = check(dir.path(), &apart);
    assert!(is_valid, "{report}");
}
