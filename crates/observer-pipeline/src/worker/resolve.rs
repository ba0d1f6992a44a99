//! One batch, until each of its events is settled.

use std::cmp::Reverse;
use std::sync::Arc;

use observer_core::{Batch, Envelope, ErrorKind, Receipt, SinkError};
use tokio::time::Instant;
use tracing::Instrument;

use crate::dead_letters::store::NewDeadLetter;
use crate::replay::state::ReplayState;
use crate::spans;
use crate::worker::Worker;
use crate::worker::backoff::Wake;
use crate::worker::phase::{Ended, Phase};
use crate::worker::stream::Turn;

/// How many events are tried alone, one after the other, before the far side is taken to refuse
/// everything: at first, and at most, since each time the sink was parked for that it may have been
/// the events after all.
pub(crate) const SUSPECTS: (usize, usize) = (4, 64);
/// A batch that is refused as a whole grows by its neighbours up to this many times its size.
const MAX_GROWTH: usize = 16;

/// A batch that failed this often in a row, though it may work later, is halved: it may be too much
/// for the far side, or one of its events is.
const PATIENCE: u32 = 4;
/// An event that failed alone this often in a row lets those after it go first. Were that soon, a
/// far side that fails now and then would get them out of order.
const PATIENCE_ALONE: u32 = 16;
/// Such an event is poison once the far side took others between this many of its failures.
const WITNESSES: u32 = 3;

/// A part of a batch that has to be delivered.
#[derive(Debug)]
struct Piece {
    batch: Batch,
    /// How many deliveries its events were part of.
    attempts: u32,
    /// How many of this very piece failed in a row, though they may work later.
    failures: u32,
    /// Of an event that failed alone so often that those after it are tried before it: between how
    /// many of its failures they were accepted.
    doubt: Option<u32>,
    /// How many of those after it are passed over for one that may speak for the far side, since
    /// they failed as well.
    passed_over: usize,
}

/// An event that was refused while it stood alone. It is poison if the far side takes one of its
/// neighbours.
#[derive(Debug)]
struct Suspect {
    envelope: Arc<Envelope>,
    reason: String,
    attempts: u32,
}

impl Worker {
    /// Deliver a batch until it is settled, and all events up to `through` with it.
    ///
    /// Pieces are delivered first things first, so the order is kept; a piece that is refused is
    /// halved until the bad event stands alone.
    pub(crate) async fn settle(&mut self, batch: Batch, through: u64) -> Result<(), Ended> {
        let span = spans::batch(&self.name, &batch);
        if span.is_disabled() {
            return self.settle_all(batch, through).await;
        }
        let before = self.lanes.current().place.account;
        let ended = self.settle_all(batch, through).instrument(span.clone()).await;
        let after = ended.is_ok().then(|| self.lanes.current().place.account);
        spans::settled(&span, before, after);
        self.settled = span;
        ended
    }

