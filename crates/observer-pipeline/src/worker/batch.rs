//! Collection of events into batches.

use std::time::Duration;

use observer_core::{Batch, SinkError};
use tokio::time::{Instant, sleep};

use crate::account::Account;
use crate::event_log::reader::Item;
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

    /// Collects the next batch of the active stream, within the sink's limits.
    ///
    /// With `before`, the batch consists of the events of `before` and the ones that follow it.
    /// Returns the batch, or `None` if there is no event to deliver; and the sequence number of the
    /// last event that was read.
    pub(crate) async fn next_batch(
        &mut self,
        before: Option<&Batch>,
    ) -> Result<(Option<Batch>, u64), Ended> {
        let mut events = before.map(|batch| batch.events().to_vec()).unwrap_or_default();
        let len_before = events.len();
        let mut bytes = 0;
        let checkpoint = self.streams.active_stream().checkpoint;
        let mut through = events.last().map_or(checkpoint.seq, |last| last.seq);
        let mut skipped = 0;
        while events.len() - len_before < self.limits.max_events && skipped < MAX_SKIPPED {
            let stream = self.streams.active_stream();
            let item = match stream.reader.peek().await {
                Ok(item) => item,
                Err(error) => {
                    self.back_off(&SinkError::transient(error)).await?;
                    continue;
                }
            };
            let counts = match item {
                None => break,
                Some(Item::Gap { count, .. }) => {
                    Some(Account { expired: *count, ..Account::default() })
                }
                Some(Item::Event(envelope)) if !stream.selector.matches(envelope) => {
                    Some(Account { filtered: 1, ..Account::default() })
                }
                Some(Item::Event(envelope)) if envelope.seq <= self.sink_position => {
                    Some(Account { delivered: 1, ..Account::default() })
                }
                Some(Item::Event(envelope)) => {
                    let size = envelope.event.raw().len() as u64;
                    if events.len() > len_before && bytes + size > self.limits.max_bytes {
                        break;
                    }
                    bytes += size;
                    None
                }
            };
            let Some(item) = stream.reader.take() else { break };
            through = item.last_seq();
            match (counts, item) {
                (Some(counts), item) => {
                    skipped += 1;
                    stream.skip(&self.name, &item, counts);
                }
                (None, Item::Event(envelope)) => events.push(envelope),
                (None, Item::Gap { .. }) => unreachable!("the counts of a gap are set above"),
            }
        }
        if self.streams.active == StreamKind::Live {
            self.progress.lock().oldest_in_batch = events.first().map(|first| first.received_at);
        }
        let batch =
            (!events.is_empty()).then(|| Batch::new(self.event_log.journal.epoch(), events));
        Ok((batch, through))
    }
}
