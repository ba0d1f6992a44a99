//! Label values that producers choose, limited in number.

use std::sync::Arc;

use hashbrown::HashMap;

/// Index of a label value in its [`Labels`].
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
}

/// Values of one label and their slots: reserved values, then known values, then the first values
/// to arrive.
#[derive(Debug, Clone)]
pub(crate) struct Labels {
    values: Vec<Arc<str>>,
    slots: HashMap<Arc<str>, Slot>,
    capacity: usize,
    max_bytes: usize,
}

impl Labels {
    /// Creates a set of the `reserved` values, of which the first is `other`, and the `known`
    /// values. It accepts `limit` more values of at most `max_bytes` bytes.
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

    /// Returns the slot of a value, which is added if it is new. Returns `None` if the limit is
    /// reached or the value is too long. Long values are not truncated, since two of them could
    /// then share a series.
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

    /// Returns all values with their slots, in the order of the slots.
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
    fn known_values_do_not_count_towards_the_limit() {
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
    fn long_value_gets_no_slot_and_is_not_truncated() {
        let mut labels = Labels::new(&["other"], &[], 10, 4);
        assert_eq!(labels.slot("abcde"), None);
        assert_eq!(labels.slot("abcd"), Some(Slot(1)));
        assert_eq!(labels.slot("ééé"), None);
    }

    #[test]
    fn value_other_of_a_producer_has_the_reserved_slot() {
        let mut labels = Labels::new(&["other"], &[], 0, 4);
        assert_eq!(labels.slot("other"), Some(Slot::OTHER));
        assert_eq!(labels.slot("x"), None);
    }
}
