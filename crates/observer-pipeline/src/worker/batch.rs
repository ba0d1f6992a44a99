//! From single events to batches.

use std::time::Duration;

use observer_core::{Batch, SinkError};
use tokio::time::{Instant, sleep};

use crate::account::Account;
use crate::source::reader::Item;
use crate::worker::Worker;
use crate::worker::phase::reached;
use crate::worker::phase::{Ended, Phase};
use crate::worker::stream::Turn;

/// While a batch gathers, it is looked at this often whether it is full.
const LOOK_EVERY: Duration = Duration::from_millis(25);
/// A worker lets others have their turn after this many events that its sink doesn't get.
const MAX_SKIPPED: usize = 10_000;

impl Worker {
    /// Give a batch that isn't full some time to fill up.
    pub(crate) async fn linger(&mut self) -> Result<(), Ended> {
        let until = Instant::now() + self.limits.linger;
        loop {
            let pending = self.source.journal.head() - self.lanes.present.place.seq;
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() || pending >= self.limits.max_events as u64 {
                return Ok(());
            }
            if self.has_past() && *self.phase.borrow() == Phase::Running {
                self.past_turn().await?;
                continue;
            }
            tokio::select! {
                biased;
                () = reached(&mut self.phase, Phase::Draining) => return Ok(()),
                () = sleep(left.min(LOOK_EVERY)) => {}
            }
        }
    }

    /// The next batch, after the events of `before`, and the last event that was looked at for it.
    pub(crate) async fn gather(
        &mut self,
        before: Option<&Batch>,
    ) -> Result<(Option<Batch>, u64), Ended> {
        let mut events = before.map(|batch| batch.events().to_vec()).unwrap_or_default();
        let had = events.len();
        let mut bytes = 0;
        let mut through = events.last().map_or(self.lanes.current().place.seq, |last| last.seq);
        let mut skipped = 0;
        while events.len() - had < self.limits.max_events && skipped < MAX_SKIPPED {
            let lane = self.lanes.current();
            let item = match lane.feed.peek().await {
                Ok(item) => item,
                Err(error) => {
                    self.pause(&SinkError::transient(error)).await?;
                    continue;
                }
            };
            let became = match item {
                None => break,
                Some(Item::Gap { count, .. }) => {
                    Some(Account { expired: *count, ..Account::default() })
                }
                Some(Item::Event(envelope)) if !lane.wanted.has(envelope) => {
                    Some(Account { filtered: 1, ..Account::default() })
                }
                Some(Item::Event(envelope)) if envelope.seq <= self.owned => {
                    Some(Account { delivered: 1, ..Account::default() })
                }
                Some(Item::Event(envelope)) => {
                    let size = envelope.event.raw().len() as u64;
                    if events.len() > had && bytes + size > self.limits.max_bytes {
                        break;
                    }
                    bytes += size;
                    None
                }
            };
            let Some(item) = lane.feed.take() else { break };
            through = item.last_seq();
            match (became, item) {
                (Some(became), item) => {
                    skipped += 1;
                    lane.skip(&self.name, &item, became);
                }
                (None, Item::Event(envelope)) => events.push(envelope),
                (None, Item::Gap { .. }) => unreachable!("a gap became expired above"),
            }
        }
        if self.lanes.turn == Turn::Present {
            self.progress.lock().oldest_in_hand = events.first().map(|first| first.received_at);
        }
        let batch = (!events.is_empty()).then(|| Batch::new(self.source.journal.epoch(), events));
        Ok((batch, through))
    }
}
