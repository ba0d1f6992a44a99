//! The queries of the panels, in a Prometheus that scrapes an observer with the agent runs.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::dashboards::{NAMES, dashboard, expressions, panels};
use super::expected::{Series, Traffic, outcomes, pipeline, sums};
use super::{example, run};
use crate::peers::prometheus::Prometheus;
use crate::support::run_totals::RunTotals;
use crate::support::{Observer, agent_runs, has_packages, is_installed, wait_until};

/// Panels without data, each with the reason.
const EMPTY: [(&str, &str); 2] = [
    ("Certificates expire in", "the observer has no TLS here"),
    ("Own telemetry", "the observer has no [telemetry] here"),
];

/// Series of all outcomes exist at zero before the first event, so that increases are exact.
fn config(totals: &RunTotals) -> String {
    let list = |names: BTreeSet<&String>| format!("{names:?}").replace(['{', '}'], "");
    let sources = list(totals.cycles.keys().map(|(source, _)| source).collect());
    let models = list(totals.cycles.keys().map(|(_, model)| model).collect());
    let kinds = list(totals.events.keys().map(|(_, kind, _)| kind).collect());
    format!(
        r#"
        [server]
        listen = "127.0.0.1:0"
        [sinks.archive]
        type = "file"
        path = "observer-data/events/{{date}}.jsonl"
        [sinks.kb]
        type = "kb"
        path = "observer-data/kb"
        [sinks.prometheus]
        type = "prometheus"
        [sinks.prometheus.labels.known]
        sources = [{sources}]
        event_kinds = [{kinds}, "started"]
        models = [{models}]
        "#
    )
}

/// Replaces the variables of a dashboard. All periods are an hour: the observer is younger, so
/// increases are those since its start, and rates are a 3600th of them.
fn fill(dashboard: &Value, expression: &str) -> String {
    let mut filled = expression.to_owned();
    for name in ["__range", "__rate_interval"] {
        filled = filled.replace(&format!("${name}"), "1h");
    }
    for variable in dashboard["templating"]["list"].as_array().unwrap() {
        let all = variable["allValue"].as_str();
        let value = all.or(variable["current"]["value"].as_str()).unwrap_or_default();
        filled = filled.replace(&format!("${}", variable["name"].as_str().unwrap()), value);
    }
    assert!(!filled.contains('$'), "{filled}");
    filled
}

/// Asserts that series have the expected values, and that others are zero.
fn assert_series(query: &str, found: &Series, expected: &Series) {
    for (labels, value) in expected {
        let found = found.get(labels).unwrap_or_else(|| panic!("{query}: no {labels}: {found:?}"));
        // Sums of fractions depend on the order of addition.
        assert!((found - value).abs() <= value.abs() * 1e-9, "{query} {labels}: {found}: {value}");
    }
    for (labels, value) in found {
        assert!(expected.contains_key(labels) || *value == 0.0, "{query}: {labels} is {value}");
    }
}

/// Sends the runs, a phase, a duplicate and a malformed event.
async fn send(observer: &Observer, runs: &[String]) -> Traffic {
    for run in runs {
        assert_eq!(observer.post(run.clone()).await.status, 200);
    }
    assert_eq!(observer.post(runs[0].clone()).await.json()["status"], "duplicate");
    let mut phase: Value = serde_json::from_str(&runs[0]).unwrap();
    phase["event_kind"] = "started".into();
    for name in ["ok", "extra", "turns", "duration_ms"] {
        phase.as_object_mut().unwrap().remove(name);
    }
    assert_eq!(observer.post(phase.to_string()).await.status, 200);
    assert_eq!(observer.post("{").await.status, 400);
    Traffic { runs: runs.len() as f64, phases: 1.0, duplicates: 1.0, malformed: 1.0 }
}

/// Waits until Prometheus has scraped everything, and returns the time of a scrape.
async fn scraped(observer: &Observer, prometheus: &Prometheus, traffic: &Traffic) -> f64 {
    observer.wait_until_caught_up().await;
    let counted = format!(
        "timestamp(observer_build_info) and on () \
         (sum(observer_events_total) == {} and sum(observer_phases_total) == {}) and on () \
         sum(observer_sink_events_total{{result=\"delivered\"}}) == {}",
        traffic.runs,
        traffic.phases,
        3.0 * (traffic.runs + traffic.phases)
    );
    wait_until("Prometheus has every event", async || prometheus.value(&counted).await.is_some())
        .await;
    // The last scrape may have begun before the last event was counted elsewhere.
    let first = prometheus.value("timestamp(observer_build_info)").await.unwrap();
    let next = format!("timestamp(observer_build_info) > {first}");
    let mut time = None;
    wait_until("Prometheus scrapes again", async || {
        time = prometheus.value(&next).await;
        time.is_some()
    })
    .await;
    time.unwrap()
}

