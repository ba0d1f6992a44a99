//! Accounts of the sinks after the disk damaged the journal.

use std::path::Path;

use observer_testing::http::HttpReceiver;
use serde_json::Value;

use crate::support::{DEFAULTS, Observer, agent_runs, archive, event_of, parse_metrics};

/// Number of events before the damage: a batch of 40, and two events of their own.
const EVENTS: u64 = 42;

fn config(url: &str) -> String {
    format!(
        r#"{DEFAULTS}
        [sinks.archive]
        type = "file"
        path = "observer-data/events/{{date}}.jsonl"
        [sinks.hook]
        type = "http"
        url = "{url}"
        "#
    )
}

/// Returns the folder of a stopped observer whose sink `hook` has received nothing, and whose
/// archive is complete.
async fn with_backlog() -> (tempfile::TempDir, Vec<String>) {
    let dir = tempfile::tempdir().unwrap();
    let observer = Observer::start(dir.path(), &config("http://127.0.0.1:1/"));
    let runs: Vec<_> = agent_runs().into_iter().take(42).collect();
    let batch = observer.client().post(format!("{}/v1/events", observer.url));
    assert_eq!(observer.send(batch.body(runs[..40].join("\n"))).await.status, 200);
    for run in &runs[40..] {
        assert_eq!(observer.post(run.clone()).await.status, 200);
    }
    crate::support::wait_until("the archive is complete", async || {
        sink(&observer, "archive").await["pending"] == 0
    })
    .await;
    assert_eq!(sink(&observer, "hook").await["pending"], EVENTS);
    assert!(observer.terminate().0.success());
    let archive = archive(dir.path());
    assert_eq!(archive.len() as u64, EVENTS);
    (dir, archive)
}

async fn sink(observer: &Observer, name: &str) -> Value {
    let sinks = observer.get("/v1/sinks").await.json();
    let sinks = sinks["sinks"].as_array().unwrap();
    sinks.iter().find(|sink| sink["name"] == name).unwrap().clone()
}

/// Changes bytes of the only segment.
fn damage(dir: &Path, change: impl Fn(&mut Vec<u8>)) {
    let path = dir.join("observer-data/journal/00000000000000000001-0.log");
    let mut bytes = std::fs::read(&path).unwrap();
    change(&mut bytes);
    std::fs::write(&path, bytes).unwrap();
}

fn offset_of(bytes: &[u8], envelope: &str) -> usize {
    let event = event_of(envelope).as_bytes();
    bytes.windows(event.len()).position(|window| window == event).unwrap()
}

/// Starts an observer whose hook is available, and asserts that the hook receives the events at the
/// positions `kept` of the archive and counts the others as lost, now and after another start.
async fn assert_losses(dir: &Path, archive: &[String], kept: impl Iterator<Item = usize>) {
    let kept: Vec<_> = kept.map(|at| event_of(&archive[at]).to_owned()).collect();
    let (delivered, lost) = (kept.len() as u64, EVENTS - kept.len() as u64);
    let receiver = HttpReceiver::start();
    for new in 1..=2 {
        let observer = Observer::start(dir, &config(&receiver.url("/")));
        let event =
            format!(r#"{{"source":"job","event_kind":"ok","ok":true,"extra":{{"n":{new}}}}}"#);
        assert_eq!(observer.post(event).await.status, 200);
        observer.wait_until_caught_up().await;
        let hook = sink(&observer, "hook").await;
        let count = |name: &str| hook[name].as_u64().unwrap();
        assert_eq!((count("delivered"), count("lost")), (delivered + new, lost), "{hook}");
        assert_eq!((count("expired"), count("accepted")), (0, EVENTS + new), "{hook}");
        assert_eq!(sink(&observer, "archive").await["lost"], 0);
        let metrics = parse_metrics(&observer.get("/metrics").await.text);
        let metric = r#"observer_sink_events_total{sink="hook",result="lost"}"#;
        assert_eq!(metrics[metric], lost as f64);
        let (_, status) = observer.run(&["status"]);
        let row = status.lines().find(|line| line.starts_with("hook")).unwrap();
        assert!(row.trim_end().ends_with(&format!(" {lost}")), "{status}");
        assert!(observer.terminate().0.success());
    }
    let received = receiver.accepted_items().join("\n");
    let is_received = |envelope: &&String| received.contains(event_of(envelope));
    assert_eq!(archive.iter().filter(is_received).count(), kept.len());
    assert!(kept.iter().all(|event| received.contains(event.as_str())));
}

#[tokio::test]
async fn event_with_a_corrupt_record_is_lost_for_the_sink_that_had_not_received_it() {
    let (dir, archive) = with_backlog().await;
    damage(dir.path(), |bytes| {
        let at = offset_of(bytes, &archive[9]);
        bytes[at + 20] ^= 0xA5;
    });
    assert_losses(dir.path(), &archive, (0..42).filter(|at| *at != 9)).await;
}

#[tokio::test]
async fn events_at_a_torn_off_end_are_lost_for_the_sink_that_had_not_received_them() {
    let (dir, archive) = with_backlog().await;
    damage(dir.path(), |bytes| {
        let at = offset_of(bytes, &archive[40]);
        bytes.truncate(at);
    });
    assert_losses(dir.path(), &archive, 0..40).await;
}

#[tokio::test]
async fn events_cut_by_a_repair_are_lost_for_the_sink_that_had_not_received_them() {
    let (dir, archive) = with_backlog().await;
    damage(dir.path(), |bytes| {
        let at = offset_of(bytes, &archive[41]);
        bytes.truncate(at);
    });
    let repair = std::process::Command::new(crate::support::OBSERVER)
        .args(["journal", "repair"])
        .current_dir(dir.path())
        .output()
        .unwrap();
    assert!(!repair.stdout.is_empty(), "{repair:?}");
    assert_losses(dir.path(), &archive, 0..41).await;
}

#[tokio::test]
async fn events_of_an_unreadable_segment_are_lost_for_the_sink_that_had_not_received_them() {
    let (dir, archive) = with_backlog().await;
    damage(dir.path(), |bytes| bytes.fill(0xFF));
    assert_losses(dir.path(), &archive, 0..0).await;
}
