//! Duplicates of events that the journal has removed.

use std::fs;
use std::path::Path;

use crate::support::{DEFAULTS, Observer, wait_until};

const COUNT: usize = 60;

fn config(journal: &str, dedup: &str) -> String {
    format!(
        "{DEFAULTS}[ingest]\ndedup = {{ window = \"7d\"{dedup} }}\n\
         [journal]\nsegment_size = \"4KiB\"\n{journal}\n"
    )
}

fn event(number: usize) -> String {
    format!(
        r#"{{"source":"job","event_kind":"ok","ok":true,"cycle_id":"c{number}","extra":"{}"}}"#,
        "x".repeat(700)
    )
}

/// Posts the numbered events and returns the number of those that are new.
async fn post(observer: &Observer, numbers: impl Iterator<Item = usize>) -> usize {
    let mut accepted = 0;
    for number in numbers {
        // A full journal refuses events until the archive has stored the oldest ones.
        wait_until("the event is acknowledged", async || {
            let response = observer.post(event(number)).await;
            accepted += usize::from(response.text.contains("\"status\":\"accepted\""));
            response.status == 200
        })
        .await;
    }
    observer.wait_until_caught_up().await;
    accepted
}

fn count(dir: &Path, suffix: &str) -> usize {
    let entries = fs::read_dir(dir.join("observer-data/journal")).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.filter(|name| name.ends_with(suffix)).count()
}

/// Starts an observer, and waits until it has removed all segments but the last `left`.
async fn remove_events(dir: &Path, config: &str, left: usize) -> Observer {
    let observer = Observer::start(dir, config);
    assert_eq!(post(&observer, 0..COUNT).await, COUNT);
    wait_until("the journal has removed its oldest events", async || count(dir, ".log") <= left)
        .await;
    observer
}

#[tokio::test]
async fn events_removed_before_the_window_ends_are_duplicates_after_restarts() {
    for (journal, left) in [("retain = \"0s\"", 1), ("max_size = \"32KiB\"", 12)] {
        let dir = tempfile::tempdir().unwrap();
        let config = config(journal, "");
        let observer = remove_events(dir.path(), &config, left).await;
        assert_eq!(post(&observer, 0..COUNT).await, 0, "{journal}: while it runs");
        observer.kill();
        let observer = Observer::start(dir.path(), &config);
        assert_eq!(post(&observer, 0..COUNT + 30).await, 30, "{journal}: after a kill");
        assert!(observer.terminate().0.success());
        let observer = Observer::start(dir.path(), &config);
        assert_eq!(post(&observer, 0..COUNT + 30).await, 0, "{journal}: after a stop");
        assert_eq!(observer.archive().len(), COUNT + 30, "{journal}");
    }
}

#[tokio::test]
async fn identities_of_removed_events_count_towards_the_maximum() {
    let dir = tempfile::tempdir().unwrap();
    let config = config("retain = \"0s\"", ", max_keys = 20");
    remove_events(dir.path(), &config, 1).await.kill();
    let observer = Observer::start(dir.path(), &config);
    assert_eq!(post(&observer, COUNT - 20..COUNT).await, 0, "the last ones are known");
    assert_eq!(post(&observer, 0..20).await, 20, "the oldest ones are forgotten");
    assert_eq!(observer.archive().len(), COUNT + 20);
}

#[tokio::test]
async fn damaged_identities_are_reported_and_those_beside_them_are_known() {
    let dir = tempfile::tempdir().unwrap();
    let config = config("retain = \"0s\"", "");
    remove_events(dir.path(), &config, 1).await.kill();
    let path = dir.path().join("observer-data/journal/0000000001.keys");
    let mut bytes = fs::read(&path).unwrap();
    // Within the first key of the first segment.
    bytes[40] ^= 0xFF;
    fs::write(&path, bytes).unwrap();
    let observer = Observer::start(dir.path(), &config);
    let new = post(&observer, 0..COUNT).await;
    assert!((1..10).contains(&new), "{new} of one segment");
    let (_, log) = observer.terminate();
    let message = "keys of removed records are corrupt; records with the same keys count as new";
    let is_report = |line: &String| line.contains(message) && line.contains("0000000001.keys");
    assert!(log.iter().any(is_report), "{log:?}");
}
