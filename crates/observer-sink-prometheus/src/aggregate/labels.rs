//! Values of one label, with their totals.

use std::sync::Arc;

use crate::aggregate::table::{Row, Slot, Table, Vacancy};
use crate::aggregate::time::Second;

/// Values of one label, limited in number by the rule of [`Table`].
#[derive(Debug, Clone)]
pub(crate) struct Labels<T> {
    table: Table<Arc<str>, T>,
    max_bytes: usize,
}

/// Slot of a label value, and how the value got it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Found {
    Present(Slot),
    /// The value is new.
    Added(Slot),
    /// The value is new and has the slot of another value, which no longer has one.
    Replaced(Slot),
}

impl<T: Default> Labels<T> {
    /// Creates a set of the `reserved` values, of which the first is `other`, and the `known`
    /// values. It accepts `limit` more values of at most `max_bytes` bytes.
    pub(crate) fn new(reserved: &[&str], known: &[String], limit: usize, max_bytes: usize) -> Self {
        let mut table = Table::new(limit);
        for value in reserved.iter().copied().chain(known.iter().map(String::as_str)) {
            table.pin(value.into());
        }
        Self { table, max_bytes }
    }

    /// Returns the slot of a value that an event has. Returns `None` if the value has none, or is
    /// too long. Long values are not truncated, since two of them could then share a series.
    pub(crate) fn find_or_add(&mut self, value: &str, seen: Second) -> Option<Found> {
        if let Some(slot) = self.table.find(value, seen) {
            return Some(Found::Present(slot));
        }
        if value.len() > self.max_bytes {
            return None;
        }
        let vacancy = self.table.vacancy(fingerprint(value), seen)?;
        let slot = self.table.insert(value.into(), seen, vacancy);
        Some(match vacancy {
            Vacancy::New => Found::Added(slot),
            Vacancy::Of(_) => Found::Replaced(slot),
        })
    }

    /// Returns the slot of a value that had one in an earlier process, or `None` if the limits no
    /// longer allow it.
    pub(crate) fn restore(&mut self, value: &str, seen: Second) -> Option<Slot> {
        self.table.find(value, seen).or_else(|| {
            let is_allowed = !self.table.is_full() && value.len() <= self.max_bytes;
            is_allowed.then(|| self.table.insert(value.into(), seen, Vacancy::New))
        })
    }

    pub(crate) fn name(&self, slot: Slot) -> &str {
        &self.table.row(slot).key
    }

    pub(crate) fn totals(&mut self, slot: Slot) -> &mut T {
        self.table.totals(slot)
    }

    /// Returns all values in the order of their slots.
    pub(crate) fn rows(&self) -> impl ExactSizeIterator<Item = (Slot, &Row<Arc<str>, T>)> + Clone {
        self.table.rows()
    }

    pub(crate) fn table(&self) -> &Table<Arc<str>, T> {
        &self.table
    }

    pub(crate) fn table_mut(&mut self) -> &mut Table<Arc<str>, T> {
        &mut self.table
    }
}

/// Returns the fingerprint of a value among the candidates. It is part of the snapshot's format.
fn fingerprint(value: &str) -> u32 {
    crc32c::crc32c(value.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn add<T: Default>(labels: &mut Labels<T>, value: &str) -> Option<usize> {
        let found = labels.find_or_add(value, Second::new(0))?;
        let (Found::Present(slot) | Found::Added(slot) | Found::Replaced(slot)) = found;
        Some(slot.index())
    }

    #[test]
    fn known_values_do_not_count_towards_the_limit() {
        let known = ["bot".to_owned(), "other".to_owned(), "bot".to_owned()];
        let mut labels = Labels::<()>::new(&["other"], &known, 4, 8);
        assert_eq!(labels.rows().map(|(_, row)| &*row.key).collect::<Vec<_>>(), ["other", "bot"]);
        assert_eq!(add(&mut labels, "bot"), Some(1));
        assert_eq!(add(&mut labels, "a"), Some(2));
        assert_eq!(add(&mut labels, "b"), Some(3));
        assert_eq!(add(&mut labels, "c"), None);
        assert_eq!(add(&mut labels, "a"), Some(2));
    }

    #[test]
    fn long_value_gets_no_slot_and_is_not_truncated() {
        let mut labels = Labels::<()>::new(&["other"], &[], 10, 4);
        assert_eq!(add(&mut labels, "abcde"), None);
        assert_eq!(add(&mut labels, "abcd"), Some(1));
        assert_eq!(add(&mut labels, "ééé"), None);
        assert_eq!(labels.restore("abcde", Second::new(0)), None);
    }

    #[test]
    fn value_other_of_a_producer_has_the_reserved_slot() {
        let mut labels = Labels::<()>::new(&["other"], &[], 0, 4);
        assert_eq!(add(&mut labels, "other"), Some(Slot::OTHER.index()));
        assert_eq!(add(&mut labels, "x"), None);
    }

    #[test]
    fn restored_values_use_the_whole_limit() {
        let mut labels = Labels::<()>::new(&["other"], &[], 3, 4);
        let restored = ["a", "b", "a", "c", "d"].map(|value| labels.restore(value, Second::new(0)));
        assert_eq!(
            restored.map(|slot| slot.map(Slot::index)),
            [Some(1), Some(2), Some(1), Some(3), None]
        );
    }
}
