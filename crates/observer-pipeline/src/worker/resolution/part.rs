//! Parts of a batch, the refusals of one, and events that were refused alone.

use std::time::Duration;

use super::evidence::{Class, Evidence};
use super::spell::Turn;

/// Part of a batch.
#[derive(Debug, Clone)]
pub(super) struct Part<E> {
    pub(super) events: Vec<E>,
    pub(super) attempts: u32,
    /// Number of consecutive failures.
    pub(super) failures: u32,
    pub(super) renew: bool,
    pub(super) probe: Option<Turn>,
}
/// Event that was refused alone.
#[derive(Debug, Clone)]
pub(super) struct Suspect<E> {
    pub(super) event: E,
    pub(super) evidence: Evidence,
    pub(super) reason: String,
    pub(super) attempts: u32,
    /// Number of attempts of the event alone.
    pub(super) alone: u32,
    pub(super) renew: bool,
    pub(super) place: Place,
    /// Number of new events that had been tried while the position was stuck, when this one had to
    /// wait first.
    pub(super) stuck_since: Option<u64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// In the queue, or in flight before the position.
    Queued,
    /// Held until another event is accepted.
    Held,
    /// Held until it is due, since the position may not pass it.
    Waiting,
    /// About to be set aside.
    Storing,
    /// Set aside.
    Aside,
}
/// Refusal of a part.
pub(super) struct Refusal {
    pub(super) class: Class,
    pub(super) retry_after: Option<Duration>,
    pub(super) reason: String,
}
impl Place {
    pub(super) fn is_aside(self) -> bool {
        self == Self::Aside
    }

    pub(super) fn is_held(self) -> bool {
        self == Self::Held
    }

    pub(super) fn is_waiting(self) -> bool {
        self == Self::Waiting
    }
}
impl<E> Part<E> {
    pub(super) fn new(events: Vec<E>, attempts: u32) -> Self {
        Self { events, attempts, failures: 0, renew: false, probe: None }
    }

    /// Returns a copy without events.
    pub(super) fn clone_empty(&self) -> Self {
        let Self { attempts, failures, renew, probe, .. } = *self;
        Self { events: Vec::new(), attempts, failures, renew, probe }
    }
}
