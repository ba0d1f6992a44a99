//! Deduplication window: the identities of recent events.

use std::hash::BuildHasher;

use hashbrown::{DefaultHashBuilder, HashMap, HashTable};
use observer_journal::Key;
use tokio::sync::oneshot;

use crate::error::Unavailable;
use crate::ingest::keys::Keys;

/// Limits of the deduplication window: an age and a number of identities.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DedupWindow {
    /// Age of the oldest identity, in microseconds.
    pub(crate) micros: u64,
    /// Number of identities. When it is exceeded, the oldest ones are forgotten.
    pub(crate) max_keys: usize,
}

impl DedupWindow {
    /// Creates a window that remembers each identity for the time `window`, and at most `max_keys`
    /// (up to 2^30) of them.
    #[must_use]
    pub fn new(window: std::time::Duration, max_keys: usize) -> Self {
        Self {
            micros: u64::try_from(window.as_micros()).unwrap_or(u64::MAX),
            max_keys: max_keys.min(MAX_KEYS),
        }
    }
}

/// Bound of `max_keys`, since indices have 32 bits.
const MAX_KEYS: usize = 1 << 30;

impl Default for DedupWindow {
    /// Returns a window of 24 hours and 500,000 identities.
    fn default() -> Self {
        Self::new(std::time::Duration::from_secs(24 * 60 * 60), 500_000)
    }
}

/// Result of the registration of an identity.
#[derive(Debug)]
pub(crate) enum Registration {
    /// The identity is new, and pending from now on.
    New,
    /// The identity belongs to a committed event.
    Committed { checksum: u32 },
    /// The identity belongs to an event that is being committed. The receiver gets the result.
    Pending { checksum: u32, result: oneshot::Receiver<Result<(), Unavailable>> },
}

/// Identities of committed and pending events.
#[derive(Debug)]
pub(crate) struct Window {
    limits: DedupWindow,
    hasher: DefaultHashBuilder,
    keys: Keys,
    /// Number of forgotten keys: an index counts from the first key ever, modulo 2^32.
    forgotten: u32,
    /// Index of each key, by its identity.
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

    /// Looks an identity up, and marks it as pending if it is new.
    pub(crate) fn register(&mut self, id: [u8; 16], checksum: u32, now: u64) -> Registration {
        self.forget(now);
        if let Some(checksum) = self.find(id) {
            return Registration::Committed { checksum };
        }
        match self.pending.get_mut(&id) {
            Some(pending) => {
                let (sender, result) = oneshot::channel();
                pending.waiting.push(sender);
                Registration::Pending { checksum: pending.checksum, result }
            }
            None => {
                self.pending.insert(id, Pending { checksum, waiting: Vec::new() });
                Registration::New
            }
        }
    }

    /// Completes a pending identity with the result of its commit, and sends that to all requests
    /// that wait for it.
    pub(crate) fn complete(&mut self, key: Key, result: &Result<(), Unavailable>) {
        if let Some(pending) = self.pending.remove(&key.id) {
            for waiting in pending.waiting {
                // The request may have been cancelled.
                let _ = waiting.send(result.clone());
            }
        }
        if result.is_ok() {
            self.remember(key);
        }
    }

    /// Adds the key of a committed event, which is newer than all before.
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

    /// Returns the checksum of a committed event.
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

    fn is_committed(window: &mut Window, number: u64, now: u64) -> bool {
        matches!(window.register(key(number).id, 1, now), Registration::Committed { .. })
    }

    #[test]
    fn oldest_identities_beyond_the_maximum_are_forgotten() {
        let mut window = Window::new(DedupWindow::new(Duration::from_secs(60), 100));
        window.forgotten = u32::MAX - 150;
        (1..=1000).for_each(|number| window.remember(key(number)));
        assert_eq!((window.len(), window.table.len()), (100, 100));
        assert!((901..=1000).all(|number| is_committed(&mut window, number, 1000)));
        assert!(!is_committed(&mut window, 900, 1000));
    }

    #[test]
    fn identities_older_than_the_window_are_forgotten() {
        let mut window = Window::new(DedupWindow::new(Duration::from_micros(10), 100));
        (1..=20).for_each(|number| window.remember(key(number)));
        assert!(is_committed(&mut window, 20, 20));
        assert!(is_committed(&mut window, 10, 20));
        assert!(!is_committed(&mut window, 9, 20));
    }

    #[test]
    fn pending_identity_sends_its_result_to_waiting_duplicates() {
        let mut window = Window::new(DedupWindow::default());
        assert!(matches!(window.register(key(1).id, 1, 1), Registration::New));
        let Registration::Pending { mut result, .. } = window.register(key(1).id, 1, 1) else {
            panic!("the identity is pending")
        };
        window.complete(key(1), &Err(Unavailable::ShuttingDown));
        assert!(result.try_recv().unwrap().is_err());
        assert!(
            matches!(window.register(key(1).id, 1, 1), Registration::New),
            "an identity whose commit failed is new again"
        );
        window.complete(key(1), &Ok(()));
        assert!(is_committed(&mut window, 1, 1));
    }
}
