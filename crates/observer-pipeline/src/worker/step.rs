//! Actions of a stream, as its resolution demands them.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use observer_core::{Batch, Envelope};
use tokio::time::Instant;

use crate::dead_letters::store::NewDeadLetter;
use crate::dead_letters::undecided::AsideResult;
use crate::lock::lock;
use crate::worker::Worker;
use crate::worker::attempt::Attempt;
use crate::worker::phase::Ended;
use crate::worker::resolution::evidence::Class;
use crate::worker::resolution::{Action, AsideEvent, DeadEvent, Delivery, Fate, Resolved};
use crate::worker::stream::StreamKind;

/// Continuation of a stream after an action.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Flow {
    Continue,
    /// There was an attempt to deliver events.
    Attempted,
    /// There is nothing to do before further events, or this time.
    Idle(Option<Instant>),
    /// The replay waits for its back-off.
    Postponed,
}

impl Worker {
    /// Performs the next action of a stream.
    pub(crate) async fn step(&mut self, kind: StreamKind) -> Result<Flow, Ended> {
        let mut action = self.streams.get_mut(kind).resolution.next(Instant::now());
        if action == Action::Read {
            match self.read(kind).await {
                Ok(true) => return Ok(Flow::Continue),
                Ok(false) => {
                    action = self.streams.get_mut(kind).resolution.exhausted(Instant::now());
                }
                Err(error) => {
                    let reason = format!("the journal can't be read: {error}");
                    action = Action::BackOff { retry_after: None, reason };
                }
            }
        }
        match action {
            Action::Deliver(delivery) => self.attempt(kind, delivery).await?,
            Action::DeadLetter(dead) => {
                self.bury(kind, dead).await;
                return Ok(Flow::Continue);
            }
            Action::SetAside(events) => {
                self.set_aside(kind, events);
                return Ok(Flow::Continue);
            }
            Action::BackOff { retry_after, reason } => {
                return self.after_failure(kind, retry_after, reason, false).await;
            }
            Action::SlowDown { reason } => return self.slow_down(kind, reason).await,
            Action::Crowded { until, reason } => {
                return self.wait_for_room(until, &reason).await;
            }
            Action::Park { reason } => return self.after_failure(kind, None, reason, true).await,
            Action::Read => return Ok(Flow::Continue),
            Action::Wait(until) => return Ok(Flow::Idle(until)),
        }
        Ok(Flow::Attempted)
    }

    /// Waits after a failure of the live stream, or postpones the replay.
    async fn after_failure(
        &mut self,
        kind: StreamKind,
        retry_after: Option<Duration>,
        reason: String,
        parks: bool,
    ) -> Result<Flow, Ended> {
        match kind {
            StreamKind::Replay => {
                self.postpone_replay(retry_after, &reason);
                return Ok(Flow::Postponed);
            }
            StreamKind::Live if parks => self.park_live(reason).await?,
            StreamKind::Live => self.back_off(retry_after, &reason).await?,
        }
        Ok(Flow::Continue)
    }

    /// Waits since many events in a row were refused, or postpones the replay.
    async fn slow_down(&mut self, kind: StreamKind, reason: String) -> Result<Flow, Ended> {
        if kind == StreamKind::Replay {
            self.postpone_replay(None, &reason);
            return Ok(Flow::Postponed);
        }
        self.ease(&reason).await
    }

    /// Delivers events once.
    async fn attempt(
        &mut self,
        kind: StreamKind,
        delivery: Delivery<Arc<Envelope>>,
    ) -> Result<(), Ended> {
        if delivery.renew {
            self.delivery.sink.renew_connections();
        }
        let stream = self.streams.get_mut(kind);
        let parent = stream.batch_span();
        let batch = Batch::new(self.event_log.journal.epoch(), delivery.events);
        let diversion = self.commands.diversion();
        let attempt = self.delivery.attempt(&batch, delivery.attempt, &parent, diversion).await?;
        self.last_batch = parent;
        let now = Instant::now();
        let reason = attempt.reason().map(str::to_owned);
        let pause = attempt.retry_after();
        if let (Attempt::Blocked { reason }, StreamKind::Replay) = (&attempt, kind) {
            self.streams.live.resolution.blocked(reason.clone(), now);
        }
        let is_denied = matches!(attempt, Attempt::Refused { class: Class::Denied, .. });
        self.streams.get_mut(kind).resolution.on(attempt, now);
        if let (StreamKind::Live, Some(reason)) = (kind, reason) {
            let batch = self.last_batch.clone();
            batch.in_scope(|| self.report_hold(&reason, pause, is_denied));
        }
        self.apply(kind);
        Ok(())
    }

    /// Reports a refusal if it holds the live stream.
    fn report_hold(&mut self, reason: &str, pause: Option<Duration>, is_denied: bool) {
        let resolution = &self.streams.live.resolution;
        if !resolution.is_in_spell() || resolution.held() == 0 {
            return;
        }
        if !is_denied || !resolution.is_mixed(Instant::now()) {
            self.delivery.mark_retrying(reason, pause);
        } else if resolution.refuses_many() {
            self.delivery.report_refusals(reason);
        }
    }

