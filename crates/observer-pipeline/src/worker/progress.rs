//! Progress of a worker, for the status of its sink.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use observer_core::Timestamp;
use observer_journal::{Durations, DurationsSnapshot};

use crate::account::{Account, Checkpoint};
use crate::dead_letters::undecided::Totals;
use crate::error::Failure;
use crate::lock::lock;
use crate::replay::state::ReplayRecord;
use crate::status::SinkState;
use crate::worker::attempt::Outcome;

/// State that a worker shares with its pipeline.
#[derive(Debug)]
pub(crate) struct Progress {
    snapshot: Mutex<Snapshot>,
    deliveries: [Durations; Outcome::ALL.len()],
}

/// Progress of a worker at one moment.
#[derive(Debug, Clone)]
pub(crate) struct Snapshot {
    pub(crate) checkpoint: Checkpoint,
    /// Decisions about the events that were set aside.
    pub(crate) aside: Totals,
    /// Number of events that were refused and that the position has not passed.
    pub(crate) held: u64,
    /// Head of the journal when the worker last looked.
    pub(crate) head: u64,
    pub(crate) state: SinkState,
    /// Time of the next attempt after a failure, which is in the past while it is under way.
    pub(crate) retry_at: Option<Timestamp>,
    pub(crate) retried: u64,
    pub(crate) redelivered: u64,
    pub(crate) delivered_bytes: u64,
    pub(crate) last_success: Option<Timestamp>,
    pub(crate) replay: Option<ReplayRecord>,
    pub(crate) last_error: Option<Failure>,
    /// Time at which the oldest event of the current batch was received.
    pub(crate) oldest_in_batch: Option<Timestamp>,
    /// Time at which the oldest undecided event was received.
    pub(crate) oldest_aside: Option<Timestamp>,
    /// Last event that was handed to the sink, or that the sink had before.
    pub(crate) served: u64,
}

impl Snapshot {
    /// Returns the number of events that are set aside.
    pub(crate) fn undecided(&self) -> u64 {
        self.checkpoint.set_aside.saturating_sub(self.aside.delivered + self.aside.dead)
    }

    /// Returns the account of all events up to the position, except for those that are set aside.
    pub(crate) fn account(&self) -> Account {
        let Account { delivered, dead, .. } = self.checkpoint.account;
        Account {
            delivered: delivered + self.aside.delivered,
            dead: dead + self.aside.dead,
            ..self.checkpoint.account
        }
    }

    /// Returns the number of unresolved events, as far as the worker knows.
    pub(crate) fn pending(&self) -> u64 {
        self.pending_at(self.head)
    }

    /// Returns the number of unresolved events up to a head of the journal.
    pub(crate) fn pending_at(&self, head: u64) -> u64 {
        let offered = head.saturating_sub(self.checkpoint.seq) + self.checkpoint.set_aside;
        offered.saturating_sub(self.aside.delivered + self.aside.dead)
    }
}

impl Progress {
    pub(crate) fn new(checkpoint: Checkpoint, replay: Option<ReplayRecord>) -> Self {
        let snapshot = Snapshot {
            checkpoint,
            aside: Totals::default(),
            held: 0,
            head: checkpoint.seq,
            state: SinkState::Starting,
            retry_at: None,
            retried: 0,
            redelivered: 0,
            delivered_bytes: 0,
            last_success: None,
            replay,
            last_error: None,
            oldest_in_batch: None,
            oldest_aside: None,
            served: 0,
        };
        Self { snapshot: Mutex::new(snapshot), deliveries: Default::default() }
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, Snapshot> {
        lock(&self.snapshot)
    }

    /// Records the duration of a delivery.
    pub(crate) fn record(&self, outcome: Outcome, duration: Duration) {
        self.deliveries[outcome as usize].record(duration);
    }

    /// Returns the durations of deliveries by their outcome.
    pub(crate) fn deliveries(&self) -> BTreeMap<Outcome, DurationsSnapshot> {
        let snapshot = |outcome: Outcome| (outcome, self.deliveries[outcome as usize].snapshot());
        Outcome::ALL.map(snapshot).into()
    }
}
