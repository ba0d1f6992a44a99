//! Filter of ids: tells that an id is new.

use observer_core::Uuid;

/// Bits for each id, of which [`PROBES`] are set.
const BITS_PER_ID: usize = 20;
const PROBES: u32 = 8;
/// Words of a line, in which all bits of one id lie: one access to memory for each.
const LINE: usize = 8;

/// Returns the hash of an id, which is part of the file format. Ids that contain a time are mixed
/// as well as random ones (the finalizer of MurmurHash3).
pub(crate) fn hash_of(id: Uuid) -> u64 {
    let (high, low) = id.as_u64_pair();
    let mut hash = high.rotate_left(32) ^ low.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    hash = (hash ^ hash >> 33).wrapping_mul(0xff51_afd7_ed55_8ccd);
    hash = (hash ^ hash >> 33).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    hash ^ hash >> 33
}

/// Set of ids that may wrongly contain one, in few of ten thousand cases, and never lacks one.
///
/// It is a series of blocked Bloom filters (Putze, Sanders, Singler: "Cache-, Hash- and
/// Space-Efficient Bloom Filters", 2007), each with room for some ids; the last one is filled.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    filters: Vec<Filter>,
}

#[derive(Debug)]
struct Filter {
    words: Vec<u64>,
    room: usize,
    /// Last event whose id is in the filter.
    last: i64,
}

impl Filter {
    fn new(ids: usize) -> Self {
        let lines = (ids * BITS_PER_ID).div_ceil(64 * LINE);
        Self { words: vec![0; lines * LINE], room: ids, last: 0 }
    }

    /// Returns the first word of the line of a hash.
    fn line(&self, hash: u64) -> usize {
        let lines = (self.words.len() / LINE) as u128;
        ((u128::from(hash) * lines) >> 64) as usize * LINE
    }

    fn insert(&mut self, hash: u64) {
        let line = self.line(hash);
        for (word, bit) in bits(hash) {
            self.words[line + word] |= bit;
        }
    }

    fn contains(&self, hash: u64) -> bool {
        let line = self.line(hash);
        bits(hash).all(|(word, bit)| self.words[line + word] & bit != 0)
    }
}

/// Returns the words within a line, and the bits in them, of a hash.
fn bits(hash: u64) -> impl Iterator<Item = (usize, u64)> {
    // The line was chosen by the upper bits.
    let mut state = hash.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ hash << 32;
    (0..PROBES).map(move |_| {
        state = state.wrapping_mul(0xd134_2543_de82_ef95).wrapping_add(1);
        let probe = (state >> 55) as usize;
        (probe / 64, 1 << (probe % 64))
    })
}

impl Seen {
    /// Adds the id of event `n`, given its [hash](hash_of).
    pub(crate) fn insert(&mut self, hash: u64, n: i64) {
        if self.filters.last().is_none_or(|last| last.room == 0) {
            let ids = match self.filters.len() {
                0 => 1 << 16,
                1 => 1 << 18,
                2 => 1 << 20,
                _ => 1 << 22,
            };
            self.filters.push(Filter::new(ids));
        }
        let filter = self.filters.last_mut().expect("a filter was added if there was none");
        filter.room -= 1;
        filter.last = n;
        filter.insert(hash);
    }

    /// Returns whether the set may contain an id.
    pub(crate) fn may_contain(&self, hash: u64) -> bool {
        self.filters.iter().any(|filter| filter.contains(hash))
    }

    /// Forgets ids of deleted events, as far as they fill whole filters.
    pub(crate) fn delete_before(&mut self, floor: i64) {
        self.filters.retain(|filter| filter.room > 0 || filter.last >= floor);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn set_contains_every_id_and_few_others() {
        let mut seen = Seen::default();
        let ids = |from: u128| (from..from + 400_000).map(Uuid::from_u128).map(hash_of);
        for (n, hash) in ids(0).enumerate() {
            seen.insert(hash, n as i64);
        }
        assert!(ids(0).all(|hash| seen.may_contain(hash)));
        let wrong = ids(1 << 80).filter(|&hash| seen.may_contain(hash)).count();
        assert!(wrong < 400, "{wrong} of 400,000");
    }

    #[test]
    fn filters_of_deleted_events_are_dropped() {
        let mut seen = Seen::default();
        for n in 0..100_000_i64 {
            seen.insert(hash_of(Uuid::from_u128(n as u128)), n);
        }
        seen.delete_before(1 << 16);
        assert!(!(0..1000).all(|n| seen.may_contain(hash_of(Uuid::from_u128(n)))));
        assert!((70_000..100_000).all(|n| seen.may_contain(hash_of(Uuid::from_u128(n)))));
    }
}
