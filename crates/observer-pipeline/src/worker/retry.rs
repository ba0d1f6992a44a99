//! Retry state of a sink: back-off after transient errors, and parking.

use std::time::Duration;

use observer_core::{SinkError, Timestamp};
use tokio::time::{sleep, timeout};

use crate::error::Failure;
use crate::status::SinkState;
use crate::worker::Worker;
use crate::worker::command::reject_commands;
use crate::worker::phase::{Ended, Phase, phase_reached};

/// Event upon which a parked sink is checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wake {
    OnTimer,
    /// The timer, or new events. The acceptance of one of them may show that the rejected events
    /// are at fault.
    OnNewEvents,
}

impl Worker {
    /// Awaits a call of the sink, within the sink's timeout and until `phase` is reached.
    pub(crate) async fn call<T>(
        &mut self,
        call: impl Future<Output = Result<T, SinkError>>,
        phase: Phase,
    ) -> Result<Result<T, SinkError>, Ended> {
        let limit = self.limits.timeout;
        tokio::select! {
            biased;
            () = phase_reached(&mut self.phase, phase) => Err(Ended),
            result = timeout(limit, call) => Ok(result.unwrap_or_else(|_| {
                Err(SinkError::transient(format!("no response within {limit:?}; see `timeout`")))
            })),
        }
    }

    /// Waits before the next attempt. A draining worker makes one more attempt at once, and ends
    /// when that fails, too.
    pub(crate) async fn back_off(&mut self, error: &SinkError) -> Result<(), Ended> {
        let reason = error.report();
        self.mark_retrying(&reason);
        let pause = self.backoff.pause(error.retry_after);
        if *self.phase.borrow() >= Phase::Draining {
            return Err(Ended);
        }
        tokio::select! {
            biased;
            () = phase_reached(&mut self.phase, Phase::Draining) => {}
            () = sleep(pause) => {}
            never = reject_commands(&mut self.commands, self.replay_rejection, &reason) => {
                match never {}
            }
        }
        Ok(())
    }

    /// Parks the sink until its check succeeds.
    pub(crate) async fn park(&mut self, reason: String, wake: Wake) -> Result<(), Ended> {
        let mut reason = reason;
        self.mark_parked(Failure { reason: reason.clone(), at: Timestamp::now() });
        loop {
            let interval = self.check_backoff.interval();
            let shortest = Duration::from_secs(1).min(interval);
            let head = self.head.get();
            tokio::select! {
                biased;
                () = phase_reached(&mut self.phase, Phase::Draining) => return Err(Ended),
                () = sleep(shortest) => {}
                never = reject_commands(&mut self.commands, self.replay_rejection, &reason) => {
                    match never {}
                }
            }
            tokio::select! {
                biased;
                () = phase_reached(&mut self.phase, Phase::Draining) => return Err(Ended),
                () = self.head.reaches(head + 1), if wake == Wake::OnNewEvents => {}
                () = sleep(interval - shortest) => {}
                never = reject_commands(&mut self.commands, self.replay_rejection, &reason) => {
                    match never {}
                }
            }
            let sink = self.sink.clone();
            match self.call(sink.check(), Phase::Draining).await? {
                Ok(()) => return Ok(()),
                Err(error) => {
                    reason = error.report();
                    self.mark_parked(Failure { reason: reason.clone(), at: Timestamp::now() });
                }
            }
        }
    }

    /// Reports the sink as parked. The time of the first failure stays.
    fn mark_parked(&self, failure: Failure) {
        let mut progress = self.progress.lock();
        progress.last_error = Some(failure.clone());
        if let SinkState::Parked(parked) = &mut progress.state {
            parked.reason = failure.reason;
        } else {
            tracing::error!(
                sink = self.name,
                reason = failure.reason,
                "the sink is parked: its events wait until the cause is removed"
            );
            progress.state = SinkState::Parked(failure);
        }
    }

    /// Reports the sink as running, after it accepted an event, and resets both back-offs.
    pub(crate) fn mark_running(&mut self) {
        self.backoff.reset();
        self.check_backoff.reset();
        let mut progress = self.progress.lock();
        if progress.state != SinkState::Running {
            tracing::info!(sink = self.name, "the sink accepts events again");
            progress.state = SinkState::Running;
        }
    }

    /// Reports the sink as retrying, unless it is parked. The time of the first failure stays.
    pub(crate) fn mark_retrying(&mut self, reason: &str) {
        let failure = Failure { reason: reason.to_owned(), at: Timestamp::now() };
        let mut progress = self.progress.lock();
        progress.last_error = Some(failure.clone());
        match &mut progress.state {
            SinkState::Parked(_) => {}
            SinkState::Retrying(since) => since.reason = failure.reason,
            _ => {
                tracing::warn!(sink = self.name, reason, "the sink is unavailable; retrying");
                progress.state = SinkState::Retrying(failure);
            }
        }
    }
}
