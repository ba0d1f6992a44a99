//! Metrics of the observer itself.

pub(crate) mod exposition;
pub(crate) mod requests;

use observer_pipeline::Pipeline;
use prometheus::Registry;
use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;

use self::exposition::METRICS;
use self::requests::Requests;

/// What the registry asks for the observer's own metrics.
#[derive(Clone)]
struct OwnCollector {
    pipeline: Pipeline,
    requests: Requests,
    descs: Vec<Desc>,
}

impl Collector for OwnCollector {
    fn desc(&self) -> Vec<&Desc> {
        self.descs.iter().collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let mut families = exposition::families(&self.pipeline.status());
        families.extend(self.requests.families());
        families
    }
}

/// The collector's place in a registry, given up when dropped.
pub(crate) struct Registration {
    registry: Registry,
    collector: OwnCollector,
    process: Process,
}

/// Who has the metrics of the process in the registry.
#[derive(PartialEq, Eq)]
enum Process {
    Ours,
    /// Someone else has put them there, or they can't be had on this system.
    NotOurs,
}

impl Registration {
    pub(crate) fn new(
        registry: &Registry,
        pipeline: Pipeline,
        requests: Requests,
    ) -> Result<Self, prometheus::Error> {
        let mut descs = requests.descs();
        descs.extend(METRICS.iter().map(|metric| metric.desc()));
        let collector = OwnCollector { pipeline, requests, descs };
        registry.register(Box::new(collector.clone()))?;
        let process = match process_collector().map(|process| registry.register(process)) {
            Some(Ok(())) => Process::Ours,
            Some(Err(_)) | None => Process::NotOurs,
        };
        Ok(Self { registry: registry.clone(), collector, process })
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        // These can only fail because someone else took the collectors out before.
        let _ = self.registry.unregister(Box::new(self.collector.clone()));
        if self.process == Process::Ours
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
