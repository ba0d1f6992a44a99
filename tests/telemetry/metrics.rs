//! Exported metrics, through restarts and failures of the collector.

use std::collections::BTreeMap;

use observer_testing::http::{HttpReceiver, Reply};
use opentelemetry_proto::tonic::metrics::v1::Metric;
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::number_data_point::Value;

use super::wire::{attributes, metrics};
use super::{config, event};
use crate::support::{Observer, wait_until};

/// Returns counters and gauges in the notation of Prometheus.
fn series(metrics: &[Metric]) -> BTreeMap<String, f64> {
    let mut series = BTreeMap::new();
    for metric in metrics {
        let points = match metric.data.as_ref().unwrap() {
            Data::Sum(sum) => &sum.data_points,
            Data::Gauge(gauge) => &gauge.data_points,
            _ => continue,
        };
        for point in points {
            let labels = attributes(&point.attributes);
            let labels: Vec<_> =
                labels.iter().map(|(name, value)| format!("{name}={value:?}")).collect();
            let Some(Value::AsDouble(value)) = point.value else { panic!("{point:?}") };
            series.insert(format!("{}{{{}}}", metric.name, labels.join(",")), value);
        }
    }
    series
}

const EVENTS: &str = r#"observer_events_total{event_kind="ok",ok="true",source="job"}"#;
const DELIVERED: &str = r#"observer_sink_events_total{result="delivered",sink="archive"}"#;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn restart_repeats_no_count_and_graceful_shutdown_loses_none() {
    let (dir, collector) = (tempfile::tempdir().unwrap(), HttpReceiver::start());
    let telemetry = config(&format!(
        "endpoint = '{}'\nsignals = ['metrics']\ninterval = '1h'",
        collector.url("")
    ));
    for (run, count) in [3, 2].into_iter().enumerate() {
        let observer = Observer::start(dir.path(), &telemetry);
        for number in 0..count {
            observer.post(event(run * 10 + number)).await;
        }
        let (status, log) = observer.terminate();
        assert!(status.success(), "{log:?}");
        let exports = metrics(&collector);
        assert_eq!(exports.len(), run + 1, "one export at the end of each run");
        let series = series(&exports[run]);
        assert_eq!(
            (series[EVENTS], series[DELIVERED]),
            (count as f64, count as f64),
            "{series:#?}"
        );
        let seconds = exports[run]
            .iter()
            .find(|metric| metric.name == "observer_cycle_duration_seconds")
            .unwrap();
        let Some(Data::Histogram(seconds)) = &seconds.data else { panic!("{seconds:?}") };
        let point = &seconds.data_points[0];
        assert_eq!(
            (point.count, point.explicit_bounds.len() + 1),
            (count as u64, point.bucket_counts.len())
        );
        assert!((point.sum.unwrap() - 1.5 * count as f64).abs() < 1e-9, "{point:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn exported_metrics_have_the_names_and_types_of_prometheus() {
    let (dir, collector) = (tempfile::tempdir().unwrap(), HttpReceiver::start());
    let telemetry = config(&format!(
        "endpoint = '{}'\nsignals = ['metrics']\ninterval = '20ms'",
        collector.url("")
    ));
    let observer = Observer::start(dir.path(), &telemetry);
    observer.post(event(1)).await;
    wait_until("the event is exported", async || {
        metrics(&collector).last().is_some_and(|metrics| series(metrics).get(EVENTS) == Some(&1.0))
    })
    .await;
    let shown = observer.get("/metrics").await.text;
    let last = metrics(&collector).pop().unwrap();
    for line in shown.lines().filter_map(|line| line.strip_prefix("# TYPE ")) {
        let (name, kind) = line.split_once(' ').unwrap();
        let metric = last.iter().find(|metric| metric.name == name);
        let sent = metric.map(|metric| match metric.data.as_ref().unwrap() {
            Data::Sum(sum) if sum.is_monotonic => "counter",
            Data::Gauge(_) => "gauge",
            Data::Histogram(_) => "histogram",
            other => panic!("{other:?}"),
        });
        assert_eq!(sent, Some(kind), "{name}");
    }
    let help =
        shown.lines().find_map(|line| line.strip_prefix("# HELP observer_events_total ")).unwrap();
    assert_eq!(
        last.iter().find(|metric| metric.name == "observer_events_total").unwrap().description,
        help
    );
    assert!(
        last.iter().any(|metric| metric.name == "process_cpu_seconds_total" && metric.unit == "s")
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn collector_that_fails_first_receives_every_count_once() {
    let (dir, collector) = (
        tempfile::tempdir().unwrap(),
        HttpReceiver::scripted([Reply::status(400), Reply::status(503)]),
    );
    let telemetry = config(&format!(
        "endpoint = '{}'\nsignals = ['metrics']\ninterval = '50ms'",
        collector.url("")
    ));
    let mut observer = Observer::start(dir.path(), &telemetry);
    for number in 0..5 {
        observer.post(event(number)).await;
    }
    let failed =
        observer.wait_for_log("the export of telemetry fails; items are lost after a few retries");
    assert!(
        failed["reason"].as_str().unwrap().contains("responded with 400 Bad Request"),
        "{failed}"
    );
    observer.wait_for_log("the export of telemetry has recovered");
    observer.wait_until_caught_up().await;
    let (status, _) = observer.terminate();
    assert!(status.success());
    assert_eq!(series(metrics(&collector).last().unwrap())[EVENTS], 5.0);
}
