//! Prometheus, which scrapes the observer and is queried for its series.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use super::process::{Peer, free_ports, read_output};
use crate::support::run_totals::RunTotals;
use crate::support::{DEFAULTS, Observer, agent_runs, client, is_installed, wait_until};

/// Scrapes often enough that tests don't wait for long, and seldom enough for a debug build on a
/// busy machine.
const CONFIG: &str = r#"
global: { scrape_interval: 500ms, scrape_timeout: 500ms }
scrape_configs:
- job_name: observer
  file_sd_configs: [{ files: [targets.json], refresh_interval: 500ms }]
  relabel_configs: [{ target_label: instance, replacement: observer }]
"#;

/// Selector of every series that counts events.
const EVENT_METRICS: &str = concat!(
    r#"{__name__=~"observer_events_total|observer_model_.+|observer_.*tokens_total|"#,
    r#"observer_cost_usd_total|observer_unpriced_events_total|"#,
    r#"observer_cycle_duration_seconds_.+"}"#
);

/// Prometheus server with its data in a separate folder.
pub(super) struct Prometheus {
    peer: Peer,
    port: u16,
    dir: PathBuf,
    client: reqwest::Client,
}

impl Prometheus {
    pub(super) async fn start(dir: &Path) -> Self {
        Self::start_with_rules(dir, None).await
    }

    /// Starts a server that evaluates the rules of a folder every second.
    pub(super) async fn start_with_rules(dir: &Path, rules: Option<&Path>) -> Self {
        let dir = dir.join("prometheus");
        std::fs::create_dir(&dir).unwrap();
        let mut config = CONFIG.to_owned();
        if let Some(rules) = rules {
            config = config.replace("global: {", "global: { evaluation_interval: 1s,");
            config.push_str(&format!("rule_files: [\"{}/*.yaml\"]\n", rules.display()));
        }
        std::fs::write(dir.join("prometheus.yml"), config).unwrap();
        std::fs::write(dir.join("targets.json"), "[]").unwrap();
        for _ in 0..3 {
            let [port] = free_ports();
            if let Some(peer) = run(&dir, port).await {
                return Self { peer, port, dir, client: client() };
            }
        }
        panic!("the program doesn't start: {}", read_output(&dir.join("output")));
    }

