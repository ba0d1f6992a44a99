//! Check of one segment: reads it to its end.

use std::io;
use std::ops::{Range, RangeInclusive};
use std::sync::Arc;

use bytes::Bytes;

use super::{Damage, DamageKind, SegmentState, SegmentSummary};
use crate::fs::File;
use crate::segment::format::{BLOCKS_OFFSET, FooterBuilder, HEADER_SIZE, KEY_SIZE, TRAILER_SIZE};
use crate::segment::{Segment, scan, written_after};

/// Result of checking one segment.
pub(super) struct SegmentCheck {
    pub(super) summary: SegmentSummary,
    pub(super) damage: Vec<Damage>,
    /// Offsets of blocks with a flipped bit, and these blocks with the bit corrected.
    pub(super) corrections: Vec<(u64, Bytes)>,
    /// Offset of the end of the last valid block.
    pub(super) end: u64,
    /// True if the file ends with a valid trailer, which contains the number of records.
    pub(super) has_trailer: bool,
    /// Footer and trailer that belong after the last block; `None` if a record can't be read.
    pub(super) footer: Option<Vec<u8>>,
}

impl SegmentCheck {
    pub(super) fn has(&self, kind: DamageKind) -> bool {
        self.damaged(kind).is_some()
    }

    fn damaged(&self, kind: DamageKind) -> Option<Range<u64>> {
        self.damage.iter().find(|damage| damage.kind == kind).map(|damage| damage.bytes.clone())
    }

    /// Returns the bytes after the last block that a repair replaces, and the footer that it writes
    /// in their place, if any.
    pub(super) fn replaced_end(&self) -> Option<(Range<u64>, Option<&[u8]>)> {
        if let (Some(bytes), Some(footer)) = (self.damaged(DamageKind::Footer), &self.footer) {
            return Some((bytes, Some(footer)));
        }
        // Opening would remove these bytes of the last segment, too, without a copy. A valid
        // trailer is kept, since it contains the number of records.
        let unreadable = || self.damaged(DamageKind::Footer).filter(|_| !self.has_trailer);
        let bytes = self.damaged(DamageKind::Tail).or_else(unreadable)?;
        Some((bytes, None))
    }

    /// Returns whether a repair changes the file.
    pub(super) fn is_repairable(&self) -> bool {
        !self.corrections.is_empty()
            || self.has(DamageKind::HeaderCopy)
            || self.replaced_end().is_some()
    }

    /// Checks a segment. `next` is the first record of the next segment.
    pub(super) fn run(
        segment: &Segment,
        next: Option<u64>,
        file: Arc<dyn File>,
    ) -> io::Result<Self> {
        let size = file.size()?;
        let mut report = DamageReport { segment, damage: Vec::new() };
        report.headers(&*file)?;

        // After a failed sync, the next segment may begin before the last block of this one ends.
        let limit = next.map_or(u64::MAX, |next| next - 1);
        let (mut head, mut valid_until, mut records) =
            (segment.name.first_seq - 1, BLOCKS_OFFSET, 0);
        let (mut keys, mut corrections) = (FooterBuilder::default(), Vec::new());
        let end = scan(segment, file.clone(), |block| {
            let first_seq = block.first_seq.min(limit.saturating_add(1));
            if first_seq > head + 1 {
                report.lost(valid_until..block.offset, head + 1..=first_seq - 1);
            }
            let last_seq = block.last_seq.min(limit);
            records += (last_seq + 1).saturating_sub(block.first_seq);
            head = head.max(last_seq);
            valid_until = block.end;
            block.keys.iter().for_each(|(_, key)| keys.push(key));
            if let Some(corrected) = block.corrected {
                report.found(DamageKind::FlippedBit, block.offset..block.end);
                corrections.push((block.offset, corrected));
            }
        })?;
        let is_complete = records > 0
            && records == keys.count() as u64
            && records == head + 1 - segment.name.first_seq;
        let footer = keys.finish(segment.salt(), segment.name.first_seq);

        let mut state = SegmentState::Open;
        let mut last_seq = next.map_or(head, |next| next - 1);
        let trailer = segment.trailer(&*file)?;
        let has_trailer = trailer.is_some();
        if let Some((trailer, at)) = trailer {
            last_seq = (trailer.first_seq + trailer.count - 1).min(limit);
            if head < last_seq {
                report.lost(end..at, head + 1..=last_seq);
            }
            let found = read(&*file, at, size - TRAILER_SIZE as u64)?;
            if trailer.decode_footer(segment.salt(), &found).is_some() {
                state = SegmentState::Sealed;
            } else {
                report.found(DamageKind::Footer, at..size);
            }
        } else if head < last_seq {
            report.lost(end..size, head + 1..=last_seq);
        } else {
            let after = end..end + written_after(&*file, end)?;
            let is_footer =
                || Ok::<_, io::Error>(next.is_some() || is_footer(&*file, end, &footer)?);
            if !after.is_empty() {
                let kind = if is_footer()? { DamageKind::Footer } else { DamageKind::Tail };
                report.found(kind, after);
            }
        }
        let summary = SegmentSummary {
            file: segment.name.to_string(),
            first_seq: segment.name.first_seq,
            last_seq,
            records,
            bytes: size,
            state,
        };
        let footer = (is_complete && head == last_seq).then_some(footer);
        Ok(Self { summary, damage: report.damage, corrections, end, has_trailer, footer })
    }
}

/// Returns whether the bytes at `end` begin or end like the footer that belongs there.
fn is_footer(file: &dyn File, end: u64, footer: &[u8]) -> io::Result<bool> {
    let found = read(file, end, end + footer.len() as u64)?;
    Ok(found.starts_with(&footer[..KEY_SIZE.min(footer.len())])
        || found.ends_with(&footer[footer.len() - TRAILER_SIZE..]))
}

fn read(file: &dyn File, from: u64, to: u64) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; usize::try_from(to.saturating_sub(from)).map_err(io::Error::other)?];
    let count = file.read_at(&mut bytes, from)?;
    bytes.truncate(count);
    Ok(bytes)
}

/// Damage of a segment so far.
struct DamageReport<'a> {
    segment: &'a Segment,
    damage: Vec<Damage>,
}

impl DamageReport<'_> {
    /// Reports the corrupt copies of the header.
    fn headers(&mut self, file: &dyn File) -> io::Result<()> {
        let (expected, found) = (self.segment.header.encode(), read(file, 0, BLOCKS_OFFSET)?);
        for (at, expected) in (0..).step_by(HEADER_SIZE).zip(expected.chunks_exact(HEADER_SIZE)) {
            let copy = &found[found.len().min(at)..found.len().min(at + HEADER_SIZE)];
            if copy != expected {
                self.found(DamageKind::HeaderCopy, at as u64..(at + copy.len()) as u64);
            }
        }
        Ok(())
    }

    /// Reports corrupt or missing blocks. `bytes` is empty if the file ends before them.
    fn lost(&mut self, bytes: Range<u64>, records: RangeInclusive<u64>) {
        let bytes = bytes.start.min(bytes.end)..bytes.end;
        let file = self.segment.name.to_string();
        self.damage.push(Damage { kind: DamageKind::Blocks, file, bytes, records: Some(records) });
    }

    /// Reports damage by which no record is lost.
    fn found(&mut self, kind: DamageKind, bytes: Range<u64>) {
        self.damage.push(Damage {
            kind,
            file: self.segment.name.to_string(),
            bytes,
            records: None,
        });
    }
}
