//! Third-party collectors, and the items that they report.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use super::mapping::{EVENT_ID, Signal};
use super::process::{Peer, free_ports, is_listening, read_output};
use super::protobuf_json::{item, pairs};
use crate::support::{Observer, agent_runs, client, is_installed, wait_until};

/// Datadog's test agent, which receives OTLP over gRPC and HTTP and returns it on request.
pub(super) struct TestAgent {
    peer: Peer,
    ports: [u16; 3],
    dir: PathBuf,
    client: reqwest::Client,
}

impl TestAgent {
    pub(super) const PROGRAM: &str = "ddapm-test-agent";

    pub(super) async fn start(dir: &Path) -> Self {
        let dir = dir.join(Self::PROGRAM);
        std::fs::create_dir(&dir).unwrap();
        for _ in 0..3 {
            let ports = free_ports();
            if let Some(peer) = run_agent(&dir, ports).await {
                return Self { peer, ports, dir, client: client() };
            }
        }
        panic!("the program doesn't start: {}", read_output(&dir.join("output")));
    }

    /// Returns the settings of a sink that sends over gRPC.
    pub(super) fn grpc(&self) -> String {
        format!("endpoint = \"http://127.0.0.1:{}\"\nprotocol = \"grpc\"", self.ports[2])
    }

    /// Returns the settings of a sink that sends over HTTP.
    pub(super) fn http(&self) -> String {
        format!("endpoint = \"http://127.0.0.1:{}\"\nprotocol = \"http/protobuf\"", self.ports[1])
    }

    /// Returns the requests since the start, the newest first, with their resources and scopes.
    /// `kind` is `logs`, `traces` or `metrics`.
    pub(super) async fn requests(&self, kind: &str) -> Vec<Value> {
        let url = format!("http://127.0.0.1:{}/test/session/{kind}", self.ports[1]);
        let response = self.client.get(url).send().await.unwrap();
        serde_json::from_str(&response.text().await.unwrap()).unwrap()
    }

    /// Returns the items since the start, in no particular order. Asserts resource, schema URL and
    /// scope of each request.
    pub(super) async fn items(&self, signal: Signal) -> Vec<Value> {
        let (kind, [resources, scopes, items]) = match signal {
            Signal::Logs => ("logs", ["resource_logs", "scope_logs", "log_records"]),
            Signal::Spans => ("traces", ["resource_spans", "scope_spans", "spans"]),
        };
        let mut all = Vec::new();
        for request in self.requests(kind).await {
            // The sink's `check` sends an empty request.
            for resource in request[resources].as_array().into_iter().flatten() {
                let attributes = pairs(&resource["resource"]["attributes"]);
                let version = env!("CARGO_PKG_VERSION");
                assert_eq!(
                    attributes,
                    serde_json::json!({ "service.name": "observer", "service.version": version })
                );
                assert_eq!(resource["schema_url"], "https://opentelemetry.io/schemas/1.41.0");
                for scope in resource[scopes].as_array().unwrap() {
                    assert_eq!(scope["scope"]["name"], "observer");
                    all.extend(scope[items].as_array().unwrap().iter().map(item));
                }
            }
        }
        all
    }

    /// Kills the agent with SIGKILL, which loses all items.
    pub(super) fn kill(&mut self) {
        self.peer.kill();
    }

    /// Starts the agent again on the same ports.
    pub(super) async fn restart(&mut self) {
        self.peer = run_agent(&self.dir, self.ports)
            .await
            .unwrap_or_else(|| panic!("{}", read_output(&self.peer.output)));
    }
}

async fn run_agent(dir: &Path, [port, http, grpc]: [u16; 3]) -> Option<Peer> {
    let mut command = Command::new(TestAgent::PROGRAM);
    command.current_dir(dir).args(["--disable-llmobs-data-forwarding", "--log-level", "ERROR"]);
    for (option, port) in [("--port", port), ("--otlp-http-port", http), ("--otlp-grpc-port", grpc)]
    {
        command.arg(option).arg(port.to_string());
    }
    let mut peer = Peer::start(command, dir.join("output"));
    let is_ready = async || is_listening(http).await && is_listening(grpc).await;
    peer.wait_until_ready(is_ready).await.then_some(peer)
}

/// OtelTap, which receives OTLP over HTTP and prints it. It doesn't support gzip.
pub(super) struct OtelTap {
    peer: Peer,
    port: u16,
}

impl OtelTap {
    pub(super) const PROGRAM: &str = "oteltap";

    pub(super) async fn start(dir: &Path) -> Self {
        let output = dir.join("oteltap.ndjson");
        for _ in 0..3 {
            let [port] = free_ports();
            if let Some(peer) = run_tap(&output, port).await {
                return Self { peer, port };
            }
        }
        panic!("the program doesn't start: {}", read_output(&output));
    }

