//! On-disk format of a segment.
//!
//! All integers are unsigned and little-endian. Times are microseconds since 1970-01-01 UTC.
//! Sequence numbers start at 1 and are consecutive.
//!
//! ```text
//! segment = header header block* [footer trailer] zero*
//! ```
//!
//! The header is stored twice, because a bad sector may destroy one copy. If both are corrupt, the
//! header is rebuilt from the first valid block. A segment that is open for writing has no footer;
//! zeros may follow its last block, since space is allocated ahead of the blocks. A sealed segment
//! ends with its footer and trailer, and is never written again.
//!
//! If several files have the same `first_seq`, the one with the highest generation counts. A later
//! generation is created when a sync of the earlier one failed.
//!
//! # Header, 44 bytes, at offsets 0 and 44
//!
//! | offset | size | field                                                                  |
//! |-------:|-----:|------------------------------------------------------------------------|
//! |      0 |    8 | magic `OBSVLOG2`; its last byte is the version                         |
//! |      8 |    8 | `epoch` in which the records were committed                            |
//! |     16 |    8 | `first_seq`, sequence number of the first record                       |
//! |     24 |    8 | `created_at`, time at which the segment was created                    |
//! |     32 |    8 | `salt`, random                                                         |
//! |     40 |    4 | CRC-32C of bytes 0 to 39, not salted                                   |
//!
//! # Block, 32 bytes and `length`, from offset 88 on
//!
//! One block is one commit. If the last block is not complete, none of its records counts. A
//! corrupt block before another one, or before a trailer, was complete once: those of its records
//! that are valid count, see [`salvage`](super::salvage).
//!
//! | offset |     size | field                                                              |
//! |-------:|---------:|--------------------------------------------------------------------|
//! |      0 |        4 | magic `0xB10C_0B62` (bytes `62 0B 0C B1`)                          |
//! |      4 |        8 | `epoch`, the same as in the header of the segment                  |
//! |     12 |        8 | `first_seq`, sequence number of the first record                   |
//! |     20 |        4 | `count` of records, at least 1                                     |
//! |     24 |        4 | `length` of all records in bytes                                   |
//! |     28 |        4 | salted CRC-32C of bytes 4 to 27 and the records                    |
//! |     32 | `length` | records, without padding                                           |
//!
//! A valid block is ignored if its `first_seq` is not above the records before it, or if its epoch
//! is not the one of the header: such a block was left over from earlier use of the space.
//!
//! # Record, 32 bytes and `length`
//!
//! | offset |     size | field                                                              |
//! |-------:|---------:|--------------------------------------------------------------------|
//! |      0 |        8 | `stamp`: time of receipt in bits 0 to 53, `tag` in bits 54 to 63   |
//! |      8 |       16 | `id`                                                               |
//! |     24 |        4 | `checksum`, CRC-32C of the payload, not salted                     |
//! |     28 |        4 | `length` of the payload in bytes                                   |
//! |     32 | `length` | payload                                                            |
//!
//! `checksum` has no salt, so that two payloads can be compared by their keys. The tag is opaque to
//! the journal. 54 bits of microseconds reach to the year 2540; a later time is stored as the
//! latest possible one.
//!
//! # Footer, 28 bytes for each record of the segment
//!
//! | offset | size | field                                                                  |
//! |-------:|-----:|------------------------------------------------------------------------|
//! |      0 |    8 | `stamp`                                                                |
//! |      8 |   16 | `id`                                                                   |
//! |     24 |    4 | `checksum`                                                             |
//!
//! # Trailer, the last 32 bytes of a sealed segment
//!
//! | offset | size | field                                                                  |
//! |-------:|-----:|------------------------------------------------------------------------|
//! |      0 |    8 | `first_seq`, sequence number of the first record                       |
//! |      8 |    8 | `count` of keys in the footer                                          |
//! |     16 |    4 | salted CRC-32C of the footer                                           |
//! |     20 |    4 | salted CRC-32C of bytes 0 to 19 and 24 to 31                           |
//! |     24 |    8 | magic `OBSVEND1`; its last byte is the version                         |
//!
//! # Salted checksums
//!
//! A salted checksum continues the CRC-32C of the 8 bytes of the segment's `salt` over the covered
//! bytes. Without the salt, a payload could contain bytes that pass for a block.
//!
//! # Versions
//!
//! | version | magic of a segment | magic of a block | change                                     |
//! |--------:|--------------------|------------------|--------------------------------------------|
//! |       1 | `OBSVLOG1`         | `0xB10C_0B5E`    |                                            |
//! |       2 | `OBSVLOG2`         | `0xB10C_0B62`    | records have a tag, which was always 0     |
//!
//! New segments have version 2; both are read. No block is added to a segment of version 1. The
//! magic of a block tells the versions apart when a header is rebuilt, and keeps a program that
//! knows only version 1 from rebuilding one.
//!
//! The footer and the trailer are the same in both versions. Every later version of a segment
//! begins with the bytes `OBSVLOG` and its version, by which this program refuses to open the
//! journal.

