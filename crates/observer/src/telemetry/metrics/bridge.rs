//! From what `/metrics` shows to OpenTelemetry's instruments.
//!
//! The SDK says of every point that it counts since the process began, and what Prometheus shows
//! are totals from before, which were restored. Sent as they are, whoever makes increases of them
//! would count all again at each restart. So what is there at the start is where counting begins,
//! and only what comes on top goes out; a total that drops has begun anew.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};

use opentelemetry::KeyValue;
use opentelemetry::metrics::{
    AsyncInstrument, Histogram, Meter, ObservableCounter, ObservableGauge,
};
use opentelemetry_sdk::metrics::{Aggregation, Instrument, InstrumentKind, Stream};
use prometheus::proto::{self, Metric, MetricFamily, MetricType};

use super::spread::{Values, spread};

/// Where the SDK would begin to fold series together. Those who make them keep to limits of their
/// own, `limits` of a sink among them.
const MAX_SERIES: usize = 50_000;

/// A series' labels, in the order that the registry gives them.
type Labels = Vec<KeyValue>;

/// The bounds of each histogram, for the views that the SDK asks when an instrument is made.
#[derive(Debug, Clone, Default)]
pub(super) struct Bounds(Arc<Mutex<HashMap<String, Vec<f64>>>>);

pub(super) struct Bridge {
    meter: Meter,
    bounds: Bounds,
    families: HashMap<String, Family>,
}

/// A metric, with the instrument that stands for it.
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

/// What the SDK asks for when it collects: what isn't there any more doesn't go out any more.
struct Observed<I> {
    shown: Shown,
    _instrument: I,
}

#[derive(Clone, Default)]
struct Shown(Arc<Mutex<Vec<(Labels, f64)>>>);

/// A counter's series.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
struct Total {
    /// What was there when counting began.
    origin: f64,
    last: f64,
    /// What was counted before the last time that it began anew.
    before: f64,
}

/// A histogram's series.
#[derive(Debug, Clone, Default)]
struct Distribution {
    last: Vec<u64>,
    last_sum: f64,
    /// What the sum has to come to, and what the values that were given add up to: what one round
    /// can't bring in, the next one may.
    due: f64,
    given: f64,
}

/// How a series is taken that was not there before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unknown {
    /// Its total is where counting begins.
    Restored,
    /// All of its total is new.
    New,
}

impl Bounds {
    /// How the SDK is to keep an instrument's series.
    pub(super) fn view(&self, instrument: &Instrument) -> Option<Stream> {
        let stream = Stream::builder().with_cardinality_limit(MAX_SERIES);
        let stream = match instrument.kind() {
            InstrumentKind::Histogram => {
                let boundaries = self.lock().get(instrument.name()).cloned().unwrap_or_default();
                // The least and the greatest value would be made up.
                stream.with_aggregation(Aggregation::ExplicitBucketHistogram {
                    boundaries,
                    record_min_max: false,
                })
            }
            _ => stream,
        };
        stream.build().ok()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Vec<f64>>> {
        self.0.lock().expect("nothing panics while it holds the bounds")
    }
}

impl Bridge {
    pub(super) fn new(meter: Meter, bounds: Bounds) -> Self {
        Self { meter, bounds, families: HashMap::new() }
    }

    /// Have the instruments show what the registry gave.
    pub(super) fn take(&mut self, families: &[MetricFamily], unknown: Unknown) {
        for family in self.families.values() {
            match family {
                Family::Counter { instrument, .. } => instrument.shown.lock().clear(),
                Family::Gauge(instrument) => instrument.shown.lock().clear(),
                Family::Histogram { .. } => {}
            }
        }
        for family in families {
            if !self.families.contains_key(family.name()) {
                let Some(made) = self.make(family) else { continue };
                self.families.insert(family.name().to_owned(), made);
            }
            if let Some(known) = self.families.get_mut(family.name()) {
                known.take(family.get_metric(), unknown);
            }
        }
    }

