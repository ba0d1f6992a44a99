//! Other programs change, replace or take the files of a sink while it runs.

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use super::{config, contents, event, lines, post};
use crate::support::{Observer, event_of, wait_until};

/// Paths of a fixed file, a daily one and one for each source, with the configuration of each.
const SINKS: [(&str, &str, &str); 3] = [
    ("fixed", "fixed/all.jsonl", "rotate = { max_size = \"1MiB\" }"),
    ("days", "days/{date}.jsonl", ""),
    ("sources", "sources/{source}.jsonl", "max_open_files = 1"),
];

/// Returns the only file of each sink.
fn active_files(dir: &Path) -> Vec<PathBuf> {
    let one = |(name, _, _): &(&str, &str, &str)| {
        let files = contents(&dir.join(name));
        let active = files.iter().find(|(name, _)| !name.starts_with("other")).unwrap();
        dir.join(name).join(&active.0)
    };
    SINKS.iter().map(one).collect()
}

fn number(line: &str) -> u64 {
    let event: Value = serde_json::from_str(event_of(line)).unwrap();
    event["extra"]["n"].as_u64().unwrap()
}

/// Returns the numbers of events in complete lines, and panics at any other line of an envelope.
fn numbers(dir: &Path, foreign: &Path) -> Vec<u64> {
    let name = foreign.file_name().unwrap().to_str().unwrap();
    let mut numbers = Vec::new();
    for (file, bytes) in contents(dir) {
        if file != name && !file.starts_with("other") {
            let text = String::from_utf8(bytes).unwrap();
            assert!(text.ends_with('\n'), "{file}: {text}");
            numbers.extend(text.lines().map(number));
        }
    }
    numbers
}

async fn post_numbers(observer: &Observer, numbers: std::ops::Range<usize>) {
    for number in numbers {
        assert_eq!(observer.post(event("worker", number)).await.status, 200);
        observer.wait_until_caught_up().await;
        // The sink for each source closes the file of the other one.
        assert_eq!(observer.post(event("other", number)).await.status, 200);
    }
    observer.wait_until_caught_up().await;
}

#[tokio::test]
async fn changed_active_file_is_left_alone_and_no_event_is_glued_to_it() {
    type Change = fn(&Path);
    let changes: [(&str, Change); 5] = [
        ("torn", |path| {
            let len = fs::metadata(path).unwrap().len();
            File::options().write(true).open(path).unwrap().set_len(len - 9).unwrap();
        }),
        ("cut to a line", |path| {
            let len = fs::read_to_string(path).unwrap().find('\n').unwrap() as u64 + 1;
            File::options().write(true).open(path).unwrap().set_len(len).unwrap();
        }),
        ("longer by a note", |path| {
            File::options().append(true).open(path).unwrap().write_all(b"a note").unwrap();
        }),
        ("overwritten", |path| fs::write(path, "another text").unwrap()),
        ("overwritten and longer", |path| fs::write(path, "another text\n".repeat(999)).unwrap()),
    ];
    for (name, change) in changes {
        let dir = tempfile::tempdir().unwrap();
        let mut observer = Observer::start(dir.path(), &config(&SINKS));
        post_numbers(&observer, 0..3).await;
        let active = active_files(dir.path());
        active.iter().for_each(|path| change(path));
        let changed: Vec<_> = active.iter().map(|path| fs::read(path).unwrap()).collect();
        post_numbers(&observer, 3..6).await;
        for _ in &active {
            let entry = observer.wait_for_log(
                "another program changed an open file; it is left alone, continuing in a numbered \
                 file",
            );
            let is_named = |path: &PathBuf| path.ends_with(entry["file"].as_str().unwrap());
            assert!(active.iter().any(is_named), "{name}: {entry}");
        }
        // A restart leaves it alone, too.
        assert!(observer.terminate().0.success());
        let observer = Observer::start(dir.path(), &config(&SINKS));
        post_numbers(&observer, 6..7).await;
        assert!(observer.terminate().0.success());
        for (path, bytes) in active.iter().zip(changed) {
            assert_eq!(fs::read(path).unwrap(), bytes, "{name}: {}", path.display());
            let mut written = numbers(path.parent().unwrap(), path);
            written.dedup();
            assert_eq!(written, [3, 4, 5, 6], "{name}: {}", path.display());
        }
    }
}

