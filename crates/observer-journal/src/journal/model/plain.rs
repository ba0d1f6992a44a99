//! What a journal holds, and what each thing done to it changes, when nothing goes wrong.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::format::{BLOCK_HEADER_SIZE, BLOCKS_OFFSET, KEY_SIZE, TRAILER_SIZE};
use crate::positions::Positions;
use crate::{Hold, Record, StoredPosition};

/// A segment has at most so many bytes, if its first block hasn't more.
pub(super) const SEGMENT: u64 = 4096;
pub(super) const RETAIN: Duration = Duration::from_secs(60);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Segment {
    pub(super) first_seq: u64,
    pub(super) size: u64,
    pub(super) created_at: u64,
}

#[derive(Debug, Clone)]
pub(super) struct Plain {
    pub(super) max_size: u64,
    pub(super) head: u64,
    pub(super) segments: Vec<Segment>,
    /// Removed since their folder was synced last, so they may come back.
    pub(super) undead: Vec<Segment>,
    /// The last segment is written to.
    pub(super) is_open: bool,
    /// There was no room for so many bytes.
    pub(super) wanted: Option<u64>,
    pub(super) said: Positions,
    pub(super) durable: Positions,
    pub(super) held: BTreeMap<String, Hold>,
    /// How many segments went to make room, and how many of age.
    pub(super) gone: (u64, u64),
}

/// A group as one block, in bytes.
pub(super) fn block_size<'a>(records: impl IntoIterator<Item = &'a Record>) -> u64 {
    let record = |record: &Record| 8 + 16 + 4 + 4 + record.payload.len() as u64;
    BLOCK_HEADER_SIZE as u64 + records.into_iter().map(record).sum::<u64>()
}

/// A position in terms of the present epoch.
pub(super) fn resolve(epochs: &[(u64, u64)], epoch: u64, seq: u64) -> Option<u64> {
    epochs.iter().find(|(known, _)| *known == epoch)?;
    let later = epochs.iter().skip_while(|(known, _)| *known != epoch).skip(1);
    Some(later.fold(seq, |seq, (_, first_seq)| seq.min(first_seq - 1)))
}

/// The positions that a journal with this head has when it is opened, and whether an epoch begins.
pub(super) fn opened(stored: &Positions, head: u64, now: u64) -> (Positions, bool) {
    let mut positions = stored.clone();
    let ahead = |stored: &StoredPosition| {
        resolve(&positions.epochs, stored.epoch, stored.seq).is_some_and(|seq| seq > head)
    };
    let lost = positions.readers.values().any(ahead);
    match positions.epochs.last() {
        None => positions.epochs.push((now, 1)),
        Some((last, _)) if lost => positions.epochs.push((now.max(last + 1), head + 1)),
        Some(_) => {}
    }
    (positions, lost)
}

impl Plain {
    pub(super) fn oldest(&self) -> u64 {
        self.segments.first().map_or(self.head + 1, |segment| segment.first_seq)
    }

    pub(super) fn bytes(&self) -> u64 {
        self.segments.iter().map(|segment| segment.size).sum()
    }

    pub(super) fn position(&self, stored: Option<&StoredPosition>) -> u64 {
        stored.and_then(|stored| resolve(&self.said.epochs, stored.epoch, stored.seq)).unwrap_or(0)
    }

    /// A block of so many records in so many bytes. Who keeps it out, if someone does.
    pub(super) fn append(&mut self, count: u64, size: u64, now: u64) -> Result<(), String> {
        self.admit();
        self.roll(size, now);
        if let Err(holder) = self.make_room(size) {
            self.wanted = Some(size);
            return Err(holder);
        }
        self.wanted = None;
        self.head += count;
        self.segments.last_mut().expect("there is one after rolling").size += size;
        Ok(())
    }

    pub(super) fn maintain(&mut self, now: u64) {
        if let Some(wanted) = self.wanted {
            self.admit();
            self.roll(0, now);
            self.wanted = self.make_room(wanted).is_err().then_some(wanted);
        }
        self.store();
        self.retire(now);
    }

    /// Where a new consumer begins is durable before the next record is.
    fn admit(&mut self) {
        if self.said.readers.keys().any(|name| !self.durable.readers.contains_key(name)) {
            self.store();
        }
    }

    fn store(&mut self) {
        if self.said != self.durable {
            self.durable = self.said.clone();
            self.undead.clear();
        }
    }

    /// A segment that is full for so many bytes more is sealed, and the next one begun.
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
        self.undead.clear();
    }

    /// As few of the oldest segments go as give enough room; never the last one, and none that a
    /// required consumer has not settled.
    fn make_room(&mut self, wanted: u64) -> Result<(), String> {
        while self.bytes() + wanted > self.max_size && self.segments.len() > 1 {
            let last_seq = self.segments[1].first_seq - 1;
            let needs = |name: &str| self.position(self.durable.readers.get(name)) < last_seq;
            let required = self.held.iter().filter(|(_, hold)| **hold == Hold::Required);
            if let Some((holder, _)) = required.into_iter().find(|(name, _)| needs(name)) {
                return Err(holder.clone());
            }
            self.undead.push(self.segments.remove(0));
            self.gone.0 += 1;
        }
        Ok(())
    }

    /// What everyone has settled goes when it is old enough. A segment is as old as the next one's
    /// beginning.
    fn retire(&mut self, now: u64) {
        let settled = |name: &String| self.position(self.durable.readers.get(name));
        let settled = self.held.keys().map(settled).min().unwrap_or(u64::MAX);
        let retain = u64::try_from(RETAIN.as_micros()).unwrap();
        let goes =
            |next: &&Segment| next.created_at + retain < now && next.first_seq - 1 <= settled;
        let count = self.segments.iter().skip(1).take_while(goes).count();
        self.undead.extend(self.segments.drain(..count));
        self.gone.1 += count as u64;
    }

    /// A consumer that keeps its position itself comes back with it. Where it goes on from.
    pub(super) fn comes_back(
        &mut self,
        epoch: u64,
        seq: u64,
        opened_head: u64,
        now: u64,
    ) -> Option<u64> {
        let resolved = resolve(&self.said.epochs, epoch, seq)?;
        let (present, _) = *self.said.epochs.last()?;
        if resolved <= opened_head {
            return Some(resolved);
        }
        // It has more than the journal had. The others have read what is there now.
        let fresh = now.max(present + 1);
        for stored in self.said.readers.values_mut() {
            if let Some(seq) = resolve(&self.said.epochs, stored.epoch, stored.seq) {
                (stored.epoch, stored.seq) = (fresh, seq);
            }
        }
        self.said.epochs.push((fresh, opened_head + 1));
        self.store();
        Some(opened_head)
    }
}
