//! Counts by source and event kind, limited in number.

use hashbrown::HashMap;

use crate::aggregate::labels::Slot;

/// Number of failures and number of successes, in this order.
pub(crate) type ByOk = [u64; 2];

/// Counts for each pair of source and event kind.
#[derive(Debug, Clone)]
pub(crate) struct Pairs<T> {
    rows: Vec<((Slot, Slot), T)>,
    index: HashMap<(Slot, Slot), usize>,
    /// Number of rows that count towards the capacity. Rows of the kind `other` do not, since they
    /// must always be available.
    used: usize,
    capacity: usize,
}

impl<T> Default for Pairs<T> {
    fn default() -> Self {
        Self { rows: Vec::new(), index: HashMap::new(), used: 0, capacity: usize::MAX }
    }
}

impl<T: Default> Pairs<T> {
    /// Limits the number of further pairs.
    pub(crate) fn limit(&mut self, more: usize) {
        self.capacity = self.used.saturating_add(more);
    }

    /// Returns whether the pair exists or may be added.
    pub(crate) fn accepts(&self, source: Slot, kind: Slot) -> bool {
        kind == Slot::OTHER || self.used < self.capacity || self.index.contains_key(&(source, kind))
    }

    /// Returns the counts of a pair, which is added with zeros if it is new. Callers check
    /// [`accepts`](Self::accepts) first.
    pub(crate) fn entry(&mut self, pair: (Slot, Slot)) -> &mut T {
        let row = *self.index.entry(pair).or_insert_with(|| {
            self.rows.push((pair, T::default()));
            self.used += usize::from(pair.1 != Slot::OTHER);
            self.rows.len() - 1
        });
        &mut self.rows[row].1
    }

    /// Returns all pairs in the order in which they were added.
    pub(crate) fn rows(&self) -> &[((Slot, Slot), T)] {
        &self.rows
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::aggregate::labels::Labels;

    #[test]
    fn existing_pairs_keep_their_rows_and_other_is_not_limited() {
        let mut labels = Labels::new(&["other"], &[], 9, 9);
        let [a, b, c] = ["a", "b", "c"].map(|value| labels.slot(value).unwrap());
        let mut pairs = Pairs::<ByOk>::default();
        pairs.entry((a, a))[1] += 1;
        pairs.limit(1);
        pairs.entry((a, Slot::OTHER))[0] += 1;
        assert!(pairs.accepts(a, b));
        pairs.entry((a, b))[0] += 1;
        assert!(!pairs.accepts(a, c) && !pairs.accepts(b, a));
        assert!(pairs.accepts(a, a) && pairs.accepts(a, b) && pairs.accepts(c, Slot::OTHER));
        pairs.entry((a, a))[1] += 1;
        assert_eq!(pairs.rows(), [((a, a), [0, 2]), ((a, Slot::OTHER), [1, 0]), ((a, b), [1, 0])]);
    }
}