#[tokio::test]
async fn emptied_or_renamed_active_file_is_continued_under_its_name() {
    type Change = fn(&Path);
    let changes: [(&str, Change); 3] = [
        ("copytruncate", |path| {
            File::options().write(true).open(path).unwrap().set_len(0).unwrap();
        }),
        ("rename", |path| fs::rename(path, path.with_extension("1")).unwrap()),
        ("rename and create", |path| {
            fs::rename(path, path.with_extension("1")).unwrap();
            File::create(path).unwrap();
        }),
    ];
    for (name, change) in changes {
        let dir = tempfile::tempdir().unwrap();
        let observer = Observer::start(dir.path(), &config(&SINKS));
        post_numbers(&observer, 0..3).await;
        let active = active_files(dir.path());
        active.iter().for_each(|path| change(path));
        post_numbers(&observer, 3..6).await;
        assert!(observer.terminate().0.success());
        for path in active {
            let text = fs::read_to_string(&path).unwrap();
            let mut written: Vec<_> = text.lines().map(number).collect();
            written.dedup();
            assert_eq!(written, [3, 4, 5], "{name}: {}", path.display());
        }
    }
}

#[tokio::test]
async fn sink_passes_over_links_folders_and_pipes_with_the_name_of_a_file() {
    type Obstacle = fn(&Path);
    let obstacles: [(&str, Obstacle); 4] = [
        ("dangling link", |path| symlink("/nowhere/at/all.jsonl", path).unwrap()),
        ("link to a note", |path| {
            let note = path.with_extension("note");
            fs::write(&note, "a note").unwrap();
            symlink(&note, path).unwrap();
        }),
        ("folder", |path| fs::create_dir(path).unwrap()),
        ("pipe", |path| assert!(Command::new("mkfifo").arg(path).status().unwrap().success())),
    ];
    for (name, obstruct) in obstacles {
        let dir = tempfile::tempdir().unwrap();
        let rotated = "rotate = { max_size = \"1B\" }";
        let sinks = [
            ("fixed", "fixed/all.jsonl", rotated),
            ("events", "events/{event_date}.jsonl", "max_skew = \"36500d\""),
            ("sources", "sources/{source}.jsonl", rotated),
        ];
        for path in ["fixed/all.jsonl", "events/2026-01-20.jsonl", "sources/worker.000001.jsonl"] {
            let path = dir.path().join(path);
            fs::create_dir(path.parent().unwrap()).unwrap();
            obstruct(&path);
        }
        let mut observer = Observer::start(dir.path(), &config(&sinks));
        for number in 0..3 {
            let timed = event("worker", number)
                .replace("\"ok\":true", "\"ok\":true,\"timestamp\":\"2026-01-20T12:00:00Z\"");
            assert_eq!(observer.post(timed).await.status, 200);
        }
        observer.wait_until_caught_up().await;
        let entry = observer.wait_for_log(
            "a link, folder or special file has the name of a file; continuing in a numbered file",
        );
        assert!(entry["file"].as_str().unwrap().ends_with(".jsonl"), "{entry}");
        assert!(observer.terminate().0.success());
        for (sink, _, _) in sinks {
            let folder = dir.path().join(sink);
            let files = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap());
            let own = files.filter(|entry| {
                let is_named = entry.path().extension().is_some_and(|it| it == "jsonl");
                is_named && entry.file_type().unwrap().is_file()
            });
            let mut written: Vec<_> = own
                .flat_map(|entry| {
                    let text = fs::read_to_string(entry.path()).unwrap();
                    text.lines().map(number).collect::<Vec<_>>()
                })
                .collect();
            written.sort_unstable();
            assert_eq!(written, [0, 1, 2], "{name}: {sink}");
        }
    }
}

