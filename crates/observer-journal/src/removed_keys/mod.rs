//! Keys of removed segments, so that records are recognized longer than they are kept.
//!
//! Before a segment is removed, the keys that may still be looked up are appended to the newest of
//! the files `{n:010}.keys` and synced. A file takes [`FILE_KEYS`] keys, and each opening of the
//! journal begins another one. The oldest file is removed when all of its keys are older than the
//! window, or when the files after it have enough keys.

mod format;

use std::collections::VecDeque;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::Key;
use crate::error::OpenError;
use crate::fs::{File, FileSystem, OpenMode};
use crate::options::RememberedKeys;

use format::{ChunkHeader, HEADER_SIZE};

/// Number of keys after which a new file begins.
const FILE_KEYS: u64 = 64 * 1024;

/// Files with the keys of removed segments.
#[derive(Debug, Default)]
pub(crate) struct RemovedKeys {
    files: VecDeque<KeyFile>,
    /// Last file while keys are added to it, and the offset of its end.
    open: Option<(Arc<dyn File>, u64)>,
    /// Header of the last chunk. A segment whose removal failed is added once.
    last: Option<ChunkHeader>,
}

/// Entry of the list of files.
#[derive(Debug, Clone, Copy)]
struct KeyFile {
    number: u32,
    keys: u64,
    /// Latest time of receipt.
    newest: u64,
}

impl KeyFile {
    fn path(self, dir: &Path) -> PathBuf {
        dir.join(name(self.number))
    }
}

fn name(number: u32) -> String {
    format!("{number:010}.keys")
}

fn parse(text: &str) -> Option<u32> {
    let number = text.strip_suffix(".keys")?.parse().ok()?;
    (name(number) == text).then_some(number)
}

impl RemovedKeys {
    /// Lists the files in the folder of a journal.
    ///
    /// # Errors
    /// If a file operation fails, or if a later version wrote a file.
    pub(crate) fn load(fs: &dyn FileSystem, dir: &Path) -> Result<Self, OpenError> {
        let names = fs.list(dir).map_err(OpenError::io("list", dir))?;
        let mut numbers: Vec<_> = names.iter().filter_map(|name| parse(name)).collect();
        numbers.sort_unstable();
        let mut loaded = Self::default();
        for number in numbers {
            let mut listed = KeyFile { number, keys: 0, newest: 0 };
            let path = listed.path(dir);
            let file = fs.open(&path, OpenMode::Read).map_err(OpenError::io("open", &path))?;
            let mut start = [0; HEADER_SIZE];
            let count = file.read_at(&mut start, 0).map_err(OpenError::io("read", &path))?;
            if let Some(found) = format::newer(&start[..count]) {
                return Err(OpenError::Newer { path, found, known: format::VERSION });
            }
            let chunks = chunks(&*file, &path).map_err(OpenError::io("read", &path))?;
            for (_, header) in chunks {
                listed.keys += u64::from(header.count);
                listed.newest = listed.newest.max(header.newest);
                loaded.last = Some(header);
            }
            loaded.files.push_back(listed);
        }
        Ok(loaded)
    }

    /// Makes the keys of a segment durable, and removes files that are not needed any more.
    pub(crate) fn add(
        &mut self,
        fs: &dyn FileSystem,
        dir: &Path,
        keys: &[(u64, Key)],
        (remembered, now): (RememberedKeys, u64),
    ) -> io::Result<()> {
        let oldest = now.saturating_sub(remembered.micros);
        self.remove_expired(fs, dir, oldest, remembered.max)?;
        let keys: Vec<_> =
            keys.iter().copied().filter(|(_, key)| key.received_at >= oldest).collect();
        let (mut bytes, mut last) = (Vec::new(), None);
        for run in keys.chunk_by(|(seq, _), (next, _)| seq + 1 == *next) {
            last = format::encode(run, &mut bytes);
        }
        if last.is_none() || last == self.last {
            return Ok(());
        }
        let (file, end) = self.writable(fs, dir)?;
        file.write_at(&bytes, end)?;
        file.sync()?;
        self.open = Some((file, end + bytes.len() as u64));
        self.last = last;
        if let Some(listed) = self.files.back_mut() {
            listed.keys += keys.len() as u64;
            let times = keys.iter().map(|(_, key)| key.received_at);
            listed.newest = times.fold(listed.newest, u64::max);
        }
        Ok(())
    }

