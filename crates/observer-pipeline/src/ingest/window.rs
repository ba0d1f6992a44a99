//! The identities of the last while, so that an event that comes again is known.

use std::hash::BuildHasher;

use hashbrown::{DefaultHashBuilder, HashMap, HashTable};
use observer_journal::Key;
use tokio::sync::oneshot;

use crate::error::Unavailable;
use crate::ingest::keys::Keys;

/// How many identities are remembered, and for how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DedupWindow {
    /// Identities that are older are forgotten, in microseconds.
    pub(crate) micros: u64,
    /// The oldest ones beyond this many are forgotten.
    pub(crate) max_keys: usize,
}

impl DedupWindow {
    /// Whichever ends first.
    #[must_use]
    pub fn new(window: std::time::Duration, max_keys: usize) -> Self {
        Self {
            micros: u64::try_from(window.as_micros()).unwrap_or(u64::MAX),
            max_keys: max_keys.min(MAX_KEYS),
        }
    }
}

/// Indices are 32 bits wide.
const MAX_KEYS: usize = 1 << 30;

impl Default for DedupWindow {
    /// 24 hours or 500,000 identities.
    fn default() -> Self {
        Self::new(std::time::Duration::from_secs(24 * 60 * 60), 500_000)
    }
}

/// What is known of an identity.
#[derive(Debug)]
pub(crate) enum Known {
    /// It was not there, and is pending now.
    New,
    /// It is committed.
    Committed { checksum: u32 },
    /// It is being committed; the receiver tells how that went.
    Pending { checksum: u32, decided: oneshot::Receiver<Result<(), Unavailable>> },
}

#[derive(Debug)]
pub(crate) struct Window {
    limits: DedupWindow,
    hasher: DefaultHashBuilder,
    keys: Keys,
    /// How many were forgotten so far: an index counts from the first one ever, modulo 2^32.
    forgotten: u32,
    /// The index of each key, by its identity.
    table: HashTable<u32>,
    pending: HashMap<[u8; 16], Pending>,
}

#[derive(Debug)]
struct Pending {
    checksum: u32,
    waiting: Vec<oneshot::Sender<Result<(), Unavailable>>>,
}

impl Window {
    pub(crate) fn new(limits: DedupWindow) -> Self {
        Self {
            limits,
            hasher: DefaultHashBuilder::default(),
            keys: Keys::default(),
            forgotten: 0,
            table: HashTable::new(),
            pending: HashMap::new(),
        }
    }

    /// Look an identity up, and mark it as pending where it is new.
    pub(crate) fn claim(&mut self, id: [u8; 16], checksum: u32, now: u64) -> Known {
        self.forget(now);
        if let Some(checksum) = self.find(id) {
            return Known::Committed { checksum };
        }
        match self.pending.get_mut(&id) {
            Some(pending) => {
                let (sender, decided) = oneshot::channel();
                pending.waiting.push(sender);
                Known::Pending { checksum: pending.checksum, decided }
            }
            None => {
                self.pending.insert(id, Pending { checksum, waiting: Vec::new() });
                Known::New
            }
        }
    }

    /// A pending identity is committed, or is not; those who wait for it learn that.
    pub(crate) fn decide(&mut self, key: Key, result: &Result<(), Unavailable>) {
        if let Some(pending) = self.pending.remove(&key.id) {
            for waiting in pending.waiting {
                // One that waits no more has hung up.
                let _ = waiting.send(result.clone());
            }
        }
        if result.is_ok() {
            self.remember(key);
        }
    }

    /// A committed identity, newer than all before.
    pub(crate) fn remember(&mut self, key: Key) {
        if self.limits.max_keys == 0 {
            return;
        }
        if self.keys.len() >= self.limits.max_keys {
            self.forget_oldest();
        }
        let index = self
            .forgotten
            .wrapping_add(u32::try_from(self.keys.len()).expect("limited to 2^30 keys"));
        self.keys.push(key);
        let Self { table, keys, hasher, forgotten, .. } = self;
        let id_of = |index: &u32| keys.at(index.wrapping_sub(*forgotten)).id;
        table.insert_unique(hasher.hash_one(key.id), index, |index| hasher.hash_one(id_of(index)));
    }

    pub(crate) fn len(&self) -> usize {
        self.keys.len()
    }

    /// The checksum of a committed identity.
    fn find(&self, id: [u8; 16]) -> Option<u32> {
        let at = |index: &u32| self.keys.at(index.wrapping_sub(self.forgotten));
        self.table
            .find(self.hasher.hash_one(id), |index| at(index).id == id)
            .map(|index| at(index).checksum)
    }

    fn forget(&mut self, now: u64) {
        let oldest = now.saturating_sub(self.limits.micros);
        while self.keys.oldest().is_some_and(|key| key.received_at < oldest) {
            self.forget_oldest();
        }
    }

    fn forget_oldest(&mut self) {
        let Some(key) = self.keys.oldest() else { return };
        if let Ok(entry) =
            self.table.find_entry(self.hasher.hash_one(key.id), |index| *index == self.forgotten)
        {
            entry.remove();
        }
        self.keys.pop();
        self.forgotten = self.forgotten.wrapping_add(1);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn key(number: u64) -> Key {
        Key { received_at: number, id: u128::from(number).to_le_bytes(), checksum: 1 }
    }

    fn known(window: &mut Window, number: u64, now: u64) -> bool {
        matches!(window.claim(key(number).id, 1, now), Known::Committed { .. })
    }

    #[test]
    fn the_oldest_are_forgotten_by_number() {
        let mut window = Window::new(DedupWindow::new(Duration::from_secs(60), 100));
        window.forgotten = u32::MAX - 150;
        (1..=1000).for_each(|number| window.remember(key(number)));
        assert_eq!((window.len(), window.table.len()), (100, 100));
        assert!((901..=1000).all(|number| known(&mut window, number, 1000)));
        assert!(!known(&mut window, 900, 1000));
    }

    #[test]
    fn the_oldest_are_forgotten_by_age() {
        let mut window = Window::new(DedupWindow::new(Duration::from_micros(10), 100));
        (1..=20).for_each(|number| window.remember(key(number)));
        assert!(known(&mut window, 20, 20));
        assert!(known(&mut window, 10, 20));
        assert!(!known(&mut window, 9, 20));
    }

    #[test]
    fn those_who_wait_for_a_pending_one_learn_how_it_went() {
        let mut window = Window::new(DedupWindow::default());
        assert!(matches!(window.claim(key(1).id, 1, 1), Known::New));
        let Known::Pending { mut decided, .. } = window.claim(key(1).id, 1, 1) else {
            panic!("it is pending")
        };
        window.decide(key(1), &Err(Unavailable::ShuttingDown));
        assert!(decided.try_recv().unwrap().is_err());
        assert!(
            matches!(window.claim(key(1).id, 1, 1), Known::New),
            "what failed may be tried again"
        );
        window.decide(key(1), &Ok(()));
        assert!(known(&mut window, 1, 1));
    }
}
