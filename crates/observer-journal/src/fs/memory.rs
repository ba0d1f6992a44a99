//! Files in memory.

use std::any::Any;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use super::{File, FileId, FileSystem, OpenMode};
use crate::lock::lock;

/// File system in memory, for tests and for programs that embed a pipeline without a disk. Clones
/// share the same files.
#[derive(Debug, Clone, Default)]
pub struct Memory {
    files: Arc<Mutex<BTreeMap<PathBuf, Arc<MemoryFile>>>>,
    locks: Arc<Mutex<BTreeSet<PathBuf>>>,
}

#[derive(Debug, Default)]
struct MemoryFile(Mutex<Vec<u8>>);

fn not_found(path: &Path) -> io::Error {
    io::Error::new(io::ErrorKind::NotFound, format!("no file {} in memory", path.display()))
}

impl FileSystem for Memory {
    fn is_volatile(&self) -> bool {
        true
    }

    fn create_dir_all(&self, _dir: &Path) -> io::Result<()> {
        Ok(())
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let files = lock(&self.files);
        let inside = files.keys().filter(|path| path.parent() == Some(dir));
        Ok(inside.filter_map(|path| path.file_name()?.to_str().map(str::to_owned)).collect())
    }

    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn File>> {
        let mut files = lock(&self.files);
        if mode == OpenMode::Create {
            files.insert(path.to_owned(), Arc::default());
        }
        files.get(path).map(|file| file.clone() as Arc<dyn File>).ok_or_else(|| not_found(path))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut files = lock(&self.files);
        let file = files.remove(from).ok_or_else(|| not_found(from))?;
        files.insert(to.to_owned(), file);
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        lock(&self.files).remove(path).map(drop).ok_or_else(|| not_found(path))
    }

    fn id(&self, path: &Path) -> io::Result<Option<FileId>> {
        let file = lock(&self.files).get(path).cloned();
        file.map_or(Ok(FileId::new(0, 0)), |file| file.id()).map(Some)
    }

    fn sync_dir(&self, _dir: &Path) -> io::Result<()> {
        Ok(())
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn Any + Send + Sync>> {
        if !lock(&self.locks).insert(path.to_owned()) {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        Ok(Box::new(Lock { path: path.to_owned(), locks: self.locks.clone() }))
    }
}

struct Lock {
    path: PathBuf,
    locks: Arc<Mutex<BTreeSet<PathBuf>>>,
}

impl Drop for Lock {
    fn drop(&mut self) {
        lock(&self.locks).remove(&self.path);
    }
}

impl File for MemoryFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let bytes = lock(&self.0);
        let start = usize::try_from(offset).unwrap_or(usize::MAX).min(bytes.len());
        let count = buffer.len().min(bytes.len() - start);
        buffer[..count].copy_from_slice(&bytes[start..start + count]);
        Ok(count)
    }

    fn write_at(&self, written: &[u8], offset: u64) -> io::Result<()> {
        let mut bytes = lock(&self.0);
        let start = usize::try_from(offset).map_err(io::Error::other)?;
        let end = start + written.len();
        if bytes.len() < end {
            bytes.resize(end, 0);
        }
        bytes[start..end].copy_from_slice(written);
        Ok(())
    }

    fn size(&self) -> io::Result<u64> {
        Ok(lock(&self.0).len() as u64)
    }

    fn id(&self) -> io::Result<FileId> {
        // The address differs from that of every other file that exists.
        Ok(FileId::new(1, std::ptr::from_ref(self).addr() as u64))
    }

    fn truncate(&self, size: u64) -> io::Result<()> {
        lock(&self.0).resize(usize::try_from(size).map_err(io::Error::other)?, 0);
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }
}
