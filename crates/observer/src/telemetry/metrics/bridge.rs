//! Bridge from the metrics of `/metrics` to instruments of OpenTelemetry.
//!
//! The SDK exports every point with the start time of the process, but the totals of Prometheus
//! include values restored from earlier processes. A back-end that computes increases would count
//! these again after each restart. Therefore the restored totals are the baseline, and only the
//! difference is exported. A total that decreases has been reset.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use opentelemetry::KeyValue;
use opentelemetry::metrics::{
    AsyncInstrument, Histogram, Meter, ObservableCounter, ObservableGauge,
};
use opentelemetry_sdk::metrics::{Aggregation, Instrument, InstrumentKind, Stream};
use prometheus::proto::{self, Metric, MetricFamily, MetricType};

use super::spread::{Values, spread};
use crate::telemetry::lock::lock;

/// Number of series per metric above which the SDK aggregates them. The sources of the series have
/// their own limits, such as `limits` of a sink.
const MAX_SERIES: usize = 50_000;

/// Labels of a series, in the order of the registry.
type Labels = Vec<KeyValue>;

/// Bucket bounds by histogram, for the view that the SDK applies when an instrument is created.
#[derive(Debug, Clone, Default)]
pub(super) struct Bounds(Arc<Mutex<HashMap<String, Vec<f64>>>>);

/// Instruments that mirror the metrics of a registry.
pub(super) struct Bridge {
    meter: Meter,
    bounds: Bounds,
    families: HashMap<String, Family>,
}

/// Metric with its instrument.
enum Family {
    Counter {
        instrument: Observed<ObservableCounter<f64>>,
        series: HashMap<Labels, Total>,
    },
    Gauge(Observed<ObservableGauge<f64>>),
    Histogram {
        instrument: Histogram<f64>,
        bounds: Vec<f64>,
        series: HashMap<Labels, Distribution>,
    },
}

/// Observable instrument with the values that its callback reports. A series that is removed from
/// the registry is no longer reported.
struct Observed<I> {
    values: ObservedValues,
    _instrument: I,
}

#[derive(Clone, Default)]
struct ObservedValues(Arc<Mutex<Vec<(Labels, f64)>>>);

/// Series of a counter.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
struct Total {
    /// Total that is excluded from the export.
    baseline: f64,
    last: f64,
    /// Increase before the last reset.
    before_reset: f64,
}

/// Series of a histogram.
#[derive(Debug, Clone, Default)]
struct Distribution {
    last: Vec<u64>,
    last_sum: f64,
    /// Increase of the sum since the baseline.
    due: f64,
    /// Sum of the recorded values. A later round compensates the difference to `due`.
    recorded: f64,
}

/// Treatment of the total of a new series.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NewSeries {
    /// The total is the baseline.
    Restored,
    /// The total is exported.
    Counted,
}

impl Bounds {
    /// Returns the aggregation of an instrument.
    pub(super) fn view(&self, instrument: &Instrument) -> Option<Stream> {
        let stream = Stream::builder().with_cardinality_limit(MAX_SERIES);
        let stream = match instrument.kind() {
            InstrumentKind::Histogram => {
                let boundaries = lock(&self.0).get(instrument.name()).cloned().unwrap_or_default();
                // Minimum and maximum are unknown, since the recorded values are synthetic.
                stream.with_aggregation(Aggregation::ExplicitBucketHistogram {
                    boundaries,
                    record_min_max: false,
                })
            }
            _ => stream,
        };
        stream.build().ok()
    }
}

impl Bridge {
    pub(super) fn new(meter: Meter, bounds: Bounds) -> Self {
        Self { meter, bounds, families: HashMap::new() }
    }

    /// Updates the instruments with the metrics of a registry.
    pub(super) fn update(&mut self, families: &[MetricFamily], new: NewSeries) {
        for family in self.families.values() {
            match family {
                Family::Counter { instrument, .. } => lock(&instrument.values.0).clear(),
                Family::Gauge(instrument) => lock(&instrument.values.0).clear(),
                Family::Histogram { .. } => {}
            }
        }
        for family in families {
            if !self.families.contains_key(family.name()) {
                let Some(new_family) = self.create(family) else { continue };
                self.families.insert(family.name().to_owned(), new_family);
            }
            if let Some(known) = self.families.get_mut(family.name()) {
                known.update(family.get_metric(), new);
            }
        }
    }

    /// Creates the instrument of a metric, or returns `None` for summaries and untyped metrics.
    fn create(&self, family: &MetricFamily) -> Option<Family> {
        let (name, help, unit) =
            (family.name().to_owned(), family.help().to_owned(), unit(family.name()));
        let values = ObservedValues::default();
        let observed = values.clone();
        let observe = move |instrument: &dyn AsyncInstrument<f64>| {
            lock(&observed.0).iter().for_each(|(labels, value)| instrument.observe(*value, labels));
        };
        Some(match family.get_field_type() {
            MetricType::COUNTER => {
                let builder =
                    self.meter.f64_observable_counter(name).with_description(help).with_unit(unit);
                let instrument =
                    Observed { values, _instrument: builder.with_callback(observe).build() };
                Family::Counter { instrument, series: HashMap::new() }
            }
            MetricType::GAUGE => {
                let builder =
                    self.meter.f64_observable_gauge(name).with_description(help).with_unit(unit);
                Family::Gauge(Observed {
                    values,
                    _instrument: builder.with_callback(observe).build(),
                })
            }
            MetricType::HISTOGRAM => {
                let bounds = bounds(family.get_metric().first()?.get_histogram());
                lock(&self.bounds.0).insert(name.clone(), bounds.clone());
                let instrument =
                    self.meter.f64_histogram(name).with_description(help).with_unit(unit).build();
                Family::Histogram { instrument, bounds, series: HashMap::new() }
            }
            MetricType::SUMMARY | MetricType::UNTYPED => return None,
        })
    }
}