    /// Returns the settings of a sink that sends over HTTP.
    pub(super) fn http(&self) -> String {
        format!(
            "endpoint = \"http://127.0.0.1:{}\"\nprotocol = \"http/protobuf\"\n\
             compression = \"none\"",
            self.port
        )
    }

    /// Returns the items in order, including those from before a restart.
    pub(super) fn items(&self, signal: Signal) -> Vec<Value> {
        let output = read_output(&self.peer.output);
        // The last line may be incomplete.
        let whole = output.rsplit_once('\n').map_or("", |(whole, _)| whole);
        let items = whole
            .lines()
            .filter(|line| line.starts_with('{'))
            .map(|line| serde_json::from_str(line).unwrap());
        items
            .filter(|item: &Value| (item.get("kind").is_some()) == (signal == Signal::Spans))
            .map(|json| item(&json))
            .collect()
    }

    /// Kills OtelTap with SIGKILL.
    pub(super) fn kill(&mut self) {
        self.peer.kill();
    }

    /// Starts OtelTap again on the same port.
    pub(super) async fn restart(&mut self) {
        let output = self.peer.output.clone();
        self.peer =
            run_tap(&output, self.port).await.unwrap_or_else(|| panic!("{}", read_output(&output)));
    }
}

async fn run_tap(output: &Path, port: u16) -> Option<Peer> {
    let mut command = Command::new(OtelTap::PROGRAM);
    command.arg("--port").arg(port.to_string());
    let mut peer = Peer::start(command, output.to_owned());
    peer.wait_until_ready(async || is_listening(port).await).await.then_some(peer)
}

/// Returns the envelopes of an archive.
pub(super) fn envelopes(observer: &Observer) -> Vec<Value> {
    observer.archive().iter().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Asserts that each item is the one expected for its event. Returns the number of items for each
/// event id.
pub(super) fn count_items(
    signal: Signal,
    envelopes: &[Value],
    items: &[Value],
) -> BTreeMap<String, usize> {
    let id_of = |envelope: &Value| envelope["id"].as_str().unwrap().to_owned();
    let expected: BTreeMap<_, _> =
        envelopes.iter().map(|envelope| (id_of(envelope), signal.item(envelope))).collect();
    assert_eq!(expected.len(), envelopes.len());
    let mut counts: BTreeMap<_, _> = expected.keys().map(|id| (id.clone(), 0)).collect();
    for item in items {
        let id = item["attributes"][EVENT_ID].as_str().unwrap_or_else(|| panic!("no id: {item:#}"));
        assert_eq!(Some(item), expected.get(id), "{signal:?}");
        *counts.get_mut(id).unwrap() += 1;
    }
    counts
}

/// Posts the agent runs to an observer with one collector, and asserts that each run arrives once
/// as a log record and once as a span.
async fn assert_each_run_arrives_once(
    dir: &Path,
    collector: &str,
    items: impl AsyncFn(Signal) -> Vec<Value>,
) {
    let runs = agent_runs();
    let config = format!(
        "[server]\nlisten = \"127.0.0.1:0\"\n\
        [sinks.archive]\ntype = \"file\"\npath = \"observer-data/events/{{date}}.jsonl\"\n\
        [sinks.collector]\ntype = \"otlp\"\nbatch = {{ max_events = 64 }}\n{collector}\n"
    );
    let observer = Observer::start(dir, &config);
    for run in &runs {
        assert_eq!(observer.post(run.clone()).await.status, 200);
    }
    observer.wait_until_caught_up().await;
    let envelopes = envelopes(&observer);
    let events: Vec<_> = envelopes.iter().map(|envelope| envelope["event"].clone()).collect();
    let sent: Vec<Value> = runs.iter().map(|run| serde_json::from_str(run).unwrap()).collect();
    assert_eq!(events, sent);
    for signal in Signal::ALL {
        wait_until("the collector has every event", async || {
            items(signal).await.len() >= runs.len()
        })
        .await;
        let counts = count_items(signal, &envelopes, &items(signal).await);
        assert!(counts.values().all(|count| *count == 1), "{signal:?}: {counts:?}");
    }
}

#[tokio::test]
async fn test_agent_receives_each_run_once_over_grpc() {
    if !is_installed(TestAgent::PROGRAM) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let agent = TestAgent::start(dir.path()).await;
    assert_each_run_arrives_once(dir.path(), &agent.grpc(), async |signal| {
        agent.items(signal).await
    })
    .await;
}

#[tokio::test]
async fn test_agent_receives_each_run_once_over_http() {
    if !is_installed(TestAgent::PROGRAM) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let agent = TestAgent::start(dir.path()).await;
    assert_each_run_arrives_once(dir.path(), &agent.http(), async |signal| {
        agent.items(signal).await
    })
    .await;
}

#[tokio::test]
async fn oteltap_receives_each_run_once_over_http() {
    if !is_installed(OtelTap::PROGRAM) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let tap = OtelTap::start(dir.path()).await;
    assert_each_run_arrives_once(dir.path(), &tap.http(), async |signal| tap.items(signal)).await;
}
