//! Counts by source and event kind, where two labels multiply.

use hashbrown::HashMap;

use crate::aggregate::labels::Slot;

/// A count of failures and one of successes, in this order.
pub(crate) type ByOk = [u64; 2];

/// A count by outcome for each pair of source and event kind that there is.
#[derive(Debug, Clone)]
pub(crate) struct Pairs {
    rows: Vec<((Slot, Slot), ByOk)>,
    index: HashMap<(Slot, Slot), usize>,
    /// How many rows count against the capacity: those of a kind `other` don't, since there must
    /// always be a row to fall back to.
    taken: usize,
    capacity: usize,
}

impl Default for Pairs {
    fn default() -> Self {
        Self { rows: Vec::new(), index: HashMap::new(), taken: 0, capacity: usize::MAX }
    }
}

impl Pairs {
    /// From now on, there is room for so many more.
    pub(crate) fn limit(&mut self, more: usize) {
        self.capacity = self.taken.saturating_add(more);
    }

    /// Whether the pair is there or may come.
    pub(crate) fn has_room(&self, source: Slot, kind: Slot) -> bool {
        kind == Slot::OTHER
            || self.taken < self.capacity
            || self.index.contains_key(&(source, kind))
    }

    /// The counts of a pair, zero where it is new. Ask [`has_room`](Self::has_room) before.
    pub(crate) fn entry(&mut self, pair: (Slot, Slot)) -> &mut ByOk {
        let row = *self.index.entry(pair).or_insert_with(|| {
            self.rows.push((pair, ByOk::default()));
            self.taken += usize::from(pair.1 != Slot::OTHER);
            self.rows.len() - 1
        });
        &mut self.rows[row].1
    }

    /// All pairs, the first to come first.
    pub(crate) fn rows(&self) -> &[((Slot, Slot), ByOk)] {
        &self.rows
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::aggregate::labels::Labels;

    #[test]
    fn what_is_there_keeps_its_row_and_other_takes_no_room() {
        let mut labels = Labels::new(&["other"], &[], 9, 9);
        let [a, b, c] = ["a", "b", "c"].map(|value| labels.slot(value).unwrap());
        let mut pairs = Pairs::default();
        pairs.entry((a, a))[1] += 1;
        pairs.limit(1);
        pairs.entry((a, Slot::OTHER))[0] += 1;
        assert!(pairs.has_room(a, b));
        pairs.entry((a, b))[0] += 1;
        assert!(!pairs.has_room(a, c) && !pairs.has_room(b, a));
        assert!(pairs.has_room(a, a) && pairs.has_room(a, b) && pairs.has_room(c, Slot::OTHER));
        pairs.entry((a, a))[1] += 1;
        assert_eq!(pairs.rows(), [((a, a), [0, 2]), ((a, Slot::OTHER), [1, 0]), ((a, b), [1, 0])]);
    }
}
