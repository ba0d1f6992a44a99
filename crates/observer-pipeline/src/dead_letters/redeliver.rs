//! Redelivery: dead letters are sent to their sink again.
//!
//! The worker of the sink does this between two batches, so the sink has one call at a time. A dead
//! letter is removed only after its event is durable at the destination. After a crash in between,
//! the dead letter is still there, and the next redelivery sends the event again, under the same
//! id. Position and account of the sink don't change: the event stays counted as dead.

use std::collections::{BTreeMap, BTreeSet};
use std::future::pending;
use std::ops::RangeInclusive;
use std::sync::Arc;

use observer_core::{Batch, Envelope, Event, Uuid};
use tokio::time::Instant;
use tracing::Span;

use crate::dead_letters::index::DeadLetter;
use crate::lock::lock;
use crate::worker::Worker;
use crate::worker::attempt::Attempt;
use crate::worker::command::{RedeliverCommand, RedeliverReport, Rejection};
use crate::worker::phase::Ended;
use crate::worker::resolution::evidence::Class;

/// Number of dead letters that are rejected again, without an accepted one, after which a
/// redelivery ends.
const MAX_REJECTED: usize = 64;
/// The same for refusals that say less about the event, such as those for an expired token.
const MAX_DENIED: usize = 8;

impl Worker {
    /// Delivers dead letters, and removes the ones that are durable at the destination.
    pub(crate) async fn redeliver(&mut self, command: RedeliverCommand) -> Result<(), Ended> {
        if let Some(reason) = self.replay_rejection {
            command.reject(Rejection::Permanent(reason.to_owned()));
            return Ok(());
        }
        let RedeliverCommand { ids, files, edited, in_vain, has_more, reply } = command;
        let (store, range) = (self.dead_letters.clone(), files.clone());
        let dead_letters = match self.run_blocking(move || lock(&store).load(&ids, &range)).await {
            Ok(dead_letters) => dead_letters,
            Err(error) => {
                let stopped =
                    Some(Rejection::Temporary(format!("the dead letters can't be read: {error}")));
                let _ = reply.send(RedeliverReport { stopped, ..RedeliverReport::default() });
                return Ok(());
            }
        };
        let (accepted, mut report) =
            self.redeliver_events(dead_letters, edited, in_vain, has_more).await?;
        let mut flush_error = None;
        if !accepted.is_empty() {
            flush_error = self.flush_all().await?.err();
            match &flush_error {
                Some(error) => {
                    let reason = format!("the sink failed to flush them: {}", error.reason);
                    report.stopped = Some(Rejection::Temporary(reason));
                }
                None => self.remove_delivered(accepted, files, &mut report).await,
            }
        }
        let _ = reply.send(report);
        match flush_error {
            Some(error) if error.parks => self.park(&error.reason).await.map(|_| ()),
            Some(error) => self.back_off(error.retry_after, &error.reason).await,
            None => Ok(()),
        }
    }

    /// Delivers the events of dead letters. Returns the ids of the accepted ones.
    ///
    /// A failed delivery is not retried: the caller can send the command again.
    async fn redeliver_events(
        &mut self,
        dead_letters: Vec<DeadLetter>,
        edited: Option<Event>,
        in_vain: usize,
        has_more: bool,
    ) -> Result<(BTreeSet<Uuid>, RedeliverReport), Ended> {
        let mut events: Vec<_> =
            dead_letters.into_iter().map(|dead_letter| dead_letter.envelope).collect();
        if let (Some(event), [envelope]) = (edited, events.as_mut_slice()) {
            let Envelope { id, seq, received_at, .. } = **envelope;
            *envelope = Arc::new(Envelope { id, seq, received_at, event });
        }
        let mut work = self.split_into_batches(events);
        let (mut accepted, mut report) = (BTreeSet::new(), RedeliverReport::default());
        let mut max_rejected = MAX_REJECTED;
        while let Some(batch) = work.pop() {
            let attempt = self.delivery.attempt(&batch, 1, &Span::none(), pending()).await?;
            match redelivered(&batch, attempt) {
                Redelivered::Known { ids, rejected } => {
                    accepted.extend(ids);
                    report.rejected.extend(rejected);
                }
                Redelivered::Refused { ids, class, reason } => {
                    if class != Class::Permanent {
                        max_rejected = MAX_DENIED;
                        // One bad backend may refuse what another one accepts.
                        self.delivery.sink.renew_connections();
                    }
                    let left = batch.events().iter().filter(|event| !ids.contains(&event.id));
                    let left: Vec<_> = left.cloned().collect();
                    accepted.extend(ids);
                    match left.as_slice() {
                        [] => {}
                        [event] => report.rejected.push((event.id, reason)),
                        _ => work.extend(halves(batch.position().epoch, left)),
                    }
                }
                Redelivered::Failed { ids, reason } => {
                    accepted.extend(ids);
                    report.stopped = Some(Rejection::Temporary(reason));
                    break;
                }
            }
            let is_in_vain = in_vain + report.rejected.len() >= max_rejected;
            if accepted.is_empty() && is_in_vain && (has_more || !work.is_empty()) {
                let reason =
                    report.rejected.last().map(|(_, reason)| &**reason).unwrap_or_default();
                let reason = format!("nothing is accepted: {reason}");
                report.stopped = Some(Rejection::Temporary(reason));
                break;
            }
        }
        if !accepted.is_empty() {
            let now = Instant::now();
            self.streams.iter_mut().for_each(|stream| stream.resolution.accepted_elsewhere(now));
        }
        Ok((accepted, report))
    }

