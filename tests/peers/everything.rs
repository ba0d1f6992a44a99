//! All sinks at once: a file, a webhook, collectors over gRPC and HTTP, Prometheus. Each far side
//! holds exactly what it should, also when every one of them is restarted in the middle, and the
//! observer is killed.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use observer_testing::http::{HttpReceiver, Reply};
use serde_json::Value;

use super::collectors::{OtelTap, TestAgent, compare, envelopes};
use super::mapping::Signal;
use super::prometheus::Prometheus;
use crate::support::run_totals::RunTotals;
use crate::support::{Observer, TIMEOUT, agent_runs, event_of, is_installed, wait_until};

/// Every far side there is.
struct FarSides {
    webhook: HttpReceiver,
    agent: TestAgent,
    /// What the agent had before it was killed: logs and spans.
    had: [Vec<Value>; 2],
    tap: OtelTap,
    prometheus: Prometheus,
}

impl FarSides {
    /// None where a program is missing.
    async fn start(dir: &Path) -> Option<Self> {
        let are_there = [TestAgent::PROGRAM, OtelTap::PROGRAM, "prometheus"].map(is_installed);
        if are_there.contains(&false) {
            return None;
        }
        Some(Self {
            webhook: HttpReceiver::start(),
            agent: TestAgent::start(dir).await,
            had: [Vec::new(), Vec::new()],
            tap: OtelTap::start(dir).await,
            prometheus: Prometheus::start(dir).await,
        })
    }

    fn config(&self) -> String {
        let every = "batch = { max_events = 20, linger = \"50ms\" }\nretry = { initial = \"50ms\", max = \"500ms\" }";
        format!(
            "[server]\nlisten = \"127.0.0.1:0\"\n\
            [sinks.archive]\ntype = \"file\"\npath = \"observer-data/events/{{date}}.jsonl\"\nrequired = true\n\
            [sinks.webhook]\ntype = \"http\"\nurl = \"{}\"\n{every}\n\
            [sinks.agent]\ntype = \"otlp\"\n{}\n{every}\n\
            [sinks.tap]\ntype = \"otlp\"\n{}\n{every}\n\
            [sinks.prometheus]\ntype = \"prometheus\"\n",
            self.webhook.url("/hook"),
            self.agent.grpc(),
            self.tap.http(),
        )
    }

    fn observe(&self, dir: &Path) -> Observer {
        let observer = Observer::start(dir, &self.config());
        self.prometheus.watch(&observer);
        observer
    }

    async fn agent_items(&self, signal: Signal) -> Vec<Value> {
        let mut items = self.had[signal as usize].clone();
        items.extend(self.agent.items(signal).await);
        items
    }

