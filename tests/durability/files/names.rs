//! Locked, linked and renamed files, and names that change with the configuration.

use std::fs;
use std::os::unix::fs::symlink;
use std::process::{Command, Stdio};

use super::{config, contents, event, lines, post};
use crate::support::{Observer, wait_until};

#[tokio::test]
async fn closed_files_that_others_lock_or_still_copy_do_not_concern_the_start() {
    let dir = tempfile::tempdir().unwrap();
    let rotated = "rotate = { max_size = \"1KiB\" }";
    let config = config(&[
        ("archive", "ev/{source}.jsonl", rotated),
        ("packed", "packed/all.jsonl", &format!("{rotated}\ncompression = \"gzip\"")),
    ]);
    let observer = Observer::start(dir.path(), &config);
    post(&observer, "worker", 20).await;
    let is_packed = async || dir.path().join("packed/all.000001.jsonl.gz").exists();
    wait_until("a file is compressed", is_packed).await;
    assert!(observer.terminate().0.success());
    // Readers lock them, exclusively and not; one is readable only; one is still being copied.
    let closed = ["ev/worker.000001.jsonl", "ev/worker.000002.jsonl", "packed/all.000001.jsonl.gz"];
    let readers: Vec<_> = closed
        .iter()
        .zip(["-x", "-s", "-x"])
        .map(|(name, kind)| {
            Command::new("flock")
                .args([kind, name, "cat"])
                .current_dir(dir.path())
                .stdin(Stdio::piped())
                .spawn()
                .unwrap()
        })
        .collect();
    let mut permissions = fs::metadata(dir.path().join(closed[1])).unwrap().permissions();
    permissions.set_readonly(true);
    fs::set_permissions(dir.path().join(closed[1]), permissions).unwrap();
    let copied = dir.path().join("ev/old.000001.jsonl");
    let text = fs::read(dir.path().join(closed[0])).unwrap();
    fs::write(&copied, &text[..text.len() - 40]).unwrap();
    let before: Vec<_> =
        closed.iter().map(|name| fs::read(dir.path().join(name)).unwrap()).collect();

    let observer = Observer::start(dir.path(), &config);
    post(&observer, "worker", 5).await;
    let status = observer.get("/v1/sinks").await.json();
    for sink in status["sinks"].as_array().unwrap() {
        assert_eq!((&sink["state"], &sink["delivered"]), (&"running".into(), &25.into()), "{sink}");
    }
    assert!(observer.terminate().0.success());
    for (name, bytes) in closed.iter().zip(before) {
        assert_eq!(fs::read(dir.path().join(name)).unwrap(), bytes, "{name}");
    }
    assert_eq!(fs::read(copied).unwrap(), text[..text.len() - 40]);
    for mut reader in readers {
        drop(reader.stdin.take());
        reader.wait().unwrap();
    }
}

#[tokio::test]
async fn linked_active_file_is_rotated_and_packed_where_its_data_is() {
    for target in ["disk/data.jsonl", "disk/all.jsonl", "missing/data.jsonl"] {
        let dir = tempfile::tempdir().unwrap();
        for folder in ["ev", "disk"] {
            fs::create_dir(dir.path().join(folder)).unwrap();
        }
        let link = dir.path().join("ev/all.jsonl");
        symlink(dir.path().join(target), &link).unwrap();
        let keys = "rotate = { max_size = \"1KiB\" }\ncompression = \"gzip\"";
        let config = config(&[("archive", "ev/all.jsonl", keys)]);
        let observer = Observer::start(dir.path(), &config);
        post(&observer, "worker", 20).await;
        let (data, other) =
            if target.starts_with("disk") { ("disk", "ev") } else { ("ev", "disk") };
        let is_packed = async || {
            let mut entries = fs::read_dir(dir.path().join(data)).unwrap();
            entries.any(|entry| entry.unwrap().path().extension().is_some_and(|it| it == "gz"))
        };
        wait_until("a file is compressed", is_packed).await;
        drop(observer);
        // A restart continues there.
        let observer = Observer::start(dir.path(), &config);
        post(&observer, "worker", 5).await;
        assert!(observer.terminate().0.success());
        assert!(link.is_symlink(), "{target}");
        assert_eq!(fs::read_link(&link).unwrap(), dir.path().join(target));
        let names = fs::read_dir(dir.path().join(other)).unwrap().count();
        assert_eq!(names, usize::from(other == "ev"), "{target}: only the link");
    }
}

#[tokio::test]
async fn files_with_an_earlier_ending_stay_in_retention_and_numbers_never_restart() {
    let dir = tempfile::tempdir().unwrap();
    let keys = "rotate = { max_size = \"1KiB\" }\nretain = { max_total_size = \"2KiB\" }";
    let at = |ending: &str| config(&[("archive", &format!("ev/all.{ending}"), keys)]);
    let folder = dir.path().join("ev");
    let observer = Observer::start(dir.path(), &at("jsonl"));
    post(&observer, "worker", 20).await;
    assert!(observer.terminate().0.success());
    let numbers = || {
        let names = contents(&folder).into_iter().map(|(name, _)| name);
        let number = |name: String| Some((name.split('.').nth(1)?.parse::<u64>().ok()?, name));
        names.filter_map(number).collect::<Vec<_>>()
    };
    let highest = numbers().into_iter().max().unwrap().0;
    assert!(highest >= 3, "{:?}", numbers());
    // All rotated files are gone.
    for (_, name) in numbers() {
        fs::remove_file(folder.join(name)).unwrap();
    }
    let observer = Observer::start(dir.path(), &at("jsonl"));
    post(&observer, "worker", 8).await;
    assert!(numbers().iter().all(|(number, _)| *number > highest), "{:?}", numbers());
    assert!(observer.terminate().0.success());

    let observer = Observer::start(dir.path(), &at("ndjson"));
    post(&observer, "worker", 20).await;
    let is_left = async || numbers().iter().all(|(_, name)| name.ends_with(".ndjson"));
    wait_until("the files with the earlier ending are deleted", is_left).await;
    assert!(observer.terminate().0.success());
}

#[tokio::test]
async fn timestamp_with_ten_digits_is_accepted_and_places_its_event() {
    let dir = tempfile::tempdir().unwrap();
    let config = config(&[("archive", "ev/{event_date}.jsonl", "max_skew = \"36500d\"")]);
    let observer = Observer::start(dir.path(), &config);
    for digits in ["1", "123456789", "1234567890", "123456789012345678"] {
        let timed = event("worker", digits.len()).replace(
            "\"ok\":true",
            &format!("\"ok\":true,\"timestamp\":\"2026-01-20T12:00:00.{digits}Z\""),
        );
        let response = observer.post(timed).await;
        assert_eq!(response.status, 200, "{}", response.text);
    }
    observer.wait_until_caught_up().await;
    assert!(observer.terminate().0.success());
    let names: Vec<_> = contents(&dir.path().join("ev")).into_iter().map(|file| file.0).collect();
    assert_eq!(names, ["2026-01-20.jsonl"]);
    assert_eq!(lines(&dir.path().join("ev")).len(), 4);
}
