//! On-disk format of the keys of removed segments.
//!
//! All integers are unsigned and little-endian. A file is a sequence of chunks, each of which has
//! the keys of consecutive records. Bytes after the last complete chunk are a torn write, whose
//! segment was not removed.
//!
//! | offset |         size | field                                                          |
//! |-------:|-------------:|----------------------------------------------------------------|
//! |      0 |            8 | magic `OBSVKEY1`; its last byte is the version                 |
//! |      8 |            8 | `first_seq`, sequence number of the first record               |
//! |     16 |            8 | `newest`, latest time of receipt, in microseconds since 1970   |
//! |     24 |            4 | `count` of keys                                                |
//! |     28 |            4 | CRC-32C of the keys                                            |
//! |     32 |            4 | CRC-32C of bytes 0 to 31                                       |
//! |     36 | 28 × `count` | keys, as in the footer of a segment                            |

use crate::Key;
use crate::segment::format::{KEY_SIZE, decode_keys, encode_keys, newer_version};

pub(super) const HEADER_SIZE: usize = 36;
const MAGIC: [u8; 8] = *b"OBSVKEY1";
/// Number of the version.
pub(super) const VERSION: u32 = 1;

/// Header of a chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ChunkHeader {
    pub(super) first_seq: u64,
    pub(super) newest: u64,
    pub(super) count: u32,
    keys_crc: u32,
}

impl ChunkHeader {
    /// Decodes the header at the start of `bytes`; `None` if it is not valid.
    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let header: &[u8; HEADER_SIZE] = bytes.first_chunk()?;
        let (covered, crc) = header.split_at(HEADER_SIZE - 4);
        if !covered.starts_with(&MAGIC) || crc32c::crc32c(covered).to_le_bytes() != *crc {
            return None;
        }
        let u64_at = |at: usize| covered[at..].first_chunk().copied().map(u64::from_le_bytes);
        let u32_at = |at: usize| covered[at..].first_chunk().copied().map(u32::from_le_bytes);
        Some(Self {
            first_seq: u64_at(8)?,
            newest: u64_at(16)?,
            count: u32_at(24)?,
            keys_crc: u32_at(28)?,
        })
    }

    /// Returns the size of the keys in bytes.
    pub(super) fn keys_size(&self) -> u64 {
        u64::from(self.count) * KEY_SIZE as u64
    }

    /// Returns the size of header and keys in bytes.
    pub(super) fn size(&self) -> u64 {
        HEADER_SIZE as u64 + self.keys_size()
    }

    /// Decodes the keys; `None` if they are corrupt.
    pub(super) fn decode_keys(&self, bytes: &[u8]) -> Option<Vec<Key>> {
        let is_valid =
            bytes.len() as u64 == self.keys_size() && crc32c::crc32c(bytes) == self.keys_crc;
        is_valid.then(|| decode_keys(bytes).collect())
    }
}

/// Encodes the keys of consecutive records as a chunk after the other bytes. Returns its header.
pub(super) fn encode(keys: &[(u64, Key)], bytes: &mut Vec<u8>) -> Option<ChunkHeader> {
    let first_seq = keys.first()?.0;
    let newest = keys.iter().map(|(_, key)| key.received_at).max()?;
    let count = u32::try_from(keys.len()).expect("a segment has at most 131,072 records");
    let encoded = encode_keys(keys.iter().map(|(_, key)| key));
    let header = ChunkHeader { first_seq, newest, count, keys_crc: crc32c::crc32c(&encoded) };
    let at = bytes.len();
    bytes.extend(MAGIC);
    bytes.extend(header.first_seq.to_le_bytes());
    bytes.extend(header.newest.to_le_bytes());
    bytes.extend(header.count.to_le_bytes());
    bytes.extend(header.keys_crc.to_le_bytes());
    bytes.extend(crc32c::crc32c(&bytes[at..]).to_le_bytes());
    bytes.extend(encoded);
    Some(header)
}

/// Returns the version of a file if it is later than the one that this program knows.
pub(super) fn newer(bytes: &[u8]) -> Option<String> {
    newer_version(bytes, MAGIC)
}
