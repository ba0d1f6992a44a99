//! Waits of a worker: for events, for the back-off, and while its sink is parked.

use std::time::Duration;

use observer_core::Timestamp;
use tokio::time::{Instant, sleep_until};

use crate::worker::command::{Command, Rejection};
use crate::worker::delivery::Called;
use crate::worker::phase::{Ended, Phase, phase_reached};
use crate::worker::step::Flow;
use crate::worker::stream::StreamKind;
use crate::worker::{FLUSH_EVERY, Worker};

/// End of a wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Waited {
    /// The time has come.
    Elapsed,
    /// An operator has woken the sink, or changed what holds it.
    Woken,
    /// The worker has to end.
    Draining,
}

impl Worker {
    /// Waits for a live event, or until `due`. Meanwhile it flushes, executes commands and
    /// processes the replay.
    pub(super) async fn wait_for_work(&mut self, due: Option<Instant>) -> Result<(), Ended> {
        self.progress.lock().retry_at = due.map(timestamp);
        let next = self.streams.live.reader.next_seq();
        let unflushed = !self.is_flushed();
        let flush_at = self.last_flush + FLUSH_EVERY;
        let replay_at = self.replay_due_at();
        let result = tokio::select! {
            biased;
            // New events come first, since draining delivers them.
            () = self.head.reaches(next) => Ok(()),
            () = phase_reached(&mut self.phase, Phase::Draining) => Err(Ended),
            () = sleep_until(flush_at), if unflushed => self.flush().await,
            Some(command) = self.commands.recv() => self.execute(command).await,
            () = sleep_until(replay_at.unwrap_or(flush_at)), if replay_at.is_some() => {
                self.replay_turn().await
            }
            () = sleep_until(due.unwrap_or(flush_at)), if due.is_some() => Ok(()),
        };
        self.progress.lock().retry_at = None;
        result
    }

    /// Waits before the next attempt. A draining worker makes one more attempt at once, and ends
    /// when that fails, too.
    pub(crate) async fn back_off(
        &mut self,
        retry_after: Option<Duration>,
        reason: &str,
    ) -> Result<(), Ended> {
        let pause = self.delivery.pause(retry_after);
        let batch = self.last_batch.clone();
        batch.in_scope(|| self.delivery.mark_retrying(reason, Some(pause)));
        if *self.phase.borrow() >= Phase::Draining {
            return Err(Ended);
        }
        self.wait_until(Instant::now() + pause, reason).await.map(|_| ())
    }

    /// Waits for the back-off, since many events in a row were refused.
    pub(super) async fn ease(&mut self, reason: &str) -> Result<Flow, Ended> {
        let pause = self.delivery.pause(None);
        self.delivery.mark_retrying(reason, None);
        if *self.phase.borrow() >= Phase::Draining {
            return Err(Ended);
        }
        self.wait_until(Instant::now() + pause, reason).await?;
        Ok(Flow::Continue)
    }

    /// Waits until an undecided event is due, since too many events are undecided.
    pub(super) async fn wait_for_room(
        &mut self,
        until: Instant,
        reason: &str,
    ) -> Result<Flow, Ended> {
        self.delivery.mark_crowded(reason);
        if self.wait_until(until, reason).await? == Waited::Draining {
            return Err(Ended);
        }
        Ok(Flow::Continue)
    }

    /// Waits until a parked sink is checked next, and parks the live stream again unless the check
    /// succeeds or an operator wakes the sink.
    pub(super) async fn park_live(&mut self, reason: String) -> Result<(), Ended> {
        if self.limits.retry.give_up_after.is_some() && self.streams.live.resolution.is_idle() {
            // So that there are events that can be given up. A failure to read is met later.
            let _ = self.read(StreamKind::Live).await;
        }
        let is_available = self.park(&reason).await?;
        let live = &mut self.streams.live;
        if is_available {
            live.resolution.woken();
            if live.resolution.is_idle() && matches!(live.reader.peek().await, Ok(None)) {
                // There is no event that could show that the sink is available, so its check has to
                // do.
                live.resolution.unblocked();
                self.delivery.mark_running();
            }
        }
        self.streams.live.resolution.expire(Instant::now());
        Ok(())
    }

    /// Reports the sink as parked, and waits for its next check. Returns whether the sink may be
    /// available.
    pub(crate) async fn park(&mut self, reason: &str) -> Result<bool, Ended> {
        let until = Instant::now() + self.delivery.check_interval();
        self.delivery.mark_parked(reason, Some(timestamp(until)));
        match self.wait_until(until, reason).await? {
            Waited::Draining => return Err(Ended),
            Waited::Woken => return Ok(true),
            Waited::Elapsed => {}
        }
        let sink = self.delivery.sink.clone();
        let called = tokio::select! {
            called = self.delivery.call(sink.check(), Phase::Draining) => called?,
            // A check that hangs must not delay it.
            () = self.commands.diversion() => return Ok(true),
        };
        match called {
            Called::Done(()) => Ok(true),
            Called::Failed(error) => {
                self.streams.live.resolution.park_reason(&error.reason);
                self.delivery.mark_parked(&error.reason, None);
                Ok(false)
            }
        }
    }

    /// Waits while the sink is unavailable. Flushes what was delivered before, and executes the
    /// commands that need no available sink. Where only the space for dead letters is missing, they
    /// can be redelivered.
    async fn wait_until(&mut self, until: Instant, reason: &str) -> Result<Waited, Ended> {
        self.progress.lock().retry_at = Some(timestamp(until));
        let waited = loop {
            let flush_at = self.last_flush + FLUSH_EVERY;
            let flushes = !self.is_flushed() && flush_at < until;
            tokio::select! {
                biased;
                () = phase_reached(&mut self.phase, Phase::Draining) => break Waited::Draining,
                () = sleep_until(until) => break Waited::Elapsed,
                () = sleep_until(flush_at), if flushes => {
                    if let Err(error) = self.flush_all().await? {
                        self.delivery.mark_retrying(&error.reason, None);
                    }
                }
                Some(command) = self.commands.recv() => match command {
                    Command::Wake(reply) => {
                        self.wake(reply);
                        break Waited::Woken;
                    }
                    Command::Divert(command) => {
                        self.divert(command).await?;
                        break Waited::Woken;
                    }
                    Command::Redeliver(command) if self.is_store_full => {
                        // Boxed, since a failed flush waits, too.
                        Box::pin(self.redeliver(command)).await?;
                        break Waited::Woken;
                    }
                    command => self.reject(command, reason),
                },
            }
        };
        // The attempt that follows is the next one until it succeeds, or another wait begins.
        self.progress.lock().retry_at = (waited != Waited::Draining).then(Timestamp::now);
        Ok(waited)
    }

    fn reject(&self, command: Command, reason: &str) {
        command.reject(match self.replay_rejection {
            Some(permanent) => Rejection::Permanent(permanent.to_owned()),
            None => {
                Rejection::Temporary(format!("the sink is unavailable at the moment: {reason}"))
            }
        });
    }
}

/// Returns the time of the wall clock at an instant in the future.
fn timestamp(at: Instant) -> Timestamp {
    let left = at.saturating_duration_since(Instant::now());
    Timestamp::now().checked_add(left).unwrap_or(Timestamp::MAX)
}
