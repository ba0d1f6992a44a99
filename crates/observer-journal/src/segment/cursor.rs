//! Cursor over the blocks of one segment.

use std::collections::VecDeque;
use std::io;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;

use crate::Record;
use crate::fs::File;
use crate::segment::format::{
    BLOCK_HEADER_SIZE, BLOCK_MAGIC_SIZE, BLOCKS_OFFSET, BlockHeader, Salt, Version, decode_block,
};
use crate::segment::{read_trailer, salvage};

/// Offset of the length in the header of a block.
const LENGTH_AT: usize = 24;
/// Number of bytes that are read at once.
const CHUNK: usize = 256 * 1024;

#[derive(Debug)]
pub(crate) struct Cursor {
    file: Arc<dyn File>,
    /// Version of the segment, which all of its blocks have.
    version: Version,
    salt: Salt,
    /// Epoch of the segment, and the sequence number after the records so far; `None` if nothing is
    /// salvaged.
    expected: Option<(u64, u64)>,
    /// Further records of a corrupt block.
    salvaged: VecDeque<Step>,
    /// Offset of the next block in the file.
    offset: u64,
    /// Bytes that were read last.
    chunk: Bytes,
    /// Offset of `chunk` in the file.
    chunk_offset: u64,
}

#[derive(Debug)]
pub(crate) enum Step {
    /// Valid block, or consecutive valid records of a corrupt one.
    Block {
        header: BlockHeader,
        records: Vec<Record>,
        /// Location in the file.
        bytes: Range<u64>,
        /// The block with a flipped bit corrected, if one is flipped in the file.
        corrected: Option<Bytes>,
    },
    /// The bytes at the cursor are no valid block.
    Corrupt,
    End,
}

impl Cursor {
    pub(crate) fn new(file: Arc<dyn File>, version: Version, salt: Salt) -> Self {
        Self {
            file,
            version,
            salt,
            expected: None,
            salvaged: VecDeque::new(),
            offset: BLOCKS_OFFSET,
            chunk: Bytes::new(),
            chunk_offset: 0,
        }
    }

    /// Salvages records of corrupt blocks, in a segment of this epoch that begins with `first_seq`.
    pub(crate) fn salvaging(self, epoch: u64, first_seq: u64) -> Self {
        Self { expected: Some((epoch, first_seq)), ..self }
    }

    /// Returns the offset of the next block in the file.
    pub(crate) fn offset(&self) -> u64 {
        self.offset
    }

    /// Reads the next block and advances past it. The cursor does not move if the block is corrupt.
    pub(crate) fn step(&mut self) -> io::Result<Step> {
        if let Some(step) = self.salvaged.pop_front() {
            return Ok(step);
        }
        let mut step = self.peek()?;
        if matches!(step, Step::Corrupt) {
            // Bytes that were read ahead may have been incomplete then; read them again.
            self.chunk = Bytes::new();
            step = self.peek()?;
        }
        if matches!(step, Step::Corrupt) {
            return self.salvage();
        }
        self.advance(&step);
        Ok(step)
    }

    /// Returns what is valid of the corrupt block at the cursor.
    fn salvage(&mut self) -> io::Result<Step> {
        let Some((epoch, next_seq)) = self.expected else { return Ok(Step::Corrupt) };
        if let Some(block) = self.corrected()? {
            let (header, records) =
                decode_block(self.salt, &block).expect("a corrected block is valid");
            let bytes = self.offset..self.offset + header.size();
            let step = Step::Block { header, records, bytes, corrected: Some(block) };
            self.advance(&step);
            return Ok(step);
        }
        let left = self.file.size()?.saturating_sub(self.offset);
        let header = BlockHeader::decode(&self.view(BLOCK_HEADER_SIZE)?).filter(|header| {
            (header.version, header.epoch, header.first_seq) == (self.version, epoch, next_seq)
                && header.count > 0
                && header.size() <= left
        });
        let Some(header) = header else { return Ok(Step::Corrupt) };
        if !self.is_committed(&header)? {
            return Ok(Step::Corrupt);
        }
        let block = self.view(usize::try_from(header.size()).map_err(io::Error::other)?)?;
        let at = self.offset;
        let steps = salvage::runs(self.salt, &header, &block).into_iter().map(|run| {
            let count = u32::try_from(run.records.len()).expect("a block has fewer records");
            Step::Block {
                header: BlockHeader { first_seq: run.first_seq, count, ..header },
                records: run.records,
                bytes: at + run.bytes.start as u64..at + run.bytes.end as u64,
                corrected: None,
            }
        });
        self.salvaged = steps.collect();
        let Some(first) = self.salvaged.pop_front() else { return Ok(Step::Corrupt) };
        self.offset += header.size();
        self.expected = Some((epoch, header.last_seq() + 1));
        Ok(first)
    }

