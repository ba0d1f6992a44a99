//! Store that answers queries, which can change while the server runs.

use std::fmt;
use std::sync::Arc;

use arc_swap::ArcSwapOption;
use observer_core::query::EventStore;

/// Handle to the store that answers queries. Clones share it. By default there is none, and queries
/// get 404.
#[derive(Clone, Default)]
pub struct EventStoreHandle(Arc<ArcSwapOption<Arc<dyn EventStore>>>);

impl EventStoreHandle {
    /// Creates a handle to this store.
    #[must_use]
    pub fn new(store: Arc<dyn EventStore>) -> Self {
        let handle = Self::default();
        handle.set(Some(store));
        handle
    }

    /// Sets the store, or removes it, from the next query on. A running query keeps its store.
    pub fn set(&self, store: Option<Arc<dyn EventStore>>) {
        self.0.store(store.map(Arc::new));
    }

    /// Returns the store.
    #[must_use]
    pub fn get(&self) -> Option<Arc<dyn EventStore>> {
        self.0.load().as_ref().map(|store| Arc::clone(store.as_ref()))
    }
}

impl fmt::Debug for EventStoreHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EventStoreHandle").field("is_set", &self.get().is_some()).finish()
    }
}
