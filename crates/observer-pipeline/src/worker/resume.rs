//! Start of a worker: the position to continue at, and the undecided events.

use std::sync::Arc;

use observer_core::Position;
use tokio::time::Instant;

use crate::account::Checkpoint;
use crate::dead_letters::store::NewDeadLetter;
use crate::lock::lock;
use crate::status::SinkState;
use crate::worker::Worker;
use crate::worker::delivery::{CallError, Called};
use crate::worker::phase::{Ended, Phase};
use crate::worker::resolution::AsideEvent;

impl Worker {
    /// Determines the position to continue at: the later one of the journal's and the sink's own.
    pub(super) async fn resume(&mut self) -> Result<(), Ended> {
        let own = self.own_position().await?;
        if own.is_some() {
            self.replay_rejection.get_or_insert(
                "it keeps its position with its data, and can't accept earlier events",
            );
            self.streams.live.resolution.keep_order();
        }
        let served = self.progress.lock().served;
        let own = match own {
            Some(own) => {
                let journal = self.event_log.journal.clone();
                let translate = move || journal.translate(own.epoch, own.seq, served);
                let resolved = self.event_log.blocking.run(translate);
                resolved.await.map_err(|_| Ended)?
            }
            None => None,
        };
        // A new sink that keeps its own position starts there. Its checkpoint may have been stored
        // before the sink could report its position; then no event is resolved yet.
        let mut checkpoint = match (self.stored, own) {
            (Some(stored), Some(own)) if stored.accepted == 0 && own < stored.seq => {
                Checkpoint::start(own)
            }
            (Some(stored), _) => stored,
            (None, Some(own)) => Checkpoint::start(own),
            (None, None) => Checkpoint::start(self.start),
        };
        self.sink_position = own.unwrap_or(0);
        self.load_stores(&mut checkpoint).await?;
        self.streams.live.restart_at(checkpoint);
        self.restore_undecided(own.is_some());
        self.progress.lock().checkpoint = checkpoint;
        self.report_undecided();
        self.resume_replay();
        self.set_positions();
        self.check().await
    }

    async fn own_position(&mut self) -> Result<Option<Position>, Ended> {
        loop {
            let sink = self.delivery.sink.clone();
            match self.delivery.call(sink.position(), Phase::Stopping).await? {
                Called::Done(position) => return Ok(position),
                Called::Failed(error) => self.wait_after(error).await?,
            }
        }
    }

    /// Waits after a failed call of the sink before the first delivery.
    async fn wait_after(&mut self, error: CallError) -> Result<(), Ended> {
        if error.parks {
            self.park(&error.reason).await.map(|_| ())
        } else {
            self.back_off(error.retry_after, &error.reason).await
        }
    }

    /// Loads the undecided events up to the checkpoint, and counts the dead letters.
    async fn load_stores(&mut self, checkpoint: &mut Checkpoint) -> Result<(), Ended> {
        loop {
            let (dead_letters, undecided) = (self.dead_letters.clone(), self.undecided.clone());
            let max_dead_letters = self.limits.max_dead_letters;
            let Checkpoint { seq, set_aside, .. } = *checkpoint;
            let loaded = self.run_blocking(move || {
                let mut dead_letters = lock(&dead_letters);
                dead_letters.set_max_bytes(max_dead_letters);
                dead_letters.count_all()?;
                let mut undecided = lock(&undecided);
                undecided.load(seq)?;
                undecided.rewind(seq);
                Ok(undecided.reconcile(set_aside))
            });
            match loaded.await {
                Ok(set_aside) => {
                    checkpoint.accepted += set_aside - checkpoint.set_aside;
                    checkpoint.set_aside = set_aside;
                    return Ok(());
                }
                Err(error) => {
                    let reason = format!("the dead letters can't be read: {error}");
                    self.back_off(None, &reason).await?;
                }
            }
        }
    }

    /// Adds the stored undecided events that the live stream does not know.
    pub(super) fn restore_undecided(&mut self, keeps_position: bool) {
        let resolution = &mut self.streams.live.resolution;
        let now = Instant::now();
        let store = lock(&self.undecided);
        let unknown = store.events().filter(|event| !resolution.is_aside(event.envelope.seq));
        let aside = |event: &NewDeadLetter| AsideEvent {
            event: event.envelope.clone(),
            reason: event.reason.clone(),
            attempts: event.attempts,
            evidence: store.evidence(event.envelope.seq),
        };
        let unknown: Vec<_> = unknown.map(aside).collect();
        drop(store);
        for aside in unknown {
            let id = aside.event.id;
            resolution.restore(aside, now);
            if keeps_position {
                // The sink would skip an event before its position.
                let wanted = |event: &Arc<observer_core::Envelope>| event.id == id;
                let dead = resolution.divert(wanted);
                resolution.bury_later(dead.into_iter().collect());
            }
        }
    }

    /// Checks the sink before the first delivery.
    async fn check(&mut self) -> Result<(), Ended> {
        let sink = self.delivery.sink.clone();
        let called = tokio::select! {
            called = self.delivery.call(sink.check(), Phase::Stopping) => called?,
            // A check that hangs must not delay it.
            () = self.commands.diversion() => return Ok(()),
        };
        match called {
            Called::Failed(error) if error.parks => {
                self.streams.live.resolution.blocked(error.reason, Instant::now());
            }
            Called::Failed(error) => self.delivery.mark_retrying(&error.reason, None),
            Called::Done(()) => {
                let mut progress = self.progress.lock();
                progress.state = SinkState::Running;
                progress.retry_at = None;
            }
        }
        Ok(())
    }
}
