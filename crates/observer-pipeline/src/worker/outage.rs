//! Log lines about the outages of a destination.

use std::time::Duration;

use tokio::time::Instant;

/// Interval at which an outage that lasts is logged again.
pub(crate) const REPEAT_AFTER: Duration = Duration::from_secs(300);
/// Number of pauses in a row from which on the log reports an outage.
const REPORT_AFTER: u64 = 2;
/// Pause after a failure from which on the log reports even a single one.
const LONG_PAUSE: Duration = Duration::from_secs(5);

/// Failures of a sink since it last accepted an event.
///
/// There is one line when an outage begins, one every few minutes, and one when it ends. A single
/// failure has none, unless the destination demands a long pause. Neither have failures without a
/// pause, by which an event at fault is isolated.
#[derive(Debug, Default)]
pub(crate) struct Outage {
    since: Option<Instant>,
    failures: u64,
    /// Failures with a pause after them.
    pauses: u64,
    logged_at: Option<Instant>,
    is_parked: bool,
}

impl Outage {
    /// Reports a failure. `pending` is the number of events that wait, and `pause` the time until
    /// the next attempt, if there is a pause.
    pub(crate) fn fail(
        &mut self,
        sink: &str,
        reason: &str,
        pending: u64,
        pause: Option<Duration>,
        now: Instant,
    ) {
        let since = *self.since.get_or_insert(now);
        self.failures += 1;
        self.pauses += u64::from(pause.is_some());
        let is_long = pause.is_some_and(|pause| pause >= LONG_PAUSE);
        match self.logged_at {
            None if self.pauses >= REPORT_AFTER || is_long => {
                tracing::warn!(sink, reason, "the sink is unavailable; retrying");
                self.logged_at = Some(now);
            }
            Some(logged_at) if now - logged_at >= REPEAT_AFTER => {
                let state = if self.is_parked { "parked" } else { "retrying" };
                tracing::warn!(
                    sink,
                    state,
                    failures = self.failures,
                    seconds = (now - since).as_secs(),
                    pending,
                    reason,
                    "the sink is still unavailable"
                );
                self.logged_at = Some(now);
            }
            _ => {}
        }
    }

    /// Reports that the sink is parked.
    pub(crate) fn park(&mut self, sink: &str, reason: &str, pending: u64, now: Instant) {
        if std::mem::replace(&mut self.is_parked, true) {
            self.fail(sink, reason, pending, None, now);
            return;
        }
        self.since.get_or_insert(now);
        self.failures += 1;
        self.logged_at = Some(now);
        tracing::error!(
            sink,
            reason,
            "the sink is parked: its events wait until the cause is removed"
        );
    }

    /// Reports that the sink accepted an event.
    pub(crate) fn end(&mut self, sink: &str, now: Instant) {
        if let (Some(since), Some(_)) = (self.since, self.logged_at) {
            tracing::info!(
                sink,
                failures = self.failures,
                seconds = (now - since).as_secs(),
                "the sink accepts events again"
            );
        }
        *self = Self::default();
    }
}
