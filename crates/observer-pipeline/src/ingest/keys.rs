//! Compact queues of the keys of committed events: one per share, in the order of their commits.
//!
//! All queues take their memory from one list of chunks, so the number of a key in that list tells
//! where it is, and no key needs a link to the next one of its share.

use std::cmp::Reverse;
use std::collections::binary_heap::PeekMut;
use std::collections::{BinaryHeap, VecDeque};

use observer_journal::Key;

use crate::ingest::principal::{SHARES, share};

/// Number of keys per chunk. Each share in use has up to two chunks that are not full.
const CHUNK: usize = 256;

/// Queues of keys.
#[derive(Debug)]
pub(crate) struct Keys {
    /// Chunks by number. Those that are not in use are empty.
    chunks: Vec<Vec<Packed>>,
    unused: Vec<u32>,
    /// Queues of the shares that were used so far.
    queues: Vec<Queue>,
    /// Index of the queue of each share, plus 1.
    queue_of: Box<[u16; SHARES as usize]>,
    /// An entry for each queue with keys, and a time that its oldest key does not precede.
    by_age: BinaryHeap<Reverse<(u64, usize)>>,
    len: usize,
}

/// Queue of the keys of one share, oldest first.
#[derive(Debug)]
struct Queue {
    share: u16,
    /// Numbers of the chunks. All but the last are full.
    chunks: VecDeque<u32>,
    /// Number of keys at the start of the first chunk that were removed.
    removed: usize,
    len: usize,
    /// Base times, each with the number of keys that were pushed before the first key it applies
    /// to.
    bases: VecDeque<(u64, u64)>,
    /// Number of keys that were removed so far.
    popped: u64,
    is_by_age: bool,
}

/// Key in 24 bytes instead of 32.
#[derive(Debug)]
pub(crate) struct Packed {
    pub(crate) id: [u8; 16],
    pub(crate) checksum: u32,
    /// Microseconds since the base time in the lower 31 bits, and a mark.
    micros: u32,
}

/// Bit of the mark.
const MARK: u32 = 1 << 31;

impl Packed {
    /// Returns whether the key was marked when it was pushed.
    pub(crate) fn is_marked(&self) -> bool {
        self.micros & MARK != 0
    }
}

impl Default for Keys {
    fn default() -> Self {
        Self {
            chunks: Vec::new(),
            unused: Vec::new(),
            queues: Vec::new(),
            queue_of: Box::new([0; SHARES as usize]),
            by_age: BinaryHeap::new(),
            len: 0,
        }
    }
}

impl Keys {
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Returns the key with this number.
    ///
    /// # Panics
    /// If there is none.
    pub(crate) fn at(&self, number: u32) -> &Packed {
        let number = number as usize;
        &self.chunks[number / CHUNK][number % CHUNK]
    }

    /// Adds a key to the queue of its share, and returns its number, which it keeps until it is
    /// removed.
    pub(crate) fn push(&mut self, key: &Key, is_marked: bool) -> u32 {
        let at = self.queue_at(share(key.tag));
        let queue = &mut self.queues[at];
        if !queue.is_by_age {
            queue.is_by_age = true;
            self.by_age.push(Reverse((key.received_at, at)));
        }
        let micros = queue.micros_of(key.received_at);
        if (queue.removed + queue.len).is_multiple_of(CHUNK) {
            let number = self.unused.pop().unwrap_or_else(|| {
                self.chunks.push(Vec::new());
                u32::try_from(self.chunks.len() - 1).expect("the number of keys is limited")
            });
            self.chunks[number as usize] = Vec::with_capacity(CHUNK);
            queue.chunks.push_back(number);
        }
        let number = *queue.chunks.back().expect("there is a chunk that is not full");
        let chunk = &mut self.chunks[number as usize];
        let mark = if is_marked { MARK } else { 0 };
        chunk.push(Packed { id: key.id, checksum: key.checksum, micros: micros | mark });
        (queue.len, self.len) = (queue.len + 1, self.len + 1);
        number * CHUNK as u32 + (chunk.len() - 1) as u32
    }

    fn queue_at(&mut self, share: u16) -> usize {
        let entry = &mut self.queue_of[usize::from(share)];
        if *entry == 0 {
            self.queues.push(Queue::new(share));
            *entry = u16::try_from(self.queues.len()).expect("there are at most 512 shares");
        }
        usize::from(*entry) - 1
    }

    /// Removes the oldest key of the share that has the most keys. Returns its number and identity.
    pub(crate) fn pop_of_largest(&mut self) -> Option<(u32, [u8; 16])> {
        let size = |queue: &Queue| (queue.len, Reverse(queue.share));
        let (at, _) = self.queues.iter().enumerate().max_by_key(|(_, queue)| size(queue))?;
        self.pop(at)
    }

    /// Removes a key that was received before a time, unless the keys of its share before it are
    /// younger. Returns its number and identity.
    pub(crate) fn pop_before(&mut self, time: u64) -> Option<(u32, [u8; 16])> {
        loop {
            let mut first = self.by_age.peek_mut().filter(|first| first.0.0 < time)?;
            let at = first.0.1;
            match self.queues[at].oldest(&self.chunks) {
                Some(oldest) if oldest < time => {
                    drop(first);
                    return self.pop(at);
                }
                Some(oldest) => first.0.0 = oldest,
                None => {
                    PeekMut::pop(first);
                    self.queues[at].is_by_age = false;
                }
            }
        }
    }