    /// Counts what a stream has resolved.
    pub(crate) fn apply(&mut self, kind: StreamKind) {
        let stream = self.streams.get_mut(kind);
        self.aside_evidence.extend(stream.resolution.take_grown());
        let resolved = stream.resolution.take_resolved();
        if !resolved.is_empty() {
            stream.resolve(&resolved);
            let is_accepted = |resolved: &Resolved| resolved.fate == Fate::Delivered;
            if resolved.iter().any(is_accepted) {
                self.tell_other_stream(kind);
            }
            let aside = resolved.iter().filter(|resolved| resolved.is_aside).map(|resolved| {
                let is_dead = resolved.fate == Fate::Dead;
                (resolved.seq, if is_dead { AsideResult::Dead } else { AsideResult::Delivered })
            });
            self.aside_results.extend(aside);
            self.report_checkpoint(kind);
            if resolved.iter().any(|it| it.is_aside || it.fate == Fate::SetAside) {
                self.report_undecided();
            }
        } else {
            self.report_checkpoint(kind);
        }
    }

    /// Tells the other stream that the sink accepted an event.
    fn tell_other_stream(&mut self, kind: StreamKind) {
        let now = Instant::now();
        let Some(replay) = &mut self.streams.replay else { return };
        match kind {
            StreamKind::Replay => self.streams.live.resolution.accepted_elsewhere(now),
            StreamKind::Live => {
                if replay.stream.resolution.held() > 0 {
                    replay.not_before = now;
                }
                replay.stream.resolution.accepted_elsewhere(now);
            }
        }
    }

    /// Writes events to the dead letters. After a failure the stream does it again.
    async fn bury(&mut self, kind: StreamKind, dead: Vec<DeadEvent<Arc<Envelope>>>) {
        let mut result = self.write_dead_letters(&dead).await;
        if result.is_ok() && !self.streams.get_mut(kind).resolution.may_skip() {
            // The next delivery may make the sink's own position durable, which then passes them.
            let store = self.dead_letters.clone();
            result = self.run_blocking(move || lock(&store).sync()).await;
        }
        let is_full = |error: &io::Error| error.kind() == io::ErrorKind::QuotaExceeded;
        self.is_store_full = result.as_ref().is_err_and(is_full);
        let resolution = &mut self.streams.get_mut(kind).resolution;
        match result {
            Ok(()) => {
                resolution.buried(&dead);
                self.apply(kind);
            }
            Err(error) => {
                let parks = self.is_store_full;
                let reason = if parks {
                    error.to_string()
                } else {
                    format!("the dead letters can't be written: {error}")
                };
                resolution.unburied(dead, reason, parks);
            }
        }
    }

    /// Writes events to the dead-letter store. They are durable after the next flush.
    pub(crate) async fn write_dead_letters(
        &mut self,
        dead: &[DeadEvent<Arc<Envelope>>],
    ) -> io::Result<()> {
        let new: Vec<_> = dead
            .iter()
            .map(|dead| NewDeadLetter {
                envelope: dead.event.clone(),
                reason: dead.reason.clone(),
                attempts: dead.attempts,
            })
            .collect();
        let store = self.dead_letters.clone();
        self.run_blocking(move || lock(&store).put(&new)).await?;
        if let Some(first) = dead.first() {
            self.delivery.report_dead_letters(dead.len(), first.event.seq, &first.reason);
        }
        Ok(())
    }

    /// Stores events as undecided. They are durable before the position that passes them.
    fn set_aside(&mut self, kind: StreamKind, events: Vec<AsideEvent<Arc<Envelope>>>) {
        for AsideEvent { event, reason, attempts, evidence } in events {
            tracing::debug!(
                sink = self.delivery.name,
                seq = event.seq,
                reason,
                "an event is undecided: the destination refuses it and accepts others"
            );
            let seq = event.seq;
            let event = NewDeadLetter { envelope: event, reason, attempts };
            lock(&self.undecided).set_aside(event, evidence);
            self.streams.get_mut(kind).resolution.stored(seq);
        }
        self.apply(kind);
    }

    /// Reports the checkpoint of a stream.
    pub(crate) fn report_checkpoint(&self, kind: StreamKind) {
        let mut progress = self.progress.lock();
        match (kind, &self.streams.replay, &mut progress.replay) {
            (StreamKind::Replay, Some(replay), Some(record)) => {
                record.checkpoint = replay.stream.checkpoint;
            }
            _ => {
                let live = &self.streams.live;
                progress.checkpoint = live.checkpoint;
                progress.served = progress.served.max(live.checkpoint.seq);
                progress.held = live.resolution.held() as u64;
            }
        }
    }

    /// Reports the undecided events.
    pub(crate) fn report_undecided(&self) {
        let store = lock(&self.undecided);
        let mut totals = store.totals();
        for (_, result) in &self.aside_results {
            match result {
                AsideResult::Delivered => totals.delivered += 1,
                AsideResult::Dead => totals.dead += 1,
            }
        }
        let oldest = store.events().next().map(|event| event.envelope.received_at);
        drop(store);
        let mut progress = self.progress.lock();
        progress.aside = totals;
        progress.oldest_aside = oldest;
    }
}
