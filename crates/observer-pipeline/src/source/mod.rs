//! Source of a worker's events.
//!
//! [`tail`] caches the last committed events for all workers, [`head`] wakes them when a new one is
//! committed, and [`reader`] reads from the cache, or from the journal while its worker is lagging.

use std::sync::Arc;

use self::tail::Tail;
use crate::blocking::Blocking;
use crate::journal::Journal;

pub(crate) mod head;
pub(crate) mod reader;
pub(crate) mod tail;

/// Journal and tail cache that events are read from.
#[derive(Clone)]
pub(crate) struct Source {
    pub(crate) blocking: Blocking,
    pub(crate) journal: Arc<Journal>,
    pub(crate) tail: Arc<Tail>,
}
