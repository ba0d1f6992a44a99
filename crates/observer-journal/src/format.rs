//! The bytes of a segment. All integers are little-endian; each checksum is a CRC-32C that starts
//! from the segment's salt, so that no payload can pass for a block.
//!
//! ```text
//! segment  = header header block* [footer trailer]      the header stands there twice, against a bad sector
//! header   = "OBSVLOG1" epoch:u64 first_seq:u64 created_at:u64 salt:u64 crc:u32                       (44 bytes)
//! block    = 0xB10C_0B5E:u32 epoch:u64 first_seq:u64 count:u32 length:u32 crc:u32 record{count}        (32 bytes and `length`)
//! record   = received_at:u64 id:[u8;16] checksum:u32 length:u32 payload                                (32 bytes and `length`)
//! footer   = key{count}                                    key = received_at:u64 id:[u8;16] checksum:u32  (28 bytes each)
//! trailer  = first_seq:u64 count:u64 footer_crc:u32 crc:u32 "OBSVEND1"                                 (32 bytes)
//! ```
//!
//! While a segment is written to, zeros may stand behind its last block. Times are microseconds
//! since 1970. One block is one commit: it is there as a whole or not at all. A record's `checksum`
//! is the CRC-32C of its payload without salt, so that two payloads can be compared by their keys.

use bytes::Bytes;

use crate::{Key, Record};

pub(crate) const HEADER: usize = 44;
/// Where the first block stands.
pub(crate) const BLOCKS: u64 = 2 * HEADER as u64;
pub(crate) const BLOCK_HEADER: usize = 32;
const RECORD_HEADER: usize = 32;
pub(crate) const KEY: usize = 28;
pub(crate) const TRAILER: usize = 32;

const SEGMENT_MAGIC: [u8; 8] = *b"OBSVLOG1";
const END_MAGIC: [u8; 8] = *b"OBSVEND1";
pub(crate) const BLOCK_MAGIC: [u8; 4] = 0xB10C_0B5E_u32.to_le_bytes();

/// Reads integers off the front of a slice that is known to be long enough.
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
}

/// What stands at the start of a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SegmentHeader {
    pub(crate) epoch: u64,
    pub(crate) first_seq: u64,
    pub(crate) created_at: u64,
    pub(crate) salt: u64,
}

impl SegmentHeader {
    /// Both copies.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(2 * HEADER);
        bytes.extend(SEGMENT_MAGIC);
        for field in [self.epoch, self.first_seq, self.created_at, self.salt] {
            bytes.extend(field.to_le_bytes());
        }
        bytes.extend(crc32c::crc32c(&bytes).to_le_bytes());
        bytes.extend_from_within(..);
        bytes
    }

    /// From the first good copy in the first bytes of a file.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        bytes.chunks_exact(HEADER).take(2).find_map(|copy| {
            let (covered, crc) = copy.split_at(HEADER - 4);
            if crc32c::crc32c(covered).to_le_bytes() != crc || !covered.starts_with(&SEGMENT_MAGIC)
            {
                return None;
            }
            let mut fields = Fields(&covered[SEGMENT_MAGIC.len()..]);
            Some(Self {
                epoch: fields.u64(),
                first_seq: fields.u64(),
                created_at: fields.u64(),
                salt: fields.u64(),
            })
        })
    }
}

/// Where a segment's checksums start from.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Salt(u32);

impl From<u64> for Salt {
    fn from(salt: u64) -> Self {
        Self(crc32c::crc32c(&salt.to_le_bytes()))
    }
}

impl Salt {
    fn crc(self, parts: [&[u8]; 2]) -> u32 {
        parts.into_iter().fold(self.0, crc32c::crc32c_append)
    }
}

/// What stands at the start of a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct BlockHeader {
    pub(crate) epoch: u64,
    pub(crate) first_seq: u64,
    pub(crate) count: u32,
    /// Of the records, in bytes.
    pub(crate) length: u32,
    pub(crate) crc: u32,
}

impl BlockHeader {
    /// From the first bytes of a block; `None` where there is none.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        if bytes.len() < BLOCK_HEADER || !bytes.starts_with(&BLOCK_MAGIC) {
            return None;
        }
        let mut fields = Fields(&bytes[BLOCK_MAGIC.len()..]);
        let (epoch, first_seq, count, length, crc) =
            (fields.u64(), fields.u64(), fields.u32(), fields.u32(), fields.u32());
        Some(Self { epoch, first_seq, count, length, crc })
    }

    pub(crate) fn last_seq(&self) -> u64 {
        self.first_seq + u64::from(self.count) - 1
    }

    /// Header and records, in bytes.
    pub(crate) fn size(&self) -> u64 {
        BLOCK_HEADER as u64 + u64::from(self.length)
    }
}