use bytes::Bytes;

use crate::{Key, Record};

pub(crate) const HEADER_SIZE: usize = 44;
/// Offset of the first block of a segment, in bytes.
pub(crate) const BLOCKS_OFFSET: u64 = 2 * HEADER_SIZE as u64;
pub(crate) const BLOCK_HEADER_SIZE: usize = 32;
pub(crate) const RECORD_HEADER_SIZE: usize = 32;
pub(crate) const KEY_SIZE: usize = 28;
pub(crate) const TRAILER_SIZE: usize = 32;

const END_MAGIC: [u8; 8] = *b"OBSVEND1";

/// Number of bits of a tag.
pub(crate) const TAG_BITS: u32 = 10;
/// Number of bits of a time.
const TIME_BITS: u32 = u64::BITS - TAG_BITS;

/// Version of the format of a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Version {
    V1,
    V2,
}

impl Version {
    /// Version of new segments.
    pub(crate) const CURRENT: Self = Self::V2;
    const ALL: [Self; 2] = [Self::V1, Self::V2];

    const fn segment_magic(self) -> [u8; 8] {
        match self {
            Self::V1 => *b"OBSVLOG1",
            Self::V2 => *b"OBSVLOG2",
        }
    }

    /// Number of the version.
    pub(crate) const fn number(self) -> u32 {
        match self {
            Self::V1 => 1,
            Self::V2 => 2,
        }
    }

    pub(crate) const fn block_magic(self) -> [u8; BLOCK_MAGIC_SIZE] {
        match self {
            Self::V1 => 0xB10C_0B5E_u32.to_le_bytes(),
            Self::V2 => 0xB10C_0B62_u32.to_le_bytes(),
        }
    }

    fn of_segment(bytes: &[u8]) -> Option<Self> {
        Self::ALL.into_iter().find(|version| bytes.starts_with(&version.segment_magic()))
    }

    /// Returns the version of the block that begins with `bytes`; `None` if they are no magic.
    pub(crate) fn of_block(bytes: &[u8]) -> Option<Self> {
        Self::ALL.into_iter().find(|version| bytes.starts_with(&version.block_magic()))
    }
}

/// Size of the magic of a block, in bytes.
pub(crate) const BLOCK_MAGIC_SIZE: usize = 4;

/// Encodes the time of receipt and the tag of a record.
fn stamp(received_at: u64, tag: u16) -> [u8; 8] {
    let latest = (1 << TIME_BITS) - 1;
    (received_at.min(latest) | u64::from(tag) << TIME_BITS).to_le_bytes()
}

/// Reads fields from the front of a slice, whose length the caller has checked.
struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn take<const N: usize>(&mut self) -> [u8; N] {
        let (front, rest) = self.0.split_first_chunk().expect("the caller checked the length");
        self.0 = rest;
        *front
    }

    fn u64(&mut self) -> u64 {
        u64::from_le_bytes(self.take())
    }

    fn u32(&mut self) -> u32 {
        u32::from_le_bytes(self.take())
    }

    /// Reads the time of receipt and the tag of a record.
    fn stamp(&mut self) -> (u64, u16) {
        let stamp = self.u64();
        let tag = u16::try_from(stamp >> TIME_BITS).expect("a tag has 10 bits");
        (stamp & ((1 << TIME_BITS) - 1), tag)
    }
}

