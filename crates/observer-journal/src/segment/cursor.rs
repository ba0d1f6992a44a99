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

    /// After a bad place: to the next good block, if there is one. The search looks at every byte,
    /// since a bad header tells no length.
    pub(crate) fn find_good(&mut self) -> io::Result<bool> {
        let start = self.offset;
        loop {
            self.offset += 1;
            if !self.find_magic()? {
                self.offset = start;
                return Ok(false);
            }
            if matches!(self.look()?, Step::Block { .. }) {
                return Ok(true);
            }
        }
    }

    /// Show every place that may be a block by its length, until one is what was looked for.
    pub(crate) fn find(&mut self, mut is_it: impl FnMut(&Bytes) -> bool) -> io::Result<()> {
        while self.find_magic()? {
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
        Ok(())
    }

    /// To the next place that begins as a block does, this one included; `false` when there is
    /// none.
    fn find_magic(&mut self) -> io::Result<bool> {
        loop {
            let window = self.view(CHUNK)?;
            if let Some(at) =
                window.windows(BLOCK_MAGIC.len()).position(|bytes| bytes == BLOCK_MAGIC)
            {
                self.offset += at as u64;
                return Ok(true);
            }
            if window.len() < CHUNK {
                return Ok(false);
            }
            // One may begin in the window and end behind it.
            self.offset += (window.len() + 1 - BLOCK_MAGIC.len()) as u64;
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
        let ahead =
            self.offset.checked_sub(self.chunk_at).and_then(|skip| usize::try_from(skip).ok());
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

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::format::BlockBuilder;
    use crate::fs::{FileSystem, Memory, OpenMode};

    const SALT: u64 = 5;

    fn block() -> Vec<u8> {
        let mut builder = BlockBuilder::default();
        builder.push(&Record::new(7, [1; 16], &b"one"[..]));
        builder.finish(SALT.into(), 3, 1).to_vec()
    }

    /// A cursor over a file whose blocks begin with this.
    fn over(bytes: &[u8]) -> Cursor {
        let file = Memory::default().open(Path::new("file"), OpenMode::Create).unwrap();
        file.write_at(bytes, BLOCKS).unwrap();
        Cursor::new(file, SALT.into())
    }

    #[test]
    fn a_block_is_found_wherever_the_search_has_to_read_on() {
        let magic = BLOCK_MAGIC.len();
        for chunks in [0, 1, 3] {
            for before in
                (chunks * CHUNK).saturating_sub(magic * 2).max(1)..=chunks * CHUNK + magic * 2
            {
                let bytes = [vec![b'.'; before], block()].concat();
                let place = BLOCKS + before as u64;
                let mut cursor = over(&bytes);
                assert!(matches!(cursor.step().unwrap(), Step::Bad));
                assert!(cursor.find_good().unwrap(), "behind {before} bytes");
                assert_eq!(cursor.offset(), place);
                assert!(matches!(cursor.step().unwrap(), Step::Block { .. }));

                let (mut cursor, mut shown) = (over(&bytes), Vec::new());
                cursor
                    .find(|bytes| std::mem::replace(&mut shown, bytes.to_vec()) != *bytes)
                    .unwrap();
                assert_eq!((cursor.offset(), shown), (place, block()), "behind {before} bytes");
            }
        }
    }

    #[test]
    fn a_search_ends_where_it_began_when_there_is_nothing() {
        for length in [1, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK + 2] {
            // What begins as a block does, and is none.
            let mut bytes = [BLOCK_MAGIC.to_vec(), vec![b'.'; length], block()].concat();
            bytes.truncate(bytes.len() - 1);
            let mut cursor = over(&bytes);
            assert!(!cursor.find_good().unwrap(), "{length}");
            assert_eq!(cursor.offset(), BLOCKS);
            cursor.find(|_| panic!("there is no whole one")).unwrap();
        }
    }

    #[test]
    fn all_that_may_be_blocks_are_shown_until_one_is_it() {
        let bytes = [block(), block(), vec![b'.'; 7], block(), block()].concat();
        let (mut cursor, mut places) = (over(&bytes), 0);
        cursor
            .find(|_| {
                places += 1;
                places == 3
            })
            .unwrap();
        assert_eq!((places, cursor.offset()), (3, BLOCKS + 2 * block().len() as u64 + 7));
    }
}
