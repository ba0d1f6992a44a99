//! Inspection of a journal: reads all of its bytes and changes none.

use std::ops::RangeInclusive;

use super::segment_check::SegmentCheck;
use super::{Damage, DamageKind, read_positions};
use crate::error::OpenError;
use crate::fs::OpenMode;
use crate::options::Options;
use crate::positions::{self, Found};
use crate::segment::SegmentName;
use crate::segment::layout::{Layout, Unreadable};

/// Report about the files of a journal.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Inspection {
    /// Last record; 0 before the first.
    pub head: u64,
    /// Oldest record that should be there; `head + 1` if there is none.
    pub oldest: u64,
    /// Number of readable records.
    pub records: u64,
    /// Segments with a usable header, oldest first.
    pub segments: Vec<SegmentSummary>,
    /// All damage, in the order of the records.
    pub damage: Vec<Damage>,
    /// True if a repair would change a file.
    pub is_repairable: bool,
    /// Records that the journal lost at its end before, oldest loss first. Later records may have
    /// their sequence numbers.
    pub lost_ends: Vec<RangeInclusive<u64>>,
    /// Position of every reader.
    pub readers: Vec<ReaderPosition>,
}

/// Summary of a segment with a usable header.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct SegmentSummary {
    /// Name of the file in the folder of the journal.
    pub file: String,
    /// First record.
    pub first_seq: u64,
    /// Last record that it should contain; `first_seq - 1` if there is none.
    pub last_seq: u64,
    /// Number of readable records.
    pub records: u64,
    /// Size of the file in bytes.
    pub bytes: u64,
    /// State of the segment.
    pub state: SegmentState,
}

/// State of a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SegmentState {
    /// The segment ends with a valid footer and is complete.
    Sealed,
    /// The segment has no valid footer.
    Open,
}

/// Position of a reader.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReaderPosition {
    /// Name of the reader.
    pub name: String,
    /// Last record that the reader is done with, converted to the current epoch.
    pub seq: u64,
}

pub(super) fn inspect(options: &Options) -> Result<Inspection, OpenError> {
    let (fs, dir) = (&*options.fs, &options.dir);
    let layout = Layout::read(fs, dir)?;
    let mut found = Inspection::default();
    // First record after the segments so far; `None` before the first segment.
    let mut next_seq = None;
    let mut unreadable = layout.unreadable.iter().peekable();
    for (at, segment) in layout.segments.iter().enumerate() {
        let first_seq = segment.name.first_seq;
        while let Some(file) = unreadable.next_if(|file| file.name < segment.name) {
            let following =
                unreadable.peek().map_or(first_seq, |next| next.name.first_seq.min(first_seq));
            report_missing(&mut next_seq, file.name.first_seq, &mut found.damage);
            found.damage.push(header_lost(file, Some(following)));
            next_seq = Some(following);
        }
        report_missing(&mut next_seq, first_seq, &mut found.damage);
        let next = layout.next_after(at);
        let path = segment.name.path(dir);
        let checked =
            fs.open(&path, OpenMode::Read).and_then(|file| SegmentCheck::run(segment, next, file));
        let checked = checked.map_err(OpenError::io("read", &path))?;
        found.is_repairable |= checked.is_repairable();
        let SegmentCheck { summary, damage, .. } = checked;
        next_seq = Some(summary.last_seq + 1);
        found.head = summary.last_seq;
        found.records += summary.records;
        found.segments.push(summary);
        found.damage.extend(damage);
    }
    while let Some(file) = unreadable.next() {
        report_missing(&mut next_seq, file.name.first_seq, &mut found.damage);
        let following = unreadable.peek().map(|next| next.name.first_seq);
        found.damage.push(header_lost(file, following));
        next_seq = following;
    }
    let oldest = layout.segments.front().map(|segment| segment.name.first_seq);
    let oldest_unreadable = layout.unreadable.first().map(|file| file.name.first_seq);
    found.oldest = oldest.into_iter().chain(oldest_unreadable).min().unwrap_or(found.head + 1);
    found.is_repairable |= !(layout.unreadable.is_empty() && layout.superseded.is_empty());
    readers(options, &layout, &mut found)?;
    Ok(found)
}

fn readers(options: &Options, layout: &Layout, found: &mut Inspection) -> Result<(), OpenError> {
    let damage =
        |kind, bytes, records| Damage { kind, file: positions::FILE.to_owned(), bytes, records };
    match read_positions(options)? {
        Found::Missing if layout.segments.is_empty() => {}
        Found::Missing => {
            found.is_repairable = true;
            found.damage.push(damage(DamageKind::MissingPositions, 0..0, None));
        }
        Found::Corrupt { size } => {
            found.is_repairable = true;
            found.damage.push(damage(DamageKind::Positions, 0..size, None));
        }
        Found::Valid(positions) => {
            let resolved = positions.readers.iter().map(|(name, stored)| ReaderPosition {
                name: name.clone(),
                seq: positions.translate(stored.epoch, stored.seq).unwrap_or(0),
            });
            found.readers = resolved.collect();
            found.lost_ends = positions.lost_ends();
            let furthest = found.readers.iter().map(|reader| reader.seq).max().unwrap_or(0);
            if furthest > found.head {
                found.is_repairable = true;
                let (file, records) = (last_file(layout), Some(found.head + 1..=furthest));
                found.damage.push(Damage { kind: DamageKind::End, file, bytes: 0..0, records });
            }
        }
    }
    Ok(())
}

/// Returns the name of the file in which the last records should be.
fn last_file(layout: &Layout) -> String {
    layout
        .segments
        .back()
        .map_or_else(|| positions::FILE.to_owned(), |segment| segment.name.to_string())
}

/// Returns the damage of a file without a usable header. `following` is the next known record.
fn header_lost(file: &Unreadable, following: Option<u64>) -> Damage {
    let first_seq = file.name.first_seq;
    let records = following.filter(|next| *next > first_seq).map(|next| first_seq..=next - 1);
    Damage { kind: DamageKind::Header, file: file.name.to_string(), bytes: 0..file.size, records }
}

/// Reports the records between the segments so far and the one that begins at `first_seq`.
fn report_missing(next_seq: &mut Option<u64>, first_seq: u64, damage: &mut Vec<Damage>) {
    if let Some(next) = next_seq.filter(|next| *next < first_seq) {
        let file = SegmentName { first_seq: next, generation: 0 }.to_string();
        let records = Some(next..=first_seq - 1);
        damage.push(Damage { kind: DamageKind::MissingSegment, file, bytes: 0..0, records });
    }
}
