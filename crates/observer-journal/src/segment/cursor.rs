//! Cursor over the blocks of one segment.

use std::io;
use std::sync::Arc;

use bytes::Bytes;

use crate::Record;
use crate::fs::File;
use crate::segment::format::{
    BLOCK_HEADER_SIZE, BLOCK_MAGIC_SIZE, BLOCKS_OFFSET, BlockHeader, Salt, Version, decode_block,
};

/// Number of bytes that are read at once.
const CHUNK: usize = 256 * 1024;

#[derive(Debug)]
pub(crate) struct Cursor {
    file: Arc<dyn File>,
    /// Version of the segment, which all of its blocks have.
    version: Version,
    salt: Salt,
    /// Offset of the next block in the file.
    offset: u64,
    /// Bytes that were read last.
    chunk: Bytes,
    /// Offset of `chunk` in the file.
    chunk_offset: u64,
}

#[derive(Debug)]
pub(crate) enum Step {
    Block {
        header: BlockHeader,
        records: Vec<Record>,
    },
    /// The bytes at the cursor are no valid block.
    Corrupt,
    End,
}

impl Cursor {
    pub(crate) fn new(file: Arc<dyn File>, version: Version, salt: Salt) -> Self {
        Self { file, version, salt, offset: BLOCKS_OFFSET, chunk: Bytes::new(), chunk_offset: 0 }
    }

    /// Returns the offset of the next block in the file.
    pub(crate) fn offset(&self) -> u64 {
        self.offset
    }

    /// Reads the next block and advances past it. The cursor does not move if the block is corrupt.
    pub(crate) fn step(&mut self) -> io::Result<Step> {
        match self.peek()? {
            // Bytes that were read ahead may have been incomplete then; read them again.
            Step::Corrupt => {
                self.chunk = Bytes::new();
                let again = self.peek()?;
                self.advance(&again);
                Ok(again)
            }
            step => {
                self.advance(&step);
                Ok(step)
            }
        }
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
        if let Step::Block { header, .. } = step {
            self.offset += header.size();
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
            Some((header, records)) => Step::Block { header, records },
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
