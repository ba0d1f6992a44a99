//! Caller, and the sources that it may read.

use std::fmt;
use std::sync::Arc;

use observer_core::query::{EventStore, Scope};

/// Store and scope of one request.
#[derive(Clone)]
pub struct Reader {
    /// Store that answers; `None` if there is no knowledge base.
    pub store: Option<Arc<dyn EventStore>>,
    /// Sources that the caller may read.
    pub scope: Scope,
}

impl fmt::Debug for Reader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let has_store = self.store.is_some();
        f.debug_struct("Reader").field("has_store", &has_store).field("scope", &self.scope).finish()
    }
}
