//! Metrics of file sinks.

use observer_metrics::Definition;
use observer_sink_file::FileSinks;
use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;

const UNOWNED: Definition = Definition::gauge(
    "observer_sink_unowned_files",
    &["sink"],
    "Files that match the path of a file sink and that it did not write, by sink.",
);
const SKEWED: Definition = Definition::counter(
    "observer_sink_skewed_events_total",
    &["sink"],
    "Events whose own time is too far from their receipt for {event_date}, by sink.",
);

/// Collector of the counts of file sinks.
pub(super) struct FileMetrics {
    sinks: FileSinks,
    descriptions: [Desc; 2],
}

impl FileMetrics {
    pub(super) fn new(sinks: FileSinks) -> Self {
        Self { sinks, descriptions: [UNOWNED.desc(), SKEWED.desc()] }
    }
}

impl Collector for FileMetrics {
    fn desc(&self) -> Vec<&Desc> {
        self.descriptions.iter().collect()
    }

    #[expect(clippy::cast_precision_loss, reason = "metrics are floating-point numbers")]
    fn collect(&self) -> Vec<MetricFamily> {
        let counts = self.sinks.counts();
        let unowned =
            counts.iter().map(|sink| UNOWNED.sample(&[&sink.name], sink.unowned_files as f64));
        let skewed =
            counts.iter().map(|sink| SKEWED.sample(&[&sink.name], sink.skewed_events as f64));
        [UNOWNED.family(unowned), SKEWED.family(skewed)]
            .into_iter()
            .filter(|family| !family.get_metric().is_empty())
            .collect()
    }
}