/// Header of a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SegmentHeader {
    pub(crate) version: Version,
    pub(crate) epoch: u64,
    pub(crate) first_seq: u64,
    pub(crate) created_at: u64,
    pub(crate) salt: u64,
}

impl SegmentHeader {
    /// Returns both copies of the encoded header.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(2 * HEADER_SIZE);
        bytes.extend(self.version.segment_magic());
        for field in [self.epoch, self.first_seq, self.created_at, self.salt] {
            bytes.extend(field.to_le_bytes());
        }
        bytes.extend(crc32c::crc32c(&bytes).to_le_bytes());
        bytes.extend_from_within(..);
        bytes
    }

    /// Returns the version of a segment whose header can't be decoded, if it is later than those
    /// that this program knows. A corrupt copy beside one of a known version is not.
    pub(crate) fn newer(bytes: &[u8]) -> Option<String> {
        let second = bytes.get(HEADER_SIZE..).unwrap_or_default();
        newer_version(bytes, Version::CURRENT.segment_magic())
            .filter(|_| Version::of_segment(second).is_none())
    }

    /// Decodes the first valid copy in the first bytes of a file.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        bytes.chunks_exact(HEADER_SIZE).take(2).find_map(|copy| {
            let (covered, crc) = copy.split_at(HEADER_SIZE - 4);
            if crc32c::crc32c(covered).to_le_bytes() != crc {
                return None;
            }
            let version = Version::of_segment(covered)?;
            let mut fields = Fields(&covered[version.segment_magic().len()..]);
            Some(Self {
                version,
                epoch: fields.u64(),
                first_seq: fields.u64(),
                created_at: fields.u64(),
                salt: fields.u64(),
            })
        })
    }
}

/// Returns the version at the start of a file if it is later than those that this program knows.
/// All versions begin with a magic whose last byte is the version, a digit or a letter.
pub(crate) fn newer_version(bytes: &[u8], magic: [u8; 8]) -> Option<String> {
    let (prefix, known) = magic.split_at(magic.len() - 1);
    let found = *bytes.strip_prefix(prefix)?.first()?;
    (found.is_ascii_alphanumeric() && found > known[0]).then(|| char::from(found).to_string())
}

/// Initial value of the salted checksums of a segment.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Salt(u32);

impl From<u64> for Salt {
    fn from(salt: u64) -> Self {
        Self(crc32c::crc32c(&salt.to_le_bytes()))
    }
}

impl Salt {
    /// Returns the checksum of a block.
    ///
    /// # Panics
    /// If the block is shorter than its header.
    pub(crate) fn block_crc(self, block: &[u8]) -> u32 {
        self.crc([&block[4..28], &block[BLOCK_HEADER_SIZE..]])
    }

    fn crc(self, parts: [&[u8]; 2]) -> u32 {
        parts.into_iter().fold(self.0, crc32c::crc32c_append)
    }
}

/// Header of a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct BlockHeader {
    pub(crate) version: Version,
    pub(crate) epoch: u64,
    pub(crate) first_seq: u64,
    pub(crate) count: u32,
    /// Size of the records, in bytes.
    pub(crate) length: u32,
    pub(crate) crc: u32,
}

