//! All sinks at once: a file, a webhook, collectors over gRPC and HTTP, and Prometheus.
//!
//! Every destination has exactly the expected contents, also if each one is restarted under way and
//! the observer is killed.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use observer_testing::http::{HttpReceiver, Reply};
use serde_json::Value;

use super::collectors::{OtelTap, TestAgent, count_items, envelopes};
use super::mapping::Signal;
use super::prometheus::Prometheus;
use crate::support::run_totals::RunTotals;
use crate::support::{Observer, TIMEOUT, agent_runs, event_of, is_installed, wait_until};

/// One destination of each kind.
struct Destinations {
    webhook: HttpReceiver,
    agent: TestAgent,
    /// Logs and spans of the agent from before it was killed.
    before_kill: [Vec<Value>; 2],
    tap: OtelTap,
    prometheus: Prometheus,
}

impl Destinations {
    /// Starts all destinations. Returns `None` if a program is not installed.
    async fn start(dir: &Path) -> Option<Self> {
        let installed = [TestAgent::PROGRAM, OtelTap::PROGRAM, "prometheus"].map(is_installed);
        if installed.contains(&false) {
            return None;
        }
        Some(Self {
            webhook: HttpReceiver::start(),
            agent: TestAgent::start(dir).await,
            before_kill: [Vec::new(), Vec::new()],
            tap: OtelTap::start(dir).await,
            prometheus: Prometheus::start(dir).await,
        })
    }

    fn config(&self) -> String {
        let pauses = "batch = { max_events = 20, linger = \"50ms\" }\n\
                      retry = { initial = \"50ms\", max = \"500ms\" }";
        format!(
            "[server]\nlisten = \"127.0.0.1:0\"\n\
            [sinks.archive]\ntype = \"file\"\npath = \"observer-data/events/{{date}}.jsonl\"\n\
            required = true\n\
            [sinks.webhook]\ntype = \"http\"\nurl = \"{}\"\n{pauses}\n\
            [sinks.agent]\ntype = \"otlp\"\n{}\n{pauses}\n\
            [sinks.tap]\ntype = \"otlp\"\n{}\n{pauses}\n\
            [sinks.prometheus]\ntype = \"prometheus\"\n",
            self.webhook.url("/hook"),
            self.agent.grpc(),
            self.tap.http(),
        )
    }

    /// Starts an observer with these destinations, and lets Prometheus scrape it.
    fn start_observer(&self, dir: &Path) -> Observer {
        let observer = Observer::start(dir, &self.config());
        self.prometheus.scrape(&observer);
        observer
    }

    async fn agent_items(&self, signal: Signal) -> Vec<Value> {
        let mut items = self.before_kill[signal as usize].clone();
        items.extend(self.agent.items(signal).await);
        items
    }

