//! Names, help texts and samples.

use prometheus::proto::{
    Bucket, Counter, Gauge, Histogram, LabelPair, Metric, MetricFamily, MetricType,
};

use crate::aggregate::durations::Durations;
use crate::aggregate::labels::{Labels, Slot};
use crate::aggregate::pairs::ByOk;
use crate::aggregate::{Aggregate, ModelTotals};

/// One metric, as it is announced.
#[derive(Debug)]
pub(crate) struct Definition {
    pub(crate) name: &'static str,
    pub(crate) help: &'static str,
    pub(crate) labels: &'static [&'static str],
    kind: MetricType,
}

impl Definition {
    const fn counter(
        name: &'static str,
        labels: &'static [&'static str],
        help: &'static str,
    ) -> Self {
        Self { name, help, labels, kind: MetricType::COUNTER }
    }

    fn family(&self, metrics: impl IntoIterator<Item = Metric>) -> MetricFamily {
        let mut family = MetricFamily::default();
        family.set_name(self.name.to_owned());
        family.set_help(self.help.to_owned());
        family.set_field_type(self.kind);
        family.set_metric(metrics.into_iter().collect());
        family
    }

    fn metric(&self, values: &[&str]) -> Metric {
        debug_assert_eq!(self.labels.len(), values.len(), "{}", self.name);
        let pair = |(name, value): (&&str, &&str)| {
            let mut pair = LabelPair::default();
            pair.set_name((*name).to_owned());
            pair.set_value((*value).to_owned());
            pair
        };
        Metric::from_label(self.labels.iter().zip(values).map(pair).collect())
    }

    fn count(&self, values: &[&str], count: f64) -> Metric {
        let mut counter = Counter::default();
        counter.set_value(count);
        let mut metric = self.metric(values);
        metric.set_counter(counter);
        metric
    }
}

const EVENTS: Definition = Definition::counter(
    "observer_events_total",
    &["source", "event_kind", "ok"],
    "Outcome events by source, kind of outcome, and whether the cycle succeeded.",
);
const DURATION: Definition = Definition {
    name: "observer_cycle_duration_seconds",
    help: "How long cycles took, of the events that say so.",
    labels: &["source"],
    kind: MetricType::HISTOGRAM,
};
const LAST_EVENT: Definition = Definition {
    name: "observer_last_event_timestamp_seconds",
    help: "When the last event of a source was received, in seconds since 1970.",
    labels: &["source"],
    kind: MetricType::GAUGE,
};
const MODEL_CYCLES: Definition = Definition::counter(
    "observer_model_cycles_total",
    &["model", "ok"],
    "Cycles by the model that was used, and whether they succeeded.",
);
const MODEL_CALLS: Definition = Definition::counter(
    "observer_model_calls_total",
    &["model"],
    "Calls to a model: the turns of its cycles.",
);
const INPUT_TOKENS: Definition = Definition::counter(
    "observer_input_tokens_total",
    &["model"],
    "Tokens read by a model, those from and for its cache included.",
);
const CACHED_INPUT_TOKENS: Definition = Definition::counter(
    "observer_cached_input_tokens_total",
    &["model"],
    "The part of the input tokens that was read from a cache.",
);
const OUTPUT_TOKENS: Definition =
    Definition::counter("observer_output_tokens_total", &["model"], "Tokens written by a model.");
const COST: Definition = Definition::counter(
    "observer_cost_usd_total",
    &["model"],
    "Cost in US dollars, as far as producers reported it; see observer_unpriced_events_total.",
);
const UNPRICED: Definition = Definition::counter(
    "observer_unpriced_events_total",
    &[],
    "Events that report tokens and no cost, and so are missing in the cost.",
);
const OVERFLOW: Definition = Definition::counter(
    "observer_label_overflow_total",
    &["label"],
    "Events counted under 'other', since a label had too many values or one that was too long.",
);