/// How much memory is kept from one block to the next.
const KEPT: usize = 8 << 20;

/// A block on its way to a segment.
#[derive(Debug, Default)]
pub(crate) struct BlockBuilder {
    bytes: Vec<u8>,
    count: u32,
}

impl BlockBuilder {
    pub(crate) fn push(&mut self, record: &Record) {
        if self.bytes.is_empty() {
            self.bytes.resize(BLOCK_HEADER, 0);
        }
        let length =
            u32::try_from(record.payload.len()).expect("ingest limits a payload far below 4 GiB");
        self.bytes.extend(record.received_at.to_le_bytes());
        self.bytes.extend(record.id);
        self.bytes.extend(record.checksum.to_le_bytes());
        self.bytes.extend(length.to_le_bytes());
        self.bytes.extend_from_slice(&record.payload);
        self.count += 1;
    }

    /// How many bytes the block has so far.
    pub(crate) fn size(&self) -> usize {
        self.bytes.len()
    }

    /// The whole block, with its header filled in.
    pub(crate) fn finish(&mut self, salt: Salt, epoch: u64, first_seq: u64) -> &[u8] {
        let length = u32::try_from(self.bytes.len() - BLOCK_HEADER)
            .expect("a group is limited far below 4 GiB");
        let (header, records) = self.bytes.split_at_mut(BLOCK_HEADER);
        header[..4].copy_from_slice(&BLOCK_MAGIC);
        header[4..12].copy_from_slice(&epoch.to_le_bytes());
        header[12..20].copy_from_slice(&first_seq.to_le_bytes());
        header[20..24].copy_from_slice(&self.count.to_le_bytes());
        header[24..28].copy_from_slice(&length.to_le_bytes());
        let crc = salt.crc([&header[4..28], records]);
        header[28..].copy_from_slice(&crc.to_le_bytes());
        &self.bytes
    }

    /// Empty again. The memory of a block out of the ordinary is given back.
    pub(crate) fn clear(&mut self) {
        if self.bytes.capacity() > KEPT {
            self.bytes = Vec::new();
        }
        self.bytes.clear();
        self.count = 0;
    }
}

/// The records of a block, whose payloads are parts of `block`; `None` where the block isn't what
/// it should be.
pub(crate) fn decode_block(salt: Salt, block: &Bytes) -> Option<(BlockHeader, Vec<Record>)> {
    let header = BlockHeader::decode(block)?;
    let size = usize::try_from(header.size()).ok().filter(|size| *size == block.len())?;
    if header.count == 0 || salt.crc([&block[4..28], &block[BLOCK_HEADER..]]) != header.crc {
        return None;
    }
    let mut records = Vec::with_capacity(header.count as usize);
    let mut at = BLOCK_HEADER;
    for _ in 0..header.count {
        if size - at < RECORD_HEADER {
            return None;
        }
        let mut fields = Fields(&block[at..]);
        let (received_at, id, checksum, length) =
            (fields.u64(), fields.take(), fields.u32(), fields.u32() as usize);
        at += RECORD_HEADER;
        if size - at < length {
            return None;
        }
        records.push(Record { received_at, id, checksum, payload: block.slice(at..at + length) });
        at += length;
    }
    (at == size).then_some((header, records))
}

/// The footer of a segment that is still written to: its keys as they will stand there.
#[derive(Debug, Default)]
pub(crate) struct FooterBuilder {
    bytes: Vec<u8>,
}

impl FooterBuilder {
    pub(crate) fn push(&mut self, key: &Key) {
        self.bytes.extend(key.received_at.to_le_bytes());
        self.bytes.extend(key.id);
        self.bytes.extend(key.checksum.to_le_bytes());
    }

    /// How many keys there are.
    pub(crate) fn count(&self) -> usize {
        self.bytes.len() / KEY
    }

    /// Footer and trailer of a segment that begins at `first_seq`.
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

/// The last bytes of a sealed segment.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Trailer {
    pub(crate) first_seq: u64,
    pub(crate) count: u64,
    footer_crc: u32,
}

impl Trailer {
    pub(crate) fn decode(salt: Salt, bytes: &[u8; TRAILER]) -> Option<Self> {
        let mut fields = Fields(bytes);
        let (first_seq, count, footer_crc, crc) =
            (fields.u64(), fields.u64(), fields.u32(), fields.u32());
        let good = bytes.ends_with(&END_MAGIC) && salt.crc([&bytes[..20], &END_MAGIC]) == crc;
        good.then_some(Self { first_seq, count, footer_crc })
    }

