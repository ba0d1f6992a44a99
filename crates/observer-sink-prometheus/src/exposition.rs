//! Metric families of an [`Aggregate`].
//!
//! [`METRICS`] is the only list of the exported metrics: the [`Definition`] of each, and the
//! function that reads its samples.

use observer_metrics::Definition;
use prometheus::proto::{Metric, MetricFamily};

use crate::aggregate::labels::{Labels, Slot};
use crate::aggregate::pairs::ByOk;
use crate::aggregate::{Aggregate, ModelTotals, SourceTotals};

const SOURCE: &str = "source";
const EVENT_KIND: &str = "event_kind";
const OK: &str = "ok";
const MODEL: &str = "model";

/// Metric that is read from an [`Aggregate`].
pub(crate) struct AggregateMetric {
    pub(crate) definition: Definition,
    samples: fn(&Definition, &Aggregate) -> Vec<Metric>,
}

/// All metrics of this sink.
pub(crate) const METRICS: [AggregateMetric; 13] = [
    AggregateMetric {
        definition: Definition::counter(
            "observer_events_total",
            &[SOURCE, EVENT_KIND, OK],
            "Outcome events by source, event kind and success of the cycle.",
        ),
        samples: events,
    },
    AggregateMetric {
        definition: Definition::counter(
            "observer_phases_total",
            &[SOURCE, EVENT_KIND],
            "Events that report the progress of a cycle, by source and event kind.",
        ),
        samples: phases,
    },
    AggregateMetric {
        definition: Definition::counter(
            "observer_corrections_total",
            &[SOURCE],
            "Outcomes that correct an earlier one, and are counted nowhere else.",
        ),
        samples: corrections,
    },
    AggregateMetric {
        definition: Definition::histogram(
            "observer_cycle_duration_seconds",
            &[SOURCE],
            "Duration of cycles, from the events that report one.",
        ),
        samples: durations,
    },
    AggregateMetric {
        definition: Definition::gauge(
            "observer_last_event_timestamp_seconds",
            &[SOURCE],
            "Time of receipt of the last event of a source, in seconds since 1970.",
        ),
        samples: last_events,
    },
    AggregateMetric {
        definition: Definition::counter(
            "observer_model_cycles_total",
            &[MODEL, OK],
            "Cycles by model and success.",
        ),
        samples: model_cycles,
    },
    AggregateMetric {
        definition: Definition::counter(
            "observer_model_calls_total",
            &[MODEL],
            "Calls of a model: the sum of the turns of its cycles.",
        ),
        samples: |metric, aggregate| by_model(metric, aggregate, |totals| totals.calls as f64),
    },
    AggregateMetric {
        definition: Definition::counter(
            "observer_input_tokens_total",
            &[MODEL],
            "Input tokens of a model, including tokens read from and written to a cache.",
        ),
        samples: |metric, aggregate| by_model(metric, aggregate, |totals| totals.input as f64),
    },
    AggregateMetric {
        definition: Definition::counter(
            "observer_cached_input_tokens_total",
            &[MODEL],
            "Input tokens of a model that were read from a cache.",
        ),
        samples: |metric, aggregate| {
            by_model(metric, aggregate, |totals| totals.cached_input as f64)
        },
    },
    AggregateMetric {
        definition: Definition::counter(
            "observer_output_tokens_total",
            &[MODEL],
            "Output tokens of a model.",
        ),
        samples: |metric, aggregate| by_model(metric, aggregate, |totals| totals.output as f64),
    },
    AggregateMetric {
        definition: Definition::counter(
            "observer_cost_usd_total",
            &[MODEL],
            "Cost in US dollars that producers reported; see observer_unpriced_events_total.",
        ),
        samples: |metric, aggregate| by_model(metric, aggregate, |totals| totals.cost.value()),
    },
    AggregateMetric {
        definition: Definition::counter(
            "observer_unpriced_events_total",
            &[],
            "Events that report tokens but no cost, so that observer_cost_usd_total lacks them.",
        ),
        samples: |metric, aggregate| vec![metric.sample(&[], aggregate.unpriced as f64)],
    },
    AggregateMetric {
        definition: Definition::counter(
            "observer_label_overflow_total",
            &["label"],
            "Events counted under 'other' because a label had too many values or a long one.",
        ),
        samples: overflows,
    },
];

/// Returns all families in the order of [`METRICS`].
pub(crate) fn families(aggregate: &Aggregate) -> Vec<MetricFamily> {
    let family = |AggregateMetric { definition, samples }: &AggregateMetric| {
        definition.family(samples(definition, aggregate))
    };
    METRICS.iter().map(family).collect()
}

fn by_model(
    metric: &Definition,
    aggregate: &Aggregate,
    count: fn(&ModelTotals) -> f64,
) -> Vec<Metric> {
    models(aggregate).map(|(_, model, totals)| metric.sample(&[model], count(totals))).collect()
}

fn events(metric: &Definition, aggregate: &Aggregate) -> Vec<Metric> {
    let rows = aggregate.pairs.rows().iter().flat_map(|&((source, kind), counts)| {
        let (source, kind) = (aggregate.sources.value(source), aggregate.event_kinds.value(kind));
        by_ok(counts).map(|(ok, count)| metric.sample(&[source, kind, ok], count))
    });
    rows.collect()
}

fn phases(metric: &Definition, aggregate: &Aggregate) -> Vec<Metric> {
    let row = |&((source, kind), count): &((Slot, Slot), u64)| {
        let (source, kind) = (aggregate.sources.value(source), aggregate.event_kinds.value(kind));
        metric.sample(&[source, kind], count as f64)
    };
    aggregate.phases.rows().iter().map(row).collect()
}

fn corrections(metric: &Definition, aggregate: &Aggregate) -> Vec<Metric> {
    sources(aggregate)
        .map(|(source, totals)| metric.sample(&[source], totals.corrections as f64))
        .collect()
}

fn durations(metric: &Definition, aggregate: &Aggregate) -> Vec<Metric> {
    let sample = |(source, SourceTotals { durations, .. }): (&str, &SourceTotals)| {
        let (count, sum) = (durations.count(), durations.seconds());
        metric.histogram_sample(&[source], durations.cumulative(), count, sum)
    };
    sources(aggregate).map(sample).collect()
}

fn last_events(metric: &Definition, aggregate: &Aggregate) -> Vec<Metric> {
    let sample = |(source, totals): (&str, &SourceTotals)| {
        Some(metric.sample(&[source], totals.last_event? as f64 / 1e6))
    };
    sources(aggregate).filter_map(sample).collect()
}

fn model_cycles(metric: &Definition, aggregate: &Aggregate) -> Vec<Metric> {
    models(aggregate)
        .filter(|(slot, _, totals)| !is_reserved_model(*slot) || totals.cycles != [0, 0])
        .flat_map(|(_, model, totals)| {
            by_ok(totals.cycles).map(|(ok, count)| metric.sample(&[model, ok], count))
        })
        .collect()
}

fn overflows(metric: &Definition, aggregate: &Aggregate) -> Vec<Metric> {
    let overflow = &aggregate.overflow;
    let counts =
        [(SOURCE, overflow.source), (EVENT_KIND, overflow.event_kind), (MODEL, overflow.model)];
    counts.map(|(label, count)| metric.sample(&[label], count as f64)).into()
}

/// Returns the sources to export: all but `other` while it has no events.
fn sources(aggregate: &Aggregate) -> impl Iterator<Item = (&str, &SourceTotals)> {
    rows(&aggregate.sources, &aggregate.by_source)
        .filter(|(slot, _, totals)| *slot != Slot::OTHER || **totals != SourceTotals::default())
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
