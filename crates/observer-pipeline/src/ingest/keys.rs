//! Compact queue of the keys of committed events, in the order of their commits.

use std::collections::VecDeque;

use observer_journal::Key;

/// Number of keys per chunk. Growing never copies more than a chunk, and memory is returned chunk
/// by chunk.
const CHUNK: usize = 1024;

/// Queue of keys, oldest first.
#[derive(Debug, Default)]
pub(crate) struct Keys {
    /// All chunks but the last are full.
    chunks: VecDeque<Vec<Packed>>,
    /// Number of keys at the start of the first chunk that were removed.
    removed: usize,
    len: usize,
    /// Base times, each with the number of keys that were pushed before the first key it applies
    /// to.
    bases: VecDeque<(u64, u64)>,
    /// Number of keys that were removed so far.
    popped: u64,
}

/// Key in 24 bytes instead of 32.
#[derive(Debug)]
pub(crate) struct Packed {
    pub(crate) id: [u8; 16],
    pub(crate) checksum: u32,
    /// Microseconds since the base time.
    micros: u32,
}

impl Keys {
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Returns the key at an index, counted from the oldest key.
    ///
    /// # Panics
    /// If the index is out of bounds.
    pub(crate) fn at(&self, index: u32) -> &Packed {
        let index = self.removed + index as usize;
        &self.chunks[index / CHUNK][index % CHUNK]
    }

    pub(crate) fn oldest(&self) -> Option<Key> {
        let packed = self.chunks.front()?.get(self.removed)?;
        let (_, base) = self.bases.front()?;
        Some(Key {
            received_at: base + u64::from(packed.micros),
            id: packed.id,
            checksum: packed.checksum,
        })
    }

    pub(crate) fn push(&mut self, key: Key) {
        let since =
            |(_, base): &(u64, u64)| u32::try_from(key.received_at.checked_sub(*base)?).ok();
        let micros = self.bases.back().and_then(since).unwrap_or_else(|| {
            self.bases.push_back((self.popped + self.len as u64, key.received_at));
            0
        });
        if self.chunks.back().is_none_or(|chunk| chunk.len() == CHUNK) {
            self.chunks.push_back(Vec::with_capacity(CHUNK));
        }
        if let Some(chunk) = self.chunks.back_mut() {
            chunk.push(Packed { id: key.id, checksum: key.checksum, micros });
        }
        self.len += 1;
    }

    /// Removes the oldest key.
    pub(crate) fn pop(&mut self) {
        if self.len == 0 {
            return;
        }
        (self.len, self.removed, self.popped) = (self.len - 1, self.removed + 1, self.popped + 1);
        if self.removed == CHUNK {
            self.chunks.pop_front();
            self.removed = 0;
        }
        if self.len == 0 {
            self.bases.clear();
        } else if self.bases.get(1).is_some_and(|(from, _)| *from == self.popped) {
            self.bases.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(number: u64, received_at: u64) -> Key {
        Key { received_at, id: u128::from(number).to_le_bytes(), checksum: number as u32 }
    }

    #[test]
    fn keys_leave_the_queue_in_order_and_unchanged() {
        let mut keys = Keys::default();
        // Times are hours apart, and some go backwards.
        let time = |number: u64| {
            1_700_000_000_000_000 + number * 3_000_000_000 - (number % 7) * 20_000_000_000
        };
        let (mut first, mut next) = (0, 0);
        for round in 0..40 {
            for _ in 0..round * 31 {
                keys.push(key(next, time(next)));
                next += 1;
            }
            for _ in 0..round * 29 {
                assert_eq!(keys.oldest(), Some(key(first, time(first))));
                keys.pop();
                first += 1;
            }
            assert_eq!(keys.len() as u64, next - first);
            for number in first..next {
                let packed = keys.at((number - first) as u32);
                assert_eq!((packed.id, packed.checksum), (key(number, 0).id, number as u32));
            }
        }
        while keys.len() > 0 {
            assert_eq!(keys.oldest(), Some(key(first, time(first))));
            keys.pop();
            first += 1;
        }
        assert_eq!((first, keys.oldest(), keys.bases.len()), (next, None, 0));
    }
}
