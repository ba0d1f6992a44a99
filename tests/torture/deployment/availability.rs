//! Whether the observer can be expected to answer, and what was done to it last.

use std::collections::VecDeque;
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// How many of the last faults a finding is told with.
const REMEMBERED: usize = 25;

#[derive(Debug)]
pub(crate) struct Weather {
    now: Mutex<Now>,
    begun: Instant,
}

#[derive(Debug, Default)]
struct Now {
    up: bool,
    /// How often it changed.
    changes: u64,
    /// When the observer was started again after a kill, until it has answered.
    started: Option<Instant>,
    history: VecDeque<String>,
}

/// The weather at the beginning of a request.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Begun {
    up: bool,
    changes: u64,
    pub(crate) at: Instant,
}

impl Weather {
    pub(crate) fn new() -> Self {
        Self { now: Mutex::default(), begun: Instant::now() }
    }

    fn now(&self) -> std::sync::MutexGuard<'_, Now> {
        self.now.lock().expect("nothing panics while it looks at the weather")
    }

    pub(crate) fn begin(&self) -> Begun {
        let now = self.now();
        Begun { up: now.up, changes: now.changes, at: Instant::now() }
    }

    /// Whether the observer could have answered all the time.
    pub(crate) fn was_fine(&self, since: Begun) -> bool {
        let now = self.now();
        since.up && now.changes == since.changes
    }

    /// An answer came. How long that took since the start, if it is the first one after a kill.
    pub(crate) fn answered(&self, since: Begun) -> Option<Duration> {
        let mut now = self.now();
        let started = now.started.filter(|started| since.at >= *started)?;
        now.started = None;
        Some(started.elapsed())
    }

    /// Something is about to be done to the observer itself.
    pub(crate) fn disturb(&self) {
        let mut now = self.now();
        now.changes += 1;
        now.up = false;
        now.started = None;
    }

    pub(crate) fn started_after_kill(&self) {
        self.now().started = Some(Instant::now());
    }

    pub(crate) fn clear_up(&self) {
        self.now().up = true;
    }

    /// What is done, for those who look for the reason of a finding.
    pub(crate) fn remember(&self, what: String) {
        let at = self.begun.elapsed().as_secs_f64();
        let mut now = self.now();
        if now.history.len() == REMEMBERED {
            now.history.pop_front();
        }
        now.history.push_back(format!("{at:9.3} s  {what}"));
    }

    pub(crate) fn history(&self) -> String {
        self.now().history.iter().map(|line| format!("  {line}\n")).collect()
    }
}