    /// `None` for what nobody here exports: summaries and what has no type.
    fn make(&self, family: &MetricFamily) -> Option<Family> {
        let (name, help, unit) =
            (family.name().to_owned(), family.help().to_owned(), unit(family.name()));
        let shown = Shown::default();
        let callback = shown.clone();
        let observe = move |instrument: &dyn AsyncInstrument<f64>| {
            callback.lock().iter().for_each(|(labels, value)| instrument.observe(*value, labels));
        };
        Some(match family.get_field_type() {
            MetricType::COUNTER => {
                let builder =
                    self.meter.f64_observable_counter(name).with_description(help).with_unit(unit);
                let instrument =
                    Observed { shown, _instrument: builder.with_callback(observe).build() };
                Family::Counter { instrument, series: HashMap::new() }
            }
            MetricType::GAUGE => {
                let builder =
                    self.meter.f64_observable_gauge(name).with_description(help).with_unit(unit);
                Family::Gauge(Observed {
                    shown,
                    _instrument: builder.with_callback(observe).build(),
                })
            }
            MetricType::HISTOGRAM => {
                let bounds = bounds(family.get_metric().first()?.get_histogram());
                self.bounds.lock().insert(name.clone(), bounds.clone());
                let instrument =
                    self.meter.f64_histogram(name).with_description(help).with_unit(unit).build();
                Family::Histogram { instrument, bounds, series: HashMap::new() }
            }
            MetricType::SUMMARY | MetricType::UNTYPED => return None,
        })
    }
}

impl Family {
    fn take(&mut self, metrics: &[Metric], unknown: Unknown) {
        match self {
            Self::Gauge(instrument) => {
                let gauges =
                    metrics.iter().map(|metric| (labels(metric), metric.get_gauge().get_value()));
                instrument.shown.lock().extend(gauges);
            }
            Self::Counter { instrument, series } => {
                let counted = metrics.iter().map(|metric| {
                    let (labels, value) = (labels(metric), metric.get_counter().get_value());
                    let total = series
                        .entry(labels.clone())
                        .or_insert_with(|| Total::begin(value, unknown));
                    total.take(value);
                    (labels, total.counted())
                });
                instrument.shown.lock().extend(counted);
            }
            Self::Histogram { instrument, bounds, series } => {
                for metric in metrics {
                    let (labels, histogram) = (labels(metric), metric.get_histogram());
                    let (counts, sum) = (counts(histogram, bounds), histogram.get_sample_sum());
                    let known = series.contains_key(&labels);
                    let distribution = series.entry(labels.clone()).or_default();
                    if known || unknown == Unknown::New {
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
    fn begin(value: f64, unknown: Unknown) -> Self {
        let origin = if unknown == Unknown::Restored { value } else { 0.0 };
        Self { origin, last: origin, before: 0.0 }
    }

    fn take(&mut self, value: f64) {
        if value < self.last {
            self.before += self.last - self.origin;
            self.origin = 0.0;
        }
        self.last = value;
    }

    fn counted(&self) -> f64 {
        self.before + (self.last - self.origin)
    }
}

impl Distribution {
    /// The values to be recorded for what is new.
    fn take(&mut self, bounds: &[f64], counts: Vec<u64>, sum: f64) -> Vec<Values> {
        self.last.resize(counts.len(), 0);
        if counts.iter().zip(&self.last).any(|(now, last)| now < last) {
            self.last.fill(0);
            self.last_sum = 0.0;
        }
        let new: Vec<_> = counts.iter().zip(&self.last).map(|(now, last)| now - last).collect();
        self.due += sum - self.last_sum;
        (self.last, self.last_sum) = (counts, sum);
        let values = spread(bounds, &new, self.due - self.given);
        // One by one, as the SDK does, so that its rounding is known here.
        for Values { value, times } in &values {
            (0..*times).for_each(|_| self.given += value);
        }
        values
    }
}

impl Shown {
    fn lock(&self) -> MutexGuard<'_, Vec<(Labels, f64)>> {
        self.0.lock().expect("nothing panics while it holds the values")
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

/// Of each bucket by itself, the one without an end last.
fn counts(histogram: &proto::Histogram, bounds: &[f64]) -> Vec<u64> {
    let cumulative =
        histogram.get_bucket().iter().take(bounds.len()).map(proto::Bucket::cumulative_count);
    let mut before = 0;
    let all = cumulative.chain([histogram.get_sample_count()]);
    all.map(|count| count.saturating_sub(std::mem::replace(&mut before, count))).collect()
}

/// The unit (<https://ucum.org>) that the name says, as Prometheus' names do.
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
    fn the_unit_is_what_the_name_says() {
        let check = |name: &str, expected: &str| assert_eq!(unit(name), expected, "{name}");
        check("observer_request_seconds", "s");
        check("process_cpu_seconds_total", "s");
        check("observer_journal_bytes", "By");
        check("observer_events_total", "");
        check("process_open_fds", "");
    }

    #[test]
    fn a_counter_that_began_anew_goes_on_from_what_it_had_counted() {
        let mut total = Total::begin(10.0, Unknown::Restored);
        for (value, expected) in [(10.0, 0.0), (12.0, 2.0), (3.0, 5.0), (3.0, 5.0), (1.0, 6.0)] {
            total.take(value);
            assert_eq!(total.counted(), expected, "{value}");
        }
        assert_eq!(Total::begin(10.0, Unknown::New).counted(), 0.0);
    }
}