    async fn settle_all(&mut self, batch: Batch, mut through: u64) -> Result<(), Ended> {
        let epoch = batch.position().epoch;
        let first_size = batch.len();
        let mut work = vec![Piece::new(batch, 0)];
        let mut suspects = Vec::<Suspect>::new();
        let mut neighbour_accepted = false;
        let mut max_suspects = SUSPECTS.0;
        let mut since = Instant::now();
        // The last event that was settled; one that is in doubt, or a suspect, may be left before
        // it.
        let mut settled = 0;

        while let Some(mut piece) = work.pop() {
            piece.attempts += 1;
            match self.deliver(&piece.batch, piece.attempts).await? {
                Ok(receipt) => {
                    since = Instant::now();
                    let accepted = self.accept(&piece, receipt).await?;
                    neighbour_accepted |= accepted > 0;
                    if accepted > 0 {
                        self.works();
                        if let Some(Piece { doubt: Some(witnesses), .. }) = work.last_mut() {
                            *witnesses += 1;
                        }
                    }
                    settled = settled.max(piece.batch.position().seq);
                }
                Err(error) => match error.kind {
                    ErrorKind::Transient if self.lanes.turn == Turn::Past => {
                        self.postpone_past(&error);
                        return Ok(());
                    }
                    ErrorKind::Transient => {
                        self.progress.lock().retried += 1;
                        if self
                            .limits
                            .retry
                            .give_up_after
                            .is_some_and(|limit| since.elapsed() >= limit)
                        {
                            let reason = format!("given up: {}", error.report());
                            let letters =
                                piece.batch.events().iter().map(|envelope| NewDeadLetter {
                                    envelope: envelope.clone(),
                                    reason: reason.clone(),
                                    attempts: piece.attempts,
                                });
                            self.bury(letters.collect()).await?;
                            since = Instant::now();
                            settled = settled.max(piece.batch.position().seq);
                        } else if piece.doubt.is_some_and(|witnesses| witnesses >= WITNESSES) {
                            self.mishap(&error.report());
                            let letter = NewDeadLetter {
                                envelope: piece.batch.events()[0].clone(),
                                reason: error.report(),
                                attempts: piece.attempts,
                            };
                            self.bury(vec![letter]).await?;
                            settled = settled.max(piece.batch.position().seq);
                        } else {
                            through = through.max(self.try_later(piece, &error, &mut work).await?);
                        }
                    }
                    ErrorKind::Permanent => match piece.batch.halves() {
                        Some((left, right)) => {
                            work.extend([right, left].map(|half| Piece::new(half, piece.attempts)));
                        }
                        None => suspects.push(Suspect {
                            envelope: piece.batch.events()[0].clone(),
                            reason: error.report(),
                            attempts: piece.attempts,
                        }),
                    },
                    ErrorKind::Blocked => {
                        self.park(error.report(), Wake::OnTimer).await?;
                        if self.lanes.turn == Turn::Past && !self.is_past_running() {
                            // No event shows that the sink can be reached again, so its word has to
                            // do.
                            self.works();
                            return Ok(());
                        }
                        // One event goes first.
                        let (first, rest) = piece.batch.events().split_at(1);
                        if !rest.is_empty() {
                            work.push(Piece::new(Batch::new(epoch, rest.to_vec()), piece.attempts));
                        }
                        work.push(Piece { batch: Batch::new(epoch, first.to_vec()), ..piece });
                    }
                },
            }
            if suspects.is_empty()
                && settled > 0
                && work.iter().all(|piece| settled < piece.batch.events()[0].seq)
            {
                self.advance(settled);
            }
            if neighbour_accepted {
                if work.is_empty() && !suspects.is_empty() {
                    self.bury(suspects.drain(..).map(Suspect::into_letter).collect()).await?;
                }
            } else if !suspects.is_empty() && (work.is_empty() || suspects.len() >= max_suspects) {
                // All that was tried was refused: that says something about the sink, not about the
                // events.
                let reason =
                    suspects.first().map(|suspect| suspect.reason.clone()).unwrap_or_default();
                let reason = format!("nothing is accepted: {reason}");
                if self.lanes.turn == Turn::Past {
                    // What is new must not wait behind it.
                    let is_last = work.is_empty()
                        && matches!(self.lanes.current().feed.peek().await, Ok(None));
                    if is_last || max_suspects == SUSPECTS.1 {
                        self.end_past(ReplayState::Stopped, Some(reason));
                        return Ok(());
                    }
                } else {
                    self.park(reason, Wake::OnMore).await?;
                }
                max_suspects = SUSPECTS.1.min(max_suspects * 2);
                let attempts = suspects.iter().map(|suspect| suspect.attempts).max().unwrap_or(0);
                let refused = suspects.drain(..).map(|suspect| suspect.envelope);
                let waiting = work.drain(..).rev().flat_map(|piece| piece.batch.events().to_vec());
                let mut events: Vec<_> = refused.chain(waiting).collect();
                events.sort_by_key(|envelope| envelope.seq);
                let batch = Batch::new(epoch, events);
                let batch = if batch.len() < first_size.max(self.limits.max_events) * MAX_GROWTH {
                    let (grown, looked_at) = self.gather(Some(&batch)).await?;
                    through = through.max(looked_at);
                    grown.unwrap_or(batch)
                } else {
                    batch
                };
                self.split(&batch, epoch, attempts, &mut work);
            }
        }
        self.advance(through);
        Ok(())
    }

    /// What to do with a piece that may work later. Gives the last event that was looked at for it.
    async fn try_later(
        &mut self,
        mut piece: Piece,
        error: &SinkError,
        work: &mut Vec<Piece>,
    ) -> Result<u64, Ended> {
        let mut looked_at = 0;
        piece.failures += 1;
        if let Some(doubted) = work.pop_if(|before| before.doubt.is_some()) {
            // It was to speak for the far side, and fails as well: so nothing is known of the one
            // that it went before, which goes first again. If both of them are poison, the next one
            // but one will tell.
            let passed_over = (doubted.passed_over + 1) % SUSPECTS.0;
            work.extend([
                piece,
                Piece { passed_over, ..Piece::new(doubted.batch, doubted.attempts) },
            ]);
            work.sort_by_key(|piece| Reverse(piece.batch.events()[0].seq));
        } else if piece.failures < PATIENCE {
            work.push(piece);
        } else if let Some((left, right)) = piece.batch.halves() {
            work.extend([right, left].map(|half| Piece::new(half, piece.attempts)));
        } else if piece.failures < PATIENCE_ALONE {
            work.push(piece);
        } else {
            looked_at = self.have_more_than(piece.passed_over, &piece, work).await?;
            let witness = take_witness(piece.passed_over, work);
            let is_first = witness.is_some() && piece.doubt.is_none();
            if is_first {
                piece.doubt = Some(0);
            }
            work.push(piece);
            work.extend(witness);
            if is_first {
                // At once: the far side may be well again in the next moment, and then the order
                // would change for nothing.
                self.mishap(&error.report());
                return Ok(looked_at);
            }
        }
        self.pause(error).await?;
        Ok(looked_at)
    }

