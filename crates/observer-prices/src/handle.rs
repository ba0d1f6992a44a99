//! Table of prices that can be replaced while sinks use it.

use std::sync::Arc;

use arc_swap::ArcSwap;
use observer_core::{Pricing, RateQuery, Rates};

use crate::Table;

/// Handle of a [`Table`]. Clones share the table, so that a new one applies to all of them.
#[derive(Debug, Clone, Default)]
pub struct Prices {
    table: Arc<ArcSwap<Table>>,
}

impl Prices {
    /// Creates a handle of a table.
    #[must_use]
    pub fn new(table: Table) -> Self {
        Self { table: Arc::new(ArcSwap::from_pointee(table)) }
    }

    /// Replaces the table.
    pub fn replace(&self, table: Table) {
        self.table.store(Arc::new(table));
    }

    /// Returns the present table.
    #[must_use]
    pub fn table(&self) -> Arc<Table> {
        self.table.load_full()
    }
}

impl Pricing for Prices {
    fn rates(&self, query: &RateQuery<'_>) -> Option<Rates> {
        self.table.load().rates(query)
    }
}
