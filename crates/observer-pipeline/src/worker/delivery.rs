//! Delivery: one attempt at a time, and the state of the sink that follows from it.

use std::sync::Arc;
use std::time::Duration;

use observer_core::{
    Batch, ErrorKind, EventSink, Receipt, Refused, RetrySettings, SinkError, Timestamp,
};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};
use tracing::{Instrument, Span};

use crate::error::Failure;
use crate::spans;
use crate::spec::Limits;
use crate::status::SinkState;
use crate::worker::attempt::Attempt;
use crate::worker::backoff::Backoff;
use crate::worker::outage::{Outage, REPEAT_AFTER};
use crate::worker::phase::{Ended, Phase, phase_reached};
use crate::worker::progress::Progress;
use crate::worker::refusals::Refusals;
use crate::worker::resolution::evidence::Class;

/// Time for which a diversion waits for the attempt in flight.
const DIVERSION_PATIENCE: Duration = Duration::from_secs(2);

/// Shortest interval of log lines about dead letters.
const DEAD_EVERY: Duration = Duration::from_secs(60);

/// Sink of a worker with its timeout, its back-off, and the state that is reported.
pub(crate) struct Delivery {
    pub(crate) name: String,
    pub(crate) sink: Arc<dyn EventSink>,
    timeout: Duration,
    backoff: Backoff,
    /// Intervals of the checks of a parked sink.
    check_backoff: Backoff,
    outage: Outage,
    refusals: Refusals,
    /// Time of the last log line about dead letters, and the number of those since then.
    dead_logged_at: Option<Instant>,
    dead_unlogged: usize,
    /// Time of the last log line about too many undecided events.
    crowded_logged_at: Option<Instant>,
    progress: Arc<Progress>,
    phase: watch::Receiver<Phase>,
}

/// Failure of a call of the sink other than a delivery.
#[derive(Debug)]
pub(crate) struct CallError {
    /// True if nothing can be delivered until the cause is removed.
    pub(crate) parks: bool,
    pub(crate) retry_after: Option<Duration>,
    pub(crate) reason: String,
}

impl From<SinkError> for CallError {
    fn from(error: SinkError) -> Self {
        let parks = matches!(
            error.kind,
            ErrorKind::Blocked | ErrorKind::Denied | ErrorKind::Unauthenticated
        );
        Self { parks, retry_after: error.retry_after, reason: error.report() }
    }
}

impl Delivery {
    pub(crate) fn new(
        name: String,
        sink: Arc<dyn EventSink>,
        limits: &Limits,
        progress: Arc<Progress>,
        phase: watch::Receiver<Phase>,
        random: &mut fastrand::Rng,
    ) -> Self {
        let shortest = Duration::from_secs(1);
        let check = RetrySettings {
            initial: shortest,
            max: limits.retry.max.max(shortest),
            ..limits.retry
        };
        Self {
            name,
            sink,
            timeout: limits.timeout,
            backoff: Backoff::new(limits.retry, random.fork()),
            check_backoff: Backoff::new(check, random.fork()),
            outage: Outage::default(),
            refusals: Refusals::default(),
            dead_logged_at: None,
            dead_unlogged: 0,
            crowded_logged_at: None,
            progress,
            phase,
        }
    }

    /// Performs one attempt within the sink's timeout, and within [`DIVERSION_PATIENCE`] after the
    /// end of `diversion`: the events may be the ones that an operator wants to divert.
    pub(crate) async fn attempt(
        &mut self,
        batch: &Batch,
        number: u32,
        parent: &Span,
        diversion: impl Future<Output = ()>,
    ) -> Result<Attempt, Ended> {
        let started = Instant::now();
        let span = spans::deliver(parent, &self.name, batch, number);
        let delivery = self.sink.deliver(batch).instrument(span.clone());
        let attempt = tokio::select! {
            biased;
            () = phase_reached(&mut self.phase, Phase::Stopping) => return Err(Ended),
            result = timeout(self.timeout, delivery) => match result {
                Ok(result) => {
                    match &result {
                        Ok(receipt) => self.log_refused(receipt),
                        Err(error) => spans::record_error(&span, error),
                    }
                    Attempt::of(result, batch.len())
                }
                Err(_) => self.time_out(&span, self.timeout_reason()),
            },
            () = async { diversion.await; sleep(DIVERSION_PATIENCE).await } => {
                self.time_out(&span, "no response before a diversion".to_owned())
            }
        };
        self.progress.record(attempt.outcome(), started.elapsed());
        self.report(&attempt, batch);
        Ok(attempt)
    }

