//! Segments of a journal: [`format`], names, headers, keys, and the scan of all blocks.

pub(crate) mod cursor;
pub(crate) mod format;
pub(crate) mod layout;
mod rebuild;
mod salvage;

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;

use crate::Key;
use crate::fs::{File, FileSystem, OpenMode};
use crate::segment::cursor::{Cursor, Step};
use crate::segment::format::{BLOCKS_OFFSET, Salt, SegmentHeader, TRAILER_SIZE, Trailer};

/// Name of a segment: its first sequence number and its generation.
///
/// After a failed sync the segment is abandoned, and a new one is created for the first sequence
/// number that is not committed. If the abandoned segment has no committed record, both have the
/// same first sequence number; the later generation replaces it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct SegmentName {
    pub(crate) first_seq: u64,
    pub(crate) generation: u32,
}

impl SegmentName {
    pub(crate) fn parse(name: &str) -> Option<Self> {
        let (first_seq, generation) = name.strip_suffix(".log")?.split_once('-')?;
        let parsed =
            Self { first_seq: first_seq.parse().ok()?, generation: generation.parse().ok()? };
        (parsed.to_string() == name && parsed.first_seq > 0).then_some(parsed)
    }

    pub(crate) fn path(self, dir: &Path) -> PathBuf {
        dir.join(self.to_string())
    }
}

impl fmt::Display for SegmentName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:020}-{}.log", self.first_seq, self.generation)
    }
}

/// Entry of the list of segments. The records of a segment end where the next segment begins.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Segment {
    pub(crate) name: SegmentName,
    pub(crate) header: SegmentHeader,
    /// Size of the file in bytes.
    pub(crate) size: u64,
}

/// Result of reading the header of a segment.
pub(crate) enum Found {
    Segment(Segment),
    /// The file has no usable header.
    Unreadable,
    /// A later version of the program wrote the file.
    Newer(String),
}

impl Segment {
    pub(crate) fn salt(&self) -> Salt {
        self.header.salt.into()
    }

    /// Returns a cursor over the blocks in the file of the segment.
    pub(crate) fn cursor(&self, file: Arc<dyn File>) -> Cursor {
        let SegmentHeader { version, epoch, first_seq, .. } = self.header;
        Cursor::new(file, version, self.salt()).salvaging(epoch, first_seq)
    }

    /// Reads the header of a segment, or rebuilds it from a block. A header is missing if the file
    /// has no valid block either.
    pub(crate) fn read(fs: &dyn FileSystem, dir: &Path, name: SegmentName) -> io::Result<Found> {
        let file = fs.open(&name.path(dir), OpenMode::Read)?;
        let mut start = [0; BLOCKS_OFFSET as usize];
        let count = file.read_at(&mut start, 0)?;
        let size = file.size()?;
        let found = SegmentHeader::decode(&start[..count])
            .filter(|header| header.first_seq == name.first_seq);
        let header = match (found, SegmentHeader::newer(&start[..count])) {
            (Some(header), _) => Some(header),
            (None, Some(version)) => return Ok(Found::Newer(version)),
            (None, None) => rebuild::header(file, name.first_seq)?,
        };
        Ok(header.map_or(Found::Unreadable, |header| Found::Segment(Self { name, header, size })))
    }

    /// Returns whether both copies of the header are valid.
    pub(crate) fn has_both_headers(&self, file: &dyn File) -> io::Result<bool> {
        let mut start = [0; BLOCKS_OFFSET as usize];
        Ok(file.read_at(&mut start, 0)? == start.len() && start == *self.header.encode())
    }

    /// Returns the last sequence number of a sealed segment; `None` if it is not sealed.
    pub(crate) fn sealed_last(&self, file: &dyn File) -> io::Result<Option<u64>> {
        Ok(self.trailer(file)?.map(|(trailer, _)| trailer.first_seq + trailer.count - 1))
    }

    /// Returns the trailer of a sealed segment and the offset of its footer.
    pub(crate) fn trailer(&self, file: &dyn File) -> io::Result<Option<(Trailer, u64)>> {
        read_trailer(file, self.salt())
    }

    /// Returns the keys of the records up to and including `last`, with their sequence numbers.
    /// They are read from the footer, or from the blocks if there is no valid footer.
    pub(crate) fn keys(
        &self,
        fs: &dyn FileSystem,
        dir: &Path,
        last: u64,
    ) -> io::Result<Vec<(u64, Key)>> {
        let file = fs.open(&self.name.path(dir), OpenMode::Read)?;
        if let Some((trailer, at)) = self.trailer(&*file)? {
            let mut footer = vec![
                0;
                usize::try_from(trailer.footer_size().unwrap_or(0))
                    .map_err(io::Error::other)?
            ];
            let count = file.read_at(&mut footer, at)?;
            if let Some(keys) = trailer.decode_footer(self.salt(), &footer[..count]) {
                return Ok((self.name.first_seq..)
                    .zip(keys)
                    .take_while(|(seq, _)| *seq <= last)
                    .collect());
            }
        }
        let mut keys = Vec::new();
        scan(self, file, |block| {
            keys.extend(block.keys.into_iter().filter(|(seq, _)| *seq <= last));
        })?;
        Ok(keys)
    }
}

