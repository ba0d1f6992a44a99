//! Source of a worker's events: the tail cache for recent ones, the journal for older ones.

use std::sync::Arc;

use self::tail::Tail;
use crate::blocking::Blocking;
use crate::journal::Journal;

pub(crate) mod head;
pub(crate) mod reader;
pub(crate) mod tail;

/// Where events are read.
#[derive(Clone)]
pub(crate) struct Source {
    pub(crate) blocking: Blocking,
    pub(crate) journal: Arc<Journal>,
    pub(crate) tail: Arc<Tail>,
}
