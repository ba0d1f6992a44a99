//! Status of a pipeline and of its sinks.

use std::collections::BTreeMap;
use std::time::Duration;

use observer_core::{Position, Timestamp};
use observer_journal::{DurationsSnapshot, JournalStatus};

use crate::account::Account;
use crate::error::Failure;
use crate::ingest::reject::RejectReason;
use crate::replay::state::ReplayStatus;
use crate::worker::attempt::Outcome;

/// Snapshot of a pipeline.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Status {
    /// Status of the journal.
    pub journal: JournalStatus,
    /// Epoch of the positions.
    pub epoch: u64,
    /// Counts of ingested events since the start.
    pub ingest: IngestStatus,
    /// Status of each sink by its name, including detached sinks that still have a position.
    pub sinks: BTreeMap<String, SinkStatus>,
    /// True once the pipeline has stopped accepting events.
    pub closed: bool,
}

/// Counts of ingested events since the start.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct IngestStatus {
    /// New events.
    pub accepted: u64,
    /// Counts by principal: the anonymous one, the known tokens by name, and all others as `other`.
    pub principals: BTreeMap<String, PrincipalStatus>,
    /// Rejected events by reason. A snapshot has an entry for every reason.
    pub rejected: BTreeMap<RejectReason, u64>,
    /// Number of identities in the deduplication window.
    pub remembered: usize,
}

/// Counts of a principal's events whose identity was known.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PrincipalStatus {
    /// Duplicates.
    pub duplicates: u64,
    /// Events whose content differs from that of the first event: duplicates, and events with a
    /// reused idempotency key.
    pub changed: u64,
}

impl IngestStatus {
    /// Returns the number of duplicates of all principals.
    #[must_use]
    pub fn duplicates(&self) -> u64 {
        self.principals.values().map(|counts| counts.duplicates).sum()
    }

    /// Returns the number of events of all principals that have a known identity and other content.
    #[must_use]
    pub fn changed(&self) -> u64 {
        self.principals.values().map(|counts| counts.changed).sum()
    }
}

/// Status of one sink.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct SinkStatus {
    /// Type of the sink, such as `file`.
    pub kind: String,
    /// State of the sink.
    pub state: SinkState,
    /// True if events are rejected while the journal is full, rather than expired before this sink
    /// has them.
    pub required: bool,
    /// Position of the last resolved event.
    pub position: Position,
    /// Account of the events up to the position.
    pub account: Account,
    /// Number of events since the sink's start, including pending ones.
    pub accepted: u64,
    /// Number of unresolved events: those after the position, and those that are set aside.
    pub pending: u64,
    /// Number of the pending events that the destination refused, and that it may accept yet.
    pub undecided: u64,
    /// Age of the oldest pending event.
    pub oldest_pending: Option<Duration>,
    /// Time of the next attempt after a failure, which is in the past while it is under way.
    pub retry_at: Option<Timestamp>,
    /// Number of deliveries that failed and were retried.
    pub retried: u64,
    /// Number of dead letters that were redelivered since the start. The account still counts them
    /// as dead.
    pub redelivered: u64,
    /// Number of dead letters in the store; 0 for a detached sink.
    pub dead_letters: u64,
    /// Size of the events that the sink accepted since the start, in bytes.
    pub delivered_bytes: u64,
    /// Time at which the sink last accepted an event since the start.
    pub last_success: Option<Timestamp>,
    /// Current or last replay, which has its own account.
    pub replay: Option<ReplayStatus>,
    /// Last failure.
    pub last_error: Option<Failure>,
    /// Durations of deliveries by their outcome.
    pub deliveries: BTreeMap<Outcome, DurationsSnapshot>,
}

/// State of a sink.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SinkState {
    /// The worker reads the position of the sink.
    Starting,
    /// The sink accepts events.
    Running,
    /// Deliveries fail and are retried.
    Retrying(Failure),
    /// An operator has to act. The sink is checked on a timer.
    Parked(Failure),
    /// The worker has ended.
    Stopped,
    /// The sink is no longer configured; its position is kept.
    Detached,
}

impl SinkState {
    /// Names of all states.
    pub const ALL: [&'static str; 6] =
        ["starting", "running", "retrying", "parked", "stopped", "detached"];

    /// Returns the name of the state, as the API and the metrics show it.
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Running => "running",
            Self::Retrying(_) => "retrying",
            Self::Parked(_) => "parked",
            Self::Stopped => "stopped",
            Self::Detached => "detached",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_lists_the_name_of_each_state_once() {
        let failure = Failure { reason: String::new(), at: observer_core::Timestamp::UNIX_EPOCH };
        let states = [
            SinkState::Starting,
            SinkState::Running,
            SinkState::Retrying(failure.clone()),
            SinkState::Parked(failure),
            SinkState::Stopped,
            SinkState::Detached,
        ];
        assert_eq!(states.each_ref().map(SinkState::as_str), SinkState::ALL);
    }
}