impl BlockHeader {
    /// Decodes the first bytes of a block; `None` if they are no block header. The checksum is not
    /// verified.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        if bytes.len() < BLOCK_HEADER_SIZE {
            return None;
        }
        let version = Version::of_block(bytes)?;
        let mut fields = Fields(&bytes[BLOCK_MAGIC_SIZE..]);
        let (epoch, first_seq, count, length, crc) =
            (fields.u64(), fields.u64(), fields.u32(), fields.u32(), fields.u32());
        Some(Self { version, epoch, first_seq, count, length, crc })
    }

    pub(crate) fn last_seq(&self) -> u64 {
        self.first_seq + u64::from(self.count) - 1
    }

    /// Returns the size of header and records, in bytes.
    pub(crate) fn size(&self) -> u64 {
        BLOCK_HEADER_SIZE as u64 + u64::from(self.length)
    }
}

/// Capacity in bytes up to which a block's buffer is reused.
const MAX_KEPT_CAPACITY: usize = 8 << 20;

/// Encoder of one block.
#[derive(Debug, Default)]
pub(crate) struct BlockBuilder {
    bytes: Vec<u8>,
    count: u32,
}

impl BlockBuilder {
    pub(crate) fn push(&mut self, record: &Record) {
        if self.bytes.is_empty() {
            self.bytes.resize(BLOCK_HEADER_SIZE, 0);
        }
        let length =
            u32::try_from(record.payload.len()).expect("ingest limits a payload far below 4 GiB");
        self.bytes.extend(stamp(record.received_at, record.tag));
        self.bytes.extend(record.id);
        self.bytes.extend(record.checksum.to_le_bytes());
        self.bytes.extend(length.to_le_bytes());
        self.bytes.extend_from_slice(&record.payload);
        self.count += 1;
    }

    /// Returns the size of the block so far, in bytes.
    pub(crate) fn size(&self) -> usize {
        self.bytes.len()
    }

    /// Fills in the header and returns the encoded block, which has the current version.
    pub(crate) fn finish(&mut self, salt: Salt, epoch: u64, first_seq: u64) -> &[u8] {
        let length = u32::try_from(self.bytes.len() - BLOCK_HEADER_SIZE)
            .expect("a group is limited far below 4 GiB");
        let (header, records) = self.bytes.split_at_mut(BLOCK_HEADER_SIZE);
        header[..4].copy_from_slice(&Version::CURRENT.block_magic());
        header[4..12].copy_from_slice(&epoch.to_le_bytes());
        header[12..20].copy_from_slice(&first_seq.to_le_bytes());
        header[20..24].copy_from_slice(&self.count.to_le_bytes());
        header[24..28].copy_from_slice(&length.to_le_bytes());
        let crc = salt.crc([&header[4..28], records]);
        header[28..].copy_from_slice(&crc.to_le_bytes());
        &self.bytes
    }

    /// Removes all records, and frees the memory of an unusually large block.
    pub(crate) fn clear(&mut self) {
        if self.bytes.capacity() > MAX_KEPT_CAPACITY {
            self.bytes = Vec::new();
        }
        self.bytes.clear();
        self.count = 0;
    }
}

/// Decodes a block, whose payloads share the memory of `block`; `None` if the block is corrupt.
pub(crate) fn decode_block(salt: Salt, block: &Bytes) -> Option<(BlockHeader, Vec<Record>)> {
    let header = BlockHeader::decode(block)?;
    let size = usize::try_from(header.size()).ok().filter(|size| *size == block.len())?;
    if header.count == 0 || salt.block_crc(block) != header.crc {
        return None;
    }
    let mut records = Vec::with_capacity(header.count as usize);
    let mut at = BLOCK_HEADER_SIZE;
    for _ in 0..header.count {
        let record = decode_record(block, at)?;
        at += RECORD_HEADER_SIZE + record.payload.len();
        records.push(record);
    }
    (at == size).then_some((header, records))
}

/// Decodes the record at an offset of a block; `None` if its length does not fit. Its checksum is
/// not verified.
pub(crate) fn decode_record(block: &Bytes, at: usize) -> Option<Record> {
    let left = block.len().checked_sub(at)?.checked_sub(RECORD_HEADER_SIZE)?;
    let mut fields = Fields(&block[at..]);
    let (received_at, tag) = fields.stamp();
    let (id, checksum, length) = (fields.take(), fields.u32(), fields.u32() as usize);
    let start = at + RECORD_HEADER_SIZE;
    let payload = (length <= left).then(|| block.slice(start..start + length))?;
    Some(Record { received_at, tag, id, checksum, payload })
}

