//! The observer's own metrics, spans and log at a third-party collector.

use std::collections::BTreeMap;

use serde_json::Value;

use super::collectors::TestAgent;
use super::protobuf_json::pairs;
use crate::support::run_totals::RunTotals;
use crate::support::{DEFAULTS, Observer, agent_runs, is_installed, wait_until};

/// Returns the items of requests, without their resources and scopes.
fn items(requests: &[Value], names: [&str; 3]) -> Vec<Value> {
    let within = |parents: Vec<Value>, name: &str| -> Vec<Value> {
        parents
            .iter()
            .flat_map(|parents| parents[name].as_array().cloned().unwrap_or_default())
            .collect()
    };
    names.into_iter().fold(requests.to_vec(), within)
}

/// Returns the series of an export that are not zero, in the notation of `/metrics`, and the bounds
/// of the cycle histogram.
fn series(export: &Value) -> (BTreeMap<String, f64>, Vec<String>) {
    let (mut series, mut bounds) = (BTreeMap::new(), Vec::new());
    for metric in
        items(std::slice::from_ref(export), ["resource_metrics", "scope_metrics", "metrics"])
    {
        let name = metric["name"].as_str().unwrap();
        for point in metric["sum"]["data_points"].as_array().into_iter().flatten() {
            assert_eq!(
                metric["sum"]["aggregation_temporality"], "AGGREGATION_TEMPORALITY_CUMULATIVE",
                "{name}"
            );
            series.insert(
                format!("{name}{{{}}}", labels(point, None)),
                point["as_double"].as_f64().unwrap_or(0.0),
            );
        }
        for point in metric["histogram"]["data_points"].as_array().into_iter().flatten() {
            let number = |value: &Value| {
                value.as_str().map_or_else(|| value.as_f64().unwrap(), |text| text.parse().unwrap())
            };
            let mut within = 0.0;
            let ends = point["explicit_bounds"]
                .as_array()
                .unwrap()
                .iter()
                .map(|bound| number(bound).to_string());
            let ends: Vec<_> = ends.chain(["+Inf".to_owned()]).collect();
            for (end, count) in ends.iter().zip(point["bucket_counts"].as_array().unwrap()) {
                within += number(count);
                series.insert(format!("{name}_bucket{{{}}}", labels(point, Some(end))), within);
            }
            series.insert(
                format!("{name}_count{{{}}}", labels(point, None)),
                number(&point["count"]),
            );
            series.insert(format!("{name}_sum{{{}}}", labels(point, None)), number(&point["sum"]));
            if name == "observer_cycle_duration_seconds" {
                bounds = ends;
            }
        }
    }
    series.retain(|_, value| *value != 0.0);
    (series, bounds)
}

fn labels(point: &Value, le: Option<&str>) -> String {
    let none = Value::Array(Vec::new());
    let labels = pairs(point.get("attributes").unwrap_or(&none));
    let mut labels: BTreeMap<_, _> = labels
        .as_object()
        .unwrap()
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str().unwrap()))
        .collect();
    labels.extend(le.map(|le| ("le", le)));
    labels.iter().map(|(name, value)| format!("{name}=\"{value}\"")).collect::<Vec<_>>().join(",")
}

/// Posts the agent runs and asserts the metrics, spans and log at the test agent.
async fn assert_exports(settings: impl Fn(&TestAgent) -> String) {
    if !is_installed(TestAgent::PROGRAM) {
        return;
    }
    let (dir, runs) = (tempfile::tempdir().unwrap(), agent_runs());
    let agent = TestAgent::start(dir.path()).await;
    let observer = Observer::start(
        dir.path(),
        &format!("{DEFAULTS}[telemetry]\n{}\ninterval = \"200ms\"\n", settings(&agent)),
    );
    for run in &runs {
        assert_eq!(observer.post(run.clone()).await.status, 200);
    }
    let totals = RunTotals::of(&runs);
    let mut last = Value::Null;
    wait_until("the agent has every event", async || {
        last = agent.requests("metrics").await.into_iter().next().unwrap_or_default();
        let events = |(name, count): (String, f64)| {
            name.starts_with("observer_events_total").then_some(count)
        };
        series(&last).0.into_iter().filter_map(events).sum::<f64>() >= totals.total() as f64
    })
    .await;
    let (mut found, bounds) = series(&last);
    let bounds: Vec<_> = bounds.iter().map(String::as_str).collect();
    let expected = totals.series(&bounds);
    assert!(expected.len() > bounds.len());
    found.retain(|name, _| {
        expected.keys().any(|known| known.split('{').next() == name.split('{').next())
    });
    assert_eq!(found.keys().collect::<Vec<_>>(), expected.keys().collect::<Vec<_>>());
    for (name, value) in &expected {
        // Sums of fractions depend on the order of addition, counts don't.
        let is_fraction = name.contains("_cost_") || name.contains("_seconds_sum");
        let tolerance = if is_fraction { value * 1e-9 } else { 0.0 };
        assert!(
            (found[name] - value).abs() <= tolerance,
            "{name}: {} instead of {value}",
            found[name]
        );
    }
    let (status, _) = observer.terminate();
    assert!(status.success());
    let spans = items(&agent.requests("traces").await, ["resource_spans", "scope_spans", "spans"]);
    let named = |name: &str| spans.iter().filter(|span| span["name"] == name).count();
    assert_eq!((named("POST /event"), named("commit")), (runs.len(), runs.len()));
    assert!(named("batch archive") > 0 && named("deliver") > 0 && named("flush") > 0);
    let records =
        items(&agent.requests("logs").await, ["resource_logs", "scope_logs", "log_records"]);
    let logged = |text: &str| {
        records.iter().any(|record| {
            record["body"]["string_value"].as_str().is_some_and(|body| body.starts_with(text))
        })
    };
    assert!(logged("the observer is ready"), "{records:#?}");
}

#[tokio::test]
async fn test_agent_receives_the_metrics_of_the_runs_over_grpc() {
    assert_exports(TestAgent::grpc).await;
}

#[tokio::test]
async fn test_agent_receives_the_metrics_of_the_runs_over_http() {
    assert_exports(TestAgent::http).await;
}
