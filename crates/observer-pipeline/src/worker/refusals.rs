//! Log lines about a destination that refuses many events and accepts others.

use std::time::Duration;

use tokio::time::Instant;

use crate::worker::outage::REPEAT_AFTER;

/// Time since the last refusal after which such a time is over.
const OVER_AFTER: Duration = REPEAT_AFTER;

/// Refusals of a destination that refuses many events in a row and accepts others.
///
/// There is one line when such a time begins, one every few minutes, and one when it is over.
#[derive(Debug, Default)]
pub(crate) struct Refusals(Option<Run>);

#[derive(Debug)]
struct Run {
    since: Instant,
    last_refused: Instant,
    logged_at: Instant,
    /// Number of refused requests.
    refused: u64,
    /// Number of accepted events.
    accepted: usize,
}

impl Refusals {
    /// Reports many refusals in a row. `undecided` is the number of undecided events.
    pub(crate) fn report(&mut self, sink: &str, reason: &str, undecided: u64, now: Instant) {
        let Some(run) = &mut self.0 else {
            tracing::warn!(sink, reason, "the destination refuses many events and accepts others");
            self.0 = Some(Run {
                since: now,
                last_refused: now,
                logged_at: now,
                refused: 0,
                accepted: 0,
            });
            return;
        };
        if now - run.logged_at >= REPEAT_AFTER {
            tracing::warn!(
                sink,
                refused = run.refused,
                accepted = run.accepted,
                undecided,
                seconds = (now - run.since).as_secs(),
                reason,
                "the destination still refuses many events and accepts others"
            );
            run.logged_at = now;
        }
    }

    /// Counts a refused request.
    pub(crate) fn refuse(&mut self, now: Instant) {
        if let Some(run) = &mut self.0 {
            run.refused += 1;
            run.last_refused = now;
        }
    }

    /// Counts accepted events.
    pub(crate) fn accept(&mut self, sink: &str, count: usize, now: Instant) {
        let Some(run) = &mut self.0 else { return };
        run.accepted += count;
        if now - run.last_refused >= OVER_AFTER {
            tracing::info!(
                sink,
                refused = run.refused,
                accepted = run.accepted,
                seconds = (run.last_refused - run.since).as_secs(),
                "the destination refuses no more events"
            );
            self.0 = None;
        }
    }
}
