//! Counts of redacted secrets in the metrics.

use observer_core::redact::RedactionCounts;
use observer_metrics::Definition;
use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;

const REDACTIONS: Definition = Definition::counter(
    "observer_redactions_total",
    &["rule"],
    "Secrets in received events that were redacted, by rule.",
);

struct Redactions {
    counts: RedactionCounts,
    desc: Desc,
}

impl Collector for Redactions {
    fn desc(&self) -> Vec<&Desc> {
        vec![&self.desc]
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let counts = self.counts.snapshot();
        let samples = counts.iter().map(|(rule, count)| REDACTIONS.sample(&[rule], *count as f64));
        vec![REDACTIONS.family(samples)]
    }
}

/// Exports the counts of all rules that exist, or existed before a reload.
pub(crate) fn register(counts: &RedactionCounts, registry: &prometheus::Registry) {
    let collector = Redactions { counts: counts.clone(), desc: REDACTIONS.desc() };
    if let Err(error) = registry.register(Box::new(collector)) {
        let error = observer_core::report(&error);
        tracing::warn!(error, "the counts of redacted secrets are not exported");
    }
}
