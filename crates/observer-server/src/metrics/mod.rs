//! The observer's own metrics.
//!
//! One collector in the caller's registry serves them all: [`exposition`] reads the status of the
//! pipeline at each scrape, so that the numbers of a scrape belong together; [`server`] counts
//! connections and [`requests`] as they occur. The registry also gets the metrics of the process,
//! where the operating system has them.

mod certificate;
pub(crate) mod exposition;
pub(crate) mod requests;
pub(crate) mod server;

use observer_pipeline::Pipeline;
use prometheus::Registry;
use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;

use self::exposition::METRICS;
use self::server::ServerMetrics;

/// Collector of the observer's own metrics.
#[derive(Clone)]
struct ObserverCollector {
    pipeline: Pipeline,
    server: ServerMetrics,
    descs: Vec<Desc>,
}

impl Collector for ObserverCollector {
    fn desc(&self) -> Vec<&Desc> {
        self.descs.iter().collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let mut families = exposition::families(&self.pipeline.status());
        families.extend(self.server.families());
        families
    }
}

/// Registration of the collectors in a registry, which ends when this is dropped.
pub(crate) struct Registration {
    registry: Registry,
    collector: ObserverCollector,
    process: ProcessMetrics,
}

/// Owner of the metrics of the process in the registry.
#[derive(PartialEq, Eq)]
enum ProcessMetrics {
    Registered,
    /// The embedding program has registered them, or this operating system has none.
    Absent,
}

impl Registration {
    /// Registers the collectors.
    ///
    /// # Errors
    /// If the registry has the metrics of another server.
    pub(crate) fn new(
        registry: &Registry,
        pipeline: Pipeline,
        server: ServerMetrics,
    ) -> Result<Self, prometheus::Error> {
        let mut descs = server.descs();
        descs.extend(METRICS.iter().map(|metric| metric.definition.desc()));
        let collector = ObserverCollector { pipeline, server, descs };
        registry.register(Box::new(collector.clone()))?;
        let process = match process_collector().map(|process| registry.register(process)) {
            Some(Ok(())) => ProcessMetrics::Registered,
            Some(Err(_)) | None => ProcessMetrics::Absent,
        };
        Ok(Self { registry: registry.clone(), collector, process })
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        // Fails only if the embedding program has unregistered the collectors itself.
        let _ = self.registry.unregister(Box::new(self.collector.clone()));
        if self.process == ProcessMetrics::Registered
            && let Some(process) = process_collector()
        {
            let _ = self.registry.unregister(process);
        }
    }
}

#[cfg(target_os = "linux")]
fn process_collector() -> Option<Box<dyn Collector>> {
    Some(Box::new(prometheus::process_collector::ProcessCollector::for_self()))
}

#[cfg(not(target_os = "linux"))]
fn process_collector() -> Option<Box<dyn Collector>> {
    None
}
