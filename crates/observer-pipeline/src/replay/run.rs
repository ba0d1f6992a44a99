//! Execution of a replay by the sink's worker, between batches of live events.

use std::time::Duration;

use observer_core::{RetrySettings, Timestamp};
use observer_journal::Hold;
use tokio::time::Instant;

use crate::error::Failure;
use crate::event_log::record::timestamp;
use crate::replay::state::{ReplayRecord, ReplaySelection, ReplayState, ReplayStatus, reader_name};
use crate::worker::backoff::Backoff;
use crate::worker::command::{NotStarted, Rejection, ReplayCommand};
use crate::worker::phase::Ended;
use crate::worker::resolution::evidence::Rules;
use crate::worker::resolution::{MAX_ASIDE, Policy};
use crate::worker::step::Flow;
use crate::worker::stream::{EventSelector, ReplayStream, Stream, StreamKind};
use crate::worker::{FLUSH_EVERY, Worker};

/// Longest time for which a replay waits for evidence about one of its events.
const IDLE_INTERVAL: Duration = Duration::from_secs(30);

impl Worker {
    /// Returns whether there is a replay that can continue now.
    pub(crate) fn replay_is_due(&self) -> bool {
        self.replay_due_at().is_some_and(|due| due <= Instant::now())
    }

    /// Returns the time at which the replay can continue, if there is one.
    pub(crate) fn replay_due_at(&self) -> Option<Instant> {
        self.streams.replay.as_ref().map(|replay| replay.not_before)
    }

    /// Continues the replay that an earlier worker of the sink has left running.
    pub(crate) fn resume_replay(&mut self) {
        let record = self.progress.lock().replay.clone();
        let Some(record) = record.filter(ReplayRecord::is_running) else { return };
        match self.replay_rejection {
            None => self.streams.replay = Some(self.replay_stream(&record)),
            Some(reason) => {
                self.end_replay(ReplayState::Stopped, Some(reason.to_owned()));
                if let Some(record) = &self.progress.lock().replay {
                    record.store(&self.event_log.journal, &self.delivery.name, record.checkpoint);
                }
            }
        }
    }

    pub(crate) async fn start_replay(
        &mut self,
        ReplayCommand { selection, reply }: ReplayCommand,
    ) -> Result<(), Ended> {
        let started = self.try_start_replay(selection).await;
        // The caller may have been cancelled.
        let _ = reply.send(started);
        Ok(())
    }

    async fn try_start_replay(
        &mut self,
        selection: ReplaySelection,
    ) -> Result<ReplayStatus, NotStarted> {
        if let Some(reason) = self.replay_rejection {
            return Err(NotStarted::Rejected(Rejection::Permanent(reason.to_owned())));
        }
        let previous = self.progress.lock().replay.clone();
        if let Some(running) = previous.as_ref().filter(|record| record.is_running()) {
            let ReplayStatus { events, pending, begun_at, .. } = running.status();
            return Err(NotStarted::AlreadyRunning(format!(
                "since {begun_at}, with {} of {events} events done",
                events - pending
            )));
        }
        let journal = self.event_log.journal.clone();
        let reader = reader_name(&self.delivery.name);
        // Held before the lookup, so that no event expires in between.
        journal.hold(&reader, Hold::Optional);
        let start = journal.seek(u64::try_from(selection.since.as_microsecond()).unwrap_or(0));
        // Later events reach the sink by the live stream.
        let last = self.streams.live.checkpoint.seq;
        let gone_before = start.gone_before.map(timestamp);
        let record = ReplayRecord::new(selection, start.first_seq, last, gone_before);
        record.store(&journal, &self.delivery.name, record.checkpoint);
        let stored = self.event_log.blocking.run(move || journal.maintain()).await;
        if let Err(error) = stored
            .map_err(std::io::Error::other)
            .and_then(|stored| stored.map_err(std::io::Error::other))
        {
            let journal = &self.event_log.journal;
            match previous {
                Some(previous) => previous.store(journal, &self.delivery.name, previous.checkpoint),
                None => journal.forget(&reader),
            }
            journal.release(&reader);
            let reason = format!("it can't be stored: {}", observer_core::report(&error));
            return Err(NotStarted::Rejected(Rejection::Temporary(reason)));
        }
        let status = record.status();
        tracing::info!(
            sink = self.delivery.name,
            events = status.events,
            since = %status.selection.since,
            "a replay was started"
        );
        self.streams.replay = Some(self.replay_stream(&record));
        self.progress.lock().replay = Some(record);
        Ok(status)
    }