    /// Makes an observer the target. The series continue those of an earlier target.
    pub(super) fn scrape(&self, observer: &Observer) {
        let target = observer.url.strip_prefix("http://").unwrap();
        let next = self.dir.join("targets.next");
        std::fs::write(&next, format!(r#"[{{"targets":["{target}"]}}]"#)).unwrap();
        std::fs::rename(next, self.dir.join("targets.json")).unwrap();
    }

    /// Kills Prometheus with SIGKILL.
    pub(super) fn kill(&mut self) {
        self.peer.kill();
    }

    /// Starts Prometheus again on the same port and with the same data.
    pub(super) async fn restart(&mut self) {
        self.peer = run(&self.dir, self.port)
            .await
            .unwrap_or_else(|| panic!("{}", read_output(&self.dir.join("output"))));
    }

    /// Returns the URL of the server.
    pub(super) fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Requests data of the API. Panics if the request is refused.
    pub(super) async fn get(&self, path: &str, parameters: &[(&str, &str)]) -> Value {
        let url = format!("{}/api/v1/{path}", self.url());
        let url = reqwest::Url::parse_with_params(&url, parameters).unwrap();
        let response = self.client.get(url).send().await.unwrap().text().await.unwrap();
        let mut response: Value = serde_json::from_str(&response).unwrap();
        assert_eq!(response["status"], "success", "{parameters:?}: {response}");
        response["data"].take()
    }

    /// Evaluates an expression. Returns the series in the text format with sorted labels.
    pub(super) async fn query(&self, expression: &str) -> BTreeMap<String, f64> {
        self.evaluate(&[("query", expression)]).await
    }

    /// Evaluates an expression at a Unix time in seconds.
    pub(super) async fn query_at(&self, expression: &str, time: f64) -> BTreeMap<String, f64> {
        self.evaluate(&[("query", expression), ("time", &format!("{time:.3}"))]).await
    }

    async fn evaluate(&self, parameters: &[(&str, &str)]) -> BTreeMap<String, f64> {
        let data = self.get("query", parameters).await;
        assert_eq!(data["resultType"], "vector", "{parameters:?}");
        let series = data["result"].as_array().unwrap();
        series
            .iter()
            .map(|series| {
                (name_of(&series["metric"]), series["value"][1].as_str().unwrap().parse().unwrap())
            })
            .collect()
    }

    /// Evaluates an expression that has at most one series.
    pub(super) async fn value(&self, expression: &str) -> Option<f64> {
        let series = self.query(expression).await;
        assert!(series.len() < 2, "{series:?}");
        series.into_values().next()
    }

    /// Waits until Prometheus has every event, and asserts that all series have the expected
    /// totals.
    pub(super) async fn assert_totals(&self, totals: &RunTotals) {
        let total = totals.total() as f64;
        wait_until("Prometheus has every event", async || {
            self.value("sum(observer_events_total)").await.is_some_and(|count| count >= total)
        })
        .await;
        let mut series = self.query(EVENT_METRICS).await;
        series.retain(|_, value| *value != 0.0);
        let bounds = self.query("count by (le) (observer_cycle_duration_seconds_bucket)").await;
        let bounds: Vec<_> = bounds.keys().map(|key| key.split('"').nth(1).unwrap()).collect();
        for bound in ["0.1", "60", "7200", "+Inf"] {
            assert!(bounds.contains(&bound), "{bound} of {bounds:?}");
        }
        let expected = totals.series(&bounds);
        assert_eq!(series.keys().collect::<Vec<_>>(), expected.keys().collect::<Vec<_>>());
        for (name, value) in &expected {
            let difference = (series[name] - value).abs();
            // Sums of fractions depend on the order of addition, counts don't.
            let is_fraction = name.contains("_cost_") || name.contains("_seconds_sum");
            let tolerance = if is_fraction { value * 1e-9 } else { 0.0 };
            assert!(difference <= tolerance, "{name}: {} instead of {value}", series[name]);
        }
    }

    /// Asserts that no counter of events ever decreased.
    pub(super) async fn assert_no_counter_reset(&self) {
        for name in self.query(&format!("count by (__name__) ({EVENT_METRICS})")).await.keys() {
            let name = name.strip_suffix("{}").unwrap();
            let resets = self.query(&format!("resets({name}[1h]) > 0")).await;
            assert!(resets.is_empty(), "{name}: {resets:?}");
        }
    }
}

async fn run(dir: &Path, port: u16) -> Option<Peer> {
    let mut command = Command::new("prometheus");
    command.current_dir(dir).args([
        "--config.file=prometheus.yml",
        "--storage.tsdb.path=data",
        "--log.level=warn",
    ]);
    command.arg(format!("--web.listen-address=127.0.0.1:{port}"));
    let mut peer = Peer::start(command, dir.join("output"));
    let (client, url) = (client(), format!("http://127.0.0.1:{port}/-/ready"));
    let is_ready =
        async || client.get(&url).send().await.is_ok_and(|response| response.status() == 200);
    peer.wait_until_ready(is_ready).await.then_some(peer)
}

/// Returns `name{label="value",…}` without the labels that Prometheus adds.
fn name_of(metric: &Value) -> String {
    let labels = metric
        .as_object()
        .unwrap()
        .iter()
        .filter(|(label, _)| !["__name__", "instance", "job"].contains(&&***label));
    let labels: BTreeMap<_, _> =
        labels.map(|(label, value)| (label, value.as_str().unwrap())).collect();
    let labels: Vec<_> =
        labels.iter().map(|(label, value)| format!(r#"{label}="{value}""#)).collect();
    format!("{}{{{}}}", metric["__name__"].as_str().unwrap_or_default(), labels.join(","))
}

#[tokio::test]
async fn prometheus_has_the_totals_of_the_runs_through_a_kill() {
    if !is_installed("prometheus") {
        return;
    }
    let runs = agent_runs();
    let (first, second) = runs.split_at(runs.len() / 2);
    let dir = tempfile::tempdir().unwrap();
    let prometheus = Prometheus::start(dir.path()).await;

    let observer = Observer::start(dir.path(), DEFAULTS);
    prometheus.scrape(&observer);
    for run in first {
        assert_eq!(observer.post(run.clone()).await.status, 200);
    }
    prometheus.assert_totals(&RunTotals::of(first)).await;
    // More events are acknowledged than the sink has saved and Prometheus has scraped.
    let (unseen, rest) = second.split_at(second.len() / 2);
    for run in unseen {
        assert_eq!(observer.post(run.clone()).await.status, 200);
    }
    observer.kill();

    let observer = Observer::start(dir.path(), DEFAULTS);
    prometheus.scrape(&observer);
    for run in rest {
        assert_eq!(observer.post(run.clone()).await.status, 200);
    }
    prometheus.assert_totals(&RunTotals::of(&runs)).await;
    prometheus.assert_no_counter_reset().await;
    let up = prometheus.value("up").await;
    assert_eq!(up, Some(1.0), "there is one series, since both observers are the same instance");
}
