//! The one door to files: a small trait with two homes, the disk and memory.
//!
//! Whatever the journal does to files goes through [`FileSystem`], so that a test can take a
//! [`Faulty`] one and fail, tear or forget any single operation.

use std::any::Any;
use std::fmt;
use std::io;
use std::path::Path;
use std::sync::Arc;

mod disk;
mod faulty;
mod memory;

pub use disk::Disk;
pub use faulty::{Fault, Faulty};
pub use memory::Memory;

/// Folders and names.
pub trait FileSystem: fmt::Debug + Send + Sync + 'static {
    /// Make a folder and those above it.
    ///
    /// # Errors
    /// As the operating system says.
    fn create_dir_all(&self, dir: &Path) -> io::Result<()>;

    /// The names of the files in a folder, in no order.
    ///
    /// # Errors
    /// As the operating system says.
    fn list(&self, dir: &Path) -> io::Result<Vec<String>>;

    /// Open a file.
    ///
    /// # Errors
    /// As the operating system says.
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn File>>;

    /// Give a file another name, in place of one that has it.
    ///
    /// # Errors
    /// As the operating system says.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Remove a file.
    ///
    /// # Errors
    /// As the operating system says.
    fn remove(&self, path: &Path) -> io::Result<()>;

    /// Make the names in a folder durable.
    ///
    /// # Errors
    /// As the operating system says.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;

    /// Keep others out as long as the returned guard lives.
    ///
    /// # Errors
    /// [`io::ErrorKind::WouldBlock`] when another holds the lock.
    fn lock(&self, path: &Path) -> io::Result<Box<dyn Any + Send + Sync>>;
}

/// How a file is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OpenMode {
    /// For reading, if it is there.
    Read,
    /// For reading and writing, if it is there.
    Write,
    /// For reading and writing, empty: new, or in place of what was there.
    Create,
}

/// The bytes of one file.
pub trait File: fmt::Debug + Send + Sync {
    /// Fill as much of `buffer` as there is at `offset`; less only at the end of the file.
    ///
    /// # Errors
    /// As the operating system says.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize>;

    /// Write all of `bytes` at `offset`. After an error any part of them may have been written.
    ///
    /// # Errors
    /// As the operating system says.
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()>;

    /// How long it is.
    ///
    /// # Errors
    /// As the operating system says.
    fn size(&self) -> io::Result<u64>;

    /// Cut it to `size` bytes.
    ///
    /// # Errors
    /// As the operating system says.
    fn truncate(&self, size: u64) -> io::Result<()>;

    /// Make its bytes and its length durable (`fdatasync`).
    ///
    /// # Errors
    /// As the operating system says. What was written since the last sync may be lost, whatever a
    /// later sync says.
    fn sync(&self) -> io::Result<()>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_the_same_on_the_disk_in_memory_and_on_a_faulty_disk() {
        let folder = tempfile::tempdir().unwrap();
        let homes: [&dyn FileSystem; 3] = [&Disk, &Memory::default(), &Faulty::new(1)];
        for fs in homes {
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
            fs.rename(&one, &two).unwrap();
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
