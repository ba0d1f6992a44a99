//! Metrics about the export of telemetry itself.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use prometheus::core::{Collector, Desc};
use prometheus::proto::{Counter, LabelPair, Metric, MetricFamily, MetricType};

use super::stats::ExportStats;
use crate::config::Signal;

const NAME: &str = "observer_telemetry_total";
const HELP: &str = "Spans, log events and exports of metrics that were exported, failed, \
     or were dropped because the queue was full.";

pub(super) struct StatsCollector {
    stats: Vec<Arc<ExportStats>>,
    desc: Desc,
}

impl StatsCollector {
    pub(super) fn new(stats: &BTreeMap<Signal, Arc<ExportStats>>) -> Self {
        let labels = ["signal", "result"].map(str::to_owned).to_vec();
        let desc = Desc::new(NAME.to_owned(), HELP.to_owned(), labels, HashMap::new());
        Self {
            stats: stats.values().cloned().collect(),
            desc: desc.expect("the name and the labels are valid"),
        }
    }
}

impl Collector for StatsCollector {
    fn desc(&self) -> Vec<&Desc> {
        vec![&self.desc]
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let metrics = self.stats.iter().flat_map(|stats| {
            let ExportStats { signal, exported, failed, dropped, .. } = &**stats;
            [("exported", exported), ("failed", failed), ("dropped", dropped)]
                .map(|(result, count)| metric(signal.as_str(), result, count))
        });
        let mut family = MetricFamily::default();
        family.set_name(NAME.to_owned());
        family.set_help(HELP.to_owned());
        family.set_field_type(MetricType::COUNTER);
        family.set_metric(metrics.collect());
        vec![family]
    }
}

fn metric(signal: &str, result: &str, count: &AtomicU64) -> Metric {
    let label = |(name, value): (&str, &str)| {
        let mut label = LabelPair::default();
        label.set_name(name.to_owned());
        label.set_value(value.to_owned());
        label
    };
    let mut counter = Counter::default();
    counter.set_value(count.load(Ordering::Relaxed) as f64);
    let mut metric =
        Metric::from_label([("result", result), ("signal", signal)].map(label).to_vec());
    metric.set_counter(counter);
    metric
}
