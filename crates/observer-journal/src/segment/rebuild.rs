//! A segment whose headers are both gone, as when its first sector is: everything in them follows
//! from a block.
//!
//! The salt does, too, since a CRC can be run backwards: from a block's checksum over its bytes to
//! where it started. That the block is one, its records say then, whose checksums have no salt. A
//! payload may hold what passes for a block here, so the first one in the file counts.

use std::io;
use std::sync::Arc;

use bytes::Bytes;

use crate::format::{BLOCK_HEADER, BlockHeader, Salt, SegmentHeader, decode_block};
use crate::fs::File;
use crate::segment::cursor::Cursor;

/// Of CRC-32C, reflected.
const POLYNOMIAL: u32 = 0x82F6_3B78;

/// The header that a segment must have had; `None` where no block of it is whole.
pub(crate) fn header(file: Arc<dyn File>, first_seq: u64) -> io::Result<Option<SegmentHeader>> {
    let mut found = None;
    // With no salt there is no block, so each place that looks like one is shown.
    Cursor::new(file, Salt::from(0)).find(|block| {
        found = header_of(block, first_seq);
        found.is_some()
    })?;
    Ok(found)
}

fn header_of(block: &Bytes, first_seq: u64) -> Option<SegmentHeader> {
    let header = BlockHeader::decode(block).filter(|header| header.first_seq >= first_seq)?;
    let start = before(before(header.crc, &block[BLOCK_HEADER..]), &block[4..28]);
    let salt = salt_for(start);
    let (_, records) = decode_block(salt.into(), block)?;
    let is_sound = records.iter().all(|record| crc32c::crc32c(&record.payload) == record.checksum);
    let created_at = records.first().filter(|_| is_sound)?.received_at;
    Some(SegmentHeader { epoch: header.epoch, first_seq, created_at, salt })
}

/// The checksum that was continued over `bytes` to become `crc`.
fn before(crc: u32, bytes: &[u8]) -> u32 {
    let state = bytes.iter().rev().fold(!crc, |state, byte| {
        let shifted = (0..8).fold(state, |state, _| {
            // The polynomial has the highest bit, so that bit tells whether it was added.
            if state >> 31 == 1 { ((state ^ POLYNOMIAL) << 1) | 1 } else { state << 1 }
        });
        shifted ^ u32::from(*byte)
    });
    !state
}

/// A salt whose checksums start there. The segment may have had another one, which makes no
/// difference.
fn salt_for(start: u32) -> u64 {
    let half = !crc32c::crc32c(&[0; 4]) ^ !before(start, &[0; 4]);
    u64::from(half) << 32
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Record;
    use crate::format::BlockBuilder;

    fn block(salt: u64, first_seq: u64) -> Bytes {
        let mut builder = BlockBuilder::default();
        builder.push(&Record::new(7, [1; 16], &b"one"[..]));
        builder.push(&Record::new(8, [2; 16], &b"two"[..]));
        Bytes::copy_from_slice(builder.finish(salt.into(), 3, first_seq))
    }

    #[test]
    fn a_header_follows_from_a_block_that_is_whole_and_may_be_its() {
        let header = header_of(&block(99, 10), 10).unwrap();
        assert_eq!((header.epoch, header.first_seq, header.created_at), (3, 10, 7));
        assert!(
            decode_block(header.salt.into(), &block(99, 12)).is_some(),
            "other blocks are good with its salt"
        );
        assert!(header_of(&block(99, 10), 11).is_none(), "it belongs into an earlier segment");
        let mut bad = block(99, 10).to_vec();
        for at in [BLOCK_HEADER + 32, BLOCK_HEADER + 24] {
            bad[at] ^= 1;
            assert!(header_of(&Bytes::from(bad.clone()), 10).is_none(), "byte {at}");
            bad[at] ^= 1;
        }
        // More records than there are, and one that is longer than the block.
        for (at, value) in [(20, 3), (20, 200), (BLOCK_HEADER + 30, 1), (BLOCK_HEADER + 63 + 3, 1)]
        {
            let mut bad = block(99, 10).to_vec();
            bad[at] = value;
            assert!(header_of(&Bytes::from(bad), 10).is_none(), "byte {at}");
        }
    }

    #[test]
    fn a_checksum_runs_backwards() {
        let whole = crc32c::crc32c(b"hello, world");
        assert_eq!(before(whole, b", world"), crc32c::crc32c(b"hello"));
        for start in [0, 1, 0xFFFF_FFFF, 0x1234_5678] {
            assert_eq!(crc32c::crc32c(&salt_for(start).to_le_bytes()), start);
        }
    }
}
