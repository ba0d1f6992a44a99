//! Invariants that hold after every step.

use super::world::World;
use crate::testing::recent_keys;
use crate::{Hold, Key};

impl World {
    pub(super) fn check(&self) {
        let (journal, reference) = (self.journal(), &self.reference);
        assert_eq!((journal.head(), journal.oldest()), (reference.head, reference.oldest()));
        assert_eq!(
            journal.epoch(),
            reference.current.epochs.last().expect("the first opening begins an epoch").0
        );
        assert_eq!(self.segments(), reference.segments);
        let readers = journal.state.readers();
        let (current, durable) = (readers.positions.clone(), readers.durable.clone());
        // A failed assertion must not poison the lock.
        drop(readers);
        assert_eq!((&current, &durable), (&reference.current, &reference.durable));
        assert!(self.may_be_durable(&reference.durable));

        let status = journal.status();
        assert_eq!((status.bytes, status.segments), (reference.bytes(), reference.segments.len()));
        assert!(
            !self.is_certain || status.failure.is_some() == reference.wanted.is_some(),
            "{:?}",
            status.failure
        );
        if reference.held["required"] == Hold::Required {
            let committed = reference.position(reference.durable.readers.get("required"));
            assert!(
                reference.oldest() <= committed + 1,
                "the required consumer is only done with {committed}"
            );
        }
        self.check_consumers();
    }

    /// Checks that readers and recent keys return exactly the records of the reference.
    pub(super) fn check_records(&mut self) {
        let mut reader = self.journal().reader(0);
        let mut next = 1;
        while let Some(chunk) = reader.read().unwrap() {
            next = self.check_chunk(next, &chunk);
        }
        assert_eq!(next, self.reference.head + 1, "the reader ends too early");

        let keys: Vec<(u64, Key)> = self
            .records
            .range(self.reference.oldest()..)
            .map(|(seq, record)| (*seq, record.key()))
            .collect();
        let recent = |max, since| recent_keys(self.journal(), max, since);
        assert_eq!(recent(usize::MAX, 0), keys);
        let half = keys.len() / 2;
        assert_eq!(recent(keys.len() - half, 0), keys[half..]);
        if let Some((_, middle)) = keys.get(half) {
            let since = middle.received_at;
            let later: Vec<_> =
                keys.iter().filter(|(_, key)| key.received_at >= since).copied().collect();
            for max in [usize::MAX, keys.len() - 1, later.len(), later.len() / 2] {
                assert_eq!(
                    recent(max, since),
                    later[later.len().saturating_sub(max)..],
                    "at most {max}"
                );
            }
        }
    }
}
