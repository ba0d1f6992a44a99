//! Archive files beside those of strangers, of other sinks and of earlier versions.

mod backlog;
mod clocks;
#[cfg(unix)]
mod collisions;
#[cfg(unix)]
mod names;
#[cfg(unix)]
mod strangers;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::{DEFAULTS, OBSERVER, Observer, event_of, text_of, wait_until};

/// Configuration with file sinks: name, path and further keys of each.
fn config(sinks: &[(&str, &str, &str)]) -> String {
    let tables = sinks.iter().map(|(name, path, keys)| {
        format!(
            "[sinks.{name}]\ntype = \"file\"\npath = \"{path}\"\nstart = \"earliest\"\n{keys}\n"
        )
    });
    format!("{DEFAULTS}{}", tables.collect::<String>())
}

fn event(source: &str, number: usize) -> String {
    format!(r#"{{"source":"{source}","event_kind":"ok","ok":true,"extra":{{"n":{number}}}}}"#)
}

async fn post(observer: &Observer, source: &str, count: usize) {
    for number in 0..count {
        assert_eq!(observer.post(event(source, number)).await.status, 200);
    }
    observer.wait_until_caught_up().await;
}

/// Returns the files below a folder with their contents, by relative path.
fn contents(dir: &Path) -> Vec<(String, Vec<u8>)> {
    let (mut files, mut folders) = (Vec::new(), vec![dir.to_owned()]);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let name = path.strip_prefix(dir).unwrap().to_str().unwrap().to_owned();
                files.push((name, fs::read(&path).unwrap()));
            }
        }
    }
    files.sort();
    files
}

fn lines(dir: &Path) -> Vec<String> {
    let text = |(_, bytes): (String, Vec<u8>)| String::from_utf8(bytes).unwrap();
    let files: Vec<_> = contents(dir).into_iter().map(text).collect();
    files.iter().flat_map(|text| text.lines().map(str::to_owned)).collect()
}

fn check(dir: &Path, config: &str) -> (bool, String) {
    fs::write(dir.join("observer.toml"), config).unwrap();
    let output = Command::new(OBSERVER).arg("check").current_dir(dir).output().unwrap();
    (output.status.success(), text_of(&output))
}

#[tokio::test]
async fn file_sinks_leave_files_of_strangers_and_operators_can_adopt_them() {
    let dir = tempfile::tempdir().unwrap();
    let keys = "compression = \"gzip\"\nretain = { max_total_size = \"1KiB\" }\n\
                rotate = { max_size = \"1KiB\" }";
    let config = config(&[("archive", "ev/{source}.jsonl", keys)]);
    let folder = dir.path().join("ev");
    fs::create_dir(&folder).unwrap();
    let notes = ["x.000001.jsonl", "x.jsonl", "worker.jsonl", "worker.000007.jsonl.gz"];
    for name in notes {
        fs::write(folder.join(name), "a note without an end").unwrap();
    }
    let envelope = r#"{"id":"00000000-0000-0000-0000-000000000007","seq":7,"received_at":"2026-01-01T00:00:00Z","event":{}}"#;
    fs::write(folder.join("old.000001.jsonl"), format!("{envelope}\n")).unwrap();

    let observer = Observer::start(dir.path(), &config);
    post(&observer, "worker", 40).await;
    let unowned = "observer_sink_unowned_files{sink=\"archive\"}";
    observer.wait_for_metrics(|metrics| metrics.get(unowned) == Some(&5.0)).await;
    let (_, listed) = check(dir.path(), &config);
    assert!(listed.contains("unowned  sinks.archive: ev/old.000001.jsonl\n"), "{listed}");
    assert!(listed.contains("observer sinks adopt archive\n"), "{listed}");

    let (code, text) = observer.run(&["sinks", "adopt", "archive"]);
    assert_eq!((code, &*text), (Some(0), "archive adopted 1 file; it leaves 4 alone\n"));
    observer.wait_for_metrics(|metrics| metrics.get(unowned) == Some(&4.0)).await;
    let (code, text) = observer.run(&["sinks", "adopt", "nobody"]);
    assert_eq!(code, Some(1), "{text}");
    // The limit on size applies to adopted files, and to no others.
    post(&observer, "worker", 20).await;
    let is_gone = async || !folder.join("old.000001.jsonl").exists();
    wait_until("the adopted file is deleted", is_gone).await;
    assert!(observer.terminate().0.success());
    for name in notes {
        assert_eq!(fs::read(folder.join(name)).unwrap(), b"a note without an end", "{name}");
    }
}