    /// The file and Prometheus have each run exactly once; all others have each one at least so
    /// often, and no more than `most` times.
    async fn hold(&self, observer: &Observer, runs: &[String], most: usize) {
        observer.wait_until_caught_up().await;
        let archive = observer.archive();
        assert_eq!(archive.iter().map(|line| event_of(line)).collect::<Vec<_>>(), runs);

        let taken = self.webhook.accepted_items();
        let once: BTreeSet<_> = taken.iter().collect();
        assert_eq!(once, archive.iter().collect(), "the envelopes of the archive, and no others");
        assert!(taken.len() <= most * runs.len());
        if most == 1 {
            assert!(taken.is_sorted_by_key(|envelope| seq_of(envelope)), "once and in order");
        } else {
            assert!(taken.len() > runs.len(), "what was cut off came again");
        }

        let envelopes = envelopes(observer);
        for signal in Signal::ALL {
            wait_until("OtelTap has printed each event", async || {
                self.tap.items(signal).len() >= runs.len()
            })
            .await;
            for (name, items) in
                [("agent", self.agent_items(signal).await), ("tap", self.tap.items(signal))]
            {
                let counts = compare(signal, &envelopes, &items);
                let wrong: Vec<_> =
                    counts.iter().filter(|(_, count)| !(1..=most).contains(*count)).collect();
                assert!(wrong.is_empty(), "{name}, {signal:?}: {wrong:?}");
            }
        }
        self.prometheus.holds(&RunTotals::of(runs)).await;
        self.prometheus.saw_no_reset().await;

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
            let account = ["delivered", "dead", "refused", "expired", "filtered"].map(result);
            assert_eq!(account, [runs.len() as f64, 0.0, 0.0, 0.0, 0.0], "{sink}");
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

/// Until the sinks of which the names begin so have nothing before them.
async fn sinks_caught_up(observer: &Observer, sinks: &str) {
    wait_until("a sink has everything", async || {
        let status = observer.get("/v1/sinks").await.json();
        let of_these = |sink: &&Value| sink["name"].as_str().unwrap().starts_with(sinks);
        status["sinks"].as_array().unwrap().iter().filter(of_these).all(|sink| sink["pending"] == 0)
    })
    .await;
}

#[tokio::test]
async fn the_real_runs_through_all_sinks_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let Some(far_sides) = FarSides::start(dir.path()).await else { return };
    let runs = agent_runs();
    let observer = far_sides.observe(dir.path());
    post_all(&observer, &runs).await;
    far_sides.hold(&observer, &runs, 1).await;
}

#[tokio::test]
async fn the_real_runs_through_all_sinks_while_each_receiver_is_restarted_and_the_observer_killed()
{
    let dir = tempfile::tempdir().unwrap();
    let Some(mut far_sides) = FarSides::start(dir.path()).await else { return };
    let runs = agent_runs();
    let parts: Vec<_> = runs.chunks(runs.len().div_ceil(6)).collect();
    let observer = far_sides.observe(dir.path());
    post_all(&observer, parts[0]).await;

    // The webhook goes in the middle of a request that it has taken and not answered.
    let known = far_sides.webhook.requests().len();
    far_sides.webhook.enqueue(Reply::close_before_response());
    far_sides.webhook.enqueue(Reply::hang());
    post_all(&observer, &parts[1][..1]).await;
    far_sides.webhook.wait_for_requests(known + 2).await;
    far_sides.webhook.stop().await;
    post_all(&observer, &parts[1][1..]).await;
    far_sides.webhook.restart();

    // What a collector has taken and not told yet is lost with it, so they go when they have told
    // everything.
    sinks_caught_up(&observer, "agent").await;
    sinks_caught_up(&observer, "tap").await;
    let seen = parts[0].len() + parts[1].len();
    for signal in Signal::ALL {
        wait_until("OtelTap has printed each event", async || {
            far_sides.tap.items(signal).len() >= seen
        })
        .await;
        far_sides.had[signal as usize] = far_sides.agent.items(signal).await;
    }
    far_sides.agent.kill();
    far_sides.tap.kill();
    post_all(&observer, parts[2]).await;
    far_sides.agent.come_back().await;
    far_sides.tap.come_back().await;

    far_sides.prometheus.kill();
    post_all(&observer, parts[3]).await;
    far_sides.prometheus.come_back().await;

    // Whatever was not answered is sent again, as a producer does.
    let answered = AtomicUsize::new(0);
    let (client, url) = (observer.client(), format!("{}/event", observer.url));
    let producer = async {
        for run in parts[4] {
            let Ok(response) = client.post(&url).body(run.clone()).send().await else { break };
            assert_eq!(response.status(), 200);
            answered.fetch_add(1, Ordering::SeqCst);
        }
    };
    let killer = async {
        let half = parts[4].len() / 2;
        wait_until("half of them are answered", async || answered.load(Ordering::SeqCst) >= half)
            .await;
        observer.kill();
    };
    tokio::time::timeout(TIMEOUT, async { tokio::join!(producer, killer) }).await.unwrap();
    let observer = far_sides.observe(dir.path());
    post_all(&observer, &parts[4][answered.load(Ordering::SeqCst)..]).await;
    post_all(&observer, parts[5]).await;
    // A batch comes again after each of: a response that was cut off, one that hung, the kill.
    far_sides.hold(&observer, &runs, 4).await;
}