/// Returns the trailer of a sealed segment and the offset of its footer.
fn read_trailer(file: &dyn File, salt: Salt) -> io::Result<Option<(Trailer, u64)>> {
    let Some(at) = file.size()?.checked_sub(TRAILER_SIZE as u64) else { return Ok(None) };
    let mut bytes = [0; TRAILER_SIZE];
    if file.read_at(&mut bytes, at)? < TRAILER_SIZE {
        return Ok(None);
    }
    let Some(trailer) = Trailer::decode(salt, &bytes) else { return Ok(None) };
    let footer_at = trailer
        .footer_size()
        .and_then(|size| at.checked_sub(size))
        .filter(|at| *at >= BLOCKS_OFFSET);
    Ok(footer_at.map(|at| (trailer, at)))
}

/// Valid block that a scan found, or consecutive valid records of a corrupt one.
pub(crate) struct ScannedBlock {
    /// Offset in the file.
    pub(crate) offset: u64,
    /// Offset of its end in the file.
    pub(crate) end: u64,
    pub(crate) first_seq: u64,
    pub(crate) last_seq: u64,
    pub(crate) keys: Vec<(u64, Key)>,
    /// The block with a flipped bit corrected, if one is flipped in the file.
    pub(crate) corrected: Option<Bytes>,
}

/// Passes all valid blocks of a segment to `found` and skips corrupt bytes. Returns the offset of
/// the end of the last valid block.
pub(crate) fn scan(
    segment: &Segment,
    file: Arc<dyn File>,
    mut found: impl FnMut(ScannedBlock),
) -> io::Result<u64> {
    let mut cursor = segment.cursor(file);
    let mut end = cursor.offset();
    let mut last_seq = segment.name.first_seq - 1;
    loop {
        match cursor.step()? {
            // A valid block with earlier sequence numbers or another epoch is left over from
            // earlier use of the space.
            Step::Block { header, records, bytes, corrected }
                if header.first_seq > last_seq && header.epoch == segment.header.epoch =>
            {
                last_seq = header.last_seq();
                end = bytes.end;
                let offset = bytes.start;
                let keys =
                    (header.first_seq..).zip(records.iter().map(crate::Record::key)).collect();
                let first_seq = header.first_seq;
                found(ScannedBlock { offset, end, first_seq, last_seq, keys, corrected });
            }
            Step::Block { .. } => {}
            Step::Corrupt => {
                if !cursor.seek_valid()? {
                    return Ok(end);
                }
            }
            Step::End => return Ok(end),
        }
    }
}

/// Returns the number of bytes after `end`, without the trailing zeros that are written ahead of
/// blocks.
pub(crate) fn written_after(file: &dyn File, end: u64) -> io::Result<u64> {
    let mut chunk = vec![0; 256 * 1024];
    let (mut at, mut last) = (end, end);
    loop {
        let count = file.read_at(&mut chunk, at)?;
        if let Some(written) = chunk[..count].iter().rposition(|byte| *byte != 0) {
            last = at + written as u64 + 1;
        }
        if count < chunk.len() {
            return Ok(last - end);
        }
        at += count as u64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Record;
    use crate::fs::Memory;
    use crate::segment::format::{BlockBuilder, Version};

    #[test]
    fn scan_ignores_blocks_of_earlier_records_or_of_another_epoch() {
        let version = Version::CURRENT;
        let header = SegmentHeader { version, epoch: 3, first_seq: 1, created_at: 0, salt: 99 };
        let block = |epoch, first_seq| {
            let mut builder = BlockBuilder::default();
            builder.push(&Record::new(first_seq, [0; 16], &b"one"[..]));
            builder.push(&Record::new(first_seq + 1, [0; 16], &b"two"[..]));
            builder.finish(99.into(), epoch, first_seq).to_vec()
        };
        let mut bytes = header.encode();
        for (epoch, first_seq) in [(3, 1), (3, 1), (3, 2), (2, 3), (3, 3), (3, 5)] {
            bytes.extend(block(epoch, first_seq));
        }
        let name = SegmentName { first_seq: 1, generation: 0 };
        let segment = Segment { name, header, size: bytes.len() as u64 };
        let file = Memory::default().open(Path::new("segment"), OpenMode::Create).unwrap();
        file.write_at(&bytes, 0).unwrap();
        let mut found = Vec::new();
        let end =
            scan(&segment, file, |block| found.push((block.first_seq, block.offset))).unwrap();
        let length = block(3, 1).len() as u64;
        let valid = [(1, 0), (3, 4), (5, 5)]
            .map(|(first_seq, at)| (first_seq, BLOCKS_OFFSET + at * length));
        assert_eq!((&found[..], end), (&valid[..], bytes.len() as u64));
    }

    #[test]
    fn only_exact_names_of_segments_are_parsed() {
        let name = SegmentName { first_seq: 42, generation: 1 };
        assert_eq!(name.to_string(), "00000000000000000042-1.log");
        assert_eq!(SegmentName::parse(&name.to_string()), Some(name));
        for other in [
            "42-1.log",
            "00000000000000000042.log",
            "00000000000000000042-1.log.corrupt",
            "positions",
            "+0000000000000000042-1.log",
            "00000000000000000000-0.log",
        ] {
            assert_eq!(SegmentName::parse(other), None, "{other}");
        }
    }
}