    /// Returns the block at the cursor with its magic restored or a flipped bit corrected.
    fn corrected(&mut self) -> io::Result<Option<Bytes>> {
        let left = self.file.size()?.saturating_sub(self.offset);
        let mut start = self.view(BLOCK_HEADER_SIZE)?.to_vec();
        let magic = self.version.block_magic();
        let has_magic = start.starts_with(&magic);
        if start.len() < BLOCK_HEADER_SIZE {
            return Ok(None);
        }
        start[..BLOCK_MAGIC_SIZE].copy_from_slice(&magic);
        let header = BlockHeader::decode(&start).expect("the magic was written above");
        if header.size() <= left {
            let block = self.block(&start, header)?;
            if !has_magic {
                return Ok(Some(block).filter(|block| salvage::is_valid(self.salt, block)));
            }
            if let Some(corrected) = salvage::correct(self.salt, &block) {
                return Ok(Some(corrected));
            }
        }
        for bit in 0..if has_magic { u32::BITS } else { 0 } {
            let header = BlockHeader { length: header.length ^ 1 << bit, ..header };
            if header.size() > left {
                continue;
            }
            start[LENGTH_AT..LENGTH_AT + 4].copy_from_slice(&header.length.to_le_bytes());
            let block = self.block(&start, header)?;
            if salvage::is_valid(self.salt, &block) {
                return Ok(Some(block));
            }
        }
        Ok(None)
    }

    /// Returns the block at the cursor with another header.
    fn block(&mut self, start: &[u8], header: BlockHeader) -> io::Result<Bytes> {
        let block = self.view(usize::try_from(header.size()).map_err(io::Error::other)?)?;
        Ok([start, block.get(BLOCK_HEADER_SIZE..).unwrap_or_default()].concat().into())
    }

    /// Returns whether the block at the cursor was committed and ends where its header says: the
    /// next block or the footer, which are written only after a commit, begins there.
    fn is_committed(&mut self, header: &BlockHeader) -> io::Result<bool> {
        let at = self.offset;
        self.offset += header.size();
        let next = BlockHeader::decode(&self.view(BLOCK_HEADER_SIZE)?);
        let end = std::mem::replace(&mut self.offset, at);
        let next_seq = header.first_seq.checked_add(header.count.into());
        let is_followed = next.is_some_and(|next| {
            (next.version, next.epoch) == (self.version, header.epoch)
                && Some(next.first_seq) == next_seq
        });
        Ok(is_followed
            || read_trailer(&*self.file, self.salt)?.is_some_and(|(_, footer)| footer == end))
    }

    /// Moves from a corrupt block to the next valid one, and returns whether there is one. The
    /// search covers every byte, since a corrupt header does not contain a usable length.
    pub(crate) fn seek_valid(&mut self) -> io::Result<bool> {
        let start = self.offset;
        loop {
            self.offset += 1;
            if !self.seek_magic()? {
                self.offset = start;
                return Ok(false);
            }
            if matches!(self.peek()?, Step::Block { .. }) {
                return Ok(true);
            }
        }
    }

    /// Passes each candidate for a block to `is_match` until it returns true. A candidate begins
    /// with the magic of any version and has a length that fits into the file; its checksum is not
    /// verified.
    pub(crate) fn find_candidate(
        &mut self,
        mut is_match: impl FnMut(&Bytes) -> bool,
    ) -> io::Result<()> {
        while self.seek_magic()? {
            let header = BlockHeader::decode(&self.view(BLOCK_HEADER_SIZE)?);
            let size = self.file.size()?;
            if let Some(header) = header.filter(|header| self.offset + header.size() <= size) {
                let block = self.view(usize::try_from(header.size()).map_err(io::Error::other)?)?;
                if is_match(&block) {
                    return Ok(());
                }
            }
            self.offset += 1;
        }
        Ok(())
    }

    /// Moves to the next magic of a block, at or after the cursor, and returns whether there is
    /// one.
    fn seek_magic(&mut self) -> io::Result<bool> {
        loop {
            let window = self.view(CHUNK)?;
            if let Some(at) = window
                .windows(BLOCK_MAGIC_SIZE)
                .position(|bytes| Version::of_block(bytes).is_some())
            {
                self.offset += at as u64;
                return Ok(true);
            }
            if window.len() < CHUNK {
                return Ok(false);
            }
            // A magic may begin in the window and end after it.
            self.offset += (window.len() + 1 - BLOCK_MAGIC_SIZE) as u64;
        }
    }

    fn advance(&mut self, step: &Step) {
        if let Step::Block { header, bytes, .. } = step {
            self.offset = bytes.end;
            self.expected = self.expected.map(|(epoch, _)| (epoch, header.last_seq() + 1));
        }
    }