#[tokio::test]
async fn obstacle_in_the_place_of_a_days_folder_parks_the_sink_by_name() {
    type Obstacle = fn(&Path);
    let obstacles: [(&str, Obstacle); 4] = [
        ("dangling link", |path| symlink("/nowhere/at/all", path).unwrap()),
        ("link to a folder", |path| symlink("/tmp", path).unwrap()),
        ("file", |path| fs::write(path, "a note").unwrap()),
        ("pipe", |path| assert!(Command::new("mkfifo").arg(path).status().unwrap().success())),
    ];
    for (name, obstruct) in obstacles {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("ev")).unwrap();
        let obstacle = dir.path().join("ev/2026-01-20");
        obstruct(&obstacle);
        let keys = "max_skew = \"36500d\"\nretry = { initial = \"50ms\", max = \"100ms\" }";
        let config = config(&[("archive", "ev/{event_date}/{source}.jsonl", keys)]);
        let observer = Observer::start(dir.path(), &config);
        let timed = event("worker", 0)
            .replace("\"ok\":true", "\"ok\":true,\"timestamp\":\"2026-01-20T12:00:00Z\"");
        assert_eq!(observer.post(timed).await.status, 200);
        let sink = async || observer.get("/v1/sinks").await.json()["sinks"][0].clone();
        wait_until("the sink is parked", async || sink().await["state"] == "parked").await;
        let reason = sink().await["last_error"]["reason"].as_str().unwrap().to_owned();
        assert!(reason.contains("ev/2026-01-20 is not a folder"), "{name}: {reason}");
        fs::rename(&obstacle, dir.path().join("moved")).unwrap();
        observer.wait_until_caught_up().await;
        assert_eq!(lines(&dir.path().join("ev")).len(), 1, "{name}");
    }
}

#[tokio::test]
async fn empty_file_is_adopted_unless_another_sink_owns_it() {
    let dir = tempfile::tempdir().unwrap();
    let sinks = [("one", "ev/all.jsonl", ""), ("other", "other/{source}.jsonl", "")];
    for path in ["ev/all.jsonl", "other/worker.jsonl"] {
        let path = dir.path().join(path);
        fs::create_dir(path.parent().unwrap()).unwrap();
        File::create(path).unwrap();
    }
    let observer = Observer::start(dir.path(), &config(&sinks));
    post(&observer, "worker", 3).await;
    observer.kill();
    for path in ["ev/all.jsonl", "other/worker.jsonl"] {
        let text = fs::read_to_string(dir.path().join(path)).unwrap();
        assert_eq!(text.lines().count(), 3, "{path}");
    }
    // Both sinks have the same path, and only one of them gets the file.
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("ev")).unwrap();
    File::create(dir.path().join("ev/worker.jsonl")).unwrap();
    let sinks = [
        ("one", "ev/worker.jsonl", ""),
        ("two", "ev/{source}.jsonl", ""),
        ("three", "ev/../ev/{source}.jsonl", ""),
    ];
    let observer = Observer::start(dir.path(), &config(&sinks));
    post(&observer, "worker", 10).await;
    assert!(observer.terminate().0.success());
    let files = contents(&dir.path().join("ev"));
    let counts: Vec<_> = files
        .iter()
        .map(|(_, bytes)| bytes.iter().filter(|byte| **byte == b'\n').count())
        .collect();
    assert_eq!(
        counts,
        [10, 10, 10],
        "{:?}",
        files.iter().map(|(name, _)| name).collect::<Vec<_>>()
    );
    assert!(files.iter().any(|(name, _)| name == "worker.jsonl"));
}
