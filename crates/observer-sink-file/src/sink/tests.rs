//! Behaviour of the sink towards the pipeline.

use std::fs;
use std::path::Path;

use super::*;
use crate::Compression;
use observer_core::{Envelope, ErrorKind, Event, SinkConfig, Timestamp, Uuid};

fn batch(seqs: std::ops::RangeInclusive<u64>) -> Batch {
    let envelope = |seq: u64| {
        Arc::new(Envelope {
            id: Uuid::from_u128(seq.into()),
            seq,
            received_at: Timestamp::from_second(1_795_341_600).unwrap(),
            event: Event::parse(r#"{"source":"bot","event_kind":"ok","ok":true}"#).unwrap(),
        })
    };
    Batch::new(1, seqs.map(envelope).collect())
}

fn context(folder: &Path) -> SinkContext {
    SinkContext::new("archive", folder.join("state"))
}

fn config(folder: &Path) -> FileConfig {
    FileConfig::new(format!("{}/events/{{date}}.jsonl", folder.display()))
}

fn seqs(folder: &Path) -> Vec<u64> {
    let text = fs::read_to_string(folder.join("events/2026-11-22.jsonl")).unwrap();
    let line = |line: &str| serde_json::from_str::<serde_json::Value>(line).unwrap();
    text.lines().map(|text| line(text)["seq"].as_u64().unwrap()).collect()
}

#[tokio::test]
async fn delivery_is_written_at_once_and_close_stores_its_position() {
    let folder = tempfile::tempdir().unwrap();
    let sink = FileSink::new(&config(folder.path()), &context(folder.path())).unwrap();
    assert_eq!(sink.position().await.unwrap(), None);
    assert_eq!(sink.deliver(&batch(1..=3)).await.unwrap(), Receipt::accepted());
    assert_eq!(seqs(folder.path()), [1, 2, 3]);
    sink.close().await.unwrap();

    let sink = FileSink::new(&config(folder.path()), &context(folder.path())).unwrap();
    assert_eq!(sink.position().await.unwrap(), Some(Position { epoch: 1, seq: 3 }));
}

#[tokio::test]
async fn returned_position_survives_a_crash() {
    let folder = tempfile::tempdir().unwrap();
    let sink = FileSink::new(&config(folder.path()), &context(folder.path())).unwrap();
    sink.deliver(&batch(1..=3)).await.unwrap();
    assert_eq!(sink.position().await.unwrap(), Some(Position { epoch: 1, seq: 3 }));
    let sidecar = fs::read_to_string(folder.path().join("state/position")).unwrap();
    assert!(sidecar.contains(r#""seq":3"#), "{sidecar}");
}

#[tokio::test]
async fn dropped_and_repeated_delivery_is_written_once() {
    let folder = tempfile::tempdir().unwrap();
    let sink = FileSink::new(&config(folder.path()), &context(folder.path())).unwrap();
    // After one poll the command is in the channel and its reply is lost, unless the thread was
    // faster than the poll.
    let mut seq = 1;
    while sink
        .deliver(&batch(seq..=seq))
        .as_mut()
        .poll(&mut std::task::Context::from_waker(std::task::Waker::noop()))
        .is_ready()
    {
        seq += 1;
    }
    sink.deliver(&batch(seq..=seq + 1)).await.unwrap();
    assert_eq!(seqs(folder.path()), (1..=seq + 1).collect::<Vec<_>>());
    // An event whose reply was received is sent again on purpose.
    sink.deliver(&batch(seq..=seq)).await.unwrap();
    assert_eq!(seqs(folder.path()).last(), Some(&seq));
    sink.close().await.unwrap();
}

#[tokio::test]
async fn building_and_closing_a_sink_touches_no_file() {
    let folder = tempfile::tempdir().unwrap();
    let parts = config(folder.path()).build(&context(folder.path())).unwrap();
    assert_eq!(parts.len(), 1);
    parts[0].sink.close().await.unwrap();
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[tokio::test]
async fn check_leaves_empty_folders_and_names_an_obstacle() {
    let folder = tempfile::tempdir().unwrap();
    let sink = FileSink::new(&config(folder.path()), &context(folder.path())).unwrap();
    sink.check().await.unwrap();
    assert_eq!(fs::read_dir(folder.path().join("events")).unwrap().count(), 0);
    fs::remove_dir(folder.path().join("events")).unwrap();
    fs::write(folder.path().join("events"), "in the way").unwrap();
    let error = sink.check().await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Blocked);
    let events = folder.path().join("events");
    assert!(
        error.report().contains(&format!("{}; check `path`", events.display())),
        "{}",
        error.report()
    );
    // A delivery fails in the same way, and succeeds once the obstacle is removed.
    let error = sink.deliver(&batch(1..=1)).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Blocked);
    fs::remove_file(&events).unwrap();
    sink.check().await.unwrap();
    sink.deliver(&batch(1..=1)).await.unwrap();
    assert_eq!(seqs(folder.path()), [1]);
}

#[tokio::test]
async fn check_does_not_disturb_a_running_sink() {
    let folder = tempfile::tempdir().unwrap();
    let sink = FileSink::new(&config(folder.path()), &context(folder.path())).unwrap();
    sink.deliver(&batch(1..=1)).await.unwrap();
    let other = FileSink::new(&config(folder.path()), &context(folder.path())).unwrap();
    other.check().await.unwrap();
    let error = other.position().await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Blocked);
    assert!(error.report().contains("is locked"), "{}", error.report());
    sink.close().await.unwrap();
    assert_eq!(other.position().await.unwrap(), Some(Position { epoch: 1, seq: 1 }));
}

#[tokio::test]
async fn closed_sink_rejects_deliveries_and_can_be_closed_twice() {
    let folder = tempfile::tempdir().unwrap();
    let config = config(folder.path()).compression(Compression::Gzip);
    let sink = FileSink::new(&config, &context(folder.path())).unwrap();
    sink.deliver(&batch(1..=1)).await.unwrap();
    sink.close().await.unwrap();
    sink.close().await.unwrap();
    assert_eq!(sink.deliver(&batch(2..=2)).await.unwrap_err().report(), "the sink is closed");
}

#[tokio::test]
async fn sink_dropped_before_its_thread_began_writes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let settings = Arc::new(config(folder.path()).check().unwrap());
    let mut late = Worker {
        settings,
        state_dir: context(folder.path()).state_dir,
        writer: None,
        name: "archive".to_owned(),
        sinks: FileSinks::default(),
        counts: Arc::default(),
    };
    let (commands, receiver) = mpsc::channel(1);
    let (reply, _) = oneshot::channel();
    let deliver = Command::Deliver { batch: batch(1..=3), last_reply: LastReply::Received, reply };
    commands.try_send(deliver).unwrap();
    drop(commands);

    // A successor writes the batch and closes before the thread begins.
    let successor = FileSink::new(&config(folder.path()), &context(folder.path())).unwrap();
    successor.deliver(&batch(1..=3)).await.unwrap();
    successor.close().await.unwrap();
    tokio::task::spawn_blocking(move || late.run(receiver)).await.unwrap();
    assert_eq!(seqs(folder.path()), [1, 2, 3]);
}
