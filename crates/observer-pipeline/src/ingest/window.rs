//! Deduplication window: the identities of recent events.
//!
//! Each principal has a share of the window. While there is room, a share may be of any size. When
//! the window is full, the oldest identity of the largest share is forgotten. So the events of a
//! principal never make the window forget those of another one that has at most its fair share:
//! the maximum divided by the number of shares with identities. Principals whose names have the
//! same hash have a share together.

use std::hash::BuildHasher;

use hashbrown::hash_table::Entry;
use hashbrown::{DefaultHashBuilder, HashMap, HashTable};
use observer_core::Uuid;
use observer_journal::Key;
use tokio::sync::oneshot;

use crate::error::Unavailable;
use crate::ingest::identity::FormerIdentity;
use crate::ingest::keys::{Keys, Packed};
use crate::ingest::principal::{ANONYMOUS_SHARE, share};

/// Limits of the deduplication window: an age and a number of identities.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DedupWindow {
    /// Age of the oldest identity, in microseconds.
    pub(crate) micros: u64,
    /// Number of identities. When it is exceeded, the oldest ones of the principal with the most
    /// identities are forgotten.
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
    /// The identity, or the former identity, belongs to a committed event with this id.
    Committed { id: Uuid, checksum: u32 },
    /// The identity belongs to an event that is being committed. The receiver gets the result.
    Pending { checksum: u32, result: oneshot::Receiver<Result<(), Unavailable>> },
}

