//! Header of a segment whose header copies are both corrupt, rebuilt from a block.
//!
//! A block contains all fields of the header but the salt; its magic shows the version. The salt
//! follows from the checksum of the block, because a CRC can be computed backwards from its result
//! over the covered bytes to its initial value. The checksums of the records, which are not salted,
//! verify that the bytes are a block. A payload may contain bytes that pass for a block here; a
//! block of the segment precedes it, so the first match in the file is used.

use std::io;
use std::sync::Arc;

use bytes::Bytes;

use crate::fs::File;
use crate::segment::cursor::Cursor;
use crate::segment::format::{
    BLOCK_HEADER_SIZE, BlockHeader, Salt, SegmentHeader, Version, decode_block,
};

/// Polynomial of CRC-32C, reflected.
pub(super) const POLYNOMIAL: u32 = 0x82F6_3B78;

/// Rebuilds the header of a segment; `None` if none of its blocks is valid.
pub(crate) fn header(file: Arc<dyn File>, first_seq: u64) -> io::Result<Option<SegmentHeader>> {
    let mut found = None;
    // The candidates don't depend on the version and the salt, which are not known yet.
    Cursor::new(file, Version::CURRENT, Salt::from(0)).find_candidate(|block| {
        found = header_of(block, first_seq);
        found.is_some()
    })?;
    Ok(found)
}

fn header_of(block: &Bytes, first_seq: u64) -> Option<SegmentHeader> {
    let header = BlockHeader::decode(block).filter(|header| header.first_seq >= first_seq)?;
    let initial = crc_before(crc_before(header.crc, &block[BLOCK_HEADER_SIZE..]), &block[4..28]);
    let salt = salt_for(initial);
    let (_, records) = decode_block(salt.into(), block)?;
    let is_valid = records.iter().all(|record| crc32c::crc32c(&record.payload) == record.checksum);
    let created_at = records.first().filter(|_| is_valid)?.received_at;
    let BlockHeader { version, epoch, .. } = header;
    Some(SegmentHeader { version, epoch, first_seq, created_at, salt })
}

/// Returns the checksum whose continuation over `bytes` is `crc`.
fn crc_before(crc: u32, bytes: &[u8]) -> u32 {
    !bytes.iter().rev().fold(!crc, |state, byte| byte_before(state) ^ u32::from(*byte))
}

/// Returns the state of a checksum before a byte of zero.
pub(super) fn byte_before(state: u32) -> u32 {
    (0..8).fold(state, |state, _| {
        // The polynomial has its highest bit set, so this bit shows whether it was applied.
        if state >> 31 == 1 { ((state ^ POLYNOMIAL) << 1) | 1 } else { state << 1 }
    })
}

/// Returns a salt whose checksums have the given initial value. It may differ from the original
/// salt, with the same checksums.
fn salt_for(initial: u32) -> u64 {
    let half = !crc32c::crc32c(&[0; 4]) ^ !crc_before(initial, &[0; 4]);
    u64::from(half) << 32
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Record;
    use crate::segment::format::BlockBuilder;

    fn block(salt: u64, first_seq: u64) -> Bytes {
        let mut builder = BlockBuilder::default();
        builder.push(&Record::new(7, [1; 16], &b"one"[..]));
        builder.push(&Record::new(8, [2; 16], &b"two"[..]));
        Bytes::copy_from_slice(builder.finish(salt.into(), 3, first_seq))
    }

    #[test]
    fn header_is_rebuilt_from_a_valid_block_of_the_segment() {
        let header = header_of(&block(99, 10), 10).unwrap();
        assert_eq!((header.epoch, header.first_seq, header.created_at), (3, 10, 7));
        assert!(
            decode_block(header.salt.into(), &block(99, 12)).is_some(),
            "the rebuilt salt verifies the other blocks"
        );
        assert!(header_of(&block(99, 10), 11).is_none(), "the block belongs to an earlier segment");
        let mut bad = block(99, 10).to_vec();
        for at in [BLOCK_HEADER_SIZE + 32, BLOCK_HEADER_SIZE + 24] {
            bad[at] ^= 1;
            assert!(header_of(&Bytes::from(bad.clone()), 10).is_none(), "byte {at}");
            bad[at] ^= 1;
        }
        // A count above the number of records, and a record that is longer than the block.
        for (at, value) in
            [(20, 3), (20, 200), (BLOCK_HEADER_SIZE + 30, 1), (BLOCK_HEADER_SIZE + 63 + 3, 1)]
        {
            let mut bad = block(99, 10).to_vec();
            bad[at] = value;
            assert!(header_of(&Bytes::from(bad), 10).is_none(), "byte {at}");
        }
    }

    #[test]
    fn checksum_is_computed_backwards() {
        let checksum = crc32c::crc32c(b"hello, world");
        assert_eq!(crc_before(checksum, b", world"), crc32c::crc32c(b"hello"));
        for initial in [0, 1, 0xFFFF_FFFF, 0x1234_5678] {
            assert_eq!(crc32c::crc32c(&salt_for(initial).to_le_bytes()), initial);
        }
    }
}
