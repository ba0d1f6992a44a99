//! What a worker does while its sink doesn't take events: try again later, or park it until someone
//! mends something.

use std::time::Duration;

use observer_core::{SinkError, Timestamp};
use tokio::time::{sleep, timeout};

use crate::error::Failure;
use crate::status::SinkState;
use crate::worker::Worker;
use crate::worker::backoff::Wake;
use crate::worker::command::turn_away;
use crate::worker::phase::reached;
use crate::worker::phase::{Ended, Phase};

impl Worker {
    /// Await the sink, for as long as its timeout and until `phase`.
    pub(crate) async fn ask<T>(
        &mut self,
        answer: impl Future<Output = Result<T, SinkError>>,
        phase: Phase,
    ) -> Result<Result<T, SinkError>, Ended> {
        let limit = self.limits.timeout;
        tokio::select! {
            biased;
            () = reached(&mut self.phase, phase) => Err(Ended),
            answer = timeout(limit, answer) => Ok(answer.unwrap_or_else(|_| {
                Err(SinkError::transient(format!("no answer within {} s, see `timeout`", limit.as_secs_f64())))
            })),
        }
    }

    /// After something that may work soon. While the pipeline drains there is one more try at once,
    /// and then no other.
    pub(crate) async fn pause(&mut self, error: &SinkError) -> Result<(), Ended> {
        let reason = error.report();
        self.mishap(&reason);
        let pause = self.backoff.pause(error.retry_after);
        if *self.phase.borrow() >= Phase::Draining {
            return Err(Ended);
        }
        tokio::select! {
            biased;
            () = reached(&mut self.phase, Phase::Draining) => {}
            () = sleep(pause) => {}
            never = turn_away(&mut self.orders, self.in_order_only, &reason) => match never {},
        }
        Ok(())
    }

    /// Wait until the sink says that it can be reached.
    pub(crate) async fn park(&mut self, reason: String, wake: Wake) -> Result<(), Ended> {
        let mut reason = reason;
        self.parked(Failure { reason: reason.clone(), at: Timestamp::now() });
        loop {
            let pause = self.checks.interval();
            let first_look = Duration::from_secs(1).min(pause);
            let seen = self.head.get();
            tokio::select! {
                biased;
                () = reached(&mut self.phase, Phase::Draining) => return Err(Ended),
                () = sleep(first_look) => {}
                never = turn_away(&mut self.orders, self.in_order_only, &reason) => match never {},
            }
            tokio::select! {
                biased;
                () = reached(&mut self.phase, Phase::Draining) => return Err(Ended),
                () = self.head.reaches(seen + 1), if wake == Wake::OnMore => {}
                () = sleep(pause - first_look) => {}
                never = turn_away(&mut self.orders, self.in_order_only, &reason) => match never {},
            }
            let sink = self.sink.clone();
            match self.ask(sink.check(), Phase::Draining).await? {
                Ok(()) => return Ok(()),
                Err(error) => {
                    reason = error.report();
                    self.parked(Failure { reason: reason.clone(), at: Timestamp::now() });
                }
            }
        }
    }

    fn parked(&self, mishap: Failure) {
        let mut progress = self.progress.lock();
        progress.last_error = Some(mishap.clone());
        if let SinkState::Parked(parked) = &mut progress.state {
            parked.reason = mishap.reason;
        } else {
            tracing::error!(
                sink = self.name,
                reason = mishap.reason,
                "the sink is parked: its events wait until this is mended"
            );
            progress.state = SinkState::Parked(mishap);
        }
    }

    /// The sink took something.
    pub(crate) fn works(&mut self) {
        self.backoff.reset();
        self.checks.reset();
        let mut progress = self.progress.lock();
        if progress.state != SinkState::Running {
            tracing::info!(sink = self.name, "the sink takes events again");
            progress.state = SinkState::Running;
        }
    }

    pub(crate) fn mishap(&mut self, reason: &str) {
        let mishap = Failure { reason: reason.to_owned(), at: Timestamp::now() };
        let mut progress = self.progress.lock();
        progress.last_error = Some(mishap.clone());
        match &mut progress.state {
            SinkState::Parked(_) => {}
            SinkState::Retrying(since) => since.reason = mishap.reason,
            _ => {
                tracing::warn!(
                    sink = self.name,
                    reason,
                    "the sink doesn't take events; it is tried again"
                );
                progress.state = SinkState::Retrying(mishap);
            }
        }
    }
}