    fn time_out(&self, span: &Span, reason: String) -> Attempt {
        spans::record_failure(span, "timeout", &reason);
        // The connection may be stuck.
        self.sink.renew_connections();
        Attempt::TimedOut { reason }
    }

    /// Awaits a call of the sink other than a delivery, within its timeout and until `phase`.
    pub(crate) async fn call<T>(
        &mut self,
        call: impl Future<Output = Result<T, SinkError>>,
        phase: Phase,
    ) -> Result<Called<T>, Ended> {
        tokio::select! {
            biased;
            () = phase_reached(&mut self.phase, phase) => Err(Ended),
            result = timeout(self.timeout, call) => Ok(match result {
                Ok(Ok(value)) => Called::Done(value),
                Ok(Err(error)) => Called::Failed(error.into()),
                Err(_) => Called::Failed(CallError {
                    parks: false,
                    retry_after: None,
                    reason: self.timeout_reason(),
                }),
            }),
        }
    }

    /// Returns the next pause of the back-off.
    pub(crate) fn pause(&mut self, retry_after: Option<Duration>) -> Duration {
        self.backoff.pause(retry_after)
    }

    /// Returns the time until the next check of a parked sink.
    pub(crate) fn check_interval(&mut self) -> Duration {
        self.check_backoff.interval()
    }

    /// Begins both back-offs anew, for an operator who knows that the destination is available.
    pub(crate) fn reset_backoff(&mut self) {
        self.backoff.reset();
        self.check_backoff.reset();
    }

    fn timeout_reason(&self) -> String {
        format!("no response within {:?}; see `timeout`", self.timeout)
    }

    fn log_refused(&self, receipt: &Receipt) {
        if let Some(Refused { count, reason }) = &receipt.refused {
            tracing::warn!(
                sink = self.name,
                count,
                reason,
                "the destination rejected some events of a batch without naming them"
            );
        }
    }

    /// Reports the sink as running if it accepted an event, and counts a failure.
    fn report(&mut self, attempt: &Attempt, batch: &Batch) {
        let bytes = |index: usize| batch.events()[index].event.raw().len() as u64;
        let (accepted, bytes) = match attempt {
            Attempt::Accepted => (batch.len(), (0..batch.len()).map(bytes).sum()),
            Attempt::PartlyRejected { rejected, refused } => {
                let is_rejected = |index: &usize| rejected.iter().any(|(at, _)| at == index);
                let accepted = batch.len() - rejected.len() - refused;
                let good = (0..batch.len()).filter(|index| !is_rejected(index));
                (accepted, good.take(accepted).map(bytes).sum())
            }
            Attempt::Refused { accepted, .. } | Attempt::Unavailable { accepted, .. } => {
                (accepted.len(), accepted.iter().copied().map(bytes).sum())
            }
            Attempt::TimedOut { .. } | Attempt::Blocked { .. } => (0, 0_u64),
        };
        let is_failure = matches!(
            attempt,
            Attempt::Unavailable { .. }
                | Attempt::TimedOut { .. }
                | Attempt::Refused { class: Class::Failed, .. }
        );
        if is_failure {
            self.progress.lock().retried += 1;
        }
        let now = Instant::now();
        if matches!(attempt, Attempt::Refused { .. }) {
            self.refusals.refuse(now);
        }
        if accepted > 0 {
            let mut progress = self.progress.lock();
            progress.delivered_bytes += bytes;
            progress.last_success = Some(Timestamp::now());
            drop(progress);
            self.refusals.accept(&self.name, accepted, now);
            self.mark_running();
        }
    }

