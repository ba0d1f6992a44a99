//! Statistics of one signal: every result is counted, failures are logged at a limited rate.

use std::mem;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};

use super::lock::lock;
use crate::config::Signal;

/// Minimum interval between two warnings about one signal.
const WARNING_INTERVAL: Duration = Duration::from_secs(60);

/// Statistics of the export of spans, log events or metrics.
#[derive(Debug)]
pub(super) struct ExportStats {
    pub(super) signal: Signal,
    /// Destination, for log events.
    destination: String,
    /// Capacity of the queue, in items.
    capacity: usize,
    queued: AtomicUsize,
    pub(super) exported: AtomicU64,
    /// Items that the destination did not accept.
    pub(super) failed: AtomicU64,
    /// Items dropped because the queue was full.
    pub(super) dropped: AtomicU64,
    failures: Mutex<FailureState>,
}

#[derive(Debug, Default)]
struct FailureState {
    /// Reason for the failure of the current attempt, if a lower layer has recorded one.
    reason: Option<String>,
    is_failing: bool,
    /// Set after the failure was logged, so that the recovery is logged too.
    is_logged: bool,
    last_warning: Option<Instant>,
    /// Lost items that no log event has mentioned.
    lost: u64,
    /// Value of `dropped` at the last warning about it.
    dropped: u64,
}

impl ExportStats {
    pub(super) fn new(signal: Signal, destination: String, capacity: usize) -> Self {
        Self {
            signal,
            destination,
            capacity,
            queued: AtomicUsize::default(),
            exported: AtomicU64::default(),
            failed: AtomicU64::default(),
            dropped: AtomicU64::default(),
            failures: Mutex::default(),
        }
    }

    /// Reserves a place in the queue, or counts a dropped item and returns `false`. The queue of
    /// the SDK has the same capacity, so it accepts every item with a reservation.
    pub(super) fn try_reserve(&self) -> bool {
        if self.queued.fetch_add(1, Ordering::Relaxed) < self.capacity {
            return true;
        }
        self.queued.fetch_sub(1, Ordering::Relaxed);
        self.dropped.fetch_add(1, Ordering::Relaxed);
        false
    }

    /// Releases the reservations of items that are being sent.
    pub(super) fn release(&self, count: usize) {
        self.queued.fetch_sub(count, Ordering::Relaxed);
    }

    /// Returns the number of items in the queue.
    pub(super) fn queued(&self) -> usize {
        self.queued.load(Ordering::Relaxed)
    }

    /// Records the reason for a failure that the exporter doesn't report.
    pub(super) fn record_reason(&self, reason: String) {
        self.failures().reason = Some(reason);
    }

    /// Records items that the destination rejected in a request that it accepted otherwise.
    pub(super) fn record_rejected(&self, count: usize, reason: &str) {
        if count == 0 {
            return;
        }
        self.failed.fetch_add(count as u64, Ordering::Relaxed);
        let mut failures = self.failures();
        failures.lost += count as u64;
        if failures.may_warn() {
            let count = mem::take(&mut failures.lost);
            tracing::warn!(
                signal = self.signal.as_str(),
                to = self.destination,
                count,
                reason,
                "the destination rejected telemetry"
            );
        }
    }

    /// Records the result of an export.
    pub(super) fn record<E: ToString>(&self, count: usize, result: &Result<(), E>) {
        let mut failures = self.failures();
        let reason = failures.reason.take();
        match result {
            Ok(()) => {
                self.exported.fetch_add(count as u64, Ordering::Relaxed);
                let was_logged = mem::take(&mut failures.is_logged);
                if mem::take(&mut failures.is_failing) && was_logged {
                    let lost = mem::take(&mut failures.lost);
                    tracing::info!(
                        signal = self.signal.as_str(),
                        to = self.destination,
                        lost,
                        "the export of telemetry has recovered"
                    );
                }
            }
            Err(error) => {
                self.failed.fetch_add(count as u64, Ordering::Relaxed);
                failures.lost += count as u64;
                let is_first = !mem::replace(&mut failures.is_failing, true);
                if is_first && failures.may_warn() {
                    failures.is_logged = true;
                    let reason = reason.unwrap_or_else(|| error.to_string());
                    tracing::warn!(
                        signal = self.signal.as_str(),
                        to = self.destination,
                        reason,
                        "the export of telemetry fails; items are lost after a few retries"
                    );
                }
            }
        }
        let dropped = self.dropped.load(Ordering::Relaxed);
        if dropped > failures.dropped && !failures.is_failing && failures.may_warn() {
            let count = dropped - mem::replace(&mut failures.dropped, dropped);
            tracing::warn!(
                signal = self.signal.as_str(),
                to = self.destination,
                count,
                "telemetry was dropped since its queue was full; for spans, lower telemetry.sample"
            );
        }
    }

    fn failures(&self) -> MutexGuard<'_, FailureState> {
        lock(&self.failures)
    }
}

impl FailureState {
    /// Returns whether a warning is due, and restarts the interval if so.
    fn may_warn(&mut self) -> bool {
        let is_due = self.last_warning.is_none_or(|at| at.elapsed() >= WARNING_INTERVAL);
        if is_due {
            self.last_warning = Some(Instant::now());
        }
        is_due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn full_queue_drops_and_counts_items() {
        let stats = ExportStats::new(Signal::Traces, String::new(), 2);
        let reserved = [stats.try_reserve(), stats.try_reserve(), stats.try_reserve()];
        assert_eq!(reserved, [true, true, false]);
        stats.release(2);
        assert!(stats.try_reserve());
        assert_eq!((stats.queued(), stats.dropped.load(Ordering::Relaxed)), (1, 1));
    }

    #[test]
    fn continued_failure_is_logged_once() {
        let stats = ExportStats::new(Signal::Logs, String::new(), 2);
        for result in [Err("a"), Err("b"), Ok(()), Err("c"), Err("d")] {
            stats.record_reason("no".to_owned());
            stats.record(3, &result);
            let failures = stats.failures();
            assert_eq!(failures.is_failing, result.is_err());
            let is_logged = matches!(result, Err("a" | "b"));
            assert_eq!(failures.is_logged, is_logged, "c is within the interval after a");
        }
        assert_eq!((stats.exported.into_inner(), stats.failed.into_inner()), (3, 12));
    }
}
