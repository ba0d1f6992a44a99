//! Resolution of a batch: deliveries until each of its events has a result.
//!
//! A rejected batch is split until the event at fault is alone in its batch. The event and not the
//! destination is at fault if the destination accepts another event.

use std::cmp::Reverse;
use std::sync::Arc;

use observer_core::{Batch, Envelope, ErrorKind, Receipt, SinkError};
use tokio::time::Instant;
use tracing::Instrument;

use crate::dead_letters::store::NewDeadLetter;
use crate::error::treatment;
use crate::replay::state::ReplayState;
use crate::spans;
use crate::worker::Worker;
use crate::worker::phase::{Ended, Phase};
use crate::worker::retry::Wake;
use crate::worker::stream::StreamKind;

/// Number of events that may be rejected one by one before the destination is considered to reject
/// everything.
const INITIAL_UNCONFIRMED: usize = 4;
/// Bound of that number, which doubles each time the sink was parked: the events may be at fault
/// after all.
pub(crate) const MAX_UNCONFIRMED: usize = 64;
/// Factor by which a batch that is rejected as a whole grows at most, by the events after it.
const MAX_GROWTH: usize = 16;

/// Number of consecutive transient failures after which a batch is halved: its size or one of its
/// events may be at fault.
const SPLIT_AFTER: u32 = 4;
/// Number of consecutive transient failures after which a single event is preceded by a probe: an
/// event after it. A lower number would change the order whenever a destination fails occasionally.
const PROBE_AFTER: u32 = 16;
/// Number of accepted probes after which the failing event is a poison event.
const PROBES: u32 = 3;

/// Part of a batch that has to be delivered.
#[derive(Debug)]
struct SubBatch {
    batch: Batch,
    /// Number of deliveries that the events were part of.
    attempts: u32,
    /// Number of consecutive transient failures of this sub-batch.
    failures: u32,
    /// Number of probes that were accepted between the failures of this event; `None` until there
    /// is a probe.
    probes: Option<u32>,
    /// Number of events between this one and its probe: events that failed as probes themselves.
    skip: usize,
}

/// Event that was rejected while it was alone in its batch. It is a poison event if the destination
/// accepts another event of the batch.
#[derive(Debug)]
struct Unconfirmed {
    envelope: Arc<Envelope>,
    reason: String,
    attempts: u32,
}

impl Worker {
    /// Delivers a batch until each of its events is resolved, and moves the checkpoint to
    /// `through`.
    ///
    /// Sub-batches are delivered in the order of their events.
    pub(crate) async fn resolve(&mut self, batch: Batch, through: u64) -> Result<(), Ended> {
        let span = spans::batch(&self.name, &batch);
        if span.is_disabled() {
            return self.resolve_events(batch, through).await;
        }
        let before = self.streams.active_stream().checkpoint.account;
        let result = self.resolve_events(batch, through).instrument(span.clone()).await;
        let after = result.is_ok().then(|| self.streams.active_stream().checkpoint.account);
        spans::record_outcome(&span, before, after);
        self.last_batch = span;
        result
    }

