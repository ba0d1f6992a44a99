//! Contract test of the Prometheus sink.
#![expect(clippy::unwrap_used, reason = "in a test, a panic is the message")]

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use observer_core::{EventSink, SinkContext};
use observer_sink_prometheus::{PrometheusConfig, PrometheusSink};
use observer_testing::{Clause, Contents, Destination, Outage, SinkContract};
use prometheus::proto::MetricFamily;
use tempfile::TempDir;

struct Snapshot(TempDir);

impl Snapshot {
    fn folder(&self) -> PathBuf {
        self.0.path().join("metrics")
    }

    fn build(&self) -> PrometheusSink {
        let context = SinkContext::new("metrics", self.folder());
        PrometheusSink::new(PrometheusConfig::new(), &context).unwrap()
    }
}

#[async_trait]
impl Destination for Snapshot {
    fn sink(&self) -> Arc<dyn EventSink> {
        Arc::new(self.build())
    }

    /// Returns the count that the next process exports.
    async fn contents(&self) -> Contents {
        /// Each event counts in one of them.
        const COUNTERS: [&str; 3] =
            ["observer_events_total", "observer_phases_total", "observer_corrections_total"];
        let next = self.build();
        next.position().await.unwrap();
        let families = next.registry().gather();
        let events = families.iter().filter(|family| COUNTERS.contains(&family.name()));
        let counts = events
            .flat_map(MetricFamily::get_metric)
            .map(|metric| metric.get_counter().get_value());
        Contents::Count(counts.sum::<f64>() as u64)
    }

    async fn make_unavailable(&self) -> Outage {
        fs::remove_dir_all(self.folder()).unwrap();
        fs::write(self.folder(), "in the way").unwrap();
        Outage::Simulated
    }

    async fn make_available(&self) {
        fs::remove_file(self.folder()).unwrap();
    }
}

#[tokio::test]
async fn prometheus_sink_meets_the_contract() {
    let contract = SinkContract::new(|| Snapshot(TempDir::new().unwrap())).max_events(8192);
    let skipped = contract.verify().await.skipped;
    let skipped: Vec<_> = skipped.iter().map(|(clause, _)| *clause).collect();
    // The destination accepts every event.
    assert_eq!(skipped, [Clause::Rejection, Clause::PartialAcceptance]);
}
