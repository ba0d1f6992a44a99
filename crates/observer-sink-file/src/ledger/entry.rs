//! State of one file in the ledger.

use serde::{Deserialize, Serialize};

use crate::disk::Identity;

/// State of a file that the sink wrote.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Entry {
    pub(crate) kind: Kind,
    #[serde(flatten)]
    pub(crate) identity: Identity,
    /// Length of a closed or compressed file, in bytes. Of an open file, the length at the time of
    /// the entry; it only grows.
    pub(crate) len: u64,
    /// CRC-32 of the last line before `len` with its line feed, or of the last 4 KiB of a
    /// compressed file; 0 for an empty file.
    pub(crate) end: u32,
    /// Date of the newest event by the trusted time, in seconds since 1970. 0 if there is none yet.
    pub(crate) newest: i64,
}

/// Kind of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Kind {
    /// More lines are appended.
    Open,
    /// Complete: it is compressed or deleted next, and never opened for writing.
    Closed,
    /// Compressed, and never opened for writing.
    Packed,
    /// Unfinished compression.
    Temporary,
    /// Deleted, renamed by another program, or no longer recognised.
    Gone,
}
