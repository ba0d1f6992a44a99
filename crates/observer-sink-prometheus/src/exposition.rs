//! Metric families of an [`Aggregate`].
//!
//! [`METRICS`] is the only list of the exported metrics. A [`Definition`] holds the name, help
//! text, type and labels of a metric, and the function that reads its samples.

use prometheus::proto::{
    Bucket, Counter, Gauge, Histogram, LabelPair, Metric, MetricFamily, MetricType,
};

use crate::aggregate::durations::Durations;
use crate::aggregate::labels::{Labels, Slot};
use crate::aggregate::pairs::ByOk;
use crate::aggregate::{Aggregate, ModelTotals, SourceTotals};

/// Name of a label.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Label {
    Source,
    EventKind,
    Ok,
    Model,
    /// Label whose values are names of labels that have overflowed.
    Overflowed,
}

impl Label {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Source => "source",
            Self::EventKind => "event_kind",
            Self::Ok => "ok",
            Self::Model => "model",
            Self::Overflowed => "label",
        }
    }
}

/// An exported metric.
pub(crate) struct Definition {
    pub(crate) name: &'static str,
    pub(crate) help: &'static str,
    pub(crate) labels: &'static [Label],
    kind: MetricType,
    samples: fn(&Definition, &Aggregate) -> Vec<Metric>,
}

/// All metrics of this sink.
pub(crate) const METRICS: [Definition; 11] = [
    Definition {
        name: "observer_events_total",
        help: "Outcome events by source, event kind and success of the cycle.",
        labels: &[Label::Source, Label::EventKind, Label::Ok],
        kind: MetricType::COUNTER,
        samples: events,
    },
    Definition {
        name: "observer_cycle_duration_seconds",
        help: "Duration of cycles, from the events that report one.",
        labels: &[Label::Source],
        kind: MetricType::HISTOGRAM,
        samples: durations,
    },
    Definition {
        name: "observer_last_event_timestamp_seconds",
        help: "Time of receipt of the last event of a source, in seconds since 1970.",
        labels: &[Label::Source],
        kind: MetricType::GAUGE,
        samples: last_events,
    },
    Definition {
        name: "observer_model_cycles_total",
        help: "Cycles by model and success.",
        labels: &[Label::Model, Label::Ok],
        kind: MetricType::COUNTER,
        samples: model_cycles,
    },
    Definition {
        name: "observer_model_calls_total",
        help: "Calls of a model: the sum of the turns of its cycles.",
        labels: &[Label::Model],
        kind: MetricType::COUNTER,
        samples: |metric, aggregate| metric.by_model(aggregate, |totals| totals.calls as f64),
    },
    Definition {
        name: "observer_input_tokens_total",
        help: "Input tokens of a model, including tokens read from and written to a cache.",
        labels: &[Label::Model],
        kind: MetricType::COUNTER,
        samples: |metric, aggregate| metric.by_model(aggregate, |totals| totals.input as f64),
    },
    Definition {
        name: "observer_cached_input_tokens_total",
        help: "Input tokens of a model that were read from a cache.",
        labels: &[Label::Model],
        kind: MetricType::COUNTER,
        samples: |metric, aggregate| {
            metric.by_model(aggregate, |totals| totals.cached_input as f64)
        },
    },
    Definition {
        name: "observer_output_tokens_total",
        help: "Output tokens of a model.",
        labels: &[Label::Model],
        kind: MetricType::COUNTER,
        samples: |metric, aggregate| metric.by_model(aggregate, |totals| totals.output as f64),
    },
    Definition {
        name: "observer_cost_usd_total",
        help: "Cost in US dollars that producers reported; see observer_unpriced_events_total.",
        labels: &[Label::Model],
        kind: MetricType::COUNTER,
        samples: |metric, aggregate| metric.by_model(aggregate, |totals| totals.cost.value()),
    },
    Definition {
        name: "observer_unpriced_events_total",
        help: "Events that report tokens but no cost, so that observer_cost_usd_total lacks them.",
        labels: &[],
        kind: MetricType::COUNTER,
        samples: |metric, aggregate| vec![metric.counter(&[], aggregate.unpriced as f64)],
    },
    Definition {
        name: "observer_label_overflow_total",
        help: "Events counted under 'other' because a label had too many values or a long one.",
        labels: &[Label::Overflowed],
        kind: MetricType::COUNTER,
        samples: overflows,
    },
];

/// Returns all families in the order of [`METRICS`].
pub(crate) fn families(aggregate: &Aggregate) -> Vec<MetricFamily> {
    METRICS.iter().map(|metric| metric.family(aggregate)).collect()
}

impl Definition {
    fn family(&self, aggregate: &Aggregate) -> MetricFamily {
        let mut family = MetricFamily::default();
        family.set_name(self.name.to_owned());
        family.set_help(self.help.to_owned());
        family.set_field_type(self.kind);
        family.set_metric((self.samples)(self, aggregate));
        family
    }

