//! What became of telemetry: counted always, told now and then.

use std::mem;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};

use crate::config::Signal;

/// Whatever happens, no more is said of one signal in this time.
const TELL_EVERY: Duration = Duration::from_secs(60);

/// What became of the spans, the lines of the log or the exports of metrics.
#[derive(Debug)]
pub(super) struct Account {
    pub(super) signal: Signal,
    /// Where they go, for people.
    place: String,
    max_waiting: usize,
    waiting: AtomicUsize,
    pub(super) exported: AtomicU64,
    /// Those that the far side did not take.
    pub(super) failed: AtomicU64,
    /// Those that there was no room for.
    pub(super) dropped: AtomicU64,
    trouble: Mutex<Trouble>,
}

#[derive(Debug, Default)]
struct Trouble {
    /// Why the last attempt failed, from whoever knows most.
    heard: Option<String>,
    is_failing: bool,
    /// Whether someone was told that it fails, and is to be told when it is over.
    is_told: bool,
    told_at: Option<Instant>,
    /// How many are lost that nobody was told of.
    lost: u64,
    dropped: u64,
}

impl Account {
    pub(super) fn new(signal: Signal, place: String, max_waiting: usize) -> Self {
        Self {
            signal,
            place,
            max_waiting,
            waiting: AtomicUsize::default(),
            exported: AtomicU64::default(),
            failed: AtomicU64::default(),
            dropped: AtomicU64::default(),
            trouble: Mutex::default(),
        }
    }

    /// Whether there is room for one more to wait. The SDK's own queue is as long, so it always has
    /// room for those that are let in here.
    pub(super) fn let_in(&self) -> bool {
        if self.waiting.fetch_add(1, Ordering::Relaxed) < self.max_waiting {
            return true;
        }
        self.waiting.fetch_sub(1, Ordering::Relaxed);
        self.dropped.fetch_add(1, Ordering::Relaxed);
        false
    }

    /// So many wait no more: they are being sent.
    pub(super) fn let_out(&self, count: usize) {
        self.waiting.fetch_sub(count, Ordering::Relaxed);
    }

    pub(super) fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }

    /// Why an attempt failed that the exporter has no words for.
    pub(super) fn heard(&self, why: String) {
        self.trouble().heard = Some(why);
    }

    /// The far side took a request, but not all that was in it.
    pub(super) fn refused(&self, count: usize, why: &str) {
        if count == 0 {
            return;
        }
        self.failed.fetch_add(count as u64, Ordering::Relaxed);
        let mut trouble = self.trouble();
        trouble.lost += count as u64;
        if trouble.is_due() {
            let count = mem::take(&mut trouble.lost);
            tracing::warn!(
                signal = self.signal.name(),
                to = self.place,
                count,
                reason = why,
                "telemetry was refused by the far side"
            );
        }
    }

    /// An export has ended.
    pub(super) fn ended<E: ToString>(&self, count: usize, result: &Result<(), E>) {
        let mut trouble = self.trouble();
        let heard = trouble.heard.take();
        match result {
            Ok(()) => {
                self.exported.fetch_add(count as u64, Ordering::Relaxed);
                let was_told = mem::take(&mut trouble.is_told);
                if mem::take(&mut trouble.is_failing) && was_told {
                    let lost = mem::take(&mut trouble.lost);
                    tracing::info!(
                        signal = self.signal.name(),
                        to = self.place,
                        lost,
                        "telemetry goes out again"
                    );
                }
            }
            Err(error) => {
                self.failed.fetch_add(count as u64, Ordering::Relaxed);
                trouble.lost += count as u64;
                let begins = !mem::replace(&mut trouble.is_failing, true);
                if begins && trouble.is_due() {
                    trouble.is_told = true;
                    let reason = heard.unwrap_or_else(|| error.to_string());
                    tracing::warn!(
                        signal = self.signal.name(),
                        to = self.place,
                        reason,
                        "telemetry doesn't go out; what is not taken within a few tries is lost"
                    );
                }
            }
        }
        let dropped = self.dropped.load(Ordering::Relaxed);
        if dropped > trouble.dropped && !trouble.is_failing && trouble.is_due() {
            let count = dropped - mem::replace(&mut trouble.dropped, dropped);
            tracing::warn!(
                signal = self.signal.name(),
                to = self.place,
                count,
                "telemetry was dropped, since more came than could be sent; for spans, `telemetry.sample` can be smaller"
            );
        }
    }

    fn trouble(&self) -> MutexGuard<'_, Trouble> {
        self.trouble.lock().expect("nothing panics while it holds this")
    }
}

impl Trouble {
    fn is_due(&mut self) -> bool {
        let is_due = self.told_at.is_none_or(|at| at.elapsed() >= TELL_EVERY);
        if is_due {
            self.told_at = Some(Instant::now());
        }
        is_due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_wait_than_there_is_room_for_and_the_others_are_counted() {
        let account = Account::new(Signal::Traces, String::new(), 2);
        assert_eq!([account.let_in(), account.let_in(), account.let_in()], [true, true, false]);
        account.let_out(2);
        assert!(account.let_in());
        assert_eq!((account.waiting(), account.dropped.load(Ordering::Relaxed)), (1, 1));
    }

    #[test]
    fn what_fails_and_goes_on_failing_is_told_once() {
        let account = Account::new(Signal::Logs, String::new(), 2);
        for result in [Err("a"), Err("b"), Ok(()), Err("c"), Err("d")] {
            account.heard("no".to_owned());
            account.ended(3, &result);
            let trouble = account.trouble();
            assert_eq!(trouble.is_failing, result.is_err());
            assert_eq!(trouble.is_told, matches!(result, Err("a" | "b")), "c is too soon after a");
        }
        assert_eq!((account.exported.into_inner(), account.failed.into_inner()), (3, 12));
    }
}
