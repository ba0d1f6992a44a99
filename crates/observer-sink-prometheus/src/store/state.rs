//! Counts together with their position in the journal.

use observer_core::{Batch, Position, Pricing};

use crate::aggregate::Aggregate;
use crate::aggregate::reading::Reading;

/// Counts, and the position up to which events are counted. Both change together, so that an event
/// that is delivered again is not counted again.
#[derive(Debug, Clone)]
pub(crate) struct State {
    pub(crate) aggregate: Aggregate,
    pub(crate) position: Option<Position>,
}

/// Batch that was read but not counted yet.
#[derive(Debug)]
pub(crate) struct ReadBatch {
    position: Position,
    readings: Vec<Reading>,
}

impl ReadBatch {
    pub(crate) fn new(batch: &Batch, prices: &dyn Pricing) -> Self {
        let readings = batch.events().iter().map(|envelope| Reading::new(envelope, prices));
        Self { position: batch.position(), readings: readings.collect() }
    }
}

impl State {
    /// Counts the events of a batch that are past the position.
    pub(crate) fn count(&mut self, batch: &ReadBatch) {
        let reached = batch.position;
        // No event of another epoch is counted yet. Its number may be lower, if an operator
        // restored an old copy of the journal.
        let counted = self.position.filter(|position| position.epoch == reached.epoch);
        let new = |seq: u64| counted.is_none_or(|position| seq > position.seq);
        for reading in batch.readings.iter().filter(|reading| new(reading.envelope.seq)) {
            self.aggregate.apply(reading);
        }
        if new(reached.seq) {
            self.position = Some(reached);
        }
    }
}