impl Family {
    fn update(&mut self, metrics: &[Metric], new: NewSeries) {
        match self {
            Self::Gauge(instrument) => {
                let gauges =
                    metrics.iter().map(|metric| (labels(metric), metric.get_gauge().get_value()));
                lock(&instrument.values.0).extend(gauges);
            }
            Self::Counter { instrument, series } => {
                let counted = metrics.iter().map(|metric| {
                    let (labels, value) = (labels(metric), metric.get_counter().get_value());
                    let total =
                        series.entry(labels.clone()).or_insert_with(|| Total::new(value, new));
                    total.update(value);
                    (labels, total.exported())
                });
                lock(&instrument.values.0).extend(counted);
            }
            Self::Histogram { instrument, bounds, series } => {
                for metric in metrics {
                    let (labels, histogram) = (labels(metric), metric.get_histogram());
                    let (counts, sum) = (counts(histogram, bounds), histogram.get_sample_sum());
                    let is_known = series.contains_key(&labels);
                    let distribution = series.entry(labels.clone()).or_default();
                    if is_known || new == NewSeries::Counted {
                        for Values { value, times } in distribution.take(bounds, counts, sum) {
                            (0..times).for_each(|_| instrument.record(value, &labels));
                        }
                    } else {
                        (distribution.last, distribution.last_sum) = (counts, sum);
                    }
                }
            }
        }
    }
}

impl Total {
    fn new(value: f64, new: NewSeries) -> Self {
        let baseline = if new == NewSeries::Restored { value } else { 0.0 };
        Self { baseline, last: baseline, before_reset: 0.0 }
    }

    fn update(&mut self, value: f64) {
        if value < self.last {
            self.before_reset += self.last - self.baseline;
            self.baseline = 0.0;
        }
        self.last = value;
    }

    fn exported(&self) -> f64 {
        self.before_reset + (self.last - self.baseline)
    }
}

impl Distribution {
    /// Returns the values to record for the new observations.
    fn take(&mut self, bounds: &[f64], counts: Vec<u64>, sum: f64) -> Vec<Values> {
        self.last.resize(counts.len(), 0);
        if counts.iter().zip(&self.last).any(|(now, last)| now < last) {
            self.last.fill(0);
            self.last_sum = 0.0;
        }
        let new: Vec<_> = counts.iter().zip(&self.last).map(|(now, last)| now - last).collect();
        self.due += sum - self.last_sum;
        (self.last, self.last_sum) = (counts, sum);
        let values = spread(bounds, &new, self.due - self.recorded);
        // The SDK adds values one by one; the same order gives the same rounding.
        for Values { value, times } in &values {
            (0..*times).for_each(|_| self.recorded += value);
        }
        values
    }
}

fn labels(metric: &Metric) -> Labels {
    let pairs = metric.get_label().iter();
    pairs.map(|pair| KeyValue::new(pair.name().to_owned(), pair.value().to_owned())).collect()
}

fn bounds(histogram: &proto::Histogram) -> Vec<f64> {
    histogram
        .get_bucket()
        .iter()
        .map(proto::Bucket::upper_bound)
        .filter(|bound| bound.is_finite())
        .collect()
}

/// Returns the count of each bucket, with the unbounded one last.
fn counts(histogram: &proto::Histogram, bounds: &[f64]) -> Vec<u64> {
    let cumulative =
        histogram.get_bucket().iter().take(bounds.len()).map(proto::Bucket::cumulative_count);
    let mut before = 0;
    let all = cumulative.chain([histogram.get_sample_count()]);
    all.map(|count| count.saturating_sub(std::mem::replace(&mut before, count))).collect()
}

/// Returns the unit (<https://ucum.org>) that the suffix of a Prometheus name states.
fn unit(name: &str) -> &'static str {
    let name = name.strip_suffix("_total").unwrap_or(name);
    if name.ends_with("_seconds") {
        "s"
    } else if name.ends_with("_bytes") {
        "By"
    } else {
        ""
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unit_follows_from_the_suffix_of_the_name() {
        let check = |name: &str, expected: &str| assert_eq!(unit(name), expected, "{name}");
        check("observer_request_duration_seconds", "s");
        check("process_cpu_seconds_total", "s");
        check("observer_journal_bytes", "By");
        check("observer_events_total", "");
        check("process_open_fds", "");
    }

    #[test]
    fn reset_counter_keeps_its_earlier_increase() {
        let mut total = Total::new(10.0, NewSeries::Restored);
        for (value, expected) in [(10.0, 0.0), (12.0, 2.0), (3.0, 5.0), (3.0, 5.0), (1.0, 6.0)] {
            total.update(value);
            assert_eq!(total.exported(), expected, "{value}");
        }
        assert_eq!(Total::new(10.0, NewSeries::Counted).exported(), 0.0);
    }
}
