//! Log lines about the outages of a destination.

use std::time::Duration;

use tokio::time::Instant;

/// Interval at which an outage that lasts is logged again.
pub(crate) const REPEAT_AFTER: Duration = Duration::from_secs(300);
/// Duration of an outage from which on the log reports it, with the pause after the last failure.
const REPORT_AFTER: Duration = Duration::from_secs(5);

/// Failures of a sink since it last accepted an event.
///
/// There is one line once an outage lasts, one every few minutes, and one when it ends. A failure
/// that is over within seconds has none, and neither have failures without a pause, by which an
/// event at fault is isolated.
#[derive(Debug, Default)]
pub(crate) struct Outage {
    since: Option<Instant>,
    failures: u64,
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
        let lasts = pause.is_some_and(|pause| now + pause - since >= REPORT_AFTER);
        match self.logged_at {
            None if lasts => {
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