    /// Asserts that the file and Prometheus have each run exactly once, and all others at least
    /// once and at most `most` times.
    async fn assert_contents(&self, observer: &Observer, runs: &[String], most: usize) {
        observer.wait_until_caught_up().await;
        let archive = observer.archive();
        assert_eq!(archive.iter().map(|line| event_of(line)).collect::<Vec<_>>(), runs);

        let accepted = self.webhook.accepted_items();
        let once: BTreeSet<_> = accepted.iter().collect();
        assert_eq!(
            once,
            archive.iter().collect(),
            "the webhook has the envelopes of the archive alone"
        );
        assert!(accepted.len() <= most * runs.len());
        if most == 1 {
            assert!(accepted.is_sorted_by_key(|envelope| seq_of(envelope)), "once and in order");
        } else {
            assert!(accepted.len() > runs.len(), "an interrupted request is repeated");
        }

        let envelopes = envelopes(observer);
        for signal in Signal::ALL {
            wait_until("OtelTap has printed every event", async || {
                self.tap.items(signal).len() >= runs.len()
            })
            .await;
            for (name, items) in
                [("agent", self.agent_items(signal).await), ("tap", self.tap.items(signal))]
            {
                let counts = count_items(signal, &envelopes, &items);
                let wrong: Vec<_> =
                    counts.iter().filter(|(_, count)| !(1..=most).contains(*count)).collect();
                assert!(wrong.is_empty(), "{name}, {signal:?}: {wrong:?}");
            }
        }
        self.prometheus.assert_totals(&RunTotals::of(runs)).await;
        self.prometheus.assert_no_counter_reset().await;

        let metrics = observer.wait_for_metrics(|_| true).await;
        for sink in [
            "archive",
            "webhook",
            "agent/logs",
            "agent/traces",
            "tap/logs",
            "tap/traces",
            "prometheus",
        ] {
            let result = |result: &str| {
                metrics
                    [&format!(r#"observer_sink_events_total{{sink="{sink}",result="{result}"}}"#)]
            };
            let account =
                ["delivered", "dead", "refused", "expired", "lost", "filtered"].map(result);
            assert_eq!(account, [runs.len() as f64, 0.0, 0.0, 0.0, 0.0, 0.0], "{sink}");
        }
    }
}

fn seq_of(envelope: &str) -> u64 {
    serde_json::from_str::<Value>(envelope).unwrap()["seq"].as_u64().unwrap()
}

async fn post_all(observer: &Observer, runs: &[String]) {
    for run in runs {
        assert_eq!(observer.post(run.clone()).await.status, 200);
    }
}

/// Waits until the sinks whose names begin with a prefix have no pending events.
async fn wait_until_sinks_caught_up(observer: &Observer, prefix: &str) {
    wait_until("a sink has caught up", async || {
        let status = observer.get("/v1/sinks").await.json();
        let has_prefix = |sink: &&Value| sink["name"].as_str().unwrap().starts_with(prefix);
        status["sinks"]
            .as_array()
            .unwrap()
            .iter()
            .filter(has_prefix)
            .all(|sink| sink["pending"] == 0)
    })
    .await;
}

#[tokio::test]
async fn every_destination_receives_each_run_once() {
    let dir = tempfile::tempdir().unwrap();
    let Some(destinations) = Destinations::start(dir.path()).await else { return };
    let runs = agent_runs();
    let observer = destinations.start_observer(dir.path());
    post_all(&observer, &runs).await;
    destinations.assert_contents(&observer, &runs, 1).await;
}

#[tokio::test]
async fn restarts_of_destinations_and_a_kill_of_the_observer_lose_no_run() {
    let dir = tempfile::tempdir().unwrap();
    let Some(mut destinations) = Destinations::start(dir.path()).await else { return };
    let runs = agent_runs();
    let parts: Vec<_> = runs.chunks(runs.len().div_ceil(6)).collect();
    let observer = destinations.start_observer(dir.path());
    post_all(&observer, parts[0]).await;

    // The webhook stops within a request that it has received and not responded to.
    let known = destinations.webhook.requests().len();
    destinations.webhook.enqueue(Reply::close_before_response());
    destinations.webhook.enqueue(Reply::hang());
    post_all(&observer, &parts[1][..1]).await;
    destinations.webhook.wait_for_requests(known + 2).await;
    destinations.webhook.stop().await;
    post_all(&observer, &parts[1][1..]).await;
    destinations.webhook.restart();

    // A killed collector loses items that it has accepted and not reported, so each one reports
    // everything before it is killed.
    wait_until_sinks_caught_up(&observer, "agent").await;
    wait_until_sinks_caught_up(&observer, "tap").await;
    let seen = parts[0].len() + parts[1].len();
    for signal in Signal::ALL {
        wait_until("OtelTap has printed every event", async || {
            destinations.tap.items(signal).len() >= seen
        })
        .await;
        destinations.before_kill[signal as usize] = destinations.agent.items(signal).await;
    }
    destinations.agent.kill();
    destinations.tap.kill();
    post_all(&observer, parts[2]).await;
    destinations.agent.restart().await;
    destinations.tap.restart().await;

    destinations.prometheus.kill();
    post_all(&observer, parts[3]).await;
    destinations.prometheus.restart().await;

    // A run without a response is sent again, as producers do.
    let response_count = AtomicUsize::new(0);
    let (client, url) = (observer.client(), format!("{}/event", observer.url));
    let producer = async {
        for run in parts[4] {
            let Ok(response) = client.post(&url).body(run.clone()).send().await else { break };
            assert_eq!(response.status(), 200);
            response_count.fetch_add(1, Ordering::SeqCst);
        }
    };
    let killer = async {
        let half = parts[4].len() / 2;
        wait_until("half of the runs are acknowledged", async || {
            response_count.load(Ordering::SeqCst) >= half
        })
        .await;
        observer.kill();
    };
    tokio::time::timeout(TIMEOUT, async { tokio::join!(producer, killer) }).await.unwrap();
    let observer = destinations.start_observer(dir.path());
    post_all(&observer, &parts[4][response_count.load(Ordering::SeqCst)..]).await;
    post_all(&observer, parts[5]).await;
    // A batch is repeated after a response that was cut off, one that hung, and the kill.
    destinations.assert_contents(&observer, &runs, 4).await;
}
