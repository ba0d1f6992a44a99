//! Helpers for the tests of several modules.

use std::collections::BTreeMap;
use std::sync::Arc;

use observer_core::{Batch, Envelope, Event, NoPrices, Timestamp, Uuid};
use prometheus::proto::{MetricFamily, MetricType};
use prometheus::{Registry, TextEncoder};

use crate::aggregate::Aggregate;
use crate::aggregate::reading::Reading;
use crate::exposition::families;

/// Returns an event that was received `seq` seconds after the start of 2026.
pub(crate) fn envelope(seq: u64, raw: impl Into<String>) -> Arc<Envelope> {
    Arc::new(Envelope {
        id: Uuid::from_u128(seq.into()),
        seq,
        received_at: Timestamp::from_second(1_767_225_600 + i64::try_from(seq).unwrap()).unwrap(),
        event: Event::parse(raw.into()).unwrap(),
    })
}

/// Returns an event with only the required fields.
pub(crate) fn plain(source: &str, kind: &str, ok: bool) -> String {
    serde_json::json!({"source": source, "event_kind": kind, "ok": ok}).to_string()
}

/// Returns a batch of successes of the source `bot`, one for each sequence number.
pub(crate) fn oks(epoch: u64, seqs: impl IntoIterator<Item = u64>) -> Batch {
    Batch::new(epoch, seqs.into_iter().map(|seq| envelope(seq, plain("bot", "ok", true))).collect())
}

pub(crate) fn count(
    aggregate: &mut Aggregate,
    events: impl IntoIterator<Item = impl Into<String>>,
) {
    for (seq, raw) in (1..).zip(events) {
        apply(aggregate, &envelope(seq, raw));
    }
}

pub(crate) fn apply(aggregate: &mut Aggregate, envelope: &Arc<Envelope>) {
    aggregate.apply(&Reading::new(envelope, &NoPrices));
}

/// Returns all samples by name and labels, such as
/// `observer_events_total{source="bot",event_kind="ok",ok="true"}`.
///
/// # Panics
/// If two samples have the same name and labels.
pub(crate) fn samples(families: &[MetricFamily]) -> BTreeMap<String, f64> {
    let mut samples = BTreeMap::new();
    for family in families {
        for metric in family.get_metric() {
            let labels: Vec<_> = metric
                .get_label()
                .iter()
                .map(|pair| format!("{}={:?}", pair.name(), pair.value()))
                .collect();
            let labels =
                if labels.is_empty() { String::new() } else { format!("{{{}}}", labels.join(",")) };
            let mut insert = |suffix: &str, value: f64| {
                let name = format!("{}{suffix}{labels}", family.name());
                assert_eq!(samples.insert(name.clone(), value), None, "two samples of {name}");
            };
            match family.get_field_type() {
                MetricType::COUNTER => insert("", metric.get_counter().get_value()),
                MetricType::GAUGE => insert("", metric.get_gauge().get_value()),
                MetricType::HISTOGRAM => {
                    let histogram = metric.get_histogram();
                    insert("_count", histogram.get_sample_count() as f64);
                    insert("_sum", histogram.get_sample_sum());
                }
                other => panic!("unexpected metric type {other:?}"),
            }
        }
    }
    samples
}

pub(crate) fn exported(aggregate: &Aggregate) -> BTreeMap<String, f64> {
    samples(&families(aggregate))
}

pub(crate) fn text(registry: &Registry) -> String {
    TextEncoder::new().encode_to_string(&registry.gather()).unwrap()
}

#[track_caller]
pub(crate) fn expect(samples: &BTreeMap<String, f64>, expected: &[(&str, f64)]) {
    for (name, value) in expected {
        assert_eq!(samples.get(*name), Some(value), "{name} in {samples:#?}");
    }
}

/// Returns the samples whose name starts with `start`.
pub(crate) fn starting<'a>(samples: &'a BTreeMap<String, f64>, start: &str) -> Vec<(&'a str, f64)> {
    samples
        .iter()
        .filter(|(name, _)| name.starts_with(start))
        .map(|(name, value)| (name.as_str(), *value))
        .collect()
}