/// All that this sink exports.
pub(crate) const METRICS: [&Definition; 11] = [
    &EVENTS,
    &DURATION,
    &LAST_EVENT,
    &MODEL_CYCLES,
    &MODEL_CALLS,
    &INPUT_TOKENS,
    &CACHED_INPUT_TOKENS,
    &OUTPUT_TOKENS,
    &COST,
    &UNPRICED,
    &OVERFLOW,
];

pub(crate) fn families(aggregate: &Aggregate) -> Vec<MetricFamily> {
    let events = aggregate.pairs.rows().iter().flat_map(|&((source, kind), counts)| {
        let (source, kind) = (aggregate.sources.value(source), aggregate.event_kinds.value(kind));
        by_ok(counts).map(|(ok, count)| EVENTS.count(&[source, kind, ok], count))
    });
    // What is reserved is there only once it counted something.
    let sources = rows(&aggregate.sources, &aggregate.by_source)
        .filter(|(slot, _, totals)| *slot != Slot::OTHER || totals.last_event.is_some());
    let models: Vec<_> = rows(&aggregate.models, &aggregate.by_model)
        .filter(|(slot, _, totals)| !is_reserved(*slot) || **totals != ModelTotals::default())
        .collect();
    let cycles =
        models.iter().filter(|(slot, _, totals)| !is_reserved(*slot) || totals.cycles != [0, 0]);
    let by_model = |definition: &Definition, count: fn(&ModelTotals) -> f64| {
        definition.family(
            models.iter().map(|(_, model, totals)| definition.count(&[model], count(totals))),
        )
    };
    let overflow = aggregate.overflow;
    let overflow = [
        ("source", overflow.source),
        ("event_kind", overflow.event_kind),
        ("model", overflow.model),
    ];

    vec![
        EVENTS.family(events),
        DURATION.family(
            sources.clone().map(|(_, source, totals)| histogram(source, &totals.durations)),
        ),
        LAST_EVENT.family(
            sources.filter_map(|(_, source, totals)| Some(timestamp(source, totals.last_event?))),
        ),
        MODEL_CYCLES.family(cycles.flat_map(|(_, model, totals)| {
            by_ok(totals.cycles).map(|(ok, count)| MODEL_CYCLES.count(&[model, ok], count))
        })),
        by_model(&MODEL_CALLS, |totals| totals.calls as f64),
        by_model(&INPUT_TOKENS, |totals| totals.input as f64),
        by_model(&CACHED_INPUT_TOKENS, |totals| totals.cached_input as f64),
        by_model(&OUTPUT_TOKENS, |totals| totals.output as f64),
        by_model(&COST, |totals| totals.cost.value()),
        UNPRICED.family([UNPRICED.count(&[], aggregate.unpriced as f64)]),
        OVERFLOW.family(overflow.map(|(label, count)| OVERFLOW.count(&[label], count as f64))),
    ]
}

fn rows<'a, T>(
    labels: &'a Labels,
    totals: &'a [T],
) -> impl Iterator<Item = (Slot, &'a str, &'a T)> + Clone {
    labels.iter().zip(totals).map(|((slot, value), totals)| (slot, value, totals))
}

fn is_reserved(model: Slot) -> bool {
    model == Slot::OTHER || model == Slot::UNKNOWN
}

fn by_ok([failed, ok]: ByOk) -> [(&'static str, f64); 2] {
    [("false", failed as f64), ("true", ok as f64)]
}

fn histogram(source: &str, durations: &Durations) -> Metric {
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
    let mut metric = DURATION.metric(&[source]);
    metric.set_histogram(histogram);
    metric
}

fn timestamp(source: &str, microseconds: i64) -> Metric {
    let mut gauge = Gauge::default();
    gauge.set_value(microseconds as f64 / 1e6);
    let mut metric = LAST_EVENT.metric(&[source]);
    metric.set_gauge(gauge);
    metric
}
