//! Definitions of metrics, and their samples, for collectors that keep their own counts.
//!
//! The `*Vec` types of `prometheus` identify a child by a hash of its concatenated label values, so
//! `("ab", "c")` and `("a", "bc")` are one series, and they can't restore a histogram after a
//! restart. A collector over its own counts has neither problem. It announces each metric with
//! [`Definition::desc`] and exports it with [`Definition::family`], so name, help and labels are
//! written once:
//!
//! ```
//! use observer_metrics::Definition;
//! use prometheus::core::{Collector, Desc};
//! use prometheus::proto::MetricFamily;
//!
//! const QUEUED: Definition =
//!     Definition::gauge("jobs_queued", &["queue"], "Jobs that wait, by queue.");
//!
//! struct Queues(Desc);
//!
//! impl Collector for Queues {
//!     fn desc(&self) -> Vec<&Desc> {
//!         vec![&self.0]
//!     }
//!     fn collect(&self) -> Vec<MetricFamily> {
//!         vec![QUEUED.family([QUEUED.sample(&["mail"], 3.0)])]
//!     }
//! }
//!
//! let registry = prometheus::Registry::new();
//! registry.register(Box::new(Queues(QUEUED.desc())))?;
//! let text = prometheus::TextEncoder::new().encode_to_string(&registry.gather())?;
//! assert!(text.contains("jobs_queued{queue=\"mail\"} 3"));
//! # Ok::<(), prometheus::Error>(())
//! ```

use std::collections::HashMap;

use prometheus::core::Desc;
use prometheus::proto::{
    Bucket, Counter, Gauge, Histogram, LabelPair, Metric, MetricFamily, MetricType,
};

/// Name, help text, labels and type of one metric.
#[derive(Debug, Clone, Copy)]
pub struct Definition {
    name: &'static str,
    help: &'static str,
    labels: &'static [&'static str],
    kind: MetricType,
}

impl Definition {
    /// Defines a counter. Its name ends in `_total`.
    #[must_use]
    pub const fn counter(
        name: &'static str,
        labels: &'static [&'static str],
        help: &'static str,
    ) -> Self {
        Self { name, help, labels, kind: MetricType::COUNTER }
    }

    /// Defines a gauge.
    #[must_use]
    pub const fn gauge(
        name: &'static str,
        labels: &'static [&'static str],
        help: &'static str,
    ) -> Self {
        Self { name, help, labels, kind: MetricType::GAUGE }
    }

    /// Defines a histogram. Its name ends in a unit, such as `_seconds`.
    #[must_use]
    pub const fn histogram(
        name: &'static str,
        labels: &'static [&'static str],
        help: &'static str,
    ) -> Self {
        Self { name, help, labels, kind: MetricType::HISTOGRAM }
    }

    /// Returns the name.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        self.name
    }

    /// Returns the description under which a collector registers the metric.
    ///
    /// # Panics
    /// If the name or a label is not valid in Prometheus, or a label is repeated.
    #[must_use]
    pub fn desc(&self) -> Desc {
        let labels = self.labels.iter().map(|label| (*label).to_owned()).collect();
        Desc::new(self.name.to_owned(), self.help.to_owned(), labels, HashMap::new())
            .expect("names and labels of a definition are valid and distinct")
    }

    /// Returns the metric with its samples.
    pub fn family(&self, samples: impl IntoIterator<Item = Metric>) -> MetricFamily {
        let mut family = MetricFamily::default();
        family.set_name(self.name.to_owned());
        family.set_help(self.help.to_owned());
        family.set_field_type(self.kind);
        family.set_metric(samples.into_iter().collect());
        family
    }

    /// Returns a sample of a counter or gauge. `labels` are the label values, in the order of the
    /// definition.
    #[must_use]
    pub fn sample(&self, labels: &[&str], value: f64) -> Metric {
        let mut metric = self.metric(labels);
        if self.kind == MetricType::COUNTER {
            let mut counter = Counter::default();
            counter.set_value(value);
            metric.set_counter(counter);
        } else {
            let mut gauge = Gauge::default();
            gauge.set_value(value);
            metric.set_gauge(gauge);
        }
        metric
    }

    /// Returns a sample of a histogram. `buckets` are upper bounds with cumulative counts, in
    /// ascending order and without the infinite one.
    pub fn histogram_sample(
        &self,
        labels: &[&str],
        buckets: impl IntoIterator<Item = (f64, u64)>,
        count: u64,
        sum: f64,
    ) -> Metric {
        let bucket = |(bound, count)| {
            let mut bucket = Bucket::default();
            bucket.set_upper_bound(bound);
            bucket.set_cumulative_count(count);
            bucket
        };
        let mut histogram = Histogram::default();
        histogram.set_bucket(buckets.into_iter().map(bucket).collect());
        histogram.set_sample_count(count);
        histogram.set_sample_sum(sum);
        let mut metric = self.metric(labels);
        metric.set_histogram(histogram);
        metric
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
}