    fn peek(&mut self) -> io::Result<Step> {
        let header = self.view(BLOCK_HEADER_SIZE)?;
        if header.is_empty() {
            return Ok(Step::End);
        }
        let header = BlockHeader::decode(&header).filter(|header| header.version == self.version);
        let Some(header) = header else { return Ok(Step::Corrupt) };
        // Memory must not be allocated for a corrupt length.
        if header.size() > (CHUNK as u64) && self.offset + header.size() > self.file.size()? {
            return Ok(Step::Corrupt);
        }
        let Ok(size) = usize::try_from(header.size()) else { return Ok(Step::Corrupt) };
        let block = self.view(size)?;
        Ok(match decode_block(self.salt, &block) {
            Some((header, records)) => {
                let bytes = self.offset..self.offset + header.size();
                Step::Block { header, records, bytes, corrected: None }
            }
            None => Step::Corrupt,
        })
    }

    /// Returns `length` bytes at the cursor, or fewer at the end of the file.
    fn view(&mut self, length: usize) -> io::Result<Bytes> {
        let ahead =
            self.offset.checked_sub(self.chunk_offset).and_then(|skip| usize::try_from(skip).ok());
        if let Some(skip) = ahead.filter(|skip| skip + length <= self.chunk.len()) {
            return Ok(self.chunk.slice(skip..skip + length));
        }
        let mut bytes = vec![0; length.max(CHUNK)];
        let count = self.file.read_at(&mut bytes, self.offset)?;
        bytes.truncate(count);
        self.chunk = bytes.into();
        self.chunk_offset = self.offset;
        Ok(self.chunk.slice(..length.min(count)))
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::fs::{FileSystem, Memory, OpenMode};
    use crate::segment::format::BlockBuilder;

    const SALT: u64 = 5;

    fn block() -> Vec<u8> {
        let mut builder = BlockBuilder::default();
        builder.push(&Record::new(7, [1; 16], &b"one"[..]));
        builder.finish(SALT.into(), 3, 1).to_vec()
    }

    /// Cursor over a file in which `bytes` are in place of the blocks.
    fn cursor_over(bytes: &[u8]) -> Cursor {
        let file = Memory::default().open(Path::new("file"), OpenMode::Create).unwrap();
        file.write_at(bytes, BLOCKS_OFFSET).unwrap();
        Cursor::new(file, Version::CURRENT, SALT.into())
    }

    #[test]
    fn search_finds_a_block_at_the_edges_of_the_read_window() {
        let magic = BLOCK_MAGIC_SIZE;
        for chunks in [0, 1, 3] {
            for before in
                (chunks * CHUNK).saturating_sub(magic * 2).max(1)..=chunks * CHUNK + magic * 2
            {
                let bytes = [vec![b'.'; before], block()].concat();
                let offset = BLOCKS_OFFSET + before as u64;
                let mut cursor = cursor_over(&bytes);
                assert!(matches!(cursor.step().unwrap(), Step::Corrupt));
                assert!(cursor.seek_valid().unwrap(), "after {before} bytes");
                assert_eq!(cursor.offset(), offset);
                assert!(matches!(cursor.step().unwrap(), Step::Block { .. }));

                let (mut cursor, mut shown) = (cursor_over(&bytes), Vec::new());
                cursor
                    .find_candidate(|bytes| std::mem::replace(&mut shown, bytes.to_vec()) != *bytes)
                    .unwrap();
                assert_eq!((cursor.offset(), shown), (offset, block()), "after {before} bytes");
            }
        }
    }

    #[test]
    fn search_without_a_match_leaves_the_cursor_in_place() {
        for length in [1, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK + 2] {
            // A magic without a valid block after it.
            let magic = block()[..BLOCK_MAGIC_SIZE].to_vec();
            let mut bytes = [magic, vec![b'.'; length], block()].concat();
            bytes.truncate(bytes.len() - 1);
            let mut cursor = cursor_over(&bytes);
            assert!(!cursor.seek_valid().unwrap(), "{length}");
            assert_eq!(cursor.offset(), BLOCKS_OFFSET);
            cursor.find_candidate(|_| panic!("there is no complete block")).unwrap();
        }
    }

    #[test]
    fn candidates_are_passed_until_one_matches() {
        let bytes = [block(), block(), vec![b'.'; 7], block(), block()].concat();
        let (mut cursor, mut candidates) = (cursor_over(&bytes), 0);
        cursor
            .find_candidate(|_| {
                candidates += 1;
                candidates == 3
            })
            .unwrap();
        assert_eq!(
            (candidates, cursor.offset()),
            (3, BLOCKS_OFFSET + 2 * block().len() as u64 + 7)
        );
    }
}
