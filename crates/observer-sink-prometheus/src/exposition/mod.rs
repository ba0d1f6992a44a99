//! Metric families of an [`Aggregate`].
//!
//! [`METRICS`] is the only list of the exported metrics: the [`Definition`] of each, and the
//! function of [`samples`] that reads its samples.

mod samples;

use observer_metrics::Definition;
use prometheus::proto::{Metric, MetricFamily};

use self::samples::{
    by_model_and_ok, calls, corrections, costs, cycles, durations, events, last_events, overflows,
    phases, unpriced, unread_usage,
};
use crate::aggregate::Aggregate;

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
pub(crate) const METRICS: [AggregateMetric; 16] = [
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
            &[SOURCE, MODEL],
            "Duration of cycles, from the events that report one.",
        ),
        samples: durations,
    },
    AggregateMetric {
        definition: Definition::counter(
            "observer_model_cycles_total",
            &[SOURCE, MODEL, OK],
            "Cycles by source, model and success.",
        ),
        samples: cycles,
    },
    AggregateMetric {
        definition: Definition::counter(
            "observer_model_calls_total",
            &[SOURCE, MODEL],
            "Calls of a model: the sum of the turns of its cycles.",
        ),
        samples: calls,
    },
    AggregateMetric {
        definition: Definition::counter(
            "observer_input_tokens_total",
            &[SOURCE, MODEL, OK],
            "Input tokens, including tokens read from and written to a cache.",
        ),
        samples: |metric, aggregate| by_model_and_ok(metric, aggregate, |totals| totals.input),
    },
    AggregateMetric {
        definition: Definition::counter(
            "observer_cached_input_tokens_total",
            &[SOURCE, MODEL, OK],
            "Input tokens that were read from a cache.",
        ),
        samples: |metric, aggregate| {
            by_model_and_ok(metric, aggregate, |totals| totals.cached_input)
        },
    },
    AggregateMetric {
        definition: Definition::counter(
            "observer_cache_creation_input_tokens_total",
            &[SOURCE, MODEL, OK],
            "Input tokens that were written to a cache.",
        ),
        samples: |metric, aggregate| {
            by_model_and_ok(metric, aggregate, |totals| totals.cache_creation_input)
        },
    },
    AggregateMetric {
        definition: Definition::counter(
            "observer_output_tokens_total",
            &[SOURCE, MODEL, OK],
            "Output tokens, including reasoning.",
        ),
        samples: |metric, aggregate| by_model_and_ok(metric, aggregate, |totals| totals.output),
    },
    AggregateMetric {
        definition: Definition::counter(
            "observer_reasoning_tokens_total",
            &[SOURCE, MODEL, OK],
            "Output tokens that are reasoning.",
        ),
        samples: |metric, aggregate| by_model_and_ok(metric, aggregate, |totals| totals.reasoning),
    },
    AggregateMetric {
        definition: Definition::counter(
            "observer_cost_usd_total",
            &[SOURCE, MODEL, OK, "basis"],
            "Cost in US dollars: reported by producers, or priced from tokens.",
        ),
        samples: costs,
    },
    AggregateMetric {
        definition: Definition::counter(
            "observer_unpriced_events_total",
            &[MODEL],
            "Events with tokens but without a cost or a price, so that no cost includes them.",
        ),
        samples: unpriced,
    },
    AggregateMetric {
        definition: Definition::counter(
            "observer_unread_usage_events_total",
            &[SOURCE],
            "Events with numbers under names like those of tokens or cost that were not understood.",
        ),
        samples: unread_usage,
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
            "observer_label_overflow_total",
            &["label"],
            "Events counted under 'other' because the values of a label are limited.",
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
