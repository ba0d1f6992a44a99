//! Outcomes of real agent runs, from a producer to the archive and the metrics.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::support::run_totals::{Outcomes, RunTotals};
use crate::support::{DEFAULTS, Observer, agent_runs, assert_promtool_accepts, event_of};

#[tokio::test]
async fn run_is_archived_in_order_byte_for_byte_and_counted_once() {
    let runs = agent_runs();
    let expected = RunTotals::of(&runs);
    assert_eq!(expected.total(), runs.len() as u64);
    let dir = tempfile::tempdir().unwrap();
    let observer = Observer::start(dir.path(), DEFAULTS);
    for run in &runs {
        let response = observer.post(run.clone()).await;
        assert_eq!(
            (response.status, &response.json()["status"], &response.json()["durability"]),
            (200, &"accepted".into(), &"fsync".into()),
            "{}",
            response.text
        );
    }
    observer.wait_until_caught_up().await;
    let archive = observer.archive();
    assert_eq!(archive.iter().map(|line| event_of(line)).collect::<Vec<_>>(), runs);
    for (line, seq) in archive.iter().zip(1..) {
        assert_eq!(serde_json::from_str::<Value>(line).unwrap()["seq"], seq);
    }
    check_metrics(&observer, &expected).await;

    for run in &runs {
        assert_eq!(observer.post(run.clone()).await.json()["status"], "duplicate");
    }
    let (status, _) = observer.terminate();
    assert!(status.success());

    let observer = Observer::start(dir.path(), DEFAULTS);
    for run in &runs {
        assert_eq!(observer.post(run.clone()).await.json()["status"], "duplicate");
    }
    observer.wait_until_caught_up().await;
    assert_eq!(observer.archive(), archive, "a duplicate adds nothing to the archive");
    check_metrics(&observer, &expected).await;
    let metrics = observer.wait_for_metrics(|_| true).await;
    let duplicates = r#"observer_duplicate_events_total{principal="anonymous"}"#;
    assert_eq!(metrics[duplicates], runs.len() as f64);
}

#[tokio::test]
async fn batch_of_runs_is_archived_like_single_runs() {
    let runs = agent_runs();
    let dir = tempfile::tempdir().unwrap();
    let observer = Observer::start(dir.path(), DEFAULTS);
    let batch = || {
        let request = observer.client().post(format!("{}/v1/events", observer.url));
        observer.send(request.header("content-type", "application/x-ndjson").body(runs.join("\n")))
    };
    for (accepted, duplicates) in [(runs.len(), 0), (0, runs.len())] {
        let response = batch().await;
        let json = response.json();
        assert_eq!(
            (response.status, &json["accepted"], &json["duplicates"]),
            (200, &accepted.into(), &duplicates.into())
        );
    }
    assert_eq!(observer.post(runs[0].clone()).await.json()["status"], "duplicate");
    observer.wait_until_caught_up().await;
    assert_eq!(observer.archive().iter().map(|line| event_of(line)).collect::<Vec<_>>(), runs);
    check_metrics(&observer, &RunTotals::of(&runs)).await;
}

async fn check_metrics(observer: &Observer, expected: &RunTotals) {
    let total = expected.total() as f64;
    let sum = |metrics: &BTreeMap<String, f64>| {
        metrics
            .iter()
            .filter(|(name, _)| name.starts_with("observer_events_total{"))
            .map(|(_, value)| value)
            .sum::<f64>()
    };
    let metrics = observer.wait_for_metrics(|metrics| sum(metrics) >= total).await;
    for ((source, kind, ok), count) in &expected.events {
        let series =
            format!(r#"observer_events_total{{source="{source}",event_kind="{kind}",ok="{ok}"}}"#);
        assert_eq!(metrics[&series], *count as f64, "{series}");
    }
    for ((source, model), cycles) in &expected.cycles {
        let value = |name: &str, more: &str| {
            metrics[&format!(r#"observer_{name}{{source="{source}",model="{model}"{more}}}"#)]
        };
        assert_eq!(value("model_calls_total", ""), cycles.calls as f64, "{model}");
        assert_eq!(value("cycle_duration_seconds_count", ""), cycles.seconds.len() as f64);
        for (ok, Outcomes { count, usage }) in &cycles.by_ok {
            let labels = format!(r#",ok="{ok}""#);
            for (name, expected) in [
                ("model_cycles_total", *count),
                ("input_tokens_total", usage.input),
                ("cached_input_tokens_total", usage.cache_read),
                ("cache_creation_input_tokens_total", usage.cache_creation),
                ("output_tokens_total", usage.output),
                ("reasoning_tokens_total", 0),
            ] {
                assert_eq!(value(name, &labels), expected as f64, "{name} of {model}, {ok}");
            }
            let cost = value("cost_usd_total", &format!(r#"{labels},basis="reported""#));
            assert!((cost - usage.cost_usd).abs() < 1e-6, "{model}: {}", usage.cost_usd);
        }
    }
    for sink in ["archive", "kb", "prometheus"] {
        let value = |name: &str| metrics[&format!(r#"observer_sink_{name}"#)];
        let results = ["delivered", "dead", "refused", "expired", "lost", "filtered"];
        let resolved: f64 = results
            .iter()
            .map(|result| value(&format!(r#"events_total{{sink="{sink}",result="{result}"}}"#)))
            .sum();
        assert_eq!(
            value(&format!(r#"accepted_events_total{{sink="{sink}"}}"#)),
            resolved + value(&format!(r#"pending_events{{sink="{sink}"}}"#))
        );
        assert_eq!(resolved, total, "{sink}");
    }
}

#[tokio::test]
async fn metrics_are_valid_for_prometheus() {
    let dir = tempfile::tempdir().unwrap();
    let observer = Observer::start(dir.path(), DEFAULTS);
    for run in agent_runs().into_iter().take(10) {
        observer.post(run).await;
    }
    observer
        .wait_for_metrics(|metrics| {
            metrics.keys().any(|name| name.starts_with("observer_events_total{"))
        })
        .await;
    let text = observer.get("/metrics").await;
    assert_eq!(text.headers["content-type"], "text/plain; version=0.0.4; charset=utf-8");
    assert!(text.text.contains("process_resident_memory_bytes"));
    assert_promtool_accepts(&text.text);
}
