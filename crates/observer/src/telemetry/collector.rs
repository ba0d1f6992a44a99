//! Metrics about the export of telemetry itself.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use observer_metrics::Definition;
use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;

use super::stats::ExportStats;
use crate::config::Signal;

const EXPORTS: Definition = Definition::counter(
    "observer_telemetry_total",
    &["result", "signal"],
    "Spans, log events and exports of metrics that were exported, failed, \
     or were dropped because the queue was full.",
);

pub(super) struct StatsCollector {
    stats: Vec<Arc<ExportStats>>,
    desc: Desc,
}

impl StatsCollector {
    pub(super) fn new(stats: &BTreeMap<Signal, Arc<ExportStats>>) -> Self {
        Self { stats: stats.values().cloned().collect(), desc: EXPORTS.desc() }
    }
}

impl Collector for StatsCollector {
    fn desc(&self) -> Vec<&Desc> {
        vec![&self.desc]
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let samples = self.stats.iter().flat_map(|stats| {
            let ExportStats { signal, exported, failed, dropped, .. } = &**stats;
            [("exported", exported), ("failed", failed), ("dropped", dropped)].map(
                |(result, count)| {
                    let labels = [result, signal.as_str()];
                    EXPORTS.sample(&labels, count.load(Ordering::Relaxed) as f64)
                },
            )
        });
        vec![EXPORTS.family(samples)]
    }
}
