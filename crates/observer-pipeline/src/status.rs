//! What a pipeline is doing, at one moment.

use std::collections::BTreeMap;
use std::time::Duration;

use observer_core::Position;
use observer_journal::{DurationsSnapshot, JournalStatus};

use crate::account::Account;
use crate::error::Failure;
use crate::ingest::reject::RejectReason;
use crate::replay::state::ReplayStatus;

/// What a pipeline is doing, at one moment.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Status {
    /// The journal that events are kept in.
    pub journal: JournalStatus,
    /// The epoch that positions are counted in.
    pub epoch: u64,
    /// What came in since the start.
    pub ingest: IngestStatus,
    /// Each sink by its name, also those that are configured no more and have a position.
    pub sinks: BTreeMap<String, SinkStatus>,
    /// It takes no events any more.
    pub closed: bool,
}

/// What came in since the start.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct IngestStatus {
    /// Events that were new.
    pub accepted: u64,
    /// Events that were known already.
    pub duplicates: u64,
    /// Of the duplicates, those that had another body than the first one.
    pub changed: u64,
    /// Rejected events by reason. A snapshot has an entry for every reason.
    pub rejected: BTreeMap<RejectReason, u64>,
    /// How many identities are remembered.
    pub remembered: usize,
}

/// How one sink is doing.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct SinkStatus {
    /// Its type, such as `file`.
    pub kind: String,
    /// Whether it works.
    pub state: SinkState,
    /// Whether producers are refused rather than that it misses events.
    pub required: bool,
    /// The last event that it is past.
    pub position: Position,
    /// What became of the events up to there.
    pub account: Account,
    /// How many events it was to get, from its start on.
    pub accepted: u64,
    /// How many it is not past yet.
    pub pending: u64,
    /// How long the oldest of those has waited.
    pub oldest_pending: Option<Duration>,
    /// How many deliveries failed and were tried again.
    pub retried: u64,
    /// How many dead letters it took when they were sent again, since the start. They stay among
    /// the dead of its account.
    pub redelivered: u64,
    /// The replay of past events that it had last, or has. Its account is its own.
    pub replay: Option<ReplayStatus>,
    /// The last thing that went wrong.
    pub last_error: Option<Failure>,
    /// How long deliveries took.
    pub deliveries: DurationsSnapshot,
}

/// Whether a sink works.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SinkState {
    /// It is asked how far it has come.
    Starting,
    /// It takes events.
    Running,
    /// Deliveries fail, and are tried again.
    Retrying(Failure),
    /// Someone has to mend something; it is checked on a timer.
    Parked(Failure),
    /// It gets nothing more.
    Stopped,
    /// It is not configured any more; its position is kept.
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
