//! Keys that producers choose, limited in number, each with its totals.
//!
//! A [`Table`] decides which keys have a row of their own. Keys are label values or pairs of them;
//! the wrappers for these are [`Labels`](super::labels::Labels) and [`Pairs`](super::pairs::Pairs).
//!
//! # Rule
//!
//! - *Pinned* rows are those of reserved and known keys. They are not limited and never evicted.
//! - While less than half of the limit is used, a new key gets a row at once.
//! - Beyond that, a new key is a *candidate* at first. It gets a row once it is seen in another
//!   hour.
//! - When all rows are taken, such a key takes the row that has been idle for longest, if that is
//!   at least [`IDLE`]. Its totals start at zero. Of rows that are idle for equally long, it takes
//!   the first.
//!
//! A burst of new keys therefore takes at most half of the rows, evicts nothing, and leaves the
//! other half to keys that recur.
//!
//! # Time
//!
//! The clock is the time of receipt, so that events that are delivered again after a kill lead to
//! the same rows. It may go backwards. A row then remains as recent as it was, so nothing is
//! evicted; and any other hour counts as another one, so that a key needs not wait until the clock
//! is back.

mod candidates;
#[cfg(test)]
mod tests;

use std::hash::Hash;

use hashbrown::{Equivalent, HashMap};

pub(crate) use self::candidates::{Candidates, FirstSeen};
use crate::aggregate::time::Second;

/// Seconds for which a row must be idle before another key may take it: 30 days.
pub(crate) const IDLE: i64 = 30 * 24 * 60 * 60;

/// Index of a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Slot(u32);

impl Slot {
    /// Slot of the values beyond the limit, and of a producer's own value `other`. Both are the
    /// same series in the exposition.
    pub(crate) const OTHER: Self = Self(0);

    /// Slot of events that name no model. Only used among models.
    pub(crate) const UNKNOWN: Self = Self(1);

    pub(crate) fn index(self) -> usize {
        self.0 as usize
    }

    fn at(index: usize) -> Self {
        Self(u32::try_from(index).expect("limits of configurations and memory are below 2^32 rows"))
    }
}

/// Key with its totals.
#[derive(Debug, Clone)]
pub(crate) struct Row<K, T> {
    pub(crate) key: K,
    pub(crate) totals: T,
    /// Time at which the key was last seen.
    pub(crate) seen: Second,
    is_pinned: bool,
}

/// Row for a new key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Vacancy {
    /// A new row.
    New,
    /// The row of another key, which is evicted.
    Of(Slot),
}

/// Rows of keys, limited in number.
#[derive(Debug, Clone)]
pub(crate) struct Table<K, T> {
    rows: Vec<Row<K, T>>,
    slots: HashMap<K, Slot>,
    candidates: Candidates,
    /// Maximum number of rows that are not pinned.
    limit: usize,
    /// Number of rows that are not pinned.
    used: usize,
    /// Time before which no row can be evicted. It saves a search through the rows.
    evictable_from: Second,
}

impl<K: Clone + Eq + Hash, T: Default> Table<K, T> {
    pub(crate) fn new(limit: usize) -> Self {
        Self {
            rows: Vec::new(),
            slots: HashMap::new(),
            candidates: Candidates::default(),
            limit: limit.min(u32::MAX as usize / 2),
            used: 0,
            evictable_from: Second::MAX,
        }
    }

    /// Returns the slot of a key that has a row, and records when the key was seen.
    pub(crate) fn find<Q>(&mut self, key: &Q, seen: Second) -> Option<Slot>
    where
        Q: Hash + Equivalent<K> + ?Sized,
    {
        let slot = *self.slots.get(key)?;
        let row = &mut self.rows[slot.index()];
        row.seen = row.seen.max(seen);
        Some(slot)
    }

    /// Returns whether a new key gets a row, according to the [rule](self). The fingerprint
    /// identifies the key among the candidates.
    pub(crate) fn vacancy(&mut self, fingerprint: u32, seen: Second) -> Option<Vacancy> {
        let vacancy = if self.has_free_rows() {
            Vacancy::New
        } else if self.limit == 0 || !self.candidates.recurs(fingerprint, seen.hour()) {
            return None;
        } else if self.is_full() {
            Vacancy::Of(self.longest_idle(seen)?)
        } else {
            Vacancy::New
        };
        self.candidates.remove(fingerprint);
        Some(vacancy)
    }

    /// Returns whether a new key gets a row at once.
    pub(crate) fn has_free_rows(&self) -> bool {
        self.used < self.limit.div_ceil(2)
    }

    /// Returns whether all rows are taken.
    pub(crate) fn is_full(&self) -> bool {
        self.used >= self.limit
    }

    /// Adds a key without a row.
    pub(crate) fn insert(&mut self, key: K, seen: Second, vacancy: Vacancy) -> Slot {
        self.evictable_from = self.evictable_from.min(seen.plus(IDLE));
        let row = Row { key: key.clone(), totals: T::default(), seen, is_pinned: false };
        let slot = match vacancy {
            Vacancy::New => {
                self.used += 1;
                self.push(row)
            }
            Vacancy::Of(slot) => {
                let evicted = std::mem::replace(&mut self.rows[slot.index()], row);
                self.slots.remove(&evicted.key);
                slot
            }
        };
        self.slots.insert(key, slot);
        slot
    }

    /// Adds a row that is not limited and never evicted, unless the key has a row.
    pub(crate) fn pin(&mut self, key: K) -> Slot {
        if let Some(slot) = self.slots.get(&key) {
            return *slot;
        }
        let row = Row {
            key: key.clone(),
            totals: T::default(),
            seen: Second::default(),
            is_pinned: true,
        };
        let slot = self.push(row);
        self.slots.insert(key, slot);
        slot
    }

    /// Removes rows, which changes the slots of others.
    pub(crate) fn retain(&mut self, is_kept: impl Fn(&K) -> bool) {
        self.rows.retain(|row| is_kept(&row.key));
        self.used = self.rows.iter().filter(|row| !row.is_pinned).count();
        self.slots.clear();
        self.slots
            .extend(self.rows.iter().enumerate().map(|(at, row)| (row.key.clone(), Slot::at(at))));
    }

    pub(crate) fn row(&self, slot: Slot) -> &Row<K, T> {
        &self.rows[slot.index()]
    }

    pub(crate) fn totals(&mut self, slot: Slot) -> &mut T {
        &mut self.rows[slot.index()].totals
    }

    /// Returns all rows in the order of their slots.
    pub(crate) fn rows(&self) -> impl ExactSizeIterator<Item = (Slot, &Row<K, T>)> + Clone {
        self.rows.iter().enumerate().map(|(at, row)| (Slot::at(at), row))
    }

    pub(crate) fn candidates(&self) -> &Candidates {
        &self.candidates
    }

    pub(crate) fn set_candidates(&mut self, candidates: Candidates) {
        self.candidates = candidates;
    }

    fn push(&mut self, row: Row<K, T>) -> Slot {
        let slot = Slot::at(self.rows.len());
        self.rows.push(row);
        slot
    }

    /// Returns the row that has been idle for longest, if that is long enough.
    fn longest_idle(&mut self, now: Second) -> Option<Slot> {
        if now < self.evictable_from {
            return None;
        }
        let (slot, row) =
            self.rows().filter(|(_, row)| !row.is_pinned).min_by_key(|(_, row)| row.seen)?;
        self.evictable_from = row.seen.plus(IDLE);
        (now >= self.evictable_from).then_some(slot)
    }
}
