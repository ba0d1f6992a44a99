//! Source of a worker's events: the tail cache for recent ones, the journal for older ones.

pub(crate) mod head;
pub(crate) mod reader;
pub(crate) mod tail;
