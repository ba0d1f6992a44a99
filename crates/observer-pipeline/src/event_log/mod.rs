//! Event log: the journal with events as its records, and the cache of the last ones.
//!
//! [`tail`] caches the last committed events for all workers, [`head`] wakes them when a new one is
//! committed, and [`reader`] reads from the cache, or from the journal while its worker is lagging.
//! [`record`] converts records to events.

use std::sync::Arc;

use tokio::sync::oneshot;

use self::tail::Tail;
use crate::blocking::Blocking;
use crate::error::Unavailable;

pub(crate) mod head;
pub(crate) mod reader;
pub(crate) mod record;
pub(crate) mod tail;

/// Journal whose appends carry a [`ReplyTo`].
pub(crate) type Journal = observer_journal::Journal<ReplyTo>;

/// Channel on which a request waits for the result of its append.
pub(crate) type ReplyTo = oneshot::Sender<Result<(), Unavailable>>;

/// Journal and tail cache from which events are read.
#[derive(Clone)]
pub(crate) struct EventLog {
    pub(crate) blocking: Blocking,
    pub(crate) journal: Arc<Journal>,
    pub(crate) tail: Arc<Tail>,
    /// Time since which records have tags, in microseconds since 1970.
    pub(crate) tagged_since: u64,
}