/// Encoder of the footer of a segment, to which a key is added with each record.
#[derive(Debug, Default)]
pub(crate) struct FooterBuilder {
    bytes: Vec<u8>,
}

impl FooterBuilder {
    pub(crate) fn push(&mut self, key: &Key) {
        self.bytes.extend(stamp(key.received_at, key.tag));
        self.bytes.extend(key.id);
        self.bytes.extend(key.checksum.to_le_bytes());
    }

    /// Returns the number of keys.
    pub(crate) fn count(&self) -> usize {
        self.bytes.len() / KEY_SIZE
    }

    /// Returns the encoded footer and trailer of a segment that begins at `first_seq`.
    pub(crate) fn finish(self, salt: Salt, first_seq: u64) -> Vec<u8> {
        let count = self.count() as u64;
        let mut bytes = self.bytes;
        let footer_crc = salt.crc([&bytes, &[]]);
        let trailer = bytes.len();
        bytes.extend(first_seq.to_le_bytes());
        bytes.extend(count.to_le_bytes());
        bytes.extend(footer_crc.to_le_bytes());
        let crc = salt.crc([&bytes[trailer..], &END_MAGIC]);
        bytes.extend(crc.to_le_bytes());
        bytes.extend(END_MAGIC);
        bytes
    }
}

/// Trailer of a sealed segment.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Trailer {
    pub(crate) first_seq: u64,
    pub(crate) count: u64,
    footer_crc: u32,
}

impl Trailer {
    pub(crate) fn decode(salt: Salt, bytes: &[u8; TRAILER_SIZE]) -> Option<Self> {
        let mut fields = Fields(bytes);
        let (first_seq, count, footer_crc, crc) =
            (fields.u64(), fields.u64(), fields.u32(), fields.u32());
        let is_valid = bytes.ends_with(&END_MAGIC) && salt.crc([&bytes[..20], &END_MAGIC]) == crc;
        is_valid.then_some(Self { first_seq, count, footer_crc })
    }

    /// Returns the size of the footer in bytes; `None` if it overflows.
    pub(crate) fn footer_size(&self) -> Option<u64> {
        self.count.checked_mul(KEY_SIZE as u64)
    }

    pub(crate) fn decode_footer(&self, salt: Salt, footer: &[u8]) -> Option<Vec<Key>> {
        (salt.crc([footer, &[]]) == self.footer_crc).then(|| decode_keys(footer).collect())
    }
}

/// Encodes keys as in a footer.
pub(crate) fn encode_keys<'a>(keys: impl Iterator<Item = &'a Key>) -> Vec<u8> {
    let mut footer = FooterBuilder::default();
    keys.for_each(|key| footer.push(key));
    footer.bytes
}