/// Identities of committed and pending events.
#[derive(Debug)]
pub(crate) struct Window {
    limits: DedupWindow,
    /// Time since which identities contain principals.
    principals_since: u64,
    hasher: DefaultHashBuilder,
    keys: Keys,
    /// Number of each key, by its identity.
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
            principals_since: 0,
            hasher: DefaultHashBuilder::default(),
            keys: Keys::default(),
            table: HashTable::new(),
            pending: HashMap::new(),
        }
    }

    /// Sets the time since which identities contain principals. Of the keys that are remembered
    /// after this call, a former identity finds those that were received before that time.
    pub(crate) fn set_principals_since(&mut self, micros: u64) {
        self.principals_since = micros;
    }

    /// Returns the time until which there may be keys from before identities contained principals.
    pub(crate) fn former_until(&self) -> u64 {
        match self.principals_since {
            0 => 0,
            since => since.saturating_add(self.limits.micros),
        }
    }

    /// Looks an identity up, and marks it as pending if it is new.
    pub(crate) fn register(
        &mut self,
        id: [u8; 16],
        former: Option<FormerIdentity>,
        checksum: u32,
        now: u64,
    ) -> Registration {
        self.forget(now);
        if let Some(found) = self.find(id) {
            return Registration::Committed { id: Uuid::from_bytes(id), checksum: found.checksum };
        }
        if let Some(former) = former
            && let Some(found) = self.find(former.id.into_bytes()).filter(|key| key.is_marked())
            && (found.checksum == checksum || !former.needs_same_content)
        {
            return Registration::Committed { id: former.id, checksum: found.checksum };
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
        let is_former =
            key.received_at < self.principals_since && share(key.tag) == ANONYMOUS_SHARE;
        let number = self.keys.push(&key, is_former);
        let Self { table, keys, hasher, .. } = self;
        let id_of = |number: &u32| keys.at(*number).id;
        let entry = table.entry(
            hasher.hash_one(key.id),
            |number| id_of(number) == key.id,
            |number| hasher.hash_one(id_of(number)),
        );
        match entry {
            // The event was forgotten once and stored again.
            Entry::Occupied(mut older) => *older.get_mut() = number,
            Entry::Vacant(vacant) => drop(vacant.insert(number)),
        }
        if self.keys.len() > self.limits.max_keys
            && let Some(oldest) = self.keys.pop_of_largest()
        {
            self.removed(oldest);
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.keys.len()
    }

    /// Returns the key of a committed event.
    fn find(&self, id: [u8; 16]) -> Option<&Packed> {
        let found =
            self.table.find(self.hasher.hash_one(id), |number| self.keys.at(*number).id == id);
        found.map(|number| self.keys.at(*number))
    }

    fn forget(&mut self, now: u64) {
        let oldest = now.saturating_sub(self.limits.micros);
        while let Some(expired) = self.keys.pop_before(oldest) {
            self.removed(expired);
        }
    }

    /// Removes a key from the table that was removed from its queue.
    fn removed(&mut self, (number, id): (u32, [u8; 16])) {
        if let Ok(entry) = self.table.find_entry(self.hasher.hash_one(id), |found| *found == number)
        {
            entry.remove();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn key(number: u64) -> Key {
        key_of(0, number)
    }

    fn key_of(share: u16, number: u64) -> Key {
        let id = u128::from(number) << 16 | u128::from(share);
        Key { received_at: number, tag: share, id: id.to_le_bytes(), checksum: 1 }
    }

    fn is_committed(window: &mut Window, key: Key, now: u64) -> bool {
        matches!(window.register(key.id, None, 1, now), Registration::Committed { .. })
    }

    #[test]
    fn oldest_identities_beyond_the_maximum_are_forgotten() {
        let mut window = Window::new(DedupWindow::new(Duration::from_secs(60), 100));
        (1..=1000).for_each(|number| window.remember(key(number)));
        assert_eq!((window.len(), window.table.len()), (100, 100));
        assert!((901..=1000).all(|number| is_committed(&mut window, key(number), 1000)));
        assert!(!is_committed(&mut window, key(900), 1000));
    }

    #[test]
    fn flood_of_one_principal_leaves_the_others_their_fair_share() {
        let mut window = Window::new(DedupWindow::new(Duration::from_secs(60), 100));
        (1..=300).for_each(|number| window.remember(key_of(1, number)));
        assert_eq!(window.len(), 100, "one principal may use the whole window");
        (1..=33).for_each(|number| window.remember(key_of(2, number)));
        (1..=50).for_each(|number| window.remember(key_of(3, number)));
        (301..=6000).for_each(|number| window.remember(key_of(1, number)));
        assert_eq!((window.len(), window.table.len()), (100, 100));
        let mut remembered = |share, numbers: std::ops::RangeInclusive<u64>| {
            numbers.filter(|number| is_committed(&mut window, key_of(share, *number), 6000)).count()
        };
        assert_eq!(remembered(2, 1..=33), 33, "a principal with its fair share keeps it");
        // The window has 100 identities; the other two have equal parts of what is left.
        assert_eq!((remembered(3, 18..=50), remembered(3, 1..=16)), (33, 0));
        assert_eq!(remembered(1, 1..=6000), 34 - remembered(3, 17..=17));
    }

    #[test]
    fn identities_older_than_the_window_are_forgotten() {
        let mut window = Window::new(DedupWindow::new(Duration::from_micros(10), 100));
        (1..=20).for_each(|number| window.remember(key_of(number as u16 % 3, number)));
        let mut is_known =
            |number| is_committed(&mut window, key_of(number as u16 % 3, number), 20);
        assert!(is_known(20) && is_known(10) && is_known(11) && is_known(12));
        assert!(!is_known(9) && !is_known(8) && !is_known(7));
    }

    #[test]
    fn event_that_was_stored_again_is_remembered_as_long_as_the_later_one() {
        let mut window = Window::new(DedupWindow::new(Duration::from_micros(10), 3));
        window.remember(Key { checksum: 7, ..key(1) });
        window.remember(Key { received_at: 5, ..key(1) });
        assert!(is_committed(&mut window, key(1), 12), "the earlier one is forgotten");
        assert!(!is_committed(&mut window, key(1), 16));
        assert_eq!((window.len(), window.table.len()), (0, 0));
    }

    #[test]
    fn former_identity_counts_for_events_from_before_alone() {
        let mut window = Window::new(DedupWindow::new(Duration::from_micros(100), 10));
        window.set_principals_since(50);
        let [before, after, of_token] = [key(40), key(50), key_of(3, 41)];
        [before, after, of_token].into_iter().for_each(|key| window.remember(key));
        let mut register = |former: Key, needs_same_content, checksum| {
            let id = Uuid::from_bytes(former.id);
            let former = Some(FormerIdentity { id, needs_same_content });
            match window.register([9; 16], former, checksum, 60) {
                Registration::Committed { id: found, checksum: 1 } => found == id,
                Registration::New => {
                    window
                        .complete(Key { id: [9; 16], ..key(60) }, &Err(Unavailable::ShuttingDown));
                    false
                }
                other => panic!("{other:?}"),
            }
        };
        assert!(register(before, false, 1) && register(before, false, 2));
        assert!(register(before, true, 1) && !register(before, true, 2));
        assert!(!register(after, false, 1) && !register(of_token, false, 1));
        assert_eq!(window.former_until(), 150);
    }

    #[test]
    fn pending_identity_sends_its_result_to_waiting_duplicates() {
        let mut window = Window::new(DedupWindow::default());
        let id = key(1).id;
        assert!(matches!(window.register(id, None, 1, 1), Registration::New));
        let Registration::Pending { mut result, .. } = window.register(id, None, 1, 1) else {
            panic!("the identity is pending")
        };
        window.complete(key(1), &Err(Unavailable::ShuttingDown));
        assert!(result.try_recv().unwrap().is_err());
        assert!(
            matches!(window.register(id, None, 1, 1), Registration::New),
            "an identity whose commit failed is new again"
        );
        window.complete(key(1), &Ok(()));
        assert!(is_committed(&mut window, key(1), 1));
    }
}
