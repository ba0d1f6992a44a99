//! Reads every byte of a journal, and changes none.

use super::segment_check::Look;
use super::{Damage, DamageKind, read_positions};
use crate::error::OpenError;
use crate::fs::OpenMode;
use crate::options::Options;
use crate::positions::{self, Found};
use crate::segment::SegmentName;
use crate::segment::layout::{Layout, Unreadable};

/// What the files of a journal hold.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Inspection {
    /// The last record; 0 before the first.
    pub head: u64,
    /// The oldest record that should be there; one past the head when there is none.
    pub oldest: u64,
    /// How many records can be read.
    pub records: u64,
    /// Those with a header, oldest first.
    pub segments: Vec<SegmentSummary>,
    /// Everything that is not as it was written, in the order of the journal.
    pub damage: Vec<Damage>,
    /// Where every reader stands, also those that are not there now.
    pub readers: Vec<ReaderPosition>,
}

/// A segment whose header can be read.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct SegmentSummary {
    /// The name of the file in the journal's folder.
    pub file: String,
    /// The record that it begins with.
    pub first_seq: u64,
    /// The last record that it should hold; one before `first_seq` when there is none.
    pub last_seq: u64,
    /// How many of them can be read.
    pub records: u64,
    /// The size of the file.
    pub bytes: u64,
    /// How it ends.
    pub state: SegmentState,
}

/// How a segment ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SegmentState {
    /// With the list of its keys: nothing is written to it any more.
    Sealed,
    /// With its last block, or in what should be the list of keys.
    Open,
}

/// How far a reader has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReaderPosition {
    /// Its name.
    pub name: String,
    /// The last record that it has settled, in terms of the present epoch.
    pub seq: u64,
}

pub(super) fn inspect(options: &Options) -> Result<Inspection, OpenError> {
    let (fs, dir) = (&*options.fs, &options.dir);
    let layout = Layout::read(fs, dir)?;
    let mut found = Inspection::default();
    // One past the last record that is accounted for; `None` before the first segment.
    let mut next_seq = None;
    let mut nameless = layout.unreadable.iter().peekable();
    for (at, segment) in layout.segments.iter().enumerate() {
        let first_seq = segment.name.first_seq;
        while let Some(file) = nameless.next_if(|file| file.name < segment.name) {
            let following =
                nameless.peek().map_or(first_seq, |next| next.name.first_seq.min(first_seq));
            missing_between(&mut next_seq, file.name.first_seq, &mut found.damage);
            found.damage.push(header_lost(file, Some(following)));
            next_seq = Some(following);
        }
        missing_between(&mut next_seq, first_seq, &mut found.damage);
        let next = layout.next_after(at);
        let path = segment.name.path(dir);
        let looked = fs.open(&path, OpenMode::Read).and_then(|file| Look::at(segment, next, file));
        let Look { summary, damage, .. } = looked.map_err(OpenError::io("read", &path))?;
        next_seq = Some(summary.last_seq + 1);
        found.head = summary.last_seq;
        found.records += summary.records;
        found.segments.push(summary);
        found.damage.extend(damage);
    }
    while let Some(file) = nameless.next() {
        missing_between(&mut next_seq, file.name.first_seq, &mut found.damage);
        let following = nameless.peek().map(|next| next.name.first_seq);
        found.damage.push(header_lost(file, following));
        next_seq = following;
    }
    let oldest = layout.segments.front().map(|segment| segment.name.first_seq);
    let unreadable = layout.unreadable.first().map(|file| file.name.first_seq);
    found.oldest = oldest.into_iter().chain(unreadable).min().unwrap_or(found.head + 1);
    readers(options, &layout, &mut found)?;
    Ok(found)
}

fn readers(options: &Options, layout: &Layout, found: &mut Inspection) -> Result<(), OpenError> {
    let damage =
        |kind, bytes, records| Damage { kind, file: positions::FILE.to_owned(), bytes, records };
    match read_positions(options)? {
        Found::Missing if layout.segments.is_empty() => {}
        Found::Missing => found.damage.push(damage(DamageKind::MissingPositions, 0..0, None)),
        Found::Corrupt { size } => found.damage.push(damage(DamageKind::Positions, 0..size, None)),
        Found::Valid(positions) => {
            let resolved = positions.readers.iter().map(|(name, stored)| ReaderPosition {
                name: name.clone(),
                seq: positions.resolve(stored.epoch, stored.seq).unwrap_or(0),
            });
            found.readers = resolved.collect();
            let furthest = found.readers.iter().map(|reader| reader.seq).max().unwrap_or(0);
            if furthest > found.head {
                let (file, records) = (last_file(layout), Some(found.head + 1..=furthest));
                found.damage.push(Damage { kind: DamageKind::End, file, bytes: 0..0, records });
            }
        }
    }
    Ok(())
}

/// Where the end of the journal should be.
fn last_file(layout: &Layout) -> String {
    layout
        .segments
        .back()
        .map_or_else(|| positions::FILE.to_owned(), |segment| segment.name.to_string())
}

fn header_lost(file: &Unreadable, following: Option<u64>) -> Damage {
    let first_seq = file.name.first_seq;
    let records = following.filter(|next| *next > first_seq).map(|next| first_seq..=next - 1);
    Damage { kind: DamageKind::Header, file: file.name.to_string(), bytes: 0..file.size, records }
}

/// What no segment accounts for before the one that begins at `first_seq`.
fn missing_between(next_seq: &mut Option<u64>, first_seq: u64, damage: &mut Vec<Damage>) {
    if let Some(next) = next_seq.filter(|next| *next < first_seq) {
        let file = SegmentName { first_seq: next, generation: 0 }.to_string();
        let records = Some(next..=first_seq - 1);
        damage.push(Damage { kind: DamageKind::MissingSegment, file, bytes: 0..0, records });
    }
}
