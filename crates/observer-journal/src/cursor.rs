//! Walks the blocks of one segment.

use std::io;
use std::sync::Arc;

use bytes::Bytes;

use crate::Record;
use crate::format::{BLOCK_HEADER, BLOCK_MAGIC, BLOCKS, BlockHeader, Salt, decode_block};
use crate::fs::File;

/// How much is read at once.
const CHUNK: usize = 256 * 1024;

#[derive(Debug)]
pub(crate) struct Cursor {
    file: Arc<dyn File>,
    salt: Salt,
    /// Of the next block.
    offset: u64,
    /// What was read last, and where it stands in the file.
    chunk: Bytes,
    chunk_at: u64,
}

#[derive(Debug)]
pub(crate) enum Step {
    Block {
        header: BlockHeader,
        records: Vec<Record>,
    },
    /// What stands there is no block.
    Bad,
    End,
}

impl Cursor {
    pub(crate) fn new(file: Arc<dyn File>, salt: Salt) -> Self {
        Self { file, salt, offset: BLOCKS, chunk: Bytes::new(), chunk_at: 0 }
    }

    /// Where the next block begins.
    pub(crate) fn offset(&self) -> u64 {
        self.offset
    }

    /// The next block, and past it.
    pub(crate) fn step(&mut self) -> io::Result<Step> {
        match self.look()? {
            // What was read ahead may have been half written at that moment.
            Step::Bad => {
                self.chunk = Bytes::new();
                let again = self.look()?;
                self.pass(&again);
                Ok(again)
            }
            step => {
                self.pass(&step);
                Ok(step)
            }
        }
    }

    /// After a bad place: to the next good block, if there is one. The search looks at every byte, since a bad header tells no length.
    pub(crate) fn find_good(&mut self) -> io::Result<bool> {
        let start = self.offset;
        loop {
            self.offset += 1;
            let window = self.view(CHUNK)?;
            let Some(at) = window.windows(BLOCK_MAGIC.len()).position(|bytes| bytes == BLOCK_MAGIC) else {
                if window.len() < CHUNK {
                    self.offset = start;
                    return Ok(false);
                }
                self.offset += (window.len() - BLOCK_MAGIC.len()) as u64;
                continue;
            };
            self.offset += at as u64;
            if matches!(self.look()?, Step::Block { .. }) {
                return Ok(true);
            }
        }
    }

    /// Show every place that may be a block by its length, until one is what was looked for.
    pub(crate) fn find(&mut self, mut is_it: impl FnMut(&Bytes) -> bool) -> io::Result<()> {
        loop {
            let window = self.view(CHUNK)?;
            let Some(at) = window.windows(BLOCK_MAGIC.len()).position(|bytes| bytes == BLOCK_MAGIC) else {
                if window.len() < CHUNK {
                    return Ok(());
                }
                self.offset += (window.len() + 1 - BLOCK_MAGIC.len()) as u64;
                continue;
            };
            self.offset += at as u64;
            let header = BlockHeader::decode(&self.view(BLOCK_HEADER)?);
            let size = self.file.size()?;
            if let Some(header) = header.filter(|header| self.offset + header.size() <= size) {
                let block = self.view(usize::try_from(header.size()).map_err(io::Error::other)?)?;
                if is_it(&block) {
                    return Ok(());
                }
            }
            self.offset += 1;
        }
    }

    fn pass(&mut self, step: &Step) {
        if let Step::Block { header, .. } = step {
            self.offset += header.size();
        }
    }

    fn look(&mut self) -> io::Result<Step> {
        let head = self.view(BLOCK_HEADER)?;
        if head.is_empty() {
            return Ok(Step::End);
        }
        let Some(header) = BlockHeader::decode(&head) else { return Ok(Step::Bad) };
        // A length that is no length must not become memory.
        if header.size() > (CHUNK as u64) && self.offset + header.size() > self.file.size()? {
            return Ok(Step::Bad);
        }
        let Ok(size) = usize::try_from(header.size()) else { return Ok(Step::Bad) };
        let block = self.view(size)?;
        Ok(match decode_block(self.salt, &block) {
            Some((header, records)) => Step::Block { header, records },
            None => Step::Bad,
        })
    }

    /// Up to `length` bytes from `offset`; less only at the end of the file.
    fn view(&mut self, length: usize) -> io::Result<Bytes> {
        let ahead = self.offset.checked_sub(self.chunk_at).and_then(|skip| usize::try_from(skip).ok());
        if let Some(skip) = ahead.filter(|skip| skip + length <= self.chunk.len()) {
            return Ok(self.chunk.slice(skip..skip + length));
        }
        let mut bytes = vec![0; length.max(CHUNK)];
        let count = self.file.read_at(&mut bytes, self.offset)?;
        bytes.truncate(count);
        self.chunk = bytes.into();
        self.chunk_at = self.offset;
        Ok(self.chunk.slice(..length.min(count)))
    }
}
