//! Counts together with their position in the journal.

use observer_core::{Batch, Position};

use crate::aggregate::Aggregate;

/// Counts, and the position up to which events are counted. Both change together, so that an event
/// that is delivered again is not counted again.
#[derive(Debug, Clone)]
pub(crate) struct State {
    pub(crate) aggregate: Aggregate,
    pub(crate) position: Option<Position>,
}

impl State {
    /// Counts the events of a batch that are past the position.
    pub(crate) fn count(&mut self, batch: &Batch) {
        let reached = batch.position();
        // No event of another epoch is counted yet. Its number may be lower, if an operator
        // restored an old copy of the journal.
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
