//! Input and output of the machine: events, policies, actions and results.

use std::sync::Arc;
use std::time::Duration;

use observer_core::Envelope;
use tokio::time::Instant;

use super::evidence::{Rules, StoredEvidence};

/// Event as the machine sees it.
pub(crate) trait Item: Clone {
    fn seq(&self) -> u64;
    /// Returns the size in bytes.
    fn size(&self) -> u64;
}

impl Item for Arc<Envelope> {
    fn seq(&self) -> u64 {
        self.seq
    }

    fn size(&self) -> u64 {
        self.event.raw().len() as u64
    }
}

/// Policy of a stream.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Policy {
    pub(crate) rules: Rules,
    /// True if an event may be tried while an earlier one is unresolved.
    pub(crate) may_skip: bool,
    /// True if the position may pass an event that is set aside.
    pub(crate) may_set_aside: bool,
    /// Largest number of events of one attempt.
    pub(crate) max_delivery: usize,
    /// Largest number of events that are set aside or held.
    pub(crate) max_aside: usize,
}

/// Next step of a stream.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Action<E> {
    /// Deliver these events, and call [`Resolution::on`] with the result.
    Deliver(Delivery<E>),
    /// Write these events to the dead letters, and call [`Resolution::buried`].
    DeadLetter(Vec<DeadEvent<E>>),
    /// Store these events, and call [`Resolution::stored`].
    SetAside(Vec<AsideEvent<E>>),
    /// Wait for the back-off.
    BackOff { retry_after: Option<Duration>, reason: String },
    /// Wait for the back-off, since many events in a row were refused. The destination accepted
    /// others a short time ago.
    SlowDown { reason: String },
    /// Wait until this time, since too many events are undecided and none of them is due.
    Crowded { until: Instant, reason: String },
    /// Park the sink until its check succeeds, and call [`Resolution::woken`].
    Park { reason: String },
    /// Read more events, and call [`Resolution::add`], or [`Resolution::exhausted`].
    Read,
    /// Wait for more events, or until this time.
    Wait(Option<Instant>),
}

/// Events of one attempt.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Delivery<E> {
    pub(crate) events: Vec<E>,
    /// Number of this attempt for these events, from 1.
    pub(crate) attempt: u32,
    /// True if the attempt has to use a new connection.
    pub(crate) renew: bool,
}

/// Event that becomes a dead letter.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct DeadEvent<E> {
    pub(crate) event: E,
    pub(crate) reason: String,
    pub(crate) attempts: u32,
    /// True if the position has passed the event.
    pub(crate) is_aside: bool,
}

/// Event that is set aside.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct AsideEvent<E> {
    pub(crate) event: E,
    pub(crate) reason: String,
    pub(crate) attempts: u32,
    pub(crate) evidence: StoredEvidence,
}

/// Result of one event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    Delivered,
    /// Rejected by the destination without being named.
    Refused,
    Dead,
    SetAside,
}

/// Event that is resolved, or that the position may pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Resolved {
    pub(crate) seq: u64,
    pub(crate) fate: Fate,
    /// True if the position has passed the event before.
    pub(crate) is_aside: bool,
}
