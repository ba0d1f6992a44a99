//! Label values that producers choose, kept apart and limited in number.

use std::sync::Arc;

use hashbrown::HashMap;

/// Where a label value stands in its [`Labels`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Slot(u32);

impl Slot {
    /// The place of everything that found no room, and of a producer's own `other`: in the
    /// exposition both are the same series.
    pub(crate) const OTHER: Self = Self(0);

    /// Among models, the place of events that don't name one.
    pub(crate) const UNKNOWN: Self = Self(1);

    pub(crate) fn index(self) -> usize {
        self.0 as usize
    }
}

/// The values of one label, each with its slot: the reserved ones, then the known ones, then the
/// first to come.
#[derive(Debug, Clone)]
pub(crate) struct Labels {
    values: Vec<Arc<str>>,
    slots: HashMap<Arc<str>, Slot>,
    capacity: usize,
    max_bytes: usize,
}

impl Labels {
    /// Room for `limit` values of at most `max_bytes` beside the `reserved` ones, of which the
    /// first is `other`, and the `known` ones.
    pub(crate) fn new(reserved: &[&str], known: &[String], limit: usize, max_bytes: usize) -> Self {
        let mut labels = Self {
            values: Vec::new(),
            slots: HashMap::new(),
            capacity: usize::MAX,
            max_bytes: usize::MAX,
        };
        for value in reserved.iter().copied().chain(known.iter().map(String::as_str)) {
            labels.slot(value);
        }
        labels.capacity = labels.len().saturating_add(limit).min(u32::MAX as usize);
        labels.max_bytes = max_bytes;
        labels
    }

    /// The slot of a value, which is given one if there is still room. `None` if there isn't, or if
    /// the value is too long: cutting it could make one series of two.
    pub(crate) fn slot(&mut self, value: &str) -> Option<Slot> {
        if let Some(slot) = self.slots.get(value) {
            return Some(*slot);
        }
        if self.len() >= self.capacity || value.len() > self.max_bytes {
            return None;
        }
        let slot = Slot(u32::try_from(self.len()).expect("the capacity fits into 32 bits"));
        let value: Arc<str> = value.into();
        self.values.push(Arc::clone(&value));
        self.slots.insert(value, slot);
        Some(slot)
    }

    pub(crate) fn value(&self, slot: Slot) -> &str {
        &self.values[slot.index()]
    }

    /// All values with their slots, in the order of the slots.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (Slot, &str)> + Clone {
        (0..).map(Slot).zip(self.values.iter().map(|value| &**value))
    }

    pub(crate) fn len(&self) -> usize {
        self.values.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_known_take_no_room_from_the_others() {
        let known = ["bot".to_owned(), "other".to_owned(), "bot".to_owned()];
        let mut labels = Labels::new(&["other"], &known, 2, 8);
        assert_eq!(labels.iter().map(|(_, value)| value).collect::<Vec<_>>(), ["other", "bot"]);
        assert_eq!(labels.slot("bot"), Some(Slot(1)));
        assert_eq!(labels.slot("a"), Some(Slot(2)));
        assert_eq!(labels.slot("b"), Some(Slot(3)));
        assert_eq!(labels.slot("c"), None);
        assert_eq!(labels.slot("a"), Some(Slot(2)));
        assert_eq!(labels.value(Slot(3)), "b");
    }

    #[test]
    fn a_value_that_is_too_long_gets_no_slot_and_is_not_cut() {
        let mut labels = Labels::new(&["other"], &[], 10, 4);
        assert_eq!(labels.slot("abcde"), None);
        assert_eq!(labels.slot("abcd"), Some(Slot(1)));
        assert_eq!(labels.slot("ééé"), None);
    }

    #[test]
    fn an_own_other_is_the_reserved_one() {
        let mut labels = Labels::new(&["other"], &[], 0, 4);
        assert_eq!(labels.slot("other"), Some(Slot::OTHER));
        assert_eq!(labels.slot("x"), None);
    }
}
