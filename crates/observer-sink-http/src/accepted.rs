//! What the far side has of a batch that is not settled yet.

use std::collections::HashMap;
use std::sync::Arc;

use observer_core::{Batch, Envelope};

/// The events that were accepted in deliveries that failed, or were cancelled, after them. The
/// pipeline repeats those deliveries as a whole or in parts, and what is known here isn't sent
/// again.
///
/// Events are told by the allocation they stand in, which a repeat shares. One that comes again on
/// purpose (a replay, or after a restart) has another.
#[derive(Debug, Default)]
pub(crate) struct Accepted(HashMap<usize, Arc<Envelope>>);

impl Accepted {
    /// Those of the batch that are still to be sent, with their places in it. What isn't about this
    /// batch is forgotten.
    pub(crate) fn left_of<'a>(&mut self, batch: &'a Batch) -> Vec<(usize, &'a Arc<Envelope>)> {
        if !batch.events().iter().any(|envelope| self.has(envelope)) {
            self.0.clear();
        }
        batch.events().iter().enumerate().filter(|(_, envelope)| !self.has(envelope)).collect()
    }

    pub(crate) fn add(&mut self, envelope: &Arc<Envelope>) {
        self.0.insert(key(envelope), envelope.clone());
    }

    /// The batch is settled.
    pub(crate) fn forget(&mut self, batch: &Batch) {
        for envelope in batch {
            self.0.remove(&key(envelope));
        }
    }

    fn has(&self, envelope: &Arc<Envelope>) -> bool {
        self.0.contains_key(&key(envelope))
    }
}

/// Nothing else can stand there while the event is held.
fn key(envelope: &Arc<Envelope>) -> usize {
    Arc::as_ptr(envelope).addr()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;

    fn places(accepted: &mut Accepted, batch: &Batch) -> Vec<usize> {
        accepted.left_of(batch).into_iter().map(|(place, _)| place).collect()
    }

    #[test]
    fn a_repeat_leaves_out_what_is_known_and_its_parts_do_too() {
        let (batch, mut accepted) = (testing::batch(4), Accepted::default());
        assert_eq!(places(&mut accepted, &batch), [0, 1, 2, 3]);
        accepted.add(&batch.events()[0]);
        accepted.add(&batch.events()[3]);
        assert_eq!(places(&mut accepted, &batch), [1, 2]);
        let (left, right) = batch.halves().unwrap();
        assert_eq!(places(&mut accepted, &left), [1]);
        accepted.forget(&left);
        assert_eq!(places(&mut accepted, &right), [0]);
        accepted.forget(&right);
        assert_eq!(
            places(&mut accepted, &batch),
            [0, 1, 2, 3],
            "what is settled and comes again is sent again"
        );
    }

    #[test]
    fn another_batch_is_sent_whole_and_nothing_piles_up() {
        let (batch, mut accepted) = (testing::batch(2), Accepted::default());
        accepted.add(&batch.events()[0]);
        assert_eq!(
            places(&mut accepted, &testing::batch(2)),
            [0, 1],
            "the same ids, but not the same delivery"
        );
        assert!(accepted.0.is_empty());
    }
}
