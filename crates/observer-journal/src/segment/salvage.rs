//! Salvage of records from a corrupt block.
//!
//! The checksum of a block covers its header and its records, and each record has a checksum of its
//! payload. A CRC is linear: an error changes it by a value that depends on the flipped bits and
//! their distance from the end only, its syndrome. It follows:
//!
//! - One flipped bit of the block has a syndrome that no other bit has. It is corrected, and the
//!   corrected block must be valid, with all payloads.
//! - If the errors are in payloads alone, their syndromes in the checksums of the records, shifted
//!   to the end of the block, add up to the syndrome of the block. Then all other records are valid
//!   with their identities and times, which no checksum of their own covers.
//! - Otherwise a record that follows an invalid one is not trusted either, since the damage may
//!   reach into its header. If no payload is invalid, the damage is in headers, and nothing shows
//!   in which ones.

use std::ops::Range;

use bytes::Bytes;

use super::format::{
    BLOCK_HEADER_SIZE, BlockHeader, RECORD_HEADER_SIZE, Salt, decode_block, decode_record,
};
use super::rebuild::{POLYNOMIAL, byte_before};
use crate::Record;

/// Consecutive records of a block that are valid.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) first_seq: u64,
    /// Location in the block.
    pub(crate) bytes: Range<usize>,
    pub(crate) records: Vec<Record>,
}

/// Returns a block in which one bit is flipped with that bit corrected.
pub(crate) fn correct(salt: Salt, block: &Bytes) -> Option<Bytes> {
    let header = BlockHeader::decode(block)?;
    let syndrome = salt.block_crc(block) ^ header.crc;
    let (at, mask) = flipped_bit(syndrome, block.len())?;
    let mut bytes = block.to_vec();
    bytes[at] ^= mask;
    let corrected = Bytes::from(bytes);
    is_valid(salt, &corrected).then_some(corrected)
}

/// Returns whether a block and the payloads of all records are valid.
pub(crate) fn is_valid(salt: Salt, block: &Bytes) -> bool {
    decode_block(salt, block).is_some_and(|(_, records)| records.iter().all(is_intact))
}

/// Returns the location of the flipped bit that has a syndrome: the offset in the block, and a mask.
fn flipped_bit(syndrome: u32, size: usize) -> Option<(usize, u8)> {
    if syndrome.is_power_of_two() {
        // The bit is in the checksum itself.
        let bit = syndrome.trailing_zeros();
        return Some((BLOCK_HEADER_SIZE - 4 + bit as usize / 8, 1 << (bit % 8)));
    }
    let last: [u32; 8] = std::array::from_fn(|bit| {
        (0..8).fold(1 << bit, |state: u32, _| {
            (state >> 1) ^ if state & 1 == 1 { POLYNOMIAL } else { 0 }
        })
    });
    let covered = (BLOCK_HEADER_SIZE..size).rev().chain((4..BLOCK_HEADER_SIZE - 4).rev());
    let mut state = syndrome;
    for at in covered {
        if let Some(bit) = last.iter().position(|value| *value == state) {
            return Some((at, 1 << bit));
        }
        state = byte_before(state);
    }
    None
}

fn is_intact(record: &Record) -> bool {
    crc32c::crc32c(&record.payload) == record.checksum
}

/// Returns whether the payload shows that a record is intact. Zeros pass for a record without a
/// payload.
fn is_evident(record: &Record) -> bool {
    !record.payload.is_empty() && is_intact(record)
}

/// Record of a block whose checksum may not match.
struct Walked {
    bytes: Range<usize>,
    record: Record,
}

/// Returns the valid records of a corrupt block with a plausible header.
pub(crate) fn runs(salt: Salt, header: &BlockHeader, block: &Bytes) -> Vec<Run> {
    let mut walked = walk(block, BLOCK_HEADER_SIZE, header.count as usize);
    let reaches_end = walked.last().is_some_and(|last| last.bytes.end == block.len());
    let is_complete = reaches_end && walked.len() == header.count as usize;
    if reaches_end && !is_complete {
        // The number of records is corrupt.
        return Vec::new();
    }
    let mut trusted: Vec<(usize, Walked)> = Vec::new();
    if is_complete {
        let is_elsewhere =
            syndrome_of_payloads(block, &walked) != salt.block_crc(block) ^ header.crc;
        if is_elsewhere && walked.iter().all(|walked| is_intact(&walked.record)) {
            return Vec::new();
        }
        let mut is_suspect = false;
        for (at, walked) in walked.into_iter().enumerate() {
            let is_intact = if is_elsewhere { is_evident } else { is_intact }(&walked.record);
            if is_intact && !is_suspect {
                trusted.push((at, walked));
            }
            is_suspect = is_elsewhere && !is_intact;
        }
    } else {
        // A length is corrupt. Records can be found from both ends.
        let valid = walked.iter().take_while(|walked| is_evident(&walked.record)).count();
        walked.truncate(valid);
        let from = walked.last().map_or(BLOCK_HEADER_SIZE, |last| last.bytes.end);
        let left = header.count as usize - valid;
        trusted.extend(walked.into_iter().enumerate());
        let tail = tail(block, from, left);
        let first = header.count as usize - tail.len();
        trusted
            .extend(tail.into_iter().enumerate().skip(1).map(|(at, walked)| (first + at, walked)));
    }
    join(header.first_seq, trusted)
}

/// Returns up to `count` records from an offset on, as far as their lengths fit into the block.
fn walk(block: &Bytes, mut at: usize, count: usize) -> Vec<Walked> {
    let mut walked = Vec::new();
    while walked.len() < count
        && let Some(record) = decode_record(block, at)
    {
        let end = at + RECORD_HEADER_SIZE + record.payload.len();
        walked.push(Walked { bytes: at..end, record });
        at = end;
    }
    walked
}

