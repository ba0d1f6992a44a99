//! Dead letters on their way to their sink once more.
//!
//! A worker does it between two batches, so that the sink has one call at a time. A letter goes
//! away only after the sink has made the event durable; a crash before that leaves it, and the next
//! replay delivers the event again under the same id. Positions and accounts know nothing of it:
//! the event stays among the dead of its account, where it was settled.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;
use std::sync::Arc;

use observer_core::{Batch, Envelope, ErrorKind, Event, SinkError, Uuid};

use crate::dead_letters::index::DeadLetter;
use crate::lock::lock;
use crate::worker::Worker;
use crate::worker::backoff::Wake;
use crate::worker::command::{LettersOrder, Outcome, Stopped};
use crate::worker::phase::Ended;
use crate::worker::resolve::SUSPECTS;

impl Worker {
    /// Deliver letters, and take those away that the sink has.
    pub(crate) async fn resend(&mut self, order: LettersOrder) -> Result<(), Ended> {
        if let Some(reason) = self.in_order_only {
            order.end(Stopped::Never(reason.to_owned()));
            return Ok(());
        }
        let LettersOrder { ids, files, edited, answer } = order;
        let (dead, place) = (self.dead.clone(), files.clone());
        let letters = match self.on_files(move || lock(&dead).load(&ids, &place)).await {
            Ok(letters) => letters,
            Err(error) => {
                let stopped =
                    Some(Stopped::NotNow(format!("the dead letters can't be read: {error}")));
                let _ = answer.send(Outcome { stopped, ..Outcome::default() });
                return Ok(());
            }
        };
        let (taken, mut outcome) = self.send_again(letters, edited).await?;
        let mut trouble = None;
        if !taken.is_empty() {
            trouble = self.flush_all().await?.err();
            match &trouble {
                Some(error) => {
                    let reason =
                        format!("the sink could not make them durable: {}", error.report());
                    outcome.stopped = Some(Stopped::NotNow(reason));
                }
                None => self.take_away(taken, files, &mut outcome).await,
            }
        }
        let _ = answer.send(outcome);
        match trouble {
            Some(error) if error.kind == ErrorKind::Blocked => {
                self.park(error.report(), Wake::OnTimer).await
            }
            Some(error) => self.pause(&error).await,
            None => Ok(()),
        }
    }

    /// Gives what the sink took. Nothing is tried twice: who asked is there to ask again.
    async fn send_again(
        &mut self,
        letters: Vec<DeadLetter>,
        edited: Option<Event>,
    ) -> Result<(BTreeSet<Uuid>, Outcome), Ended> {
        let mut events: Vec<_> = letters.into_iter().map(|letter| letter.envelope).collect();
        if let (Some(event), [envelope]) = (edited, events.as_mut_slice()) {
            let Envelope { id, seq, received_at, .. } = **envelope;
            *envelope = Arc::new(Envelope { id, seq, received_at, event });
        }
        let mut work = self.pieces(events);
        let (mut taken, mut outcome) = (BTreeSet::new(), Outcome::default());
        while let Some(batch) = work.pop() {
            match self.deliver(&batch, 1).await? {
                Ok(receipt) => {
                    let count = receipt.refused.as_ref().map_or(0, |refused| refused.count);
                    for (index, envelope) in batch.events().iter().enumerate() {
                        let rejected =
                            receipt.rejected.iter().find(|rejected| rejected.index == index);
                        match (rejected, &receipt.refused) {
                            (Some(rejected), _) => {
                                outcome.refused.push((envelope.id, rejected.reason.clone()));
                            }
                            (None, Some(refused)) if count > 0 => {
                                let reason = format!(
                                    "{count} of {} were refused: {}",
                                    batch.len(),
                                    refused.reason
                                );
                                outcome.refused.push((envelope.id, reason));
                            }
                            _ => {
                                taken.insert(envelope.id);
                            }
                        }
                    }
                }
                Err(error) if error.kind == ErrorKind::Permanent => match batch.halves() {
                    Some((left, right)) => work.extend([right, left]),
                    None => outcome.refused.push((batch.events()[0].id, error.report())),
                },
                Err(error) => {
                    outcome.stopped = Some(Stopped::NotNow(not_now(&error)));
                    break;
                }
            }
            if taken.is_empty() && outcome.refused.len() >= SUSPECTS.1 && !work.is_empty() {
                let reason =
                    outcome.refused.last().map(|(_, reason)| &**reason).unwrap_or_default();
                outcome.stopped = Some(Stopped::NotNow(format!("nothing is accepted: {reason}")));
                break;
            }
        }
        if !taken.is_empty() {
            self.works();
        }
        Ok((taken, outcome))
    }

    /// Batches within the sink's limits, the first on top; sequence numbers rise within each.
    fn pieces(&self, events: Vec<Arc<Envelope>>) -> Vec<Batch> {
        let mut pieces = Vec::<Vec<Arc<Envelope>>>::new();
        let mut bytes = 0;
        for envelope in events {
            let size = envelope.event.raw().len() as u64;
            let fits = |piece: &&mut Vec<Arc<Envelope>>| {
                piece.len() < self.limits.max_events
                    && bytes + size <= self.limits.max_bytes
                    && piece.last().is_none_or(|last| last.seq < envelope.seq)
            };
            match pieces.last_mut().filter(fits) {
                Some(piece) => {
                    bytes += size;
                    piece.push(envelope);
                }
                None => {
                    bytes = size;
                    pieces.push(vec![envelope]);
                }
            }
        }
        let epoch = self.source.journal.epoch();
        pieces.into_iter().rev().map(|piece| Batch::new(epoch, piece)).collect()
    }

    async fn take_away(
        &mut self,
        taken: BTreeSet<Uuid>,
        files: RangeInclusive<u64>,
        outcome: &mut Outcome,
    ) {
        let count = taken.len() as u64;
        let dead = self.dead.clone();
        match self.on_files(move || lock(&dead).remove(&taken, &files)).await {
            Ok(_) => {
                outcome.replayed = count;
                self.progress.lock().replayed += count;
                tracing::info!(
                    sink = self.name,
                    count,
                    "dead letters were delivered after all, and are removed"
                );
            }
            Err(error) => {
                let reason = format!(
                    "the sink took {count} of them, and they can't be removed from the dead letters: {error}"
                );
                outcome.stopped = Some(Stopped::NotNow(reason));
            }
        }
    }
}

fn not_now(error: &SinkError) -> String {
    let what = if error.kind == ErrorKind::Blocked {
        "the sink is blocked"
    } else {
        "the sink could not take them"
    };
    format!("{what}: {}", error.report())
}
