//! Samples of each metric.
//!
//! Rows of a reserved value, `other` or `unknown`, show no zeros: most programs never need them.

use observer_metrics::Definition;
use prometheus::proto::Metric;

use crate::aggregate::pairs::{ByOk, Pair};
use crate::aggregate::table::Slot;
use crate::aggregate::totals::{CycleTotals, OutcomeTotals, SourceTotals};
use crate::aggregate::{Aggregate, RESERVED_MODELS};

pub(super) fn events(metric: &Definition, aggregate: &Aggregate) -> Vec<Metric> {
    let rows = aggregate.events.rows().flat_map(|row| {
        let (source, kind) = kind_names(aggregate, row.key);
        let [failed, ok]: ByOk = row.totals;
        [("false", failed), ("true", ok)]
            .map(|(ok, count)| metric.sample(&[source, kind, ok], count as f64))
    });
    rows.collect()
}

pub(super) fn phases(metric: &Definition, aggregate: &Aggregate) -> Vec<Metric> {
    let rows = aggregate.phases.rows().map(|row| {
        let (source, kind) = kind_names(aggregate, row.key);
        metric.sample(&[source, kind], row.totals as f64)
    });
    rows.collect()
}

pub(super) fn corrections(metric: &Definition, aggregate: &Aggregate) -> Vec<Metric> {
    by_source(metric, aggregate, |totals| Some(totals.corrections as f64))
}

pub(super) fn unread_usage(metric: &Definition, aggregate: &Aggregate) -> Vec<Metric> {
    by_source(metric, aggregate, |totals| Some(totals.unread_usage as f64))
}

pub(super) fn last_events(metric: &Definition, aggregate: &Aggregate) -> Vec<Metric> {
    by_source(metric, aggregate, |totals| Some(totals.last_event? as f64 / 1e6))
}

pub(super) fn durations(metric: &Definition, aggregate: &Aggregate) -> Vec<Metric> {
    let rows = by_model(aggregate).filter(|row| row.is_named || row.totals.durations.count() > 0);
    let sample = |row: ModelRow<'_>| {
        let durations = &row.totals.durations;
        let (count, sum) = (durations.count(), durations.seconds());
        metric.histogram_sample(&[row.source, row.model], durations.cumulative(), count, sum)
    };
    rows.map(sample).collect()
}

pub(super) fn cycles(metric: &Definition, aggregate: &Aggregate) -> Vec<Metric> {
    by_model_and_ok(metric, aggregate, |totals| totals.cycles)
}

pub(super) fn calls(metric: &Definition, aggregate: &Aggregate) -> Vec<Metric> {
    by_model(aggregate)
        .filter(|row| row.is_named || row.totals.calls > 0)
        .map(|row| metric.sample(&[row.source, row.model], row.totals.calls as f64))
        .collect()
}

pub(super) fn by_model_and_ok(
    metric: &Definition,
    aggregate: &Aggregate,
    count: fn(&OutcomeTotals) -> u64,
) -> Vec<Metric> {
    let mut samples = Vec::new();
    for row in by_model(aggregate) {
        for (ok, totals) in row.by_ok() {
            let count = count(totals);
            if row.is_named || count > 0 {
                samples.push(metric.sample(&[row.source, row.model, ok], count as f64));
            }
        }
    }
    samples
}

pub(super) fn costs(metric: &Definition, aggregate: &Aggregate) -> Vec<Metric> {
    let mut samples = Vec::new();
    for row in by_model(aggregate) {
        for (ok, totals) in row.by_ok() {
            for (basis, usd) in [("reported", totals.reported_usd), ("priced", totals.priced_usd)] {
                let usd = usd.value();
                if row.is_named || usd > 0.0 {
                    samples.push(metric.sample(&[row.source, row.model, ok, basis], usd));
                }
            }
        }
    }
    samples
}

pub(super) fn unpriced(metric: &Definition, aggregate: &Aggregate) -> Vec<Metric> {
    let rows = aggregate.models.rows();
    rows.filter(|(slot, row)| !is_reserved_model(*slot) || row.totals > 0)
        .map(|(_, row)| metric.sample(&[&row.key], row.totals as f64))
        .collect()
}

pub(super) fn overflows(metric: &Definition, aggregate: &Aggregate) -> Vec<Metric> {
    let counts = aggregate.overflow.by_label();
    counts.map(|(label, count)| metric.sample(&[label], count as f64)).into()
}

fn by_source(
    metric: &Definition,
    aggregate: &Aggregate,
    value: fn(&SourceTotals) -> Option<f64>,
) -> Vec<Metric> {
    let rows = aggregate.sources.rows();
    rows.filter_map(|(slot, row)| {
        let value = value(&row.totals)?;
        (slot != Slot::OTHER || value > 0.0).then(|| metric.sample(&[&row.key], value))
    })
    .collect()
}

/// Totals of a source with a model.
#[derive(Clone, Copy)]
struct ModelRow<'a> {
    source: &'a str,
    model: &'a str,
    /// False for the reserved models.
    is_named: bool,
    totals: &'a CycleTotals,
}

impl<'a> ModelRow<'a> {
    fn by_ok(self) -> [(&'static str, &'a OutcomeTotals); 2] {
        let [failed, ok] = &self.totals.by_ok;
        [("false", failed), ("true", ok)]
    }
}

fn by_model(aggregate: &Aggregate) -> impl Iterator<Item = ModelRow<'_>> {
    aggregate.cycles.rows().map(|row| {
        let (source, model) = row.key;
        ModelRow {
            source: aggregate.sources.name(source),
            model: aggregate.models.name(model),
            is_named: !is_reserved_model(model),
            totals: &row.totals,
        }
    })
}

fn kind_names(aggregate: &Aggregate, (source, kind): Pair) -> (&str, &str) {
    (aggregate.sources.name(source), aggregate.event_kinds.name(kind))
}

fn is_reserved_model(model: Slot) -> bool {
    model.index() < RESERVED_MODELS.len()
}
