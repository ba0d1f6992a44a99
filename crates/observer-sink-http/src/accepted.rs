//! Events of an unresolved batch that the destination has accepted already.

use std::collections::HashMap;
use std::sync::Arc;

use observer_core::{Batch, Envelope};

/// Events that the destination accepted before their delivery failed or was cancelled.
///
/// The pipeline repeats such a delivery as a whole or in parts, and the sink leaves these events
/// out. They are identified by their allocation, which a repeat shares. A deliberate second
/// delivery, such as a replay, has another allocation and is sent again.
#[derive(Debug, Default)]
pub(crate) struct AcceptedEvents(HashMap<usize, Arc<Envelope>>);

impl AcceptedEvents {
    /// Returns the events of a batch that remain to be sent, with their indexes. Forgets everything
    /// if the batch has no accepted event.
    pub(crate) fn remaining<'a>(&mut self, batch: &'a Batch) -> Vec<(usize, &'a Arc<Envelope>)> {
        if !batch.events().iter().any(|envelope| self.contains(envelope)) {
            self.0.clear();
        }
        let events = batch.events().iter().enumerate();
        events.filter(|(_, envelope)| !self.contains(envelope)).collect()
    }

    /// Returns the indexes of the accepted events of a batch.
    pub(crate) fn indices(&self, batch: &Batch) -> Vec<usize> {
        let events = batch.events().iter().enumerate();
        events.filter(|(_, envelope)| self.contains(envelope)).map(|(index, _)| index).collect()
    }

    pub(crate) fn add(&mut self, envelope: &Arc<Envelope>) {
        self.0.insert(key(envelope), envelope.clone());
    }

    /// Forgets the events of a resolved batch.
    pub(crate) fn forget(&mut self, batch: &Batch) {
        for envelope in batch {
            self.0.remove(&key(envelope));
        }
    }

    fn contains(&self, envelope: &Arc<Envelope>) -> bool {
        self.0.contains_key(&key(envelope))
    }
}

/// Returns the address of an event, which is unique while the map holds the event.
fn key(envelope: &Arc<Envelope>) -> usize {
    Arc::as_ptr(envelope).addr()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;

    fn indexes(accepted: &mut AcceptedEvents, batch: &Batch) -> Vec<usize> {
        accepted.remaining(batch).into_iter().map(|(index, _)| index).collect()
    }

    #[test]
    fn repeat_and_its_halves_leave_out_accepted_events() {
        let (batch, mut accepted) = (testing::batch(4), AcceptedEvents::default());
        assert_eq!(indexes(&mut accepted, &batch), [0, 1, 2, 3]);
        accepted.add(&batch.events()[0]);
        accepted.add(&batch.events()[3]);
        assert_eq!(indexes(&mut accepted, &batch), [1, 2]);
        let (left, right) = batch.halves().unwrap();
        assert_eq!(indexes(&mut accepted, &left), [1]);
        accepted.forget(&left);
        assert_eq!(indexes(&mut accepted, &right), [0]);
        accepted.forget(&right);
        assert_eq!(
            indexes(&mut accepted, &batch),
            [0, 1, 2, 3],
            "a resolved batch is sent again as a whole"
        );
    }

    #[test]
    fn new_batch_is_sent_in_full_and_clears_accepted_events() {
        let (batch, mut accepted) = (testing::batch(2), AcceptedEvents::default());
        accepted.add(&batch.events()[0]);
        assert_eq!(
            indexes(&mut accepted, &testing::batch(2)),
            [0, 1],
            "the ids are the same, but the delivery is another one"
        );
        assert!(accepted.0.is_empty());
    }
}
