use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::number_data_point::Value;
use opentelemetry_proto::tonic::metrics::v1::{
    AggregationTemporality, HistogramDataPoint, Metric, NumberDataPoint,
};
use opentelemetry_sdk::error::{OTelSdkError, OTelSdkResult};
use opentelemetry_sdk::metrics::Temporality;
use opentelemetry_sdk::metrics::data::ResourceMetrics;
use prometheus::{CounterVec, GaugeVec, HistogramOpts, HistogramVec, Opts};

use super::*;

/// Exporter that keeps the exports in wire format, and fails the first `failures` exports.
#[derive(Debug, Clone, Default)]
struct Destination {
    exports: Arc<Mutex<Vec<ExportMetricsServiceRequest>>>,
    failures: Arc<Mutex<usize>>,
}

impl PushMetricExporter for Destination {
    async fn export(&self, metrics: &ResourceMetrics) -> OTelSdkResult {
        let mut failures = self.failures.lock().unwrap();
        if *failures > 0 {
            *failures -= 1;
            return Err(OTelSdkError::InternalFailure("not now".to_owned()));
        }
        self.exports.lock().unwrap().push(metrics.into());
        Ok(())
    }

    fn force_flush(&self) -> OTelSdkResult {
        Ok(())
    }

    fn shutdown_with_timeout(&self, _: Duration) -> OTelSdkResult {
        Ok(())
    }

    fn temporality(&self) -> Temporality {
        Temporality::Cumulative
    }
}

/// Registry with metrics like those of sinks, and the worker that exports them.
struct Fixture {
    registry: Registry,
    events: CounterVec,
    pending: GaugeVec,
    seconds: HistogramVec,
    destination: Destination,
    worker: Option<Worker>,
}

impl Fixture {
    fn new() -> Self {
        let registry = Registry::new();
        let events =
            CounterVec::new(Opts::new("events_total", "Events."), &["source", "ok"]).unwrap();
        let pending = GaugeVec::new(Opts::new("pending_bytes", "Bytes."), &["sink"]).unwrap();
        let seconds = HistogramOpts::new("cycle_seconds", "Seconds.").buckets(vec![0.1, 1.0, 10.0]);
        let seconds = HistogramVec::new(seconds, &["source"]).unwrap();
        registry.register(Box::new(events.clone())).unwrap();
        registry.register(Box::new(pending.clone())).unwrap();
        registry.register(Box::new(seconds.clone())).unwrap();
        Self {
            registry,
            events,
            pending,
            seconds,
            destination: Destination::default(),
            worker: None,
        }
    }

    fn count(&self, source: &str, events: f64) {
        self.events.with_label_values(&[source, "true"]).inc_by(events);
    }

    /// Records the current totals as the baseline and creates the worker.
    fn start(&mut self) {
        let export = Export::new(
            self.destination.clone(),
            Resource::builder_empty().build(),
            self.registry.clone(),
            NEVER,
        );
        self.worker = Some(Export { baselines: vec![self.registry.gather()], ..export }.worker());
    }

    /// Gathers and exports once. Returns the exported metrics, or `None` if the export fails.
    fn round(&mut self) -> Option<Vec<Metric>> {
        let worker = self.worker.as_mut().unwrap();
        worker.gather();
        worker.provider.force_flush().ok()?;
        let exports = self.destination.exports.lock().unwrap();
        Some(exports.last()?.resource_metrics[0].scope_metrics[0].metrics.clone())
    }
}

fn metric<'a>(metrics: &'a [Metric], name: &str) -> &'a Metric {
    metrics
        .iter()
        .find(|metric| metric.name == name)
        .unwrap_or_else(|| panic!("no {name} in {metrics:#?}"))
}

/// Returns the value of each series by its labels.
fn values(metric: &Metric) -> BTreeMap<String, f64> {
    let points = match metric.data.as_ref().unwrap() {
        Data::Sum(sum) => {
            assert!(sum.is_monotonic);
            assert_eq!(sum.aggregation_temporality(), AggregationTemporality::Cumulative);
            &sum.data_points
        }
        Data::Gauge(gauge) => &gauge.data_points,
        other => panic!("{other:?}"),
    };
    let value = |point: &NumberDataPoint| match point.value {
        Some(Value::AsDouble(value)) => value,
        other => panic!("{other:?}"),
    };
    points.iter().map(|point| (labels(&point.attributes), value(point))).collect()
}

fn labels(attributes: &[opentelemetry_proto::tonic::common::v1::KeyValue]) -> String {
    use opentelemetry_proto::tonic::common::v1::any_value::Value;
    let mut labels: Vec<_> = attributes
        .iter()
        .map(|pair| match pair.value.as_ref().unwrap().value.as_ref().unwrap() {
            Value::StringValue(value) => format!("{}={value}", pair.key),
            other => panic!("{other:?}"),
        })
        .collect();
    labels.sort();
    labels.join(",")
}

