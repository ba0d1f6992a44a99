//! What goes into a journal, and what is said about it.

use std::fmt;

use bytes::Bytes;

use crate::error::AppendError;

/// One opaque record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// When it was received, in microseconds since 1970.
    pub received_at: u64,
    /// Its identity.
    pub id: [u8; 16],
    /// CRC-32C of the payload.
    pub checksum: u32,
    /// Anything.
    pub payload: Bytes,
}

impl Record {
    /// A record with its checksum.
    #[must_use]
    pub fn new(received_at: u64, id: [u8; 16], payload: impl Into<Bytes>) -> Self {
        let payload = payload.into();
        Self { received_at, id, checksum: crc32c::crc32c(&payload), payload }
    }

    /// What is remembered of it for longer.
    #[must_use]
    pub fn key(&self) -> Key {
        Key { received_at: self.received_at, id: self.id, checksum: self.checksum }
    }
}

/// What tells a record from others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Key {
    /// When it was received, in microseconds since 1970.
    pub received_at: u64,
    /// Its identity.
    pub id: [u8; 16],
    /// CRC-32C of the payload.
    pub checksum: u32,
}

/// Records that are committed together, and who wants to know.
pub struct Append {
    pub(crate) records: Vec<Record>,
    pub(crate) done: Done,
}

pub(crate) type Done = Box<dyn FnOnce(Result<Commit, AppendError>) + Send>;

impl Append {
    /// At least one record, and what is to be done when they are committed or are not.
    ///
    /// # Panics
    /// Without records.
    pub fn new(
        records: Vec<Record>,
        done: impl FnOnce(Result<Commit, AppendError>) + Send + 'static,
    ) -> Self {
        assert!(!records.is_empty(), "an append has at least one record");
        Self { records, done: Box::new(done) }
    }

    pub(crate) fn bytes(&self) -> usize {
        self.records.iter().map(|record| record.payload.len() + 64).sum()
    }
}

impl fmt::Debug for Append {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Append").field("records", &self.records).finish_non_exhaustive()
    }
}

/// Records as they were committed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Commit {
    /// Of the first record; the others follow.
    pub first_seq: u64,
    /// As they were appended.
    pub records: Vec<Record>,
}