    /// Returns a sample with these label values and no value yet.
    fn sample(&self, values: &[&str]) -> Metric {
        debug_assert_eq!(self.labels.len(), values.len(), "{}", self.name);
        let pair = |(label, value): (&Label, &&str)| {
            let mut pair = LabelPair::default();
            pair.set_name(label.as_str().to_owned());
            pair.set_value((*value).to_owned());
            pair
        };
        Metric::from_label(self.labels.iter().zip(values).map(pair).collect())
    }

    fn counter(&self, values: &[&str], count: f64) -> Metric {
        let mut counter = Counter::default();
        counter.set_value(count);
        let mut metric = self.sample(values);
        metric.set_counter(counter);
        metric
    }

    fn gauge(&self, values: &[&str], value: f64) -> Metric {
        let mut gauge = Gauge::default();
        gauge.set_value(value);
        let mut metric = self.sample(values);
        metric.set_gauge(gauge);
        metric
    }

    fn histogram(&self, values: &[&str], durations: &Durations) -> Metric {
        let bucket = |(bound, count)| {
            let mut bucket = Bucket::default();
            bucket.set_upper_bound(bound);
            bucket.set_cumulative_count(count);
            bucket
        };
        let mut histogram = Histogram::default();
        histogram.set_bucket(durations.cumulative().map(bucket).collect());
        histogram.set_sample_count(durations.count());
        histogram.set_sample_sum(durations.seconds());
        let mut metric = self.sample(values);
        metric.set_histogram(histogram);
        metric
    }

    fn by_model(&self, aggregate: &Aggregate, count: fn(&ModelTotals) -> f64) -> Vec<Metric> {
        models(aggregate).map(|(_, model, totals)| self.counter(&[model], count(totals))).collect()
    }
}

fn events(metric: &Definition, aggregate: &Aggregate) -> Vec<Metric> {
    let rows = aggregate.pairs.rows().iter().flat_map(|&((source, kind), counts)| {
        let (source, kind) = (aggregate.sources.value(source), aggregate.event_kinds.value(kind));
        by_ok(counts).map(|(ok, count)| metric.counter(&[source, kind, ok], count))
    });
    rows.collect()
}

fn durations(metric: &Definition, aggregate: &Aggregate) -> Vec<Metric> {
    sources(aggregate)
        .map(|(source, totals)| metric.histogram(&[source], &totals.durations))
        .collect()
}

fn last_events(metric: &Definition, aggregate: &Aggregate) -> Vec<Metric> {
    let gauge = |(source, totals): (&str, &SourceTotals)| {
        Some(metric.gauge(&[source], totals.last_event? as f64 / 1e6))
    };
    sources(aggregate).filter_map(gauge).collect()
}

fn model_cycles(metric: &Definition, aggregate: &Aggregate) -> Vec<Metric> {
    models(aggregate)
        .filter(|(slot, _, totals)| !is_reserved_model(*slot) || totals.cycles != [0, 0])
        .flat_map(|(_, model, totals)| {
            by_ok(totals.cycles).map(|(ok, count)| metric.counter(&[model, ok], count))
        })
        .collect()
}

fn overflows(metric: &Definition, aggregate: &Aggregate) -> Vec<Metric> {
    let overflow = &aggregate.overflow;
    let counts = [
        (Label::Source, overflow.source),
        (Label::EventKind, overflow.event_kind),
        (Label::Model, overflow.model),
    ];
    counts.map(|(label, count)| metric.counter(&[label.as_str()], count as f64)).into()
}

/// Returns the sources to export: all but `other` while it has no events.
fn sources(aggregate: &Aggregate) -> impl Iterator<Item = (&str, &SourceTotals)> {
    rows(&aggregate.sources, &aggregate.by_source)
        .filter(|(slot, _, totals)| *slot != Slot::OTHER || totals.last_event.is_some())
        .map(|(_, source, totals)| (source, totals))
}

/// Returns the models to export: all but the reserved ones while they have no counts.
fn models(aggregate: &Aggregate) -> impl Iterator<Item = (Slot, &str, &ModelTotals)> {
    rows(&aggregate.models, &aggregate.by_model)
        .filter(|(slot, _, totals)| !is_reserved_model(*slot) || **totals != ModelTotals::default())
}

fn rows<'a, T>(
    labels: &'a Labels,
    totals: &'a [T],
) -> impl Iterator<Item = (Slot, &'a str, &'a T)> {
    labels.iter().zip(totals).map(|((slot, value), totals)| (slot, value, totals))
}

fn is_reserved_model(model: Slot) -> bool {
    model == Slot::OTHER || model == Slot::UNKNOWN
}

fn by_ok([failed, ok]: ByOk) -> [(&'static str, f64); 2] {
    [("false", failed as f64), ("true", ok as f64)]
}
