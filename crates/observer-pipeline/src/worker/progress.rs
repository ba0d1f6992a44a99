//! What a worker reports while it works.

use std::sync::{Mutex, MutexGuard};

use observer_core::Timestamp;
use observer_journal::Durations;

use crate::account::Place;
use crate::error::Failure;
use crate::lock::lock;
use crate::replay::state::Kept;
use crate::status::SinkState;

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
    pub(crate) last_error: Option<Failure>,
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
        lock(&self.told)
    }
}
