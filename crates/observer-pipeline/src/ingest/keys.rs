//! Keys in the order they came, in little memory.

use std::collections::VecDeque;

use observer_journal::Key;

/// How many keys are kept in one piece. There is no larger one to be copied when they grow more,
/// and it is given back when they grow fewer.
const PIECE: usize = 1024;

/// Keys, the oldest first.
#[derive(Debug, Default)]
pub(crate) struct Keys {
    /// All but the last are full, and all but the first begin at their start.
    pieces: VecDeque<Vec<Packed>>,
    /// How many of the first piece are gone.
    gone: usize,
    len: usize,
    /// From which key on times count from which one, by the number of keys that came before it.
    bases: VecDeque<(u64, u64)>,
    /// How many keys came and went.
    popped: u64,
}

/// 24 bytes, where a key has 32.
#[derive(Debug)]
pub(crate) struct Packed {
    pub(crate) id: [u8; 16],
    pub(crate) checksum: u32,
    /// Microseconds since the base.
    micros: u32,
}

impl Keys {
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// The key with so many older ones before it.
    ///
    /// # Panics
    /// When there are not so many.
    pub(crate) fn at(&self, place: u32) -> &Packed {
        let place = self.gone + place as usize;
        &self.pieces[place / PIECE][place % PIECE]
    }

    pub(crate) fn oldest(&self) -> Option<Key> {
        let packed = self.pieces.front()?.get(self.gone)?;
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
        if self.pieces.back().is_none_or(|piece| piece.len() == PIECE) {
            self.pieces.push_back(Vec::with_capacity(PIECE));
        }
        if let Some(piece) = self.pieces.back_mut() {
            piece.push(Packed { id: key.id, checksum: key.checksum, micros });
        }
        self.len += 1;
    }

    /// Without the oldest.
    pub(crate) fn pop(&mut self) {
        if self.len == 0 {
            return;
        }
        (self.len, self.gone, self.popped) = (self.len - 1, self.gone + 1, self.popped + 1);
        if self.gone == PIECE {
            self.pieces.pop_front();
            self.gone = 0;
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
    fn keys_come_out_as_they_went_in() {
        let mut keys = Keys::default();
        // Times that lie hours apart, and some that go back.
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
