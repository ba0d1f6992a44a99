//! A replay as the sink's worker runs it, between batches of what is new.

use observer_core::{RetrySettings, SinkError, Timestamp};
use observer_journal::Hold;
use tokio::time::Instant;

use super::state::{Kept, ReplaySelection, ReplayState, ReplayStatus, reader};
use crate::error::Failure;
use crate::record::timestamp;
use crate::worker::backoff::Backoff;
use crate::worker::command::{NotBegun, PastOrder, Stopped};
use crate::worker::phase::Ended;
use crate::worker::stream::{Lane, Wanted};
use crate::worker::stream::{PastLane, Turn};
use crate::worker::{FLUSH_EVERY, Worker};

impl Worker {
    /// Whether a replay can go on now.
    pub(crate) fn has_past(&self) -> bool {
        self.past_is_due().is_some_and(|due| due <= Instant::now())
    }

    /// When a replay can go on, if there is one.
    pub(crate) fn past_is_due(&self) -> Option<Instant> {
        self.lanes.past.as_ref().map(|past| past.not_before)
    }

    /// Go on with the replay that was there before.
    pub(crate) fn resume_past(&mut self) {
        let kept = self.progress.lock().replay.clone();
        let Some(kept) = kept.filter(Kept::is_running) else { return };
        match self.in_order_only {
            None => self.lanes.past = Some(self.past_lane(&kept)),
            Some(reason) => {
                self.end_past(ReplayState::Stopped, Some(reason.to_owned()));
                if let Some(kept) = &self.progress.lock().replay {
                    kept.keep(&self.source.journal, &self.name, kept.place);
                }
            }
        }
    }

    pub(crate) async fn begin_past(
        &mut self,
        PastOrder { past, answer }: PastOrder,
    ) -> Result<(), Ended> {
        let begun = self.try_begin(past).await;
        // Whoever asked may have gone.
        let _ = answer.send(begun);
        Ok(())
    }

    async fn try_begin(&mut self, past: ReplaySelection) -> Result<ReplayStatus, NotBegun> {
        if let Some(reason) = self.in_order_only {
            return Err(NotBegun::Stopped(Stopped::Never(reason.to_owned())));
        }
        let before = self.progress.lock().replay.clone();
        if let Some(running) = before.as_ref().filter(|kept| kept.is_running()) {
            let ReplayStatus { events, pending, begun_at, .. } = running.shown();
            return Err(NotBegun::Busy(format!(
                "since {begun_at}, and past {} of {events} events",
                events - pending
            )));
        }
        let journal = self.source.journal.clone();
        let reader = reader(&self.name);
        // Before the look, so that nothing goes in between.
        journal.hold(&reader, Hold::Optional);
        let place = journal.seek(u64::try_from(past.since.as_microsecond()).unwrap_or(0));
        // What comes after that is on its way already.
        let last = self.lanes.present.place.seq;
        let kept = Kept::begin(past, place.first_seq, last, place.gone_before.map(timestamp));
        kept.keep(&journal, &self.name, kept.place);
        let stored = self.source.blocking.run(move || journal.maintain()).await;
        if let Err(error) = stored
            .map_err(std::io::Error::other)
            .and_then(|stored| stored.map_err(std::io::Error::other))
        {
            let journal = &self.source.journal;
            match before {
                Some(before) => before.keep(journal, &self.name, before.place),
                None => journal.forget(&reader),
            }
            journal.release(&reader);
            let reason = format!("it can't be stored: {}", observer_core::report(&error));
            return Err(NotBegun::Stopped(Stopped::NotNow(reason)));
        }
        let shown = kept.shown();
        tracing::info!(sink = self.name, events = shown.events, since = %shown.selection.since, "a replay of past events begins");
        self.lanes.past = Some(self.past_lane(&kept));
        self.progress.lock().replay = Some(kept);
        Ok(shown)
    }

    fn past_lane(&mut self, kept: &Kept) -> PastLane {
        let wanted = Wanted {
            filter: self.lanes.present.wanted.filter.clone(),
            past: Some(kept.past.clone()),
        };
        let retry = RetrySettings { give_up_after: None, ..self.limits.retry };
        PastLane {
            lane: Lane::new(self.source.clone(), wanted, kept.place, kept.last),
            backoff: Backoff::new(retry, self.random.fork()),
            is_put_off: false,
            not_before: Instant::now(),
        }
    }

    /// One batch of the past, and the end when there is no more.
    pub(crate) async fn past_turn(&mut self) -> Result<(), Ended> {
        let Some(past) = &mut self.lanes.past else { return Ok(()) };
        past.is_put_off = false;
        if self.is_past_running() {
            self.lanes.turn = Turn::Past;
            let ended = self.batch().await;
            self.lanes.turn = Turn::Present;
            ended?;
        }
        let Some(past) = &mut self.lanes.past else { return Ok(()) };
        if !past.is_put_off {
            past.backoff.reset();
            if let Some(kept) = &mut self.progress.lock().replay {
                kept.trouble = None;
            }
        }
        let is_over = past.lane.is_over() || !self.is_past_running();
        if is_over || self.last_flush.elapsed() >= FLUSH_EVERY {
            self.flush().await?;
        }
        self.conclude_past();
        // A sink that never has to wait would keep all others waiting.
        tokio::task::yield_now().await;
        Ok(())
    }

    pub(crate) fn is_past_running(&self) -> bool {
        self.lanes.past.is_some()
            && self.progress.lock().replay.as_ref().is_some_and(Kept::is_running)
    }

    /// When nothing is left of it that the sink has and isn't sure of.
    fn conclude_past(&mut self) {
        let Some(lane) = self.lanes.past.as_ref().map(|past| &past.lane) else { return };
        let is_running = self.is_past_running();
        if !lane.is_flushed() || (is_running && !lane.is_over()) {
            return;
        }
        if is_running {
            self.end_past(ReplayState::Done, None);
        }
        self.commit();
        self.lanes.past = None;
        if let Some(ReplayStatus { state, failure, account, pending, .. }) =
            self.progress.lock().replay.as_ref().map(Kept::shown)
        {
            tracing::info!(
                sink = self.name,
                state = state.as_str(),
                reason = failure.map(|failure| failure.reason),
                delivered = account.delivered,
                dead = account.dead,
                expired = account.expired,
                pending,
                "the replay has ended"
            );
        }
    }

    /// It ends here; what is in hand is not settled.
    pub(crate) fn end_past(&mut self, state: ReplayState, reason: Option<String>) {
        if let Some(past) = &mut self.lanes.past {
            past.lane.drop_hand();
        }
        if let Some(kept) = self.progress.lock().replay.as_mut().filter(|kept| kept.is_running()) {
            kept.end(state, reason);
        }
    }

    /// Try again later. What is new has its turn meanwhile, since it may be the old event's fault.
    pub(crate) fn postpone_past(&mut self, error: &SinkError) {
        let Some(past) = &mut self.lanes.past else { return };
        past.lane.drop_hand();
        past.is_put_off = true;
        past.not_before = Instant::now() + past.backoff.pause(error.retry_after);
        let mishap = Failure { reason: error.report(), at: Timestamp::now() };
        let mut progress = self.progress.lock();
        progress.retried += 1;
        progress.last_error = Some(mishap.clone());
        let Some(kept) = &mut progress.replay else { return };
        match &mut kept.trouble {
            Some(since) => since.reason = mishap.reason,
            None => {
                let reason = &mishap.reason;
                tracing::warn!(
                    sink = self.name,
                    reason,
                    "the sink doesn't take past events; they are tried again"
                );
                kept.trouble = Some(mishap);
            }
        }
    }
}
