//! Registration of the metrics in a registry.

use std::sync::Arc;

use observer_core::BuildError;
use prometheus::Registry;
use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;

use crate::exposition::{self, METRICS};
use crate::store::Store;

/// Collector that reads the saved state of a store.
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
            // Missing series are better than zeros, which would look like a restart. The pipeline
            // gets the same error and reports it.
            Err(_) => Vec::new(),
        }
    }
}

/// Registration of the collector in a registry. Dropping it removes the collector.
pub(crate) struct Registration {
    registry: Registry,
    collector: EventCollector,
}

impl Registration {
    /// Registers the metrics of a store.
    ///
    /// # Errors
    /// If the registry already has metrics of the same names.
    pub(crate) fn new(store: Arc<Store>, registry: &Registry) -> Result<Self, BuildError> {
        let descs = METRICS.iter().map(|metric| metric.definition.desc());
        let collector = EventCollector { store, descs: descs.collect() };
        registry.register(Box::new(collector.clone())).map_err(|error| {
            let problem = match error {
                prometheus::Error::AlreadyReg => {
                    "allows one sink of type prometheus per registry, since two would export the \
                     same series; remove one"
                        .to_owned()
                }
                error => format!("prometheus can't be registered: {error}"),
            };
            BuildError::new("type", problem)
        })?;
        Ok(Self { registry: registry.clone(), collector })
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        // It fails only if the program has already removed the collector from its registry.
        let _ = self.registry.unregister(Box::new(self.collector.clone()));
    }
}