#[tokio::test]
async fn sinks_with_overlapping_paths_are_refused_and_keep_their_own_files_when_started() {
    let dir = tempfile::tempdir().unwrap();
    let output = Command::new("date").args(["-u", "+%F"]).output().unwrap();
    let today = String::from_utf8(output.stdout).unwrap();
    let pairs = [
        ("ev/all/{date}.jsonl", "ev/{source}/{date}.jsonl", "all"),
        ("ev/{date}.jsonl", "ev/{source}.jsonl", today.trim()),
        ("ev/x.jsonl", "ev/../ev/{source}.jsonl", "x"),
    ];
    for (first, second, source) in pairs {
        let _ = fs::remove_dir_all(dir.path().join("ev"));
        let _ = fs::remove_dir_all(dir.path().join("observer-data"));
        let keys = if second.contains("{date}") {
            "compression = \"gzip\"\nretain = { max_total_size = \"1KiB\" }"
        } else {
            ""
        };
        let both = config(&[("first", first, ""), ("second", second, keys)]);
        let (is_accepted, text) = check(dir.path(), &both);
        assert!(!is_accepted && text.contains("sinks.second.path"), "{text}");
        assert!(text.contains("`sinks.first.path`") && text.contains("/ev/"), "{text}");

        let mut observer = Observer::start(dir.path(), &both);
        let reloaded = observer.reload().await;
        assert_eq!(reloaded.status, 422, "{}", reloaded.text);
        assert!(reloaded.text.contains("sinks.first.path"), "{}", reloaded.text);
        post(&observer, source, 10).await;
        let status = observer.get("/v1/sinks").await.json();
        for sink in status["sinks"].as_array().unwrap() {
            assert_eq!((&sink["state"], &sink["delivered"]), (&"running".into(), &10.into()));
        }
        // A restart recovers each one's own files.
        drop(observer);
        observer = Observer::start(dir.path(), &both);
        post(&observer, source, 10).await;
        drop(observer);
        let all = lines(&dir.path().join("ev"));
        assert_eq!(all.len(), 40, "{first} {second}: {:?}", contents(&dir.path().join("ev")));
    }
}

#[test]
fn paths_that_collide_by_numbers_or_with_state_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let pairs = [
        ("ev/{date}.jsonl", "ev/{date}.000001.jsonl", ".000001.jsonl"),
        ("ev/all.jsonl", "ev/all.000007.jsonl", "ev/all.000007.jsonl"),
        ("ev/{source}.jsonl", "ev/bot.000002.jsonl", "ev/bot.000002.jsonl"),
    ];
    for (first, second, example) in pairs {
        let (is_accepted, text) =
            check(dir.path(), &config(&[("first", first, ""), ("second", second, "")]));
        assert!(!is_accepted && text.contains("sinks.second.path"), "{text}");
        assert!(text.contains("`sinks.first.path`") && text.contains(example), "{text}");
    }
    let others = [("ev/{date}.jsonl", "ev/{date}.1.jsonl"), ("ev/a.jsonl", "ev/a.{date}.jsonl")];
    for (first, second) in others {
        let (is_accepted, text) =
            check(dir.path(), &config(&[("first", first, ""), ("second", second, "")]));
        assert!(is_accepted, "{text}");
    }
    for (path, folder) in [
        ("observer-data/journal/{date}.jsonl", "observer-data/journal"),
        ("observer-data/ev/../journal/x/all.jsonl", "observer-data/journal"),
        ("observer-data/sinks/archive/{source}.jsonl", "observer-data/sinks"),
    ] {
        let (is_accepted, text) = check(dir.path(), &config(&[("archive", path, "")]));
        assert!(!is_accepted && text.contains("sinks.archive.path"), "{text}");
        assert!(text.contains(&format!("lies in {folder}, where")), "{text}");
    }
}

/// Copies a folder with new inodes.
fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let kind = entry.file_type().unwrap();
        if kind.is_dir() {
            copy(&entry.path(), &to.join(entry.file_name()));
        } else if kind.is_file() {
            fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
        }
    }
}

#[tokio::test]
async fn copied_data_folder_continues_and_the_original_is_not_touched() {
    let (original, copied) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let config = config(&[("archive", "observer-data/ev/{source}/{date}.jsonl", "")]);
    let observer = Observer::start(original.path(), &config);
    post(&observer, "a", 10).await;
    assert_eq!(observer.post(event("b", 0)).await.status, 200);
    observer.kill();
    copy(original.path(), copied.path());
    let before = contents(&original.path().join("observer-data/ev"));

    let observer = Observer::start(copied.path(), &config);
    post(&observer, "a", 10).await;
    observer.terminate();
    assert_eq!(contents(&original.path().join("observer-data/ev")), before);
    let files = contents(&copied.path().join("observer-data/ev"));
    assert_eq!(files.len(), 2, "{files:?}");
    let lines = lines(&copied.path().join("observer-data/ev"));
    assert_eq!(lines.len(), 21);
}

#[tokio::test]
async fn path_changed_after_a_kill_duplicates_and_loses_no_line() {
    let dir = tempfile::tempdir().unwrap();
    let at = |path: &str| config(&[("archive", path, "")]);
    let paths = ["old/{date}.jsonl", "new/{source}.jsonl", "new/{source}.ndjson"];
    for (index, path) in paths.into_iter().enumerate() {
        let observer = Observer::start(dir.path(), &at(path));
        for number in 0..20 {
            assert_eq!(observer.post(event("worker", 20 * index + number)).await.status, 200);
        }
        // Some of them are written and not flushed yet.
        observer.kill();
    }
    let observer = Observer::start(dir.path(), &at(paths[2]));
    observer.wait_until_caught_up().await;
    drop(observer);
    let mut events: Vec<_> = [lines(&dir.path().join("old")), lines(&dir.path().join("new"))]
        .concat()
        .iter()
        .map(|line| event_of(line).to_owned())
        .collect();
    events.sort();
    let mut expected: Vec<_> = (0..60).map(|number| event("worker", number)).collect();
    expected.sort();
    assert_eq!(events, expected);
}

