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

/// What went out, each export as it would be on the wire; the first ones fail if they are to.
#[derive(Debug, Clone, Default)]
struct FarSide {
    exports: Arc<Mutex<Vec<ExportMetricsServiceRequest>>>,
    failures: Arc<Mutex<usize>>,
}

impl PushMetricExporter for FarSide {
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

/// Metrics as sinks have them, and the bridge from them.
struct World {
    registry: Registry,
    events: CounterVec,
    pending: GaugeVec,
    seconds: HistogramVec,
    far_side: FarSide,
    gathering: Option<Gathering>,
}

impl World {
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
        Self { registry, events, pending, seconds, far_side: FarSide::default(), gathering: None }
    }

    fn count(&self, source: &str, events: f64) {
        self.events.with_label_values(&[source, "true"]).inc_by(events);
    }

    /// What is there was there before.
    fn begin(&mut self) {
        let export = Export::new(
            self.far_side.clone(),
            Resource::builder_empty().build(),
            self.registry.clone(),
            NEVER,
        );
        self.gathering =
            Some(Export { restored: vec![self.registry.gather()], ..export }.gathering());
    }

    /// One round; what went out in it, if it did.
    fn round(&mut self) -> Option<Vec<Metric>> {
        let gathering = self.gathering.as_mut().unwrap();
        gathering.gather();
        gathering.provider.force_flush().ok()?;
        let exports = self.far_side.exports.lock().unwrap();
        Some(exports.last()?.resource_metrics[0].scope_metrics[0].metrics.clone())
    }
}

fn metric<'a>(metrics: &'a [Metric], name: &str) -> &'a Metric {
    metrics
        .iter()
        .find(|metric| metric.name == name)
        .unwrap_or_else(|| panic!("no {name} in {metrics:#?}"))
}

/// Each series by its labels.
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
fn what_was_restored_is_where_counting_begins() {
    let mut world = World::new();
    world.count("bot", 1000.0);
    world.seconds.with_label_values(&["bot"]).observe(5.0);
    world.begin();
    world.count("bot", 2.0);
    world.count("new", 3.0);
    world.seconds.with_label_values(&["bot"]).observe(0.5);
    let metrics = world.round().unwrap();
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
    assert_eq!((seconds.min, seconds.max), (None, None), "nobody knows them");
}

#[test]
fn an_export_that_fails_repeats_nothing_and_the_next_one_has_all() {
    let mut world = World::new();
    world.begin();
    *world.far_side.failures.lock().unwrap() = 2;
    for round in 1..=3 {
        world.count("bot", 1.0);
        world.seconds.with_label_values(&["bot"]).observe(f64::from(round));
        assert_eq!(world.round().is_some(), round == 3);
    }
    let metrics = world.round().unwrap();
    assert_eq!(values(metric(&metrics, "events_total")).into_values().collect::<Vec<_>>(), [3.0]);
    let seconds = histogram(metric(&metrics, "cycle_seconds"));
    assert_eq!((seconds.count, &*seconds.bucket_counts), (3, &[0, 1, 2, 0][..]));
    assert!((seconds.sum.unwrap() - 6.0).abs() < 1e-9, "{seconds:?}");
}

#[test]
fn a_total_that_drops_has_begun_anew() {
    let mut world = World::new();
    world.count("bot", 100.0);
    world.seconds.with_label_values(&["bot"]).observe(20.0);
    world.begin();
    world.count("bot", 5.0);
    world.round().unwrap();
    world.events.reset();
    world.seconds.reset();
    world.count("bot", 2.0);
    world.seconds.with_label_values(&["bot"]).observe(0.05);
    let metrics = world.round().unwrap();
    assert_eq!(values(metric(&metrics, "events_total"))["ok=true,source=bot"], 7.0);
    assert_eq!(histogram(metric(&metrics, "cycle_seconds")).bucket_counts, [1, 0, 0, 0]);
}

#[test]
fn a_series_that_is_gone_goes_out_no_more_and_goes_on_where_it_was_when_it_is_back() {
    let mut world = World::new();
    world.begin();
    world.pending.with_label_values(&["a"]).set(7.0);
    world.pending.with_label_values(&["b"]).set(8.0);
    world.count("bot", 5.0);
    let metrics = world.round().unwrap();
    let pending = metric(&metrics, "pending_bytes");
    assert_eq!((values(pending).len(), pending.unit.as_str()), (2, "By"));
    world.pending.remove_label_values(&["a"]).unwrap();
    world.registry.unregister(Box::new(world.events.clone())).unwrap();
    let metrics = world.round().unwrap();
    assert_eq!(values(metric(&metrics, "pending_bytes")), BTreeMap::from([("sink=b".into(), 8.0)]));
    assert!(metrics.iter().all(|metric| metric.name != "events_total"), "{metrics:?}");
    world.registry.register(Box::new(world.events.clone())).unwrap();
    world.count("bot", 1.0);
    assert_eq!(values(metric(&world.round().unwrap(), "events_total"))["ok=true,source=bot"], 6.0);
}

#[test]
fn many_series_are_not_folded_into_one() {
    let mut world = World::new();
    world.begin();
    for source in 0..3000 {
        world.count(&format!("source-{source}"), 1.0);
        world.seconds.with_label_values(&[&format!("source-{source}")]).observe(1.0);
    }
    let metrics = world.round().unwrap();
    assert_eq!(values(metric(&metrics, "events_total")).len(), 3000);
    let Some(Data::Histogram(seconds)) = &metric(&metrics, "cycle_seconds").data else {
        panic!("no histogram")
    };
    assert_eq!(seconds.data_points.len(), 3000);
}

#[test]
fn what_was_there_at_the_last_look_goes_out_at_the_end() {
    let world = World::new();
    let export = Export::new(
        world.far_side.clone(),
        Resource::builder_empty().build(),
        world.registry.clone(),
        NEVER,
    );
    let exporting = export.start().unwrap();
    world.count("bot", 4.0);
    let exporting = exporting.look();
    world.registry.unregister(Box::new(world.events.clone())).unwrap();
    exporting.finish();
    let exports = world.far_side.exports.lock().unwrap();
    let metrics = &exports[0].resource_metrics[0].scope_metrics[0].metrics;
    assert_eq!(
        (exports.len(), values(metric(metrics, "events_total"))["ok=true,source=bot"]),
        (1, 4.0)
    );
}