    fn pop(&mut self, at: usize) -> Option<(u32, [u8; 16])> {
        let queue = &mut self.queues[at];
        let number = *queue.chunks.front()?;
        let key = self.chunks[number as usize].get(queue.removed)?;
        let popped = (number * CHUNK as u32 + queue.removed as u32, key.id);
        queue.removed += 1;
        queue.len -= 1;
        queue.popped += 1;
        self.len -= 1;
        if queue.removed == CHUNK || queue.len == 0 {
            queue.chunks.pop_front();
            queue.removed = 0;
            self.chunks[number as usize] = Vec::new();
            self.unused.push(number);
        }
        queue.drop_bases();
        Some(popped)
    }
}

impl Queue {
    fn new(share: u16) -> Self {
        Self {
            share,
            chunks: VecDeque::new(),
            removed: 0,
            len: 0,
            bases: VecDeque::new(),
            popped: 0,
            is_by_age: false,
        }
    }

    /// Returns the time since the last base, after a new one if necessary.
    fn micros_of(&mut self, received_at: u64) -> u32 {
        let since = |(_, base): &(u64, u64)| {
            u32::try_from(received_at.checked_sub(*base)?).ok().filter(|micros| *micros < MARK)
        };
        self.bases.back().and_then(since).unwrap_or_else(|| {
            self.bases.push_back((self.popped + self.len as u64, received_at));
            0
        })
    }

    /// Removes the bases that apply to removed keys only.
    fn drop_bases(&mut self) {
        if self.len == 0 {
            self.bases.clear();
        } else if self.bases.get(1).is_some_and(|(from, _)| *from == self.popped) {
            self.bases.pop_front();
        }
    }

    /// Returns the time of the oldest key.
    fn oldest(&self, chunks: &[Vec<Packed>]) -> Option<u64> {
        let key = chunks[*self.chunks.front()? as usize].get(self.removed)?;
        let (_, base) = self.bases.front()?;
        Some(base + u64::from(key.micros & !MARK))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn key(number: u64, received_at: u64, tag: u16) -> Key {
        Key { received_at, tag, id: u128::from(number).to_le_bytes(), checksum: number as u32 }
    }

    fn number_of(popped: Option<(u32, [u8; 16])>) -> Option<u64> {
        popped.map(|(_, id)| u64::try_from(u128::from_le_bytes(id)).unwrap())
    }

    #[test]
    fn keys_leave_their_queue_in_order_and_unchanged() {
        let mut keys = Keys::default();
        // Times are hours apart, and some go backwards.
        let time = |number: u64| {
            1_700_000_000_000_000 + number * 3_000_000_000 - (number % 7) * 20_000_000_000
        };
        let (mut first, mut next, mut numbers) = (0, 0, BTreeMap::new());
        for round in 0..40 {
            for _ in 0..round * 31 {
                numbers.insert(next, keys.push(&key(next, time(next), 5), next % 3 == 0));
                next += 1;
            }
            for _ in 0..round * 29 {
                assert_eq!(keys.queues[0].oldest(&keys.chunks), Some(time(first)));
                assert_eq!(number_of(keys.pop_of_largest()), Some(first));
                numbers.remove(&first);
                first += 1;
            }
            assert_eq!(keys.len() as u64, next - first);
            for (number, at) in &numbers {
                let packed = keys.at(*at);
                assert_eq!((packed.id, packed.checksum), (key(*number, 0, 5).id, *number as u32));
                assert_eq!(packed.is_marked(), number % 3 == 0);
            }
        }
        while keys.len() > 0 {
            assert_eq!(keys.queues[0].oldest(&keys.chunks), Some(time(first)));
            assert_eq!(number_of(keys.pop_of_largest()), Some(first));
            first += 1;
        }
        assert_eq!((first, keys.pop_of_largest()), (next, None));
        assert!(keys.queues[0].bases.is_empty() && keys.chunks.iter().all(Vec::is_empty));
        assert_eq!(keys.unused.len(), keys.chunks.len());
    }

    #[test]
    fn largest_share_loses_its_oldest_key() {
        let mut keys = Keys::default();
        for number in 0..9 {
            keys.push(&key(number, number, [1, 2, 2, 512 + 2, 3][number as usize % 5]), false);
        }
        // Share 2 has the keys 1, 2, 3, 6, 7 and 8; the phase bit plays no part.
        let popped: Vec<_> = (0..5).map(|_| number_of(keys.pop_of_largest()).unwrap()).collect();
        assert_eq!(popped, [1, 2, 3, 6, 0], "among equals, the lowest share loses a key");
    }

    #[test]
    fn keys_of_all_shares_leave_by_age() {
        let mut keys = Keys::default();
        for number in 0..3000_u64 {
            keys.push(&key(number, 1000 + number, (number * number % 13) as u16), false);
        }
        for round in 1..=30 {
            let time = 1000 + round * 100;
            let mut popped = Vec::new();
            while let Some(number) = number_of(keys.pop_before(time)) {
                popped.push(number);
            }
            popped.sort_unstable();
            assert_eq!(popped, ((round - 1) * 100..round * 100).collect::<Vec<_>>());
        }
        assert!(keys.len() == 0 && keys.by_age.is_empty());
        keys.push(&key(1, 5000, 4), false);
        assert_eq!((keys.pop_before(5000), number_of(keys.pop_before(5001))), (None, Some(1)));
    }

    #[test]
    fn key_takes_24_bytes_and_few_shares_little_more() {
        assert_eq!(size_of::<Packed>(), 24);
        let mut keys = Keys::default();
        for number in 0..100_000_u64 {
            keys.push(&key(number, number, (number % 20) as u16), false);
        }
        let bytes: usize =
            keys.chunks.iter().map(|chunk| chunk.capacity() * 24 + size_of::<Vec<Packed>>()).sum();
        assert!(bytes < 100_000 * 25 + 20 * 2 * CHUNK * 24, "{bytes}");
    }
}
