//! Damage to a file of a journal, with a description of the loss.

use std::fmt;
use std::ops::{Range, RangeInclusive};

/// Damage to a file of a journal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damage {
    /// Kind of the damage.
    pub kind: DamageKind,
    /// Name of the file in the folder of the journal.
    pub file: String,
    /// Damaged bytes of the file; empty if bytes are missing.
    pub bytes: Range<u64>,
    /// Records that can't be read because of the damage; `None` if there are none, or if they are
    /// unknown.
    pub records: Option<RangeInclusive<u64>>,
}

/// Kind of damage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum DamageKind {
    /// One copy of the header of a segment is corrupt. Nothing is lost: the header follows from the
    /// other copy, or from a block.
    HeaderCopy,
    /// Both copies of the header of a segment are corrupt, and no block is valid.
    Header,
    /// One bit of a block is flipped. Nothing is lost: the bit is corrected when the block is read.
    FlippedBit,
    /// Blocks are corrupt or missing.
    Blocks,
    /// The footer of a segment is corrupt. Nothing is lost: the blocks contain the keys, too.
    Footer,
    /// There are bytes after the last valid block of the journal: an interrupted write that was
    /// never acknowledged, or acknowledged records that are corrupt.
    Tail,
    /// A segment is missing.
    MissingSegment,
    /// The file of positions is corrupt.
    Positions,
    /// The file of positions is missing.
    MissingPositions,
    /// The position of a reader is after the last record.
    End,
}

impl DamageKind {
    /// Returns the name for machine-readable output.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::HeaderCopy => "header_copy",
            Self::Header => "header",
            Self::FlippedBit => "flipped_bit",
            Self::Blocks => "blocks",
            Self::Footer => "footer",
            Self::Tail => "tail",
            Self::MissingSegment => "missing_segment",
            Self::Positions => "positions",
            Self::MissingPositions => "missing_positions",
            Self::End => "end",
        }
    }
}

impl Damage {
    /// Returns a short description without the file and the bytes.
    #[must_use]
    pub fn description(&self) -> String {
        let lost = match &self.records {
            Some(records) if records.start() == records.end() => {
                format!("record {}", records.start())
            }
            Some(records) => format!("records {} to {}", records.start(), records.end()),
            None => "no record".to_owned(),
        };
        match self.kind {
            DamageKind::HeaderCopy => "a header is corrupt; nothing is lost".to_owned(),
            DamageKind::Header if self.records.is_none() => {
                "no header; its records are unknown".to_owned()
            }
            DamageKind::Header => format!("no header and no valid block; {lost} can't be read"),
            DamageKind::Blocks if self.bytes.is_empty() => {
                format!("the file is truncated; {lost} can't be read")
            }
            DamageKind::Blocks => format!("{lost} can't be read"),
            DamageKind::FlippedBit => "a bit is flipped; nothing is lost".to_owned(),
            DamageKind::Footer => "the footer is corrupt; nothing is lost".to_owned(),
            DamageKind::Tail => {
                "incomplete bytes at the end: an interrupted write, or corrupt last records"
                    .to_owned()
            }
            DamageKind::MissingSegment => format!("the file is missing; {lost} can't be read"),
            DamageKind::Positions => "corrupt; the positions of the sinks are lost".to_owned(),
            DamageKind::MissingPositions => {
                "the file is missing; the positions of the sinks are lost".to_owned()
            }
            DamageKind::End => {
                format!("the end of the journal is lost: a sink has already received {lost}")
            }
        }
    }
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.file)?;
        if !self.bytes.is_empty() {
            write!(f, "bytes {} to {}: ", self.bytes.start, self.bytes.end - 1)?;
        }
        f.write_str(&self.description())
    }
}
