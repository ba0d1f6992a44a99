//! What has to hold after every step.

use super::world::World;
use crate::{Hold, Key};

impl World {
    pub(super) fn check(&self) {
        let (journal, plain) = (self.journal(), &self.plain);
        assert_eq!((journal.head(), journal.oldest()), (plain.head, plain.oldest()));
        assert_eq!(
            journal.epoch(),
            plain.said.epochs.last().expect("one began when it was first opened").0
        );
        assert_eq!(self.segments(), plain.segments);
        let readers = journal.shared.readers();
        let (said, durable) = (readers.positions.clone(), readers.durable.clone());
        // A lock that a failure leaves behind would hide it.
        drop(readers);
        assert_eq!((&said, &durable), (&plain.said, &plain.durable));
        assert!(self.may_be_durable(&plain.durable));

        let status = journal.status();
        assert_eq!((status.bytes, status.segments), (plain.bytes(), plain.segments.len()));
        assert!(
            !self.sure || status.failure.is_some() == plain.wanted.is_some(),
            "{:?}",
            status.failure
        );
        if plain.held["required"] == Hold::Required {
            let settled = plain.position(plain.durable.readers.get("required"));
            assert!(
                plain.oldest() <= settled + 1,
                "the required consumer has only come to {settled}"
            );
        }
        self.check_consumers();
    }

    /// Everything that is there is read, and nothing else.
    pub(super) fn check_records(&mut self) {
        let mut reader = self.journal().reader(0);
        let mut next = 1;
        while let Some(chunk) = reader.read().unwrap() {
            next = self.check_chunk(next, &chunk);
        }
        assert_eq!(next, self.plain.head + 1, "it ends too early");

        let keys: Vec<(u64, Key)> = self
            .records
            .range(self.plain.oldest()..)
            .map(|(seq, record)| (*seq, record.key()))
            .collect();
        let recent =
            |max, since| self.journal().recent_keys(max, since).unwrap().collect::<Vec<_>>();
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
