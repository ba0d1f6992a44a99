//! Collection of events into batches.

use std::sync::Arc;
use std::time::Duration;

use observer_core::Envelope;
use observer_journal::GapReason;
use tokio::time::{Instant, sleep};

use crate::account::Account;
use crate::event_log::reader::Item;
use crate::spans;
use crate::worker::Worker;
use crate::worker::phase::{Ended, Phase, phase_reached};
use crate::worker::stream::StreamKind;

/// Interval at which a lingering worker checks whether the batch is full.
const POLL_INTERVAL: Duration = Duration::from_millis(25);
/// Number of filtered or lost events after which a batch ends, so that other work is done.
const MAX_SKIPPED: usize = 10_000;

impl Worker {
    /// Waits until there are enough live events for a full batch, for at most `batch.linger`.
    pub(crate) async fn linger(&mut self) -> Result<(), Ended> {
        let until = Instant::now() + self.limits.linger;
        loop {
            let pending = self.event_log.journal.head() - self.streams.live.checkpoint.seq;
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() || pending >= self.limits.max_events as u64 {
                return Ok(());
            }
            if self.replay_is_due() && *self.phase.borrow() == Phase::Running {
                self.replay_turn().await?;
                continue;
            }
            tokio::select! {
                biased;
                () = phase_reached(&mut self.phase, Phase::Draining) => return Ok(()),
                () = sleep(left.min(POLL_INTERVAL)) => {}
            }
        }
    }

    /// Reads the next batch of a stream. Returns `false` if there is nothing to read.
    pub(crate) async fn read(&mut self, kind: StreamKind) -> std::io::Result<bool> {
        let events = match self.next_events(kind).await? {
            Some(events) => events,
            None => return Ok(false),
        };
        let stream = self.streams.get_mut(kind);
        if kind == StreamKind::Live {
            let mut progress = self.progress.lock();
            progress.head = self.event_log.journal.head();
            if stream.resolution.is_idle() {
                progress.oldest_in_batch = events.first().map(|first| first.received_at);
            }
        }
        if events.is_empty() {
            stream.advance();
        } else {
            stream.begin_batch(|| spans::batch(&self.delivery.name, &events));
            stream.resolution.add(events);
        }
        self.report_checkpoint(kind);
        Ok(true)
    }

    /// Collects the next events of a stream, within the sink's limits. Returns `None` at the end,
    /// and no event if all that were read are excluded.
    async fn next_events(
        &mut self,
        kind: StreamKind,
    ) -> std::io::Result<Option<Vec<Arc<Envelope>>>> {
        let (mut events, mut bytes, mut skipped) = (Vec::new(), 0, 0);
        let stream = self.streams.get_mut(kind);
        while events.len() < self.limits.max_events && skipped < MAX_SKIPPED {
            let item = match stream.reader.peek().await {
                Ok(Some(item)) => item,
                // The events so far can be delivered.
                Err(_) if !events.is_empty() || skipped > 0 => break,
                Err(error) => return Err(error),
                Ok(None) => break,
            };
            let counts = match item {
                Item::Gap { count, reason, .. } => Some(counts_of_gap(*count, *reason)),
                Item::Event(envelope) if !stream.selector.matches(envelope) => {
                    Some(Account { filtered: 1, ..Account::default() })
                }
                Item::Event(envelope) if envelope.seq <= self.sink_position => {
                    Some(Account { delivered: 1, ..Account::default() })
                }
                Item::Event(envelope) => {
                    let size = envelope.event.raw().len() as u64;
                    if !events.is_empty() && bytes + size > self.limits.max_bytes {
                        break;
                    }
                    bytes += size;
                    None
                }
            };
            match (counts, stream.reader.take()) {
                (Some(counts), Some(item)) => {
                    skipped += 1;
                    stream.skip(&self.delivery.name, &item, counts);
                }
                (None, Some(Item::Event(envelope))) => events.push(envelope),
                (None, Some(Item::Gap { .. })) => unreachable!("the counts of a gap are set above"),
                (_, None) => break,
            }
        }
        let is_end = events.is_empty() && skipped == 0;
        Ok((!is_end).then_some(events))
    }
}

fn counts_of_gap(count: u64, reason: GapReason) -> Account {
    match reason {
        GapReason::Expired => Account { expired: count, ..Account::default() },
        GapReason::Corrupt => Account { lost: count, ..Account::default() },
    }
}
