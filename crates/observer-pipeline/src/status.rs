//! What a pipeline is doing, at one moment.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use observer_core::{Position, Timestamp};
use observer_journal::{Durations, DurationsSnapshot, JournalStatus};

use crate::account::{Account, Place};
use crate::replay::state::{Kept, Replay};

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
    /// Events that were not taken, by reason.
    pub rejected: BTreeMap<&'static str, u64>,
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
    pub replayed: u64,
    /// The replay of past events that it had last, or has. Its account is its own.
    pub replay: Option<Replay>,
    /// The last thing that went wrong.
    pub last_error: Option<Mishap>,
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
    Retrying(Mishap),
    /// Someone has to mend something; it is checked on a timer.
    Parked(Mishap),
    /// It gets nothing more.
    Stopped,
    /// It is not configured any more; its position is kept.
    Detached,
}

impl SinkState {
    /// One word for it.
    #[must_use]
    pub fn name(&self) -> &'static str {
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

/// Something that went wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mishap {
    /// What the far side said, or why it could not be asked.
    pub reason: String,
    /// Since when, or when.
    pub at: Timestamp,
}

/// What a worker tells about itself while it works.
#[derive(Debug)]
pub(crate) struct Progress {
    told: Mutex<Told>,
    pub(crate) deliveries: Durations,
}

/// How a worker was doing when it was asked.
#[derive(Debug, Clone)]
pub(crate) struct Told {
    pub(crate) place: Place,
    pub(crate) state: SinkState,
    pub(crate) retried: u64,
    pub(crate) replayed: u64,
    pub(crate) replay: Option<Kept>,
    pub(crate) last_error: Option<Mishap>,
    /// When the oldest event was received that the worker has in hand.
    pub(crate) oldest_in_hand: Option<Timestamp>,
    /// The last event that was handed to the sink, or that it had already.
    pub(crate) served: u64,
}

impl Progress {
    pub(crate) fn new(place: Place, replay: Option<Kept>) -> Self {
        let told = Told {
            place,
            state: SinkState::Starting,
            retried: 0,
            replayed: 0,
            replay,
            last_error: None,
            oldest_in_hand: None,
            served: 0,
        };
        Self { told: Mutex::new(told), deliveries: Durations::default() }
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, Told> {
        self.told.lock().expect("nothing panics while it tells how it is doing")
    }
}
