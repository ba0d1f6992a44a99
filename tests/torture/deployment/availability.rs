//! Availability of the observer, and the history of the last faults.

use std::collections::VecDeque;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use crate::deployment::configuration::Durability;
use crate::sync::lock;

/// Number of entries in the history.
const MAX_HISTORY: usize = 25;

/// Availability of one observer, as far as the faults determine it.
#[derive(Debug)]
pub(crate) struct Availability {
    state: Mutex<State>,
    begun: Instant,
}

#[derive(Debug, Default)]
struct State {
    up: bool,
    /// Number of interruptions.
    changes: u64,
    /// Durability of the running process, or of the last one.
    durability: Durability,
    /// Time of the start after a kill, until the first response.
    started: Option<Instant>,
    history: VecDeque<String>,
}

/// Availability at the start of a request.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RequestStart {
    up: bool,
    changes: u64,
    durability: Durability,
    pub(crate) at: Instant,
}

impl Availability {
    pub(crate) fn new() -> Self {
        Self { state: Mutex::default(), begun: Instant::now() }
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        lock(&self.state)
    }

    pub(crate) fn begin(&self) -> RequestStart {
        let state = self.state();
        RequestStart {
            up: state.up,
            changes: state.changes,
            durability: state.durability,
            at: Instant::now(),
        }
    }

    /// Returns whether a response to a request may name this durability.
    pub(crate) fn has_durability(&self, since: RequestStart, durability: &str) -> bool {
        [since.durability, self.state().durability].iter().any(|own| own.as_str() == durability)
    }

    /// Records the durability of the process that starts next.
    pub(crate) fn set_durability(&self, durability: Durability) {
        self.state().durability = durability;
    }

    /// Returns whether the observer was available during the whole request.
    pub(crate) fn was_available(&self, since: RequestStart) -> bool {
        let state = self.state();
        since.up && state.changes == since.changes
    }

    /// Records a response. Returns the time since the start if it is the first one after a kill.
    pub(crate) fn answered(&self, since: RequestStart) -> Option<Duration> {
        let mut state = self.state();
        let started = state.started.filter(|started| since.at >= *started)?;
        state.started = None;
        Some(started.elapsed())
    }

    /// Records that the observer is about to be disturbed.
    pub(crate) fn interrupt(&self) {
        let mut state = self.state();
        state.changes += 1;
        state.up = false;
        state.started = None;
    }

    /// Records a start after a kill.
    pub(crate) fn started_after_kill(&self) {
        self.state().started = Some(Instant::now());
    }

    /// Records that the observer is available.
    pub(crate) fn set_up(&self) {
        self.state().up = true;
    }

    /// Adds an entry to the history.
    pub(crate) fn record(&self, what: String) {
        let at = self.begun.elapsed().as_secs_f64();
        let mut state = self.state();
        if state.history.len() == MAX_HISTORY {
            state.history.pop_front();
        }
        state.history.push_back(format!("{at:9.3} s  {what}"));
    }

    /// Returns the last entries of the history, one per line.
    pub(crate) fn history(&self) -> String {
        self.state().history.iter().map(|line| format!("  {line}\n")).collect()
    }
}