    /// See that there are more than so many events after a piece, if there are. Gives the last
    /// event that was looked at for it.
    async fn have_more_than(
        &mut self,
        count: usize,
        piece: &Piece,
        work: &mut Vec<Piece>,
    ) -> Result<u64, Ended> {
        if work.iter().map(|piece| piece.batch.len()).sum::<usize>() > count {
            return Ok(0);
        }
        let last = work.first().map_or(&piece.batch, |last| &last.batch).clone();
        let (grown, looked_at) = self.gather(Some(&last)).await?;
        let events = grown.map(|grown| grown.events()[last.len()..].to_vec()).unwrap_or_default();
        if !events.is_empty() {
            work.insert(0, Piece::new(Batch::new(last.position().epoch, events), 0));
        }
        Ok(looked_at)
    }

    /// Into pieces that are no larger than the sink's limit, the first on top.
    fn split(&self, batch: &Batch, epoch: u64, attempts: u32, work: &mut Vec<Piece>) {
        let pieces = batch.events().chunks(self.limits.max_events).rev();
        work.extend(pieces.map(|events| Piece::new(Batch::new(epoch, events.to_vec()), attempts)));
    }

    pub(crate) async fn deliver(
        &mut self,
        batch: &Batch,
        attempt: u32,
    ) -> Result<Result<Receipt, SinkError>, Ended> {
        let begun = Instant::now();
        let sink = self.sink.clone();
        let span = spans::deliver(&self.name, batch, attempt);
        let result =
            self.ask(sink.deliver(batch).instrument(span.clone()), Phase::Stopping).await?;
        self.progress.deliveries.record(begun.elapsed());
        if let Err(error) = &result {
            spans::refused(&span, error);
        }
        Ok(result)
    }

    /// Take a receipt into the account. Gives how many events were accepted.
    async fn accept(&mut self, piece: &Piece, receipt: Receipt) -> Result<u64, Ended> {
        let events = piece.batch.events();
        let mut letters = Vec::new();
        let mut rejected = receipt.rejected;
        rejected.sort_by_key(|rejected| rejected.index);
        rejected.dedup_by_key(|rejected| rejected.index);
        for rejected in rejected {
            if let Some(envelope) = events.get(rejected.index) {
                letters.push(NewDeadLetter {
                    envelope: envelope.clone(),
                    reason: rejected.reason,
                    attempts: piece.attempts,
                });
            }
        }
        let left = (events.len() - letters.len()) as u64;
        let refused = receipt.refused.map_or(0, |refused| {
            let count = refused.count.min(left);
            tracing::warn!(
                sink = self.name,
                count,
                reason = refused.reason,
                "events were refused for good, and the far side doesn't say which"
            );
            count
        });
        self.bury(letters).await?;
        let open = &mut self.lanes.current().open;
        open.refused += refused;
        open.delivered += left - refused;
        Ok(left - refused)
    }
}

impl Piece {
    fn new(batch: Batch, attempts: u32) -> Self {
        Self { batch, attempts, failures: 0, doubt: None, passed_over: 0 }
    }
}

/// The event after so many others, or the last one, as a piece of its own; the others stay where
/// they are.
fn take_witness(passed_over: usize, work: &mut Vec<Piece>) -> Option<Piece> {
    let (mut before, mut place) = (Vec::new(), passed_over);
    while let Some(next) = work.pop() {
        let (epoch, events) = (next.batch.position().epoch, next.batch.events());
        if place >= events.len() && !work.is_empty() {
            place -= events.len();
            before.push(next);
            continue;
        }
        let (first, rest) = events.split_at(place.min(events.len() - 1));
        let (witness, rest) = rest.split_at(1);
        let parts = [rest, first].into_iter().filter(|events| !events.is_empty());
        work.extend(
            parts.map(|events| Piece::new(Batch::new(epoch, events.to_vec()), next.attempts)),
        );
        work.extend(before.into_iter().rev());
        return Some(Piece::new(Batch::new(epoch, witness.to_vec()), next.attempts));
    }
    None
}

impl Suspect {
    fn into_letter(self) -> NewDeadLetter {
        NewDeadLetter { envelope: self.envelope, reason: self.reason, attempts: self.attempts }
    }
}
