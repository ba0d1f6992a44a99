//! A gRPC server of the reference implementation, with its own limit for the size of a message.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use super::collectors::envelopes;
use super::process::{Peer, read_output};
use crate::support::{Observer, agent_runs, has_packages, wait_until};

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/peers/grpcio.py");

/// Starts the server. Returns it with its port.
async fn start(dir: &Path, max_message: usize) -> (Peer, String) {
    let mut command = Command::new("python3");
    command.arg(SCRIPT).arg(max_message.to_string());
    let output = dir.join("grpcio");
    let mut peer = Peer::start(command, output.clone());
    let port = || {
        let text = read_output(&output);
        let line = text.lines().find(|line| line.starts_with("port "))?.to_owned();
        Some(line.trim_start_matches("port ").to_owned())
    };
    assert!(peer.wait_until_ready(async || port().is_some()).await, "{}", read_output(&output));
    let port = port().unwrap();
    (peer, port)
}

/// Returns how often each event arrived as an item of this kind.
fn counts(output: &Path, kind: &str) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for line in read_output(output).lines() {
        if let Some(id) = line.strip_prefix(kind).and_then(|line| line.strip_prefix(' ')) {
            *counts.entry(id.to_owned()).or_default() += 1;
        }
    }
    counts
}

/// gRPC itself rejects larger messages with RESOURCE_EXHAUSTED. The words in its status tell that
/// from a quota.
#[tokio::test]
async fn grpcio_receives_each_run_once_although_batches_exceed_its_limit() {
    if !has_packages("grpc, opentelemetry.proto.collector") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let runs = agent_runs();
    let (peer, port) = start(dir.path(), 16_000).await;
    let config = format!(
        "[server]\nlisten = \"127.0.0.1:0\"\n\
        [sinks.archive]\ntype = \"file\"\npath = \"observer-data/events/{{date}}.jsonl\"\n\
        [sinks.collector]\ntype = \"otlp\"\nendpoint = \"http://127.0.0.1:{port}\"\n\
        protocol = \"grpc\"\n"
    );
    let observer = Observer::start(dir.path(), &config);
    for run in &runs {
        assert_eq!(observer.post(run.clone()).await.status, 200);
    }
    observer.wait_until_caught_up().await;
    let expected: BTreeMap<_, _> = envelopes(&observer)
        .iter()
        .map(|envelope| (envelope["id"].as_str().unwrap().to_owned(), 1))
        .collect();
    assert_eq!(expected.len(), runs.len());
    for kind in ["logs", "traces"] {
        wait_until("the server has every event", async || {
            counts(&peer.output, kind).len() >= runs.len()
        })
        .await;
        assert_eq!(counts(&peer.output, kind), expected, "{kind}");
    }
    let status = observer.get("/v1/sinks").await.json();
    let sinks = status["sinks"].as_array().unwrap();
    assert!(sinks.iter().all(|sink| sink["dead"] == 0) && sinks.len() == 3, "{status:#}");
}
