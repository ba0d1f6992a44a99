//! Reference model: content of the journal, and the effect of each step without faults.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::positions::Positions;
use crate::segment::format::{BLOCK_HEADER_SIZE, BLOCKS_OFFSET, KEY_SIZE, TRAILER_SIZE};
use crate::{Hold, Record, StoredPosition};

/// Size limit of a segment in bytes; a single larger block is allowed.
pub(super) const SEGMENT: u64 = 4096;
pub(super) const RETAIN: Duration = Duration::from_secs(60);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Segment {
    pub(super) first_seq: u64,
    pub(super) size: u64,
    pub(super) created_at: u64,
}

#[derive(Debug, Clone)]
pub(super) struct Reference {
    pub(super) max_size: u64,
    pub(super) head: u64,
    pub(super) segments: Vec<Segment>,
    /// Segments removed since the last sync of the folder, which a power cut may bring back.
    pub(super) unsynced_removals: Vec<Segment>,
    /// True if the last segment is open for writing.
    pub(super) is_open: bool,
    /// Size in bytes of the last group that did not fit.
    pub(super) wanted: Option<u64>,
    /// Positions as set by the consumers.
    pub(super) current: Positions,
    pub(super) durable: Positions,
    pub(super) held: BTreeMap<String, Hold>,
    /// Number of segments removed at the size limit, and number of expired segments removed.
    pub(super) removed: (u64, u64),
}

/// Returns the size of a block of these records, in bytes.
pub(super) fn block_size<'a>(records: impl IntoIterator<Item = &'a Record>) -> u64 {
    let record = |record: &Record| 8 + 16 + 4 + 4 + record.payload.len() as u64;
    BLOCK_HEADER_SIZE as u64 + records.into_iter().map(record).sum::<u64>()
}

/// Converts a position to the current epoch.
pub(super) fn translate(epochs: &[(u64, u64)], epoch: u64, seq: u64) -> Option<u64> {
    epochs.iter().find(|(known, _)| *known == epoch)?;
    let later = epochs.iter().skip_while(|(known, _)| *known != epoch).skip(1);
    Some(later.fold(seq, |seq, (_, first_seq)| seq.min(first_seq - 1)))
}

/// Returns the positions after opening a journal with this head, and whether an epoch begins.
pub(super) fn opened(stored: &Positions, head: u64, now: u64) -> (Positions, bool) {
    let mut positions = stored.clone();
    let resolved = |stored: &StoredPosition| translate(&positions.epochs, stored.epoch, stored.seq);
    let furthest = positions.readers.values().filter_map(resolved).max();
    let lost = furthest.filter(|furthest| *furthest > head);
    match (positions.epochs.last(), lost) {
        (None, _) => positions.epochs.push((now, 1)),
        (Some((last, _)), Some(lost)) => {
            let last = *last;
            positions.epochs.push((last + 1, lost + 1));
            positions.epochs.push((now.max(last + 2), head + 1));
        }
        (Some(_), None) => {}
    }
    (positions, lost.is_some())
}

impl Reference {
    pub(super) fn oldest(&self) -> u64 {
        self.segments.first().map_or(self.head + 1, |segment| segment.first_seq)
    }

    pub(super) fn bytes(&self) -> u64 {
        self.segments.iter().map(|segment| segment.size).sum()
    }

    pub(super) fn position(&self, stored: Option<&StoredPosition>) -> u64 {
        stored
            .and_then(|stored| translate(&self.current.epochs, stored.epoch, stored.seq))
            .unwrap_or(0)
    }

    /// Appends a block of `count` records and `size` bytes, or returns the reader that prevents it.
    pub(super) fn append(&mut self, count: u64, size: u64, now: u64) -> Result<(), String> {
        self.store_new_readers();
        self.roll(size, now);
        if let Err(holder) = self.free_up(size) {
            self.wanted = Some(size);
            return Err(holder);
        }
        self.wanted = None;
        self.head += count;
        self.segments.last_mut().expect("rolling ensures a segment").size += size;
        Ok(())
    }

    pub(super) fn maintain(&mut self, now: u64) {
        if let Some(wanted) = self.wanted {
            self.store_new_readers();
            self.roll(0, now);
            self.wanted = self.free_up(wanted).is_err().then_some(wanted);
        }
        self.store();
        self.remove_expired(now);
    }

    /// Stores the positions if there is a new consumer, before the next record.
    fn store_new_readers(&mut self) {
        if self.current.readers.keys().any(|name| !self.durable.readers.contains_key(name)) {
            self.store();
        }
    }

    fn store(&mut self) {
        if self.current != self.durable {
            self.durable = self.current.clone();
            self.unsynced_removals.clear();
        }
    }

    /// Seals the last segment if `wanted` more bytes don't fit, and begins the next one.
    fn roll(&mut self, wanted: u64, now: u64) {
        if let Some(last) = self.segments.last_mut().filter(|_| self.is_open) {
            if last.size + wanted <= SEGMENT || last.size == BLOCKS_OFFSET {
                return;
            }
            last.size += (self.head + 1 - last.first_seq) * KEY_SIZE as u64 + TRAILER_SIZE as u64;
        }
        self.segments.push(Segment {
            first_seq: self.head + 1,
            size: BLOCKS_OFFSET,
            created_at: now,
        });
        self.is_open = true;
        self.unsynced_removals.clear();
    }

    /// Removes as few of the oldest segments as are needed for `wanted` bytes; never the last one,
    /// and none that the required consumer is not done with.
    fn free_up(&mut self, wanted: u64) -> Result<(), String> {
        while self.bytes() + wanted > self.max_size && self.segments.len() > 1 {
            let last_seq = self.segments[1].first_seq - 1;
            let needs = |name: &str| self.position(self.durable.readers.get(name)) < last_seq;
            let required = self.held.iter().filter(|(_, hold)| **hold == Hold::Required);
            if let Some((holder, _)) = required.into_iter().find(|(name, _)| needs(name)) {
                return Err(holder.clone());
            }
            self.unsynced_removals.push(self.segments.remove(0));
            self.removed.0 += 1;
        }
        Ok(())
    }

    /// Removes expired segments that all consumers are done with. The age of a segment is that of
    /// the beginning of the next one.
    fn remove_expired(&mut self, now: u64) {
        let committed = |name: &String| self.position(self.durable.readers.get(name));
        let committed = self.held.keys().map(committed).min().unwrap_or(u64::MAX);
        let retain = u64::try_from(RETAIN.as_micros()).unwrap();
        let is_removed =
            |next: &&Segment| next.created_at + retain < now && next.first_seq - 1 <= committed;
        let count = self.segments.iter().skip(1).take_while(is_removed).count();
        self.unsynced_removals.extend(self.segments.drain(..count));
        self.removed.1 += count as u64;
    }

    /// Resolves a position that a consumer stores itself. Returns the position at which it resumes.
    pub(super) fn resolve_own(
        &mut self,
        epoch: u64,
        seq: u64,
        opened_head: u64,
        now: u64,
    ) -> Option<u64> {
        let resolved = translate(&self.current.epochs, epoch, seq)?;
        let (present, _) = *self.current.epochs.last()?;
        if resolved <= opened_head {
            return Some(resolved);
        }
        // The position is after the end of the journal. The other positions stay valid.
        let new_epoch = now.max(present + 1);
        for stored in self.current.readers.values_mut() {
            if let Some(seq) = translate(&self.current.epochs, stored.epoch, stored.seq) {
                (stored.epoch, stored.seq) = (new_epoch, seq);
            }
        }
        self.current.epochs.push((new_epoch, opened_head + 1));
        self.store();
        Some(opened_head)
    }
}