/// Returns the sum of the syndromes of all payloads, each shifted to the end of the block.
fn syndrome_of_payloads(block: &Bytes, walked: &[Walked]) -> u32 {
    walked.iter().fold(0, |sum, Walked { bytes, record }| {
        let syndrome = crc32c::crc32c(&record.payload) ^ record.checksum;
        sum ^ crc32c::crc32c_combine(syndrome, 0, block.len() - bytes.end)
    })
}

/// Returns the longest chain of fewer than `count` valid records that begins after `from` and ends
/// with the block.
fn tail(block: &Bytes, from: usize, count: usize) -> Vec<Walked> {
    for at in from + RECORD_HEADER_SIZE..block.len() {
        // Most candidates end here, without a checksum.
        let Some(records) = chain_length(block, at).filter(|records| *records < count) else {
            continue;
        };
        let walked = walk(block, at, records);
        if walked.iter().all(|walked| is_evident(&walked.record)) {
            return walked;
        }
    }
    Vec::new()
}

/// Returns the number of records from an offset on, if their lengths lead to the end of the block.
fn chain_length(block: &Bytes, mut at: usize) -> Option<usize> {
    let mut count = 0;
    while at < block.len() {
        let length = block.get(at + RECORD_HEADER_SIZE - 4..at + RECORD_HEADER_SIZE)?;
        let length = u32::from_le_bytes(length.try_into().ok()?) as usize;
        at += RECORD_HEADER_SIZE + length;
        count += 1;
    }
    (at == block.len()).then_some(count)
}

/// Joins neighbours to runs.
fn join(first_seq: u64, records: Vec<(usize, Walked)>) -> Vec<Run> {
    let mut runs: Vec<Run> = Vec::new();
    for (at, Walked { bytes, record }) in records {
        let seq = first_seq + at as u64;
        match runs.last_mut().filter(|run| run.first_seq + run.records.len() as u64 == seq) {
            Some(run) => {
                run.bytes.end = bytes.end;
                run.records.push(record);
            }
            None => runs.push(Run { first_seq: seq, bytes, records: vec![record] }),
        }
    }
    runs
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::segment::format::BlockBuilder;

    const SALT: u64 = 99;

    fn record(number: u64) -> Record {
        let payload = format!("payload {number} ").repeat(2 + number as usize % 3);
        Record::new(number, [number as u8; 16], payload)
    }

    fn block() -> Vec<u8> {
        let mut builder = BlockBuilder::default();
        (10..=14).for_each(|number| builder.push(&record(number)));
        builder.finish(SALT.into(), 3, 10).to_vec()
    }

    /// Returns the sequence numbers of the salvaged records, whose content is verified.
    fn salvaged(block: Vec<u8>) -> Vec<u64> {
        let block = Bytes::from(block);
        let header = BlockHeader::decode(&block).unwrap();
        let mut found = Vec::new();
        for run in runs(SALT.into(), &header, &block) {
            for (seq, found_record) in (run.first_seq..).zip(run.records) {
                assert_eq!(found_record, record(seq));
                found.push(seq);
            }
        }
        found
    }

    /// Returns the locations of the records.
    fn locations() -> Vec<Range<usize>> {
        let walked = walk(&block().into(), BLOCK_HEADER_SIZE, 5);
        walked.into_iter().map(|walked| walked.bytes).collect()
    }

    #[test]
    fn every_flipped_bit_is_corrected() {
        let valid = block();
        for at in 4..valid.len() {
            // Another length needs other bytes, which the cursor tries.
            if (24..28).contains(&at) {
                continue;
            }
            for bit in 0..8 {
                let mut bad = valid.clone();
                bad[at] ^= 1 << bit;
                assert_eq!(correct(SALT.into(), &bad.into()).unwrap(), valid, "{at} {bit}");
            }
        }
        for (one, other) in [(40, 41), (40, 200), (70, 71)] {
            let mut bad = valid.clone();
            bad[one] ^= 1;
            bad[other] ^= 2;
            assert_eq!(correct(SALT.into(), &bad.into()), None);
        }
    }

    #[test]
    fn damage_within_payloads_loses_these_records_alone() {
        let locations = locations();
        for (damaged, left) in [
            (vec![0], vec![11, 12, 13, 14]),
            (vec![2], vec![10, 11, 13, 14]),
            (vec![4], vec![10, 11, 12, 13]),
            (vec![1, 3], vec![10, 12, 14]),
            (vec![1, 2], vec![10, 13, 14]),
        ] {
            let mut bad = block();
            for at in damaged {
                let start = locations[at].start + RECORD_HEADER_SIZE;
                bad[start + 3..start + 9].fill(b'#');
            }
            assert_eq!(salvaged(bad), left);
        }
    }

    #[test]
    fn records_beside_damaged_headers_are_salvaged_only_if_they_are_known_to_be_intact() {
        let locations = locations();
        // From the payload of one record into the identity of the next, or over its length.
        let cases = [
            (locations[1].end - 5..locations[2].start + 12, vec![10, 13, 14]),
            (locations[2].start..locations[2].start + 32, vec![10, 11, 14]),
            (locations[2].start + 28..locations[2].start + 32, vec![10, 11, 14]),
            // In an identity alone.
            (locations[2].start + 9..locations[2].start + 12, vec![]),
        ];
        for (bytes, left) in cases {
            let mut bad = block();
            bad[bytes.clone()].iter_mut().for_each(|byte| *byte ^= 0xA5);
            assert_eq!(salvaged(bad), left, "{bytes:?}");
        }
    }
}
