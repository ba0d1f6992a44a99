//! Records, and the groups in which they are appended and committed.

use std::sync::Arc;

use bytes::Bytes;

use crate::error::AppendError;
use crate::segment::format::TAG_BITS;

/// One opaque record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Time at which the record was received, in microseconds since 1970.
    pub received_at: u64,
    /// Tag of [`MAX_TAG`](Self::MAX_TAG) at most, which is opaque to the journal. Records of a
    /// journal without tags have tag 0.
    pub tag: u16,
    /// Identity of the record.
    pub id: [u8; 16],
    /// CRC-32C of the payload.
    pub checksum: u32,
    /// Content, which is opaque to the journal.
    pub payload: Bytes,
}

impl Record {
    /// Highest tag.
    pub const MAX_TAG: u16 = (1 << TAG_BITS) - 1;

    /// Creates a record with tag 0 and computes its checksum.
    #[must_use]
    pub fn new(received_at: u64, id: [u8; 16], payload: impl Into<Bytes>) -> Self {
        let payload = payload.into();
        Self { received_at, tag: 0, id, checksum: crc32c::crc32c(&payload), payload }
    }

    /// Sets the tag.
    ///
    /// # Panics
    /// If the tag exceeds [`MAX_TAG`](Self::MAX_TAG).
    #[must_use]
    pub fn with_tag(self, tag: u16) -> Self {
        assert!(tag <= Self::MAX_TAG, "the tag {tag} exceeds {}", Self::MAX_TAG);
        Self { tag, ..self }
    }

    /// Returns the key of the record.
    #[must_use]
    pub fn key(&self) -> Key {
        let Self { received_at, tag, id, checksum, .. } = *self;
        Key { received_at, tag, id, checksum }
    }
}

/// Identity of a record and checksum of its payload, by which duplicates are found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Key {
    /// Time at which the record was received, in microseconds since 1970.
    pub received_at: u64,
    /// Tag of the record.
    pub tag: u16,
    /// Identity of the record.
    pub id: [u8; 16],
    /// CRC-32C of the payload.
    pub checksum: u32,
}

/// Records that are committed together or not at all, with a token of the caller.
///
/// The journal returns the token with the [`Group`] in which the append is committed. The token is
/// opaque to the journal; it can be a channel on which the producer waits, for example.
#[derive(Debug)]
pub struct Append<T = ()> {
    pub(crate) records: Vec<Record>,
    token: T,
}

impl<T> Append<T> {
    /// Creates an append of at least one record.
    ///
    /// # Panics
    /// If `records` is empty.
    pub fn new(records: Vec<Record>, token: T) -> Self {
        assert!(!records.is_empty(), "an append has at least one record");
        Self { records, token }
    }

    /// Returns the records and the token.
    pub fn into_parts(self) -> (Vec<Record>, T) {
        (self.records, self.token)
    }

    /// Returns the approximate memory use in bytes.
    pub(crate) fn bytes(&self) -> usize {
        self.records.iter().map(|record| record.payload.len() + 64).sum()
    }
}

/// Appends that were written as one block and synced once, with the result of that commit.
///
/// The callback that [`Journal::open`](crate::Journal::open) takes receives one for each commit.
#[derive(Debug)]
pub struct Group<T = ()> {
    /// The appends in the order of the journal: the records of each follow the records of the one
    /// before it.
    pub appends: Vec<Append<T>>,
    /// Sequence number of the first record, or the reason why none of the records is committed.
    pub result: Result<u64, AppendError>,
}

impl<T> Group<T> {
    /// Returns the number of records in all appends.
    #[must_use]
    pub fn record_count(&self) -> usize {
        self.appends.iter().map(|append| append.records.len()).sum()
    }
}

pub(crate) type OnCommit<T> = Arc<dyn Fn(Group<T>) + Send + Sync>;