    fn replay_stream(&mut self, record: &ReplayRecord) -> ReplayStream {
        let selector = EventSelector {
            filter: self.streams.live.selector.filter.clone(),
            replay: Some(record.selection.clone()),
        };
        let retry = RetrySettings { give_up_after: None, ..self.limits.retry };
        let policy = Policy {
            rules: Rules::new(&retry),
            may_skip: true,
            may_set_aside: false,
            max_delivery: self.limits.max_delivery,
            max_aside: MAX_ASIDE,
        };
        let (event_log, last) = (self.event_log.clone(), record.last);
        ReplayStream {
            stream: Stream::new(event_log, selector, record.checkpoint, last, policy),
            backoff: Backoff::new(retry, self.random.fork()),
            not_before: Instant::now(),
        }
    }

    /// Makes one attempt of the replay, and concludes it when all its events are resolved.
    pub(crate) async fn replay_turn(&mut self) -> Result<(), Ended> {
        if self.is_replay_running() {
            self.replay_step().await?;
        }
        let Some(replay) = &mut self.streams.replay else { return Ok(()) };
        let is_over = replay.stream.is_finished() || !self.is_replay_running();
        if is_over || self.last_flush.elapsed() >= FLUSH_EVERY {
            self.flush().await?;
        }
        self.conclude_replay();
        // A sink that never waits would starve the other tasks.
        tokio::task::yield_now().await;
        Ok(())
    }

    async fn replay_step(&mut self) -> Result<(), Ended> {
        loop {
            let flow = self.step(StreamKind::Replay).await?;
            let Some(replay) = &mut self.streams.replay else { return Ok(()) };
            match flow {
                Flow::Continue if !replay.stream.is_finished() => {}
                Flow::Idle(due) if !replay.stream.is_finished() => {
                    let latest = Instant::now() + IDLE_INTERVAL;
                    replay.not_before = due.map_or(latest, |due| due.min(latest));
                    return Ok(());
                }
                Flow::Postponed => return Ok(()),
                Flow::Continue | Flow::Idle(_) | Flow::Attempted => {
                    if !replay.stream.resolution.is_in_spell() {
                        replay.backoff.reset();
                        if let Some(record) = &mut self.progress.lock().replay {
                            record.failure = None;
                        }
                    }
                    return Ok(());
                }
            }
        }
    }

    pub(crate) fn is_replay_running(&self) -> bool {
        self.streams.replay.is_some()
            && self.progress.lock().replay.as_ref().is_some_and(ReplayRecord::is_running)
    }

    /// Concludes the replay if it has ended and all its deliveries are flushed.
    fn conclude_replay(&mut self) {
        let Some(stream) = self.streams.replay.as_ref().map(|replay| &replay.stream) else {
            return;
        };
        let is_running = self.is_replay_running();
        if !stream.is_flushed() || (is_running && !stream.is_finished()) {
            return;
        }
        if is_running {
            self.end_replay(ReplayState::Done, None);
        }
        self.set_positions();
        self.streams.replay = None;
        if let Some(ReplayStatus { state, failure, account, pending, .. }) =
            self.progress.lock().replay.as_ref().map(ReplayRecord::status)
        {
            tracing::info!(
                sink = self.delivery.name,
                state = state.as_str(),
                reason = failure.map(|failure| failure.reason),
                delivered = account.delivered,
                dead = account.dead,
                expired = account.expired,
                lost = account.lost,
                pending,
                "the replay has ended"
            );
        }
    }

    /// Ends the replay at its checkpoint. Unresolved events stay pending.
    pub(crate) fn end_replay(&mut self, state: ReplayState, reason: Option<String>) {
        if let Some(replay) = &mut self.streams.replay {
            replay.stream.discard_unresolved();
        }
        let mut progress = self.progress.lock();
        if let Some(record) = progress.replay.as_mut().filter(|record| record.is_running()) {
            record.end(state, reason);
        }
    }

    /// Postpones the replay after a failure. Live events are delivered meanwhile, since an event of
    /// the replay may be at fault.
    pub(crate) fn postpone_replay(&mut self, retry_after: Option<Duration>, reason: &str) {
        let Some(replay) = &mut self.streams.replay else { return };
        replay.stream.resolution.woken();
        replay.not_before = Instant::now() + replay.backoff.pause(retry_after);
        let failure = Failure { reason: reason.to_owned(), at: Timestamp::now() };
        let mut progress = self.progress.lock();
        progress.last_error = Some(failure.clone());
        let Some(record) = &mut progress.replay else { return };
        match &mut record.failure {
            Some(since) => since.reason = failure.reason,
            None => {
                tracing::warn!(
                    sink = self.delivery.name,
                    reason,
                    "the sink is unavailable for the replay; retrying"
                );
                record.failure = Some(failure);
            }
        }
    }
}