    /// Returns the file to which keys are added, and the offset of its end.
    fn writable(&mut self, fs: &dyn FileSystem, dir: &Path) -> io::Result<(Arc<dyn File>, u64)> {
        let last = self.files.back().copied();
        if let Some((file, end)) = self.open.take()
            && let Some(listed) = last.filter(|listed| listed.keys < FILE_KEYS)
            // The folder may have been replaced.
            && fs.id(&listed.path(dir))? == Some(file.id()?)
        {
            self.open = Some((file.clone(), end));
            return Ok((file, end));
        }
        let number = last.map_or(1, |last| last.number + 1);
        let listed = KeyFile { number, keys: 0, newest: 0 };
        let file = fs.open(&listed.path(dir), OpenMode::Create)?;
        fs.sync_dir(dir)?;
        self.files.push_back(listed);
        self.open = Some((file.clone(), 0));
        Ok((file, 0))
    }

    /// Removes the oldest files whose keys are all from before `oldest`, or that are not among the
    /// `max` last keys.
    fn remove_expired(
        &mut self,
        fs: &dyn FileSystem,
        dir: &Path,
        oldest: u64,
        max: u64,
    ) -> io::Result<()> {
        let mut keys: u64 = self.files.iter().map(|file| file.keys).sum();
        while let Some(first) = self.files.front().copied() {
            keys -= first.keys;
            let is_written = self.files.len() == 1 && self.open.is_some();
            if is_written || (first.newest >= oldest && keys < max) {
                return Ok(());
            }
            match fs.remove(&first.path(dir)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => drop(self.files.pop_front()),
            }
        }
        Ok(())
    }

    /// Passes the keys of records before `end` to `visit`, in the order of their removal.
    pub(crate) fn visit(
        &self,
        fs: &dyn FileSystem,
        dir: &Path,
        end: u64,
        mut visit: impl FnMut(u64, Key),
    ) -> io::Result<()> {
        for listed in &self.files {
            let path = listed.path(dir);
            let file = match fs.open(&path, OpenMode::Read) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                opened => opened?,
            };
            for (at, header) in chunks(&*file, &path)? {
                let size = usize::try_from(header.keys_size()).map_err(io::Error::other)?;
                let mut bytes = vec![0; size];
                let count = file.read_at(&mut bytes, at + HEADER_SIZE as u64)?;
                match header.decode_keys(&bytes[..count]) {
                    Some(keys) => (header.first_seq..)
                        .zip(keys)
                        .take_while(|(seq, _)| *seq < end)
                        .for_each(|(seq, key)| visit(seq, key)),
                    None => report_corrupt(&path, at),
                }
            }
        }
        Ok(())
    }
}

/// Returns the offsets and headers of all complete chunks of a file.
fn chunks(file: &dyn File, path: &Path) -> io::Result<Vec<(u64, ChunkHeader)>> {
    let size = file.size()?;
    let (mut at, mut found) = (0, Vec::new());
    loop {
        let mut bytes = [0; HEADER_SIZE];
        if file.read_at(&mut bytes, at)? < HEADER_SIZE {
            return Ok(found);
        }
        let Some(header) = ChunkHeader::decode(&bytes) else {
            report_corrupt(path, at);
            return Ok(found);
        };
        let end = at.saturating_add(header.size());
        if end > size {
            return Ok(found);
        }
        found.push((at, header));
        at = end;
    }
}

fn report_corrupt(path: &Path, offset: u64) {
    tracing::warn!(
        path = %path.display(),
        offset,
        "keys of removed records are corrupt; records with the same keys count as new"
    );
}

#[cfg(test)]
mod tests;
