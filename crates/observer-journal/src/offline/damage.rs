//! What is wrong with a file, in words that say what was lost by it.

use std::fmt;
use std::ops::{Range, RangeInclusive};

/// Something in the files of a journal that is not as it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damage {
    /// What it is.
    pub kind: DamageKind,
    /// The name of the file in the journal's folder.
    pub file: String,
    /// Which bytes of it; none where bytes are missing.
    pub bytes: Range<u64>,
    /// The records that can't be read because of it, where they can be told.
    pub records: Option<RangeInclusive<u64>>,
}

/// What is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum DamageKind {
    /// One of the two headers of a segment. Nothing is lost: it follows from the other one, or from
    /// the records.
    HeaderCopy,
    /// Both headers of a segment, and there is no whole block that they would follow from.
    Header,
    /// Blocks of records.
    Blocks,
    /// The list of keys under a segment. Nothing is lost, the records have them too.
    Footer,
    /// What stands behind the last good block of all: a write that was cut off and never
    /// acknowledged, or records that were.
    Tail,
    /// A segment is not there.
    MissingSegment,
    /// The file of positions can't be read.
    Positions,
    /// The file of positions is not there.
    MissingPositions,
    /// Some reader has had records that the journal does not have.
    End,
}

impl DamageKind {
    /// A name for programs.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::HeaderCopy => "header_copy",
            Self::Header => "header",
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
    /// A short sentence without the file and the bytes.
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
                "no header; what it held is not known".to_owned()
            }
            DamageKind::Header => format!("no header and no whole block; {lost} can't be read"),
            DamageKind::Blocks if self.bytes.is_empty() => {
                format!("the file is cut short; {lost} can't be read")
            }
            DamageKind::Blocks => format!("{lost} can't be read"),
            DamageKind::Footer => "the list of keys is corrupt; nothing is lost".to_owned(),
            DamageKind::Tail => {
                "the end is no whole record: a write that was cut off, or the last records corrupt"
                    .to_owned()
            }
            DamageKind::MissingSegment => format!("the file is missing; {lost} can't be read"),
            DamageKind::Positions => "corrupt; where the sinks stand is lost".to_owned(),
            DamageKind::MissingPositions => {
                "the file is missing; where the sinks stand is lost".to_owned()
            }
            DamageKind::End => format!("the journal has lost its end: a sink has had {lost} of it"),
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
