//! The state as metric families.

use std::collections::HashMap;
use std::sync::Arc;

use observer_core::BuildError;
use prometheus::Registry;
use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;

use crate::exposition::{self, METRICS};
use crate::store::Store;

/// What the registry asks for the metrics.
#[derive(Clone)]
struct EventCollector {
    store: Arc<Store>,
    descs: Vec<Desc>,
}

impl Collector for EventCollector {
    fn desc(&self) -> Vec<&Desc> {
        self.descs.iter().collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        match self.store.saved() {
            Ok(state) => exposition::families(&state.aggregate),
            // No series are better than zeros, which would be read as a restart. The pipeline meets
            // the same error, and says so.
            Err(_) => Vec::new(),
        }
    }
}

/// The collector's place in a registry, given up when dropped.
pub(crate) struct Registration {
    registry: Registry,
    collector: EventCollector,
}

impl Registration {
    pub(crate) fn new(store: Arc<Store>, registry: &Registry) -> Result<Self, BuildError> {
        let descs = METRICS.iter().map(|metric| {
            let labels = metric.labels.iter().map(|label| (*label).to_owned()).collect();
            Desc::new(metric.name.to_owned(), metric.help.to_owned(), labels, HashMap::new())
                .expect("names and labels are valid, and none is there twice")
        });
        let collector = EventCollector { store, descs: descs.collect() };
        registry.register(Box::new(collector.clone())).map_err(|error| {
            let problem = match error {
                prometheus::Error::AlreadyReg => {
                    "a second sink of type prometheus can't share the registry: both would export the same series"
                        .to_owned()
                }
                error => format!("a sink of type prometheus can't share the registry: {error}"),
            };
            BuildError::new("type", problem)
        })?;
        Ok(Self { registry: registry.clone(), collector })
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        // It can only fail because someone else took the collector out before.
        let _ = self.registry.unregister(Box::new(self.collector.clone()));
    }
}
