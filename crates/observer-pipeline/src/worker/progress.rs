//! Progress of a worker, for the status of its sink.

use std::sync::{Mutex, MutexGuard};

use observer_core::Timestamp;
use observer_journal::Durations;

use crate::account::Checkpoint;
use crate::error::Failure;
use crate::lock::lock;
use crate::replay::state::ReplayRecord;
use crate::status::SinkState;

/// State that a worker shares with its pipeline.
#[derive(Debug)]
pub(crate) struct Progress {
    snapshot: Mutex<Snapshot>,
    pub(crate) deliveries: Durations,
}

/// Progress of a worker at one moment.
#[derive(Debug, Clone)]
pub(crate) struct Snapshot {
    pub(crate) checkpoint: Checkpoint,
    pub(crate) state: SinkState,
    pub(crate) retried: u64,
    pub(crate) redelivered: u64,
    pub(crate) replay: Option<ReplayRecord>,
    pub(crate) last_error: Option<Failure>,
    /// Time at which the oldest event of the current batch was received.
    pub(crate) oldest_in_batch: Option<Timestamp>,
    /// Last event that was handed to the sink, or that the sink had before.
    pub(crate) served: u64,
}

impl Progress {
    pub(crate) fn new(checkpoint: Checkpoint, replay: Option<ReplayRecord>) -> Self {
        let snapshot = Snapshot {
            checkpoint,
            state: SinkState::Starting,
            retried: 0,
            redelivered: 0,
            replay,
            last_error: None,
            oldest_in_batch: None,
            served: 0,
        };
        Self { snapshot: Mutex::new(snapshot), deliveries: Durations::default() }
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, Snapshot> {
        lock(&self.snapshot)
    }
}