/// Decodes the keys of a footer.
pub(crate) fn decode_keys(footer: &[u8]) -> impl Iterator<Item = Key> {
    footer.chunks_exact(KEY_SIZE).map(|key| {
        let mut fields = Fields(key);
        let (received_at, tag) = fields.stamp();
        Key { received_at, tag, id: fields.take(), checksum: fields.u32() }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block(salt: Salt) -> Bytes {
        let mut builder = BlockBuilder::default();
        builder.push(&Record::new(1, [7; 16], &b"one"[..]));
        builder.push(&Record::new(2, [8; 16], &b""[..]).with_tag(1023));
        Bytes::copy_from_slice(builder.finish(salt, 3, 10))
    }

    #[test]
    fn block_round_trips() {
        let salt = Salt::from(99);
        let (header, records) = decode_block(salt, &block(salt)).unwrap();
        assert_eq!((header.epoch, header.first_seq, header.last_seq()), (3, 10, 11));
        assert_eq!(
            records,
            [
                Record::new(1, [7; 16], &b"one"[..]),
                Record::new(2, [8; 16], &b""[..]).with_tag(1023)
            ]
        );
    }

    #[test]
    fn stamp_holds_the_time_and_the_tag() {
        let latest = (1 << 54) - 1;
        for (time, tag) in [(0, 0), (0, 1023), (latest, 0), (1_795_341_600_000_000, 513)] {
            assert_eq!(Fields(&stamp(time, tag)).stamp(), (time, tag));
        }
        assert_eq!(Fields(&stamp(u64::MAX, 5)).stamp(), (latest, 5));
        // Version 1 has the time alone.
        let time = 1_795_341_600_000_000_u64;
        assert_eq!(Fields(&time.to_le_bytes()).stamp(), (time, 0));
    }

    #[test]
    fn any_changed_bit_of_a_block_is_detected() {
        let salt = Salt::from(99);
        let good = block(salt);
        assert!(
            decode_block(Salt::from(98), &good).is_none(),
            "a block with another salt is accepted"
        );
        for at in 0..good.len() {
            for bit in 0..8 {
                let mut bad = good.to_vec();
                bad[at] ^= 1 << bit;
                assert!(decode_block(salt, &Bytes::from(bad)).is_none(), "bit {bit} of byte {at}");
            }
        }
    }

    #[test]
    fn block_without_records_is_invalid() {
        let salt = Salt::from(99);
        let mut empty = block(salt)[..BLOCK_HEADER_SIZE].to_vec();
        empty[20..28].fill(0);
        let crc = salt.crc([&empty[4..28], &[]]);
        empty[28..].copy_from_slice(&crc.to_le_bytes());
        assert!(decode_block(salt, &Bytes::from(empty)).is_none());
    }

    #[test]
    fn header_decodes_if_one_copy_is_valid() {
        for version in Version::ALL {
            let header = SegmentHeader { version, epoch: 1, first_seq: 2, created_at: 3, salt: 4 };
            for at in 0..2 * HEADER_SIZE {
                let mut bytes = header.encode();
                bytes[at] ^= 0x40;
                assert_eq!(SegmentHeader::decode(&bytes), Some(header), "byte {at}");
            }
        }
        assert_eq!(SegmentHeader::decode(&[0; 2 * HEADER_SIZE]), None);
        let version = Version::CURRENT;
        let header = SegmentHeader { version, epoch: 1, first_seq: 2, created_at: 3, salt: 4 };
        let mut next_version = header.encode();
        next_version[7] = b'3';
        let crc = crc32c::crc32c(&next_version[..HEADER_SIZE - 4]);
        next_version[HEADER_SIZE - 4..HEADER_SIZE].copy_from_slice(&crc.to_le_bytes());
        assert_eq!(SegmentHeader::decode(&next_version[..HEADER_SIZE]), None);
    }

    #[test]
    fn footer_round_trips_and_detects_a_changed_bit() {
        let salt = Salt::from(5);
        let keys = [
            Key { received_at: 1, tag: 0, id: [1; 16], checksum: 2 },
            Key { received_at: 3, tag: 700, id: [4; 16], checksum: 5 },
        ];
        let mut builder = FooterBuilder::default();
        keys.iter().for_each(|key| builder.push(key));
        let bytes = builder.finish(salt, 10);
        let (footer, trailer) = bytes.split_last_chunk::<TRAILER_SIZE>().unwrap();
        let read = Trailer::decode(salt, trailer).unwrap();
        assert_eq!(
            (read.first_seq, read.count, read.footer_size()),
            (10, 2, Some(footer.len() as u64))
        );
        assert_eq!(read.decode_footer(salt, footer).unwrap(), keys);
        for at in 0..bytes.len() {
            let mut bad = bytes.clone();
            bad[at] ^= 1;
            let (footer, trailer) = bad.split_last_chunk::<TRAILER_SIZE>().unwrap();
            assert!(
                Trailer::decode(salt, trailer)
                    .and_then(|trailer| trailer.decode_footer(salt, footer))
                    .is_none(),
                "byte {at}"
            );
        }
    }
}