    async fn resolve_events(&mut self, batch: Batch, mut through: u64) -> Result<(), Ended> {
        let epoch = batch.position().epoch;
        let first_size = batch.len();
        let mut work = vec![SubBatch::new(batch, 0)];
        let mut unconfirmed = Vec::<Unconfirmed>::new();
        let mut neighbour_accepted = false;
        let mut max_unconfirmed = INITIAL_UNCONFIRMED;
        let mut since = Instant::now();
        // Last resolved event. An unconfirmed event or one with a probe may be left before it.
        let mut resolved = 0;

        while let Some(mut sub_batch) = work.pop() {
            sub_batch.attempts += 1;
            match self.deliver(&sub_batch.batch, sub_batch.attempts).await? {
                Ok(receipt) => {
                    since = Instant::now();
                    let accepted = self.accept(&sub_batch, receipt).await?;
                    neighbour_accepted |= accepted > 0;
                    if accepted > 0 {
                        self.mark_running();
                        if let Some(SubBatch { probes: Some(probes), .. }) = work.last_mut() {
                            *probes += 1;
                        }
                    }
                    resolved = resolved.max(sub_batch.batch.position().seq);
                }
                Err(error) => match treatment(error.kind) {
                    ErrorKind::Transient if self.streams.active == StreamKind::Replay => {
                        self.postpone_replay(&error);
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
                            let given_up =
                                sub_batch.batch.events().iter().map(|envelope| NewDeadLetter {
                                    envelope: envelope.clone(),
                                    reason: reason.clone(),
                                    attempts: sub_batch.attempts,
                                });
                            self.write_dead_letters(given_up.collect()).await?;
                            since = Instant::now();
                            resolved = resolved.max(sub_batch.batch.position().seq);
                        } else if sub_batch.probes.is_some_and(|probes| probes >= PROBES) {
                            self.mark_retrying(&error.report());
                            let dead_letter = NewDeadLetter {
                                envelope: sub_batch.batch.events()[0].clone(),
                                reason: error.report(),
                                attempts: sub_batch.attempts,
                            };
                            self.write_dead_letters(vec![dead_letter]).await?;
                            resolved = resolved.max(sub_batch.batch.position().seq);
                        } else {
                            through =
                                through.max(self.reschedule(sub_batch, &error, &mut work).await?);
                        }
                    }
                    ErrorKind::Permanent => match sub_batch.batch.halves() {
                        Some((left, right)) => {
                            work.extend(
                                [right, left].map(|half| SubBatch::new(half, sub_batch.attempts)),
                            );
                        }
                        None => unconfirmed.push(Unconfirmed {
                            envelope: sub_batch.batch.events()[0].clone(),
                            reason: error.report(),
                            attempts: sub_batch.attempts,
                        }),
                    },
                    _ => {
                        self.park(error.report(), Wake::OnTimer).await?;
                        if self.streams.active == StreamKind::Replay && !self.is_replay_running() {
                            // There is no event left to show that the sink is available, so its
                            // check has to do.
                            self.mark_running();
                            return Ok(());
                        }
                        // The first event alone is the probe.
                        let (first, rest) = sub_batch.batch.events().split_at(1);
                        if !rest.is_empty() {
                            work.push(SubBatch::new(
                                Batch::new(epoch, rest.to_vec()),
                                sub_batch.attempts,
                            ));
                        }
                        work.push(SubBatch {
                            batch: Batch::new(epoch, first.to_vec()),
                            ..sub_batch
                        });
                    }
                },
            }
            if unconfirmed.is_empty()
                && resolved > 0
                && work.iter().all(|sub_batch| resolved < sub_batch.batch.events()[0].seq)
            {
                self.advance(resolved);
            }
            if neighbour_accepted {
                if work.is_empty() && !unconfirmed.is_empty() {
                    self.write_dead_letters(
                        unconfirmed.drain(..).map(Unconfirmed::into_dead_letter).collect(),
                    )
                    .await?;
                }
            } else if !unconfirmed.is_empty()
                && (work.is_empty() || unconfirmed.len() >= max_unconfirmed)
            {
                // Every event was rejected, so the destination may be at fault.
                let reason =
                    unconfirmed.first().map(|event| event.reason.clone()).unwrap_or_default();
                let reason = format!("nothing is accepted: {reason}");
                if self.streams.active == StreamKind::Replay {
                    // Live events must not wait for a replay.
                    let is_last = work.is_empty()
                        && matches!(self.streams.active_stream().reader.peek().await, Ok(None));
                    if is_last || max_unconfirmed == MAX_UNCONFIRMED {
                        self.end_replay(ReplayState::Stopped, Some(reason));
                        return Ok(());
                    }
                } else {
                    self.park(reason, Wake::OnNewEvents).await?;
                }
                max_unconfirmed = MAX_UNCONFIRMED.min(max_unconfirmed * 2);
                let attempts = unconfirmed.iter().map(|event| event.attempts).max().unwrap_or(0);
                let rejected = unconfirmed.drain(..).map(|event| event.envelope);
                let remaining =
                    work.drain(..).rev().flat_map(|sub_batch| sub_batch.batch.events().to_vec());
                let mut events: Vec<_> = rejected.chain(remaining).collect();
                events.sort_by_key(|envelope| envelope.seq);
                let batch = Batch::new(epoch, events);
                let batch = if batch.len() < first_size.max(self.limits.max_events) * MAX_GROWTH {
                    let (grown, read) = self.next_batch(Some(&batch)).await?;
                    through = through.max(read);
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

    /// Schedules the next attempt of a sub-batch after a transient failure, and backs off. Returns
    /// the last event that was read for a probe, or 0.
    async fn reschedule(
        &mut self,
        mut sub_batch: SubBatch,
        error: &SinkError,
        work: &mut Vec<SubBatch>,
    ) -> Result<u64, Ended> {
        let mut read = 0;
        sub_batch.failures += 1;
        if let Some(probed) = work.pop_if(|before| before.probes.is_some()) {
            // The failed sub-batch was a probe, so either may be at fault, or the destination. The
            // event before it is tried again; its next probe is the event after this one, in case
            // both are poison events.
            let skip = (probed.skip + 1) % INITIAL_UNCONFIRMED;
            work.extend([
                sub_batch,
                SubBatch { skip, ..SubBatch::new(probed.batch, probed.attempts) },
            ]);
            work.sort_by_key(|sub_batch| Reverse(sub_batch.batch.events()[0].seq));
        } else if sub_batch.failures < SPLIT_AFTER {
            work.push(sub_batch);
        } else if let Some((left, right)) = sub_batch.batch.halves() {
            work.extend([right, left].map(|half| SubBatch::new(half, sub_batch.attempts)));
        } else if sub_batch.failures < PROBE_AFTER {
            work.push(sub_batch);
        } else {
            read = self.ensure_followers(sub_batch.skip, &sub_batch, work).await?;
            let probe = take_probe(sub_batch.skip, work);
            let is_first = probe.is_some() && sub_batch.probes.is_none();
            if is_first {
                sub_batch.probes = Some(0);
            }
            work.push(sub_batch);
            work.extend(probe);
            if is_first {
                // Without a pause: if the destination recovered during it, the order would change
                // for no reason.
                self.mark_retrying(&error.report());
                return Ok(read);
            }
        }
        self.back_off(error).await?;
        Ok(read)
    }

    /// Reads ahead until more than `count` events follow a sub-batch, as far as there are more.
    /// Returns the last event that was read, or 0.
    async fn ensure_followers(
        &mut self,
        count: usize,
        sub_batch: &SubBatch,
        work: &mut Vec<SubBatch>,
    ) -> Result<u64, Ended> {
        if work.iter().map(|sub_batch| sub_batch.batch.len()).sum::<usize>() > count {
            return Ok(0);
        }
        let last = work.first().map_or(&sub_batch.batch, |last| &last.batch).clone();
        let (grown, read) = self.next_batch(Some(&last)).await?;
        let events = grown.map(|grown| grown.events()[last.len()..].to_vec()).unwrap_or_default();
        if !events.is_empty() {
            work.insert(0, SubBatch::new(Batch::new(last.position().epoch, events), 0));
        }
        Ok(read)
    }

    /// Splits a batch into sub-batches within the sink's limit, and pushes them with the first on
    /// top.
    fn split(&self, batch: &Batch, epoch: u64, attempts: u32, work: &mut Vec<SubBatch>) {
        let sub_batches = batch.events().chunks(self.limits.max_events).rev();
        work.extend(
            sub_batches.map(|events| SubBatch::new(Batch::new(epoch, events.to_vec()), attempts)),
        );
    }

    /// Performs one delivery, within the sink's timeout.
    pub(crate) async fn deliver(
        &mut self,
        batch: &Batch,
        attempt: u32,
    ) -> Result<Result<Receipt, SinkError>, Ended> {
        let started = Instant::now();
        let sink = self.sink.clone();
        let span = spans::deliver(&self.name, batch, attempt);
        let result =
            self.call(sink.deliver(batch).instrument(span.clone()), Phase::Stopping).await?;
        self.progress.deliveries.record(started.elapsed());
        if let Err(error) = &result {
            spans::record_error(&span, error);
        }
        Ok(result)
    }

    /// Applies a receipt to the account, and writes the rejected events to the dead letters.
    /// Returns the number of accepted events.
    async fn accept(&mut self, sub_batch: &SubBatch, receipt: Receipt) -> Result<u64, Ended> {
        let events = sub_batch.batch.events();
        let mut dead_letters = Vec::new();
        let mut rejected = receipt.rejected;
        rejected.sort_by_key(|rejected| rejected.index);
        rejected.dedup_by_key(|rejected| rejected.index);
        for rejected in rejected {
            if let Some(envelope) = events.get(rejected.index) {
                dead_letters.push(NewDeadLetter {
                    envelope: envelope.clone(),
                    reason: rejected.reason,
                    attempts: sub_batch.attempts,
                });
            }
        }
        let left = (events.len() - dead_letters.len()) as u64;
        let refused = receipt.refused.map_or(0, |refused| {
            let count = refused.count.min(left);
            tracing::warn!(
                sink = self.name,
                count,
                reason = refused.reason,
                "the destination rejected some events of a batch without naming them"
            );
            count
        });
        self.write_dead_letters(dead_letters).await?;
        let ahead = &mut self.streams.active_stream().ahead;
        ahead.refused += refused;
        ahead.delivered += left - refused;
        Ok(left - refused)
    }
}

impl SubBatch {
    fn new(batch: Batch, attempts: u32) -> Self {
        Self { batch, attempts, failures: 0, probes: None, skip: 0 }
    }
}

/// Takes the event after `skip` others out of the work, or the last event, as a sub-batch of its
/// own.
fn take_probe(skip: usize, work: &mut Vec<SubBatch>) -> Option<SubBatch> {
    let (mut before, mut index) = (Vec::new(), skip);
    while let Some(next) = work.pop() {
        let (epoch, events) = (next.batch.position().epoch, next.batch.events());
        if index >= events.len() && !work.is_empty() {
            index -= events.len();
            before.push(next);
            continue;
        }
        let (first, rest) = events.split_at(index.min(events.len() - 1));
        let (probe, rest) = rest.split_at(1);
        let parts = [rest, first].into_iter().filter(|events| !events.is_empty());
        work.extend(
            parts.map(|events| SubBatch::new(Batch::new(epoch, events.to_vec()), next.attempts)),
        );
        work.extend(before.into_iter().rev());
        return Some(SubBatch::new(Batch::new(epoch, probe.to_vec()), next.attempts));
    }
    None
}

impl Unconfirmed {
    fn into_dead_letter(self) -> NewDeadLetter {
        NewDeadLetter { envelope: self.envelope, reason: self.reason, attempts: self.attempts }
    }
}