#[tokio::test]
async fn thirty_sinks_of_one_folder_start_together() {
    let dir = tempfile::tempdir().unwrap();
    let names: Vec<_> = (0..30)
        .map(|number| (format!("s{number}"), format!("ev/s{number}-{{date}}.jsonl")))
        .collect();
    let sinks: Vec<_> = names.iter().map(|(name, path)| (&**name, &**path, "")).collect();
    let observer = Observer::start(dir.path(), &config(&sinks));
    post(&observer, "worker", 1).await;
    let status = observer.get("/v1/sinks").await.json();
    for sink in status["sinks"].as_array().unwrap() {
        assert_eq!((&sink["state"], &sink["delivered"]), (&"running".into(), &1.into()), "{sink}");
    }
    assert_eq!(lines(&dir.path().join("ev")).len(), 30);
}

#[cfg(unix)]
#[tokio::test]
async fn archive_and_state_have_the_modes_of_the_configuration() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    let mode = |path: PathBuf| fs::metadata(path).unwrap().permissions().mode() & 0o7777;
    let keys = "file_mode = \"0664\"\ndir_mode = \"2775\"";
    let config =
        config(&[("shared", "shared/{source}/x.jsonl", keys), ("own", "own/{source}/x.jsonl", "")]);
    let observer = Observer::start(dir.path(), &config);
    post(&observer, "worker", 1).await;
    drop(observer);
    let at = |path: &str| mode(dir.path().join(path));
    assert_eq!((at("shared/worker"), at("shared/worker/x.jsonl")), (0o2775, 0o664));
    assert_eq!((at("own/worker") & 0o027, at("own/worker/x.jsonl") & 0o137), (0, 0));
    let state = "observer-data/sinks/own";
    assert_eq!((at(state), at(&format!("{state}/lock"))), (0o700, 0o600));
    assert_eq!(at(&format!("{state}/files")), 0o600);
}

#[tokio::test]
async fn forgotten_sink_starts_anew_when_it_is_added_again() {
    let dir = tempfile::tempdir().unwrap();
    let with = config(&[("archive", "ev/{source}.jsonl", "")]);
    let without = format!("sinks = {{}}\n{DEFAULTS}");
    let observer = Observer::start(dir.path(), &with);
    post(&observer, "worker", 3).await;
    observer.write_config(&without);
    assert_eq!(observer.reload().await.status, 200);
    let state = dir.path().join("observer-data/sinks/archive");
    assert!(state.join("files").exists());
    let (code, text) = observer.run(&["sinks", "forget", "archive"]);
    assert_eq!(code, Some(0), "{text}");
    assert!(!state.exists());
    observer.write_config(&with);
    assert_eq!(observer.reload().await.status, 200);
    // The journal still has the events, and the sink wants the earliest ones.
    wait_until("the sink has got all events again", async || {
        fs::read_to_string(dir.path().join("ev/worker.000001.jsonl"))
            .is_ok_and(|text| text.lines().count() == 3)
    })
    .await;
    assert_eq!(fs::read_to_string(dir.path().join("ev/worker.jsonl")).unwrap().lines().count(), 3);
}

#[tokio::test]
async fn event_lies_in_the_file_of_its_own_day_in_the_time_zone() {
    let dir = tempfile::tempdir().unwrap();
    let keys = "timezone = \"America/Los_Angeles\"\nmax_skew = \"36500d\"";
    let config = config(&[
        ("zone", "zone/{event_date}.jsonl", keys),
        ("bound", "bound/{event_date}.jsonl", ""),
    ]);
    let observer = Observer::start(dir.path(), &config);
    for time in ["2026-01-20T23:30:00-08:00", "2026-01-21T07:59:59Z", "2026-01-21T08:00:00Z"] {
        let event = format!(
            r#"{{"source":"worker","event_kind":"ok","ok":true,"timestamp":"{time}","cycle_id":"{time}"}}"#
        );
        assert_eq!(observer.post(event).await.status, 200);
    }
    observer.wait_until_caught_up().await;
    let counts: Vec<_> = contents(&dir.path().join("zone"))
        .into_iter()
        .map(|(name, bytes)| (name, bytes.iter().filter(|byte| **byte == b'\n').count()))
        .collect();
    let expected = [("2026-01-20.jsonl".to_owned(), 2), ("2026-01-21.jsonl".to_owned(), 1)];
    assert_eq!(counts, expected);
    assert_eq!(contents(&dir.path().join("bound")).len(), 1, "the day of receipt");
    let skewed = "observer_sink_skewed_events_total{sink=\"bound\"}";
    observer.wait_for_metrics(|metrics| metrics.get(skewed) == Some(&3.0)).await;
}
