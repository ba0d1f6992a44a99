//! The counts together with how far in the journal they reach.

use observer_core::{Batch, Position};

use crate::aggregate::Aggregate;

/// Counts, and the position up to which everything is in them. They only ever change together: that
/// is what makes a redelivery harmless.
#[derive(Debug, Clone)]
pub(crate) struct State {
    pub(crate) aggregate: Aggregate,
    pub(crate) position: Option<Position>,
}

impl State {
    /// Count what of the batch is not counted yet.
    pub(crate) fn take(&mut self, batch: &Batch) {
        let reached = batch.position();
        // Another epoch is another journal, also if its number is lower because someone put an old
        // copy back: none of its events is in the counts.
        let counted = self.position.filter(|position| position.epoch == reached.epoch);
        let new = |seq: u64| counted.is_none_or(|position| seq > position.seq);
        for envelope in batch.events().iter().filter(|envelope| new(envelope.seq)) {
            self.aggregate.apply(envelope);
        }
        if new(reached.seq) {
            self.position = Some(reached);
        }
    }
}