/// Asserts that the estimated quantile lies in the bucket where the 95 % of the durations end.
async fn assert_quantile(prometheus: &Prometheus, query: &str, found: &Series, totals: &RunTotals) {
    let (_, _, models) = sums(totals);
    let bounds = prometheus.query("count by (le) (observer_cycle_duration_seconds_bucket)").await;
    let bounds = bounds.keys().map(|labels| labels.split('"').nth(1).unwrap());
    let mut bounds: Vec<f64> = bounds.map(|bound| bound.parse().unwrap()).collect();
    bounds.sort_by(f64::total_cmp);
    assert_eq!(found.len(), models.len(), "{query}: {found:?}");
    for (model, sums) in models {
        let rank = 0.95 * sums.seconds.len() as f64;
        let within = |bound: &f64| {
            sums.seconds.iter().filter(|seconds| *seconds <= bound).count() as f64 >= rank
        };
        let upper = bounds.iter().position(within).unwrap();
        let lower = upper.checked_sub(1).map_or(0.0, |lower| bounds[lower]);
        let value = found[&format!(r#"{{model="{model}"}}"#)];
        assert!(lower <= value && value <= bounds[upper], "{query} {model}: {value}");
    }
}

/// Evaluates each query of each panel. Returns the series by dashboard and title.
async fn evaluate(prometheus: &Prometheus, time: f64) -> BTreeMap<(String, String), Vec<Series>> {
    let mut found = BTreeMap::new();
    for name in NAMES {
        let dashboard = dashboard(name);
        for panel in panels(&dashboard) {
            let title = panel["title"].as_str().unwrap().to_owned();
            let mut queries = Vec::new();
            for expression in expressions(panel) {
                let expression = fill(&dashboard, expression);
                queries.push(prometheus.query_at(&expression, time).await);
            }
            found.insert((name.to_owned(), title), queries);
        }
    }
    found
}

#[tokio::test]
async fn panels_show_the_numbers_of_the_runs() {
    if !is_installed("prometheus") {
        return;
    }
    let runs = agent_runs();
    let totals = RunTotals::of(&runs);
    let dir = tempfile::tempdir().unwrap();
    let prometheus =
        Prometheus::start_with_rules(dir.path(), Some(&example("rules").canonicalize().unwrap()))
            .await;
    let observer = Observer::start(dir.path(), &config(&totals));
    prometheus.scrape(&observer);
    wait_until("Prometheus has the series at zero", async || {
        prometheus.value("sum(observer_events_total)").await == Some(0.0)
    })
    .await;
    let traffic = send(&observer, &runs).await;
    let time = scraped(&observer, &prometheus, &traffic).await;

    let found = evaluate(&prometheus, time).await;
    let mut expected = BTreeMap::new();
    for (name, panels) in
        [("outcomes", outcomes(&totals, traffic.phases)), ("pipeline", pipeline(&traffic))]
    {
        for (title, queries) in panels {
            expected.insert((name.to_owned(), title.to_owned()), queries);
        }
    }
    for (panel, queries) in &found {
        let excused = EMPTY.iter().any(|(title, _)| panel.1 == *title);
        for (index, series) in queries.iter().enumerate() {
            let has_data = series.values().any(|value| value.is_finite());
            assert_ne!(has_data, excused, "{panel:?}, query {index}: {series:?}");
        }
    }
    for (panel, queries) in &expected {
        assert_eq!(found[panel].len(), queries.len(), "{panel:?}");
        for (index, (found, expected)) in found[panel].iter().zip(queries).enumerate() {
            if !expected.is_empty() {
                assert_series(&format!("{panel:?}, query {index}"), found, expected);
            }
        }
    }
    let models = &found[&("outcomes".to_owned(), "Models".to_owned())];
    assert_quantile(&prometheus, "Models", &models[5], &totals).await;
    let ages = &found[&("outcomes".to_owned(), "Sources".to_owned())][0];
    assert!(ages.values().all(|age| (0.0..120.0).contains(age)), "{ages:?}");
    assert_rules(&prometheus, &totals).await;
    draw(&prometheus, dir.path()).await;
}

/// Asserts that every rule is evaluated without an error, and that ratios are those of the runs.
async fn assert_rules(prometheus: &Prometheus, totals: &RunTotals) {
    let (_, sources, _) = sums(totals);
    let failures = sources.iter().map(|(name, sums)| {
        let labels = format!(r#"job_source:observer_failures:ratio1h{{source="{name}"}}"#);
        (labels, 1.0 - sums.ok / sums.count)
    });
    let failures: Series = failures.collect();
    wait_until("the rules have the last events", async || {
        let ratios = prometheus.query("job_source:observer_failures:ratio1h").await;
        ratios.len() == failures.len()
            && ratios.iter().all(|(labels, ratio)| (ratio - failures[labels]).abs() < 1e-9)
    })
    .await;
    wait_until("the limits have every source", async || {
        let limits = prometheus.query("job_source:observer_silence_limit:seconds").await;
        limits.len() == sources.len() && limits.values().all(|limit| *limit == 86400.0)
    })
    .await;
    let groups = prometheus.get("rules", &[]).await;
    let groups = groups["groups"].as_array().unwrap();
    assert_eq!(groups.len(), 4);
    for rule in groups.iter().flat_map(|group| group["rules"].as_array().unwrap()) {
        assert_eq!(rule["health"], "ok", "{rule}");
    }
}

/// Asserts that the pictures can be drawn from the same data.
async fn draw(prometheus: &Prometheus, dir: &std::path::Path) {
    if !has_packages("matplotlib") {
        return;
    }
    let output = dir.to_str().unwrap();
    let url = prometheus.url();
    let arguments = ["pictures/draw.py", "--prometheus", &url, "--range", "5m", "--output", output];
    run("python3", &arguments).await;
    for name in NAMES {
        let picture = std::fs::read(dir.join(format!("grafana-{name}.png"))).unwrap();
        assert!(picture.starts_with(b"\x89PNG") && picture.len() > 50_000, "{}", picture.len());
    }
}