    /// Of the footer before it, in bytes; `None` where no file could hold that.
    pub(crate) fn footer_size(&self) -> Option<u64> {
        self.count.checked_mul(KEY as u64)
    }

    pub(crate) fn decode_footer(&self, salt: Salt, footer: &[u8]) -> Option<Vec<Key>> {
        if salt.crc([footer, &[]]) != self.footer_crc {
            return None;
        }
        let keys = footer.chunks_exact(KEY).map(|key| {
            let mut fields = Fields(key);
            Key { received_at: fields.u64(), id: fields.take(), checksum: fields.u32() }
        });
        Some(keys.collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block(salt: Salt) -> Bytes {
        let mut builder = BlockBuilder::default();
        builder.push(&Record::new(1, [7; 16], &b"one"[..]));
        builder.push(&Record::new(2, [8; 16], &b""[..]));
        Bytes::copy_from_slice(builder.finish(salt, 3, 10))
    }

    #[test]
    fn a_block_comes_back_as_it_was() {
        let salt = Salt::from(99);
        let (header, records) = decode_block(salt, &block(salt)).unwrap();
        assert_eq!((header.epoch, header.first_seq, header.last_seq()), (3, 10, 11));
        assert_eq!(
            records,
            [Record::new(1, [7; 16], &b"one"[..]), Record::new(2, [8; 16], &b""[..])]
        );
    }

    #[test]
    fn no_bit_of_a_block_can_change_unseen() {
        let salt = Salt::from(99);
        let good = block(salt);
        assert!(decode_block(Salt::from(98), &good).is_none(), "another segment's block passed");
        for at in 0..good.len() {
            for bit in 0..8 {
                let mut bad = good.to_vec();
                bad[at] ^= 1 << bit;
                assert!(decode_block(salt, &Bytes::from(bad)).is_none(), "bit {bit} of byte {at}");
            }
        }
    }

    #[test]
    fn a_block_of_no_records_is_none() {
        let salt = Salt::from(99);
        let mut empty = block(salt)[..BLOCK_HEADER].to_vec();
        empty[20..28].fill(0);
        let crc = salt.crc([&empty[4..28], &[]]);
        empty[28..].copy_from_slice(&crc.to_le_bytes());
        assert!(decode_block(salt, &Bytes::from(empty)).is_none());
    }

    #[test]
    fn one_bad_header_is_not_missed() {
        let header = SegmentHeader { epoch: 1, first_seq: 2, created_at: 3, salt: 4 };
        for at in 0..2 * HEADER {
            let mut bytes = header.encode();
            bytes[at] ^= 0x40;
            assert_eq!(SegmentHeader::decode(&bytes), Some(header), "byte {at}");
        }
        assert_eq!(SegmentHeader::decode(&[0; 2 * HEADER]), None);
        let mut next_version = header.encode();
        next_version[7] = b'2';
        let crc = crc32c::crc32c(&next_version[..HEADER - 4]);
        next_version[HEADER - 4..HEADER].copy_from_slice(&crc.to_le_bytes());
        assert_eq!(SegmentHeader::decode(&next_version[..HEADER]), None);
    }

    #[test]
    fn a_footer_comes_back_as_it_was_and_not_with_a_bit_changed() {
        let salt = Salt::from(5);
        let keys = [
            Key { received_at: 1, id: [1; 16], checksum: 2 },
            Key { received_at: 3, id: [4; 16], checksum: 5 },
        ];
        let mut builder = FooterBuilder::default();
        keys.iter().for_each(|key| builder.push(key));
        let bytes = builder.finish(salt, 10);
        let (footer, trailer) = bytes.split_last_chunk::<TRAILER>().unwrap();
        let read = Trailer::decode(salt, trailer).unwrap();
        assert_eq!(
            (read.first_seq, read.count, read.footer_size()),
            (10, 2, Some(footer.len() as u64))
        );
        assert_eq!(read.decode_footer(salt, footer).unwrap(), keys);
        for at in 0..bytes.len() {
            let mut bad = bytes.clone();
            bad[at] ^= 1;
            let (footer, trailer) = bad.split_last_chunk::<TRAILER>().unwrap();
            assert!(
                Trailer::decode(salt, trailer)
                    .and_then(|trailer| trailer.decode_footer(salt, footer))
                    .is_none(),
                "byte {at}"
            );
        }
    }
}
