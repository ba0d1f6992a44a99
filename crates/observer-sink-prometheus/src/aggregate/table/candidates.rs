//! Keys without a row.

use std::collections::VecDeque;

use hashbrown::HashMap;

use crate::aggregate::time::Hour;

/// Maximum number of candidates. Beyond it, the one that was added first is forgotten.
///
/// A key that recurs gets a row in spite of a burst of fewer other keys in between.
pub(crate) const MAX: usize = 16_384;

/// Fingerprints of keys, each with the hour in which the key was first seen.
///
/// Two keys with the same fingerprint count as one, so one of 250,000 new keys gets a row an hour
/// too early while the number of candidates is at its maximum.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Candidates {
    hours: HashMap<u32, FirstSeen>,
    /// Keys of `hours`, in the order in which they were added.
    order: VecDeque<u32>,
}

/// Hour in which a key was first seen; `None` once the key was seen in another one.
pub(crate) type FirstSeen = Option<Hour>;

impl Candidates {
    /// Returns whether a key is seen in another hour than before, or was before. Adds it if it was
    /// never seen.
    pub(crate) fn recurs(&mut self, fingerprint: u32, hour: Hour) -> bool {
        let Some(first_seen) = self.hours.get_mut(&fingerprint) else {
            self.add(fingerprint, Some(hour));
            return false;
        };
        first_seen.take_if(|first| *first != hour);
        first_seen.is_none()
    }

    /// Adds a key. If there are too many, forgets the one that was added first.
    fn add(&mut self, fingerprint: u32, first_seen: FirstSeen) {
        if self.order.len() == MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.hours.remove(&oldest);
        }
        self.hours.insert(fingerprint, first_seen);
        self.order.push_back(fingerprint);
    }

    pub(crate) fn remove(&mut self, fingerprint: u32) {
        if self.hours.remove(&fingerprint).is_some() {
            self.order.retain(|other| *other != fingerprint);
        }
    }

    /// Returns all candidates in the order in which they were added.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (u32, FirstSeen)> {
        self.order.iter().map(|fingerprint| (*fingerprint, self.hours[fingerprint]))
    }
}

impl FromIterator<(u32, FirstSeen)> for Candidates {
    /// Collects candidates. Of more than [`MAX`], the last ones remain, and of repeated ones the
    /// first.
    fn from_iter<I: IntoIterator<Item = (u32, FirstSeen)>>(all: I) -> Self {
        let mut candidates = Self::default();
        for (fingerprint, first_seen) in all {
            if !candidates.hours.contains_key(&fingerprint) {
                candidates.add(fingerprint, first_seen);
            }
        }
        candidates
    }
}
