//! File operations behind one small trait, implemented on the disk and in memory.
//!
//! The journal changes files through [`FileSystem`] only. A test can therefore use a [`Faulty`]
//! one, in which any single operation fails, is torn, or is lost in a power cut.

use std::any::Any;
use std::fmt;
use std::io;
use std::path::Path;
use std::sync::Arc;

mod disk;
mod faulty;
mod memory;
mod quarantine;

pub use disk::Disk;
pub use faulty::{Fault, Faulty};
pub use memory::Memory;
pub(crate) use quarantine::{free_name, quarantine};

/// Operations on folders and on the names of files.
pub trait FileSystem: fmt::Debug + Send + Sync + 'static {
    /// Returns whether the files are lost when the process ends.
    fn is_volatile(&self) -> bool {
        false
    }

    /// Creates a folder and all of its parents.
    ///
    /// # Errors
    /// Returns the error of the operating system.
    fn create_dir_all(&self, dir: &Path) -> io::Result<()>;

    /// Returns the names of the files in a folder, in no particular order.
    ///
    /// # Errors
    /// Returns the error of the operating system.
    fn list(&self, dir: &Path) -> io::Result<Vec<String>>;

    /// Opens a file.
    ///
    /// # Errors
    /// Returns the error of the operating system.
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn File>>;

    /// Renames a file. A file that already has the new name is replaced.
    ///
    /// # Errors
    /// Returns the error of the operating system.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Removes a file.
    ///
    /// # Errors
    /// Returns the error of the operating system.
    fn remove(&self, path: &Path) -> io::Result<()>;

    /// Returns the identity of the file or folder at a path; `None` if there is none. In
    /// implementations without folders, every path that is not a file is one and the same folder.
    ///
    /// # Errors
    /// Returns the error of the operating system.
    fn id(&self, path: &Path) -> io::Result<Option<FileId>>;

    /// Makes the names in a folder durable.
    ///
    /// # Errors
    /// Returns the error of the operating system.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;

    /// Acquires an exclusive lock, which is released when the returned guard is dropped.
    ///
    /// # Errors
    /// Returns [`io::ErrorKind::WouldBlock`] if the lock is held already.
    fn lock(&self, path: &Path) -> io::Result<Box<dyn Any + Send + Sync>>;

    /// Acquires a lock as [`lock`](Self::lock) does, but creates and changes nothing. Returns `None`
    /// if there is no file at the path, so that nobody holds the lock.
    ///
    /// # Errors
    /// Returns [`io::ErrorKind::WouldBlock`] if the lock is held already.
    fn lock_existing(&self, path: &Path) -> io::Result<Option<Box<dyn Any + Send + Sync>>> {
        self.lock(path).map(Some)
    }
}

/// Identity of a file or folder, which no other one has while it is open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileId {
    device: u64,
    number: u64,
}

impl FileId {
    /// Creates an identity from the number of a device and the number of a file on it.
    #[must_use]
    pub fn new(device: u64, number: u64) -> Self {
        Self { device, number }
    }
}

/// Mode in which a file is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OpenMode {
    /// An existing file, for reading.
    Read,
    /// An existing file, for reading and writing.
    Write,
    /// An empty file, for reading and writing: a new one, or an existing one that is truncated.
    Create,
}

/// Content of one file.
pub trait File: fmt::Debug + Send + Sync {
    /// Reads bytes at `offset` into `buffer` and returns their number, which is smaller than the
    /// buffer only at the end of the file.
    ///
    /// # Errors
    /// Returns the error of the operating system.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize>;

    /// Writes all of `bytes` at `offset`. After an error, any part of them may have been written.
    ///
    /// # Errors
    /// Returns the error of the operating system.
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()>;

    /// Returns the size in bytes.
    ///
    /// # Errors
    /// Returns the error of the operating system.
    fn size(&self) -> io::Result<u64>;

    /// Returns the identity of the file, which [`FileSystem::id`] returns for its path.
    ///
    /// # Errors
    /// Returns the error of the operating system.
    fn id(&self) -> io::Result<FileId>;

    /// Truncates or extends the file to `size` bytes.
    ///
    /// # Errors
    /// Returns the error of the operating system.
    fn truncate(&self, size: u64) -> io::Result<()>;

    /// Makes the content and the size durable (`fdatasync`).
    ///
    /// # Errors
    /// Returns the error of the operating system. After an error, bytes written since the last
    /// successful sync may be lost even if a later sync succeeds.
    fn sync(&self) -> io::Result<()>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn file_systems_behave_the_same_on_disk_in_memory_and_with_faults() {
        let folder = tempfile::tempdir().unwrap();
        let file_systems: [&dyn FileSystem; 3] = [&Disk, &Memory::default(), &Faulty::new(1)];
        for fs in file_systems {
            let dir = folder.path().join("a/b");
            fs.create_dir_all(&dir).unwrap();
            let [one, two] = ["one", "two"].map(|name| dir.join(name));
            assert_eq!(fs.open(&one, OpenMode::Write).unwrap_err().kind(), io::ErrorKind::NotFound);
            let file = fs.open(&one, OpenMode::Create).unwrap();
            file.write_at(b"world", 7).unwrap();
            file.write_at(b"hello, ", 0).unwrap();
            let mut buffer = [b'.'; 20];
            assert_eq!(
                (file.size().unwrap(), file.read_at(&mut buffer, 2).unwrap()),
                (12, 10),
                "{fs:?}"
            );
            assert_eq!(buffer, *b"llo, world..........", "{fs:?}");
            assert_eq!(file.read_at(&mut buffer, 0).unwrap(), 12, "{fs:?}");
            assert_eq!(buffer, *b"hello, world........", "{fs:?}");
            file.truncate(5).unwrap();
            file.sync().unwrap();
            assert_eq!(fs.id(&one).unwrap(), Some(file.id().unwrap()), "{fs:?}");
            let folder_id = fs.id(&dir).unwrap();
            fs.rename(&one, &two).unwrap();
            assert_ne!(fs.id(&one).unwrap(), Some(file.id().unwrap()), "{fs:?}");
            assert_eq!(fs.id(&two).unwrap(), Some(file.id().unwrap()), "{fs:?}");
            assert_eq!((fs.id(&dir).unwrap(), folder_id.is_some()), (folder_id, true), "{fs:?}");
            fs.sync_dir(&dir).unwrap();
            assert_eq!(fs.list(&dir).unwrap(), ["two"]);
            let file = fs.open(&two, OpenMode::Read).unwrap();
            assert_eq!(
                (file.size().unwrap(), file.read_at(&mut buffer, 5).unwrap()),
                (5, 0),
                "{fs:?}"
            );
            assert_eq!(fs.open(&two, OpenMode::Create).unwrap().size().unwrap(), 0);
            fs.remove(&two).unwrap();
            assert_eq!(fs.list(&dir).unwrap(), [""; 0]);
            assert_eq!(fs.remove(&two).unwrap_err().kind(), io::ErrorKind::NotFound);
            let lock = fs.lock(&one).unwrap();
            assert_eq!(
                fs.lock(&one).err().map(|error| error.kind()),
                Some(io::ErrorKind::WouldBlock),
                "{fs:?}"
            );
            drop(lock);
            fs.lock(&one).unwrap();
        }
    }
}