    /// Splits events into batches within the sink's limits, the first batch last. Sequence numbers
    /// rise within each batch.
    fn split_into_batches(&self, events: Vec<Arc<Envelope>>) -> Vec<Batch> {
        let mut batches = Vec::<Vec<Arc<Envelope>>>::new();
        let mut bytes = 0;
        for envelope in events {
            let size = envelope.event.raw().len() as u64;
            let fits = |batch: &&mut Vec<Arc<Envelope>>| {
                batch.len() < self.limits.max_events.min(self.limits.max_delivery)
                    && bytes + size <= self.limits.max_bytes
                    && batch.last().is_none_or(|last| last.seq < envelope.seq)
            };
            match batches.last_mut().filter(fits) {
                Some(batch) => {
                    bytes += size;
                    batch.push(envelope);
                }
                None => {
                    bytes = size;
                    batches.push(vec![envelope]);
                }
            }
        }
        let epoch = self.event_log.journal.epoch();
        batches.into_iter().rev().map(|batch| Batch::new(epoch, batch)).collect()
    }

    /// Removes the dead letters of delivered events, and counts them.
    async fn remove_delivered(
        &mut self,
        delivered: BTreeSet<Uuid>,
        files: RangeInclusive<u64>,
        report: &mut RedeliverReport,
    ) {
        let count = delivered.len() as u64;
        let store = self.dead_letters.clone();
        match self.run_blocking(move || lock(&store).remove(&delivered, &files)).await {
            Ok(_) => {
                report.redelivered = count;
                self.progress.lock().redelivered += count;
                tracing::info!(sink = self.delivery.name, count, "dead letters were redelivered");
            }
            Err(error) => {
                let reason = format!(
                    "the sink accepted {count} of them, but they can't be removed from the dead \
                     letters: {error}"
                );
                report.stopped = Some(Rejection::Temporary(reason));
            }
        }
    }
}

/// Returns the halves of a batch, the first one last.
fn halves(epoch: u64, mut events: Vec<Arc<Envelope>>) -> [Batch; 2] {
    let right = events.split_off(events.len().div_ceil(2));
    [right, events].map(|events| Batch::new(epoch, events))
}

/// Result of the delivery of some dead letters.
enum Redelivered {
    /// Each event was accepted or rejected.
    Known { ids: Vec<Uuid>, rejected: Vec<(Uuid, String)> },
    /// Some are accepted; the others were refused, perhaps for the sake of one of them.
    Refused { ids: Vec<Uuid>, class: Class, reason: String },
    /// Some may be accepted; the others can't be delivered now.
    Failed { ids: Vec<Uuid>, reason: String },
}

fn redelivered(batch: &Batch, attempt: Attempt) -> Redelivered {
    let id = |index: usize| batch.events()[index].id;
    let ids = |accepted: &[usize]| accepted.iter().copied().map(id).collect::<Vec<_>>();
    let failed = |reason: &str| format!("the delivery failed: {reason}");
    match attempt {
        Attempt::Accepted => {
            Redelivered::Known { ids: (0..batch.len()).map(id).collect(), rejected: Vec::new() }
        }
        Attempt::PartlyRejected { rejected, refused } => {
            let mut reasons: BTreeMap<_, _> = rejected.into_iter().collect();
            let (mut ids, mut rejected) = (Vec::new(), Vec::new());
            for index in 0..batch.len() {
                match reasons.remove(&index) {
                    Some(reason) => rejected.push((id(index), reason)),
                    // Which ones were refused is unknown, so all of them stay.
                    None if refused > 0 => rejected
                        .push((id(index), format!("{refused} of {} were rejected", batch.len()))),
                    None => ids.push(id(index)),
                }
            }
            Redelivered::Known { ids, rejected }
        }
        Attempt::Refused { class, accepted, reason } => {
            Redelivered::Refused { ids: ids(&accepted), class, reason }
        }
        Attempt::Unavailable { accepted, reason, .. } => {
            Redelivered::Failed { ids: ids(&accepted), reason: failed(&reason) }
        }
        Attempt::TimedOut { reason } => {
            Redelivered::Failed { ids: Vec::new(), reason: failed(&reason) }
        }
        Attempt::Blocked { reason } => Redelivered::Failed {
            ids: Vec::new(),
            reason: format!("the sink is blocked: {reason}"),
        },
    }
}
