//! Rotel, an OpenTelemetry collector, which forwards what it receives.

use std::path::Path;
use std::process::Command;

use observer_testing::otlp::{OtlpReceiver, Signal};

use super::collectors::envelopes;
use super::process::{Peer, free_ports, is_listening, read_output};
use crate::support::{Observer, agent_runs, is_installed, wait_until};

const PROGRAM: &str = "rotel-agent";

/// Starts Rotel between an observer and a receiver. Returns its ports for gRPC and HTTP.
async fn start(dir: &Path, receiver: &OtlpReceiver) -> (Peer, [u16; 2]) {
    let output = dir.join(PROGRAM);
    for _ in 0..3 {
        let ports: [u16; 2] = free_ports();
        let [grpc, http] = ports.map(|port| format!("127.0.0.1:{port}"));
        let mut command = Command::new(PROGRAM);
        command.current_dir(dir).args(["start", "--otlp-grpc-endpoint", &grpc]);
        command.args(["--otlp-http-endpoint", &http, "--exporter", "otlp"]);
        command.args(["--otlp-exporter-protocol", "grpc"]);
        command.args(["--otlp-exporter-endpoint", &receiver.url("")]);
        let mut peer = Peer::start(command, output.clone());
        let is_ready = async || is_listening(ports[0]).await && is_listening(ports[1]).await;
        if peer.wait_until_ready(is_ready).await {
            return (peer, ports);
        }
    }
    panic!("the program doesn't start: {}", read_output(&output));
}

#[tokio::test]
async fn rotel_forwards_each_run_once_over_grpc_and_http() {
    if !is_installed(PROGRAM) {
        return;
    }
    for protocol in ["grpc", "http/protobuf"] {
        let dir = tempfile::tempdir().unwrap();
        let (runs, receiver) = (agent_runs(), OtlpReceiver::start());
        let (_rotel, [grpc, http]) = start(dir.path(), &receiver).await;
        let port = if protocol == "grpc" { grpc } else { http };
        let config = format!(
            "[server]\nlisten = \"127.0.0.1:0\"\n\
            [sinks.archive]\ntype = \"file\"\npath = \"observer-data/events/{{date}}.jsonl\"\n\
            [sinks.collector]\ntype = \"otlp\"\nendpoint = \"http://127.0.0.1:{port}\"\n\
            protocol = \"{protocol}\"\nbatch = {{ max_events = 64 }}\n"
        );
        let observer = Observer::start(dir.path(), &config);
        for run in &runs {
            assert_eq!(observer.post(run.clone()).await.status, 200);
        }
        observer.wait_until_caught_up().await;
        let mut expected: Vec<String> = envelopes(&observer)
            .iter()
            .map(|envelope| envelope["id"].as_str().unwrap().to_owned())
            .collect();
        expected.sort();
        for signal in [Signal::Logs, Signal::Traces] {
            wait_until("the receiver has every event", async || {
                receiver.event_ids(signal).len() >= runs.len()
            })
            .await;
            let mut ids: Vec<_> =
                receiver.event_ids(signal).iter().map(ToString::to_string).collect();
            ids.sort();
            assert_eq!(ids, expected, "{signal:?} over {protocol}");
        }
    }
}
