//! The account of telemetry itself, among the metrics.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use prometheus::core::{Collector, Desc};
use prometheus::proto::{Counter, LabelPair, Metric, MetricFamily, MetricType};

use super::account::Account;
use crate::config::Signal;

const NAME: &str = "observer_telemetry_total";
const HELP: &str = "Spans, lines of the log and exports of metrics: those that went out, those that failed, and those that there was no room for.";

pub(super) struct AccountCollector {
    accounts: Vec<Arc<Account>>,
    desc: Desc,
}

impl AccountCollector {
    pub(super) fn new(accounts: &BTreeMap<Signal, Arc<Account>>) -> Self {
        let labels = ["signal", "result"].map(str::to_owned).to_vec();
        let desc = Desc::new(NAME.to_owned(), HELP.to_owned(), labels, HashMap::new());
        Self {
            accounts: accounts.values().cloned().collect(),
            desc: desc.expect("name and labels are valid"),
        }
    }
}

impl Collector for AccountCollector {
    fn desc(&self) -> Vec<&Desc> {
        vec![&self.desc]
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let metrics = self.accounts.iter().flat_map(|account| {
            let Account { signal, exported, failed, dropped, .. } = &**account;
            [("exported", exported), ("failed", failed), ("dropped", dropped)]
                .map(|(result, count)| metric(signal.name(), result, count))
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