fn histogram(metric: &Metric) -> &HistogramDataPoint {
    match metric.data.as_ref().unwrap() {
        Data::Histogram(histogram) => {
            assert_eq!(histogram.aggregation_temporality(), AggregationTemporality::Cumulative);
            &histogram.data_points[0]
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn restored_totals_are_the_baseline() {
    let mut fixture = Fixture::new();
    fixture.count("bot", 1000.0);
    fixture.seconds.with_label_values(&["bot"]).observe(5.0);
    fixture.start();
    fixture.count("bot", 2.0);
    fixture.count("new", 3.0);
    fixture.seconds.with_label_values(&["bot"]).observe(0.5);
    let metrics = fixture.round().unwrap();
    let events = metric(&metrics, "events_total");
    assert_eq!(
        values(events),
        BTreeMap::from([("ok=true,source=bot".into(), 2.0), ("ok=true,source=new".into(), 3.0)])
    );
    assert_eq!((events.description.as_str(), events.unit.as_str()), ("Events.", ""));
    let seconds = metric(&metrics, "cycle_seconds");
    assert_eq!(seconds.unit, "s");
    let seconds = histogram(seconds);
    assert_eq!(
        (&*seconds.explicit_bounds, &*seconds.bucket_counts),
        (&[0.1, 1.0, 10.0][..], &[0, 1, 0, 0][..])
    );
    assert_eq!((seconds.count, seconds.sum), (1, Some(0.5)));
    assert_eq!((seconds.min, seconds.max), (None, None), "minimum and maximum are unknown");
}

#[test]
fn export_after_a_failure_is_complete_without_repetition() {
    let mut fixture = Fixture::new();
    fixture.start();
    *fixture.destination.failures.lock().unwrap() = 2;
    for round in 1..=3 {
        fixture.count("bot", 1.0);
        fixture.seconds.with_label_values(&["bot"]).observe(f64::from(round));
        assert_eq!(fixture.round().is_some(), round == 3);
    }
    let metrics = fixture.round().unwrap();
    assert_eq!(values(metric(&metrics, "events_total")).into_values().collect::<Vec<_>>(), [3.0]);
    let seconds = histogram(metric(&metrics, "cycle_seconds"));
    assert_eq!((seconds.count, &*seconds.bucket_counts), (3, &[0, 1, 2, 0][..]));
    assert!((seconds.sum.unwrap() - 6.0).abs() < 1e-9, "{seconds:?}");
}

#[test]
fn decreased_total_counts_as_reset() {
    let mut fixture = Fixture::new();
    fixture.count("bot", 100.0);
    fixture.seconds.with_label_values(&["bot"]).observe(20.0);
    fixture.start();
    fixture.count("bot", 5.0);
    fixture.round().unwrap();
    fixture.events.reset();
    fixture.seconds.reset();
    fixture.count("bot", 2.0);
    fixture.seconds.with_label_values(&["bot"]).observe(0.05);
    let metrics = fixture.round().unwrap();
    assert_eq!(values(metric(&metrics, "events_total"))["ok=true,source=bot"], 7.0);
    assert_eq!(histogram(metric(&metrics, "cycle_seconds")).bucket_counts, [1, 0, 0, 0]);
}

#[test]
fn removed_series_is_not_exported_and_continues_after_its_return() {
    let mut fixture = Fixture::new();
    fixture.start();
    fixture.pending.with_label_values(&["a"]).set(7.0);
    fixture.pending.with_label_values(&["b"]).set(8.0);
    fixture.count("bot", 5.0);
    let metrics = fixture.round().unwrap();
    let pending = metric(&metrics, "pending_bytes");
    assert_eq!((values(pending).len(), pending.unit.as_str()), (2, "By"));
    fixture.pending.remove_label_values(&["a"]).unwrap();
    fixture.registry.unregister(Box::new(fixture.events.clone())).unwrap();
    let metrics = fixture.round().unwrap();
    assert_eq!(values(metric(&metrics, "pending_bytes")), BTreeMap::from([("sink=b".into(), 8.0)]));
    assert!(metrics.iter().all(|metric| metric.name != "events_total"), "{metrics:?}");
    fixture.registry.register(Box::new(fixture.events.clone())).unwrap();
    fixture.count("bot", 1.0);
    assert_eq!(
        values(metric(&fixture.round().unwrap(), "events_total"))["ok=true,source=bot"],
        6.0
    );
}

#[test]
fn many_series_are_not_aggregated() {
    let mut fixture = Fixture::new();
    fixture.start();
    for source in 0..3000 {
        fixture.count(&format!("source-{source}"), 1.0);
        fixture.seconds.with_label_values(&[&format!("source-{source}")]).observe(1.0);
    }
    let metrics = fixture.round().unwrap();
    assert_eq!(values(metric(&metrics, "events_total")).len(), 3000);
    let Some(Data::Histogram(seconds)) = &metric(&metrics, "cycle_seconds").data else {
        panic!("no histogram")
    };
    assert_eq!(seconds.data_points.len(), 3000);
}

#[test]
fn metrics_of_the_last_gathering_are_exported_at_the_end() {
    let fixture = Fixture::new();
    let export = Export::new(
        fixture.destination.clone(),
        Resource::builder_empty().build(),
        fixture.registry.clone(),
        NEVER,
    );
    let exporting = export.start().unwrap();
    fixture.count("bot", 4.0);
    let exporting = exporting.gather();
    fixture.registry.unregister(Box::new(fixture.events.clone())).unwrap();
    exporting.finish();
    let exports = fixture.destination.exports.lock().unwrap();
    let metrics = &exports[0].resource_metrics[0].scope_metrics[0].metrics;
    assert_eq!(
        (exports.len(), values(metric(metrics, "events_total"))["ok=true,source=bot"]),
        (1, 4.0)
    );
}