    /// Reports that the destination has refused many events in a row and accepted others before.
    pub(crate) fn report_refusals(&mut self, reason: &str) {
        let undecided = self.progress.lock().undecided();
        self.refusals.report(&self.name, reason, undecided, Instant::now());
    }

    /// Reports the sink as running, after it accepted an event, and resets both back-offs.
    pub(crate) fn mark_running(&mut self) {
        self.reset_backoff();
        self.outage.end(&self.name, Instant::now());
        let mut progress = self.progress.lock();
        progress.state = SinkState::Running;
        progress.retry_at = None;
    }

    /// Reports the sink as retrying; a parked one stays parked, with the new reason. The time of
    /// the first failure stays. `pause` is the time until the next attempt, as far as it is known.
    pub(crate) fn mark_retrying(&mut self, reason: &str, pause: Option<Duration>) {
        let failure = Failure { reason: reason.to_owned(), at: Timestamp::now() };
        let mut progress = self.progress.lock();
        let pending = progress.pending();
        progress.last_error = Some(failure.clone());
        match &mut progress.state {
            SinkState::Parked(since) | SinkState::Retrying(since) => since.reason = failure.reason,
            state => *state = SinkState::Retrying(failure),
        }
        drop(progress);
        self.outage.fail(&self.name, reason, pending, pause, Instant::now());
    }

    /// Reports the sink as retrying, since too many events are undecided. The sink alternates
    /// between this state and running, so there is one log line every few minutes at most.
    pub(crate) fn mark_crowded(&mut self, reason: &str) {
        let failure = Failure { reason: reason.to_owned(), at: Timestamp::now() };
        let mut progress = self.progress.lock();
        let pending = progress.pending();
        progress.state = SinkState::Retrying(failure);
        drop(progress);
        let now = Instant::now();
        if self.crowded_logged_at.is_none_or(|logged_at| now - logged_at >= REPEAT_AFTER) {
            self.crowded_logged_at = Some(now);
            tracing::warn!(sink = self.name, pending, reason, "the sink is slowed down");
        }
    }

    /// Logs that events became dead letters: at most one line a minute, with their number.
    pub(crate) fn report_dead_letters(&mut self, count: usize, seq: u64, reason: &str) {
        self.dead_unlogged += count;
        let now = Instant::now();
        if self.dead_logged_at.is_some_and(|logged_at| now - logged_at < DEAD_EVERY) {
            return;
        }
        self.dead_logged_at = Some(now);
        tracing::warn!(
            sink = self.name,
            count = std::mem::take(&mut self.dead_unlogged),
            seq,
            reason,
            "events were permanently rejected and became dead letters"
        );
    }

    /// Reports the sink as parked. The time of the first failure stays. `retry_at` is the time of
    /// the next attempt, if it is another one than before.
    pub(crate) fn mark_parked(&mut self, reason: &str, retry_at: Option<Timestamp>) {
        let failure = Failure { reason: reason.to_owned(), at: Timestamp::now() };
        let mut progress = self.progress.lock();
        let pending = progress.pending();
        progress.last_error = Some(failure.clone());
        progress.retry_at = retry_at.or(progress.retry_at);
        if let SinkState::Parked(parked) = &mut progress.state {
            parked.reason = failure.reason;
        } else {
            progress.state = SinkState::Parked(failure);
        }
        drop(progress);
        self.outage.park(&self.name, reason, pending, Instant::now());
    }
}

/// Result of a call of the sink other than a delivery.
#[derive(Debug)]
pub(crate) enum Called<T> {
    Done(T),
    Failed(CallError),
}
