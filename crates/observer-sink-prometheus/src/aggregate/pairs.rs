//! Pairs of a source and another label value, with their totals.

use crate::aggregate::table::{Row, Slot, Table, Vacancy};
use crate::aggregate::time::Second;
use crate::aggregate::totals::increase;

/// Slots of a source and of a value of another label.
pub(crate) type Pair = (Slot, Slot);

/// Number of failures and number of successes, in this order.
pub(crate) type ByOk = [u64; 2];

/// Pairs of a source and another label value, limited in number by the rule of [`Table`].
///
/// Pairs with a reserved value are not limited, so that each event has one.
#[derive(Debug, Clone)]
pub(crate) struct Pairs<T> {
    table: Table<Pair, T>,
    /// Number of reserved values of the other label. They have its first slots.
    reserved: usize,
}

impl<T: Default> Pairs<T> {
    pub(crate) fn new(limit: usize, reserved: usize) -> Self {
        Self { table: Table::new(limit), reserved }
    }

    /// Adds a pair that is not limited, unless it exists.
    pub(crate) fn pin(&mut self, pair: Pair) {
        self.table.pin(pair);
    }

    /// Adds a pair before its first event, as long as a new pair gets a row at once.
    pub(crate) fn seed(&mut self, pair: Pair, seen: Second) {
        if self.table.has_free_rows() && self.table.find(&pair, seen).is_none() {
            self.table.insert(pair, seen, Vacancy::New);
        }
    }

    /// Returns the totals of a pair that an event has. If the limit does not allow it a row, counts
    /// that in `overflow`, and returns the totals of the source with `other`. `names` are the
    /// values of the pair.
    pub(crate) fn find_or_other(
        &mut self,
        pair: Pair,
        names: (&str, &str),
        seen: Second,
        overflow: &mut u64,
    ) -> &mut T {
        let slot = match self.table.find(&pair, seen) {
            Some(slot) => slot,
            None if pair.1.index() < self.reserved => self.table.pin(pair),
            None => match self.table.vacancy(fingerprint(names), seen) {
                Some(vacancy) => self.table.insert(pair, seen, vacancy),
                None => {
                    increase(overflow, 1);
                    self.table.pin((pair.0, Slot::OTHER))
                }
            },
        };
        self.table.totals(slot)
    }

    /// Returns the totals of a pair that existed in an earlier process, or `None` if the limit no
    /// longer allows it.
    pub(crate) fn restore(&mut self, pair: Pair, seen: Second) -> Option<&mut T> {
        if pair.1.index() < self.reserved {
            self.table.pin(pair);
        }
        let slot = self.table.find(&pair, seen).or_else(|| {
            (!self.table.is_full()).then(|| self.table.insert(pair, seen, Vacancy::New))
        })?;
        Some(self.table.totals(slot))
    }

    /// Removes the pairs of a source or other value that no longer has its slot.
    pub(crate) fn retain(&mut self, is_kept: impl Fn(&Pair) -> bool) {
        self.table.retain(is_kept);
    }

    /// Returns all pairs with their totals.
    pub(crate) fn rows(&self) -> impl ExactSizeIterator<Item = &Row<Pair, T>> {
        self.table.rows().map(|(_, row)| row)
    }

    pub(crate) fn table(&self) -> &Table<Pair, T> {
        &self.table
    }

    pub(crate) fn table_mut(&mut self) -> &mut Table<Pair, T> {
        &mut self.table
    }
}

/// Returns the fingerprint of a pair among the candidates. It is made of the values, since slots
/// change. It is part of the snapshot's format.
fn fingerprint((source, value): (&str, &str)) -> u32 {
    // No value contains the byte 0xff.
    let joined = [source.as_bytes(), &[0xff], value.as_bytes()];
    joined.iter().fold(0, |crc, bytes| crc32c::crc32c_append(crc, bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAMES: (&str, &str) = ("s", "k");

    /// Returns slots after the reserved one.
    fn slots() -> [Slot; 3] {
        let mut table = Table::<u32, ()>::new(0);
        let [_, slots @ ..] = [0, 1, 2, 3].map(|key| table.pin(key));
        slots
    }

    #[test]
    fn pairs_beyond_the_limit_are_counted_under_other_which_is_not_limited() {
        let [a, b, c] = slots();
        let mut pairs = Pairs::<u64>::new(1, 1);
        let mut overflow = 0;
        pairs.pin((c, c));
        for pair in [(a, Slot::OTHER), (a, b), (a, c), (c, c), (b, a), (a, b), (a, c)] {
            *pairs.find_or_other(pair, NAMES, Second::new(0), &mut overflow) += 1;
        }
        let rows: Vec<_> = pairs.rows().map(|row| (row.key, row.totals)).collect();
        let expected = [((c, c), 1), ((a, Slot::OTHER), 3), ((a, b), 2), ((b, Slot::OTHER), 1)];
        assert_eq!((rows, overflow), (expected.into(), 3));
    }

    #[test]
    fn pairs_are_seeded_while_less_than_half_of_the_limit_is_used() {
        let [a, b, c] = slots();
        let mut pairs = Pairs::<u64>::new(3, 1);
        for pair in [(a, b), (a, b), (a, c), (a, a)] {
            pairs.seed(pair, Second::new(0));
        }
        assert_eq!(pairs.rows().map(|row| row.key).collect::<Vec<_>>(), [(a, b), (a, c)]);
    }

    #[test]
    fn fingerprint_tells_pairs_with_equal_concatenation_apart() {
        assert_ne!(fingerprint(("ab", "c")), fingerprint(("a", "bc")));
        assert_eq!(fingerprint(("", "")), crc32c::crc32c(&[0xff]));
        assert_eq!(fingerprint(("ab", "c")), crc32c::crc32c(b"ab\xffc"));
    }
}
