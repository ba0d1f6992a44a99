//! Simulated disk that fails and loses power on demand, for tests.
//!
//! A power cut affects the two kinds of unsynced changes differently:
//!
//! - Content: each unsynced write survives completely, in part, or not at all. The parts are
//!   sectors of 512 bytes. Writes are independent of each other, so a later one can survive an
//!   earlier one.
//! - Names (files created, renamed, removed): changes are durable once their folder is synced. Of
//!   the unsynced changes to a folder, a prefix survives, as in journaling file systems.
//!
//! A failed sync drops some of the unsynced writes permanently, although they can still be read
//! until the power is cut.

use std::any::Any;
use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

use self::disk::{Change, Directive, Disk, End, Inode, NameChange, not_found, powered_off};
use self::handle::Handle;
use super::{File, FileId, FileSystem, OpenMode};
use crate::lock::lock;

mod disk;
mod handle;

/// Fault to inject into one operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The power is cut during the operation. All operations fail until [`Faulty::restart`].
    PowerCut,
    /// The operation succeeds and the process is killed right after it. All operations fail until
    /// [`Faulty::restart`].
    Kill,
    /// The operation fails with this error. A part of a write may have been done.
    Error(io::ErrorKind),
}

/// File system on a simulated disk that can fail, for tests. Clones share the same disk.
///
/// The same seed and the same operations have the same result.
///
/// ```
/// use std::path::Path;
///
/// use observer_journal::fs::{Fault, Faulty, FileSystem, OpenMode};
///
/// let disk = Faulty::new(1);
/// let path = Path::new("folder/file");
/// disk.fail_at(disk.operations() + 1, Fault::PowerCut);
/// assert!(disk.open(path, OpenMode::Create).is_ok());
/// assert!(disk.sync_dir(Path::new("folder")).is_err(), "the power is cut");
/// disk.restart();
/// let survived = disk.open(path, OpenMode::Read).is_ok(); // depends on the seed
/// # let _ = survived;
/// ```
#[derive(Clone)]
pub struct Faulty {
    disk: Arc<Mutex<Disk>>,
}

struct Lock {
    disk: Arc<Mutex<Disk>>,
    run: u64,
    path: PathBuf,
}

impl Faulty {
    /// Creates an empty disk. The seed determines which unsynced changes survive.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self { disk: Arc::new(Mutex::new(Disk::new(seed))) }
    }

    /// Returns the number of operations so far.
    #[must_use]
    pub fn operations(&self) -> u64 {
        self.lock_disk().operations
    }

    /// Injects a fault into the operation of this number; the first operation has the number 0.
    pub fn fail_at(&self, operation: u64, fault: Fault) {
        self.lock_disk().faults.insert(operation, fault);
    }

    /// Returns the number of faults that occurred.
    #[must_use]
    pub fn fault_count(&self) -> u64 {
        self.lock_disk().fault_count
    }

    /// Sets whether the disk is full: files can't grow then, and no file can be created.
    pub fn set_full(&self, is_full: bool) {
        self.lock_disk().is_full = is_full;
    }

    /// Returns whether the power is cut or the process is killed.
    #[must_use]
    pub fn is_off(&self) -> bool {
        self.lock_disk().is_off
    }

    /// Cuts the power now.
    pub fn cut_power(&self) {
        self.lock_disk().cut_power();
    }

    /// Kills the process now, as [`Fault::Kill`] does.
    pub fn kill(&self) {
        self.lock_disk().kill();
    }

    /// Removes all faults that have not occurred yet.
    pub fn clear_faults(&self) {
        self.lock_disk().faults.clear();
    }

    /// Starts the process again.
    ///
    /// After a kill, unsynced changes are still there and pending faults stay. After a power cut,
    /// or if the disk is running, the disk has what survived a power cut, and pending faults are
    /// removed.
    pub fn restart(&self) {
        let mut disk = self.lock_disk();
        if std::mem::take(&mut disk.is_killed) {
            disk.is_off = false;
            return;
        }
        disk.cut_power();
        disk.is_off = false;
        disk.is_full = false;
        disk.faults.clear();
    }

    /// Returns the content of all files, synced or not.
    #[must_use]
    pub fn files(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        let disk = self.lock_disk();
        disk.names
            .iter()
            .map(|(path, inode)| (path.clone(), disk.inodes[*inode].bytes.clone()))
            .collect()
    }

    /// Sets the durable content of a file without counting an operation; `None` removes the file.
    pub fn put(&self, path: &Path, bytes: Option<Vec<u8>>) {
        let mut disk = self.lock_disk();
        let Some(bytes) = bytes else {
            disk.names.remove(path);
            disk.durable_names.remove(path);
            return;
        };
        let inode = disk.inodes.len();
        disk.inodes.push(Inode { durable: bytes.clone(), bytes, changes: Vec::new() });
        disk.names.insert(path.to_owned(), inode);
        disk.durable_names.insert(path.to_owned(), inode);
    }

    fn lock_disk(&self) -> MutexGuard<'_, Disk> {
        lock(&self.disk)
    }

    /// Counts an operation on names, and runs it unless a fault makes it fail.
    fn operate<T>(&self, work: impl FnOnce(&mut Disk) -> io::Result<T>) -> io::Result<T> {
        let mut disk = self.lock_disk();
        match disk.next_directive() {
            Directive::Proceed => work(&mut disk),
            Directive::ProceedThenEnd(end) => {
                let done = work(&mut disk);
                disk.end(end);
                // The guard of a file lock locks the disk when it is dropped.
                drop(disk);
                drop(done);
                Err(powered_off())
            }
            Directive::Fail(error) => Err(error),
        }
    }
}

impl FileSystem for Faulty {
    fn create_dir_all(&self, _dir: &Path) -> io::Result<()> {
        self.operate(|_| Ok(()))
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        self.operate(|disk| {
            let inside = disk.names.keys().filter(|path| path.parent() == Some(dir));
            Ok(inside.filter_map(|path| path.file_name()?.to_str().map(str::to_owned)).collect())
        })
    }

    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn File>> {
        self.operate(|disk| {
            let known = disk.names.get(path).copied();
            let inode = match (known, mode) {
                (Some(inode), OpenMode::Create) => {
                    disk.inodes[inode].change(Change::Resize(0));
                    inode
                }
                (Some(inode), _) => inode,
                (None, OpenMode::Create) if disk.is_full => {
                    return Err(io::ErrorKind::StorageFull.into());
                }
                (None, OpenMode::Create) => {
                    let inode = disk.inodes.len();
                    disk.inodes.push(Inode::default());
                    disk.change_name(NameChange::Create(path.to_owned(), inode));
                    inode
                }
                (None, _) => return Err(not_found(path)),
            };
            Ok(Arc::new(Handle { disk: self.disk.clone(), run: disk.run, inode }) as Arc<dyn File>)
        })
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.operate(|disk| {
            if !disk.names.contains_key(from) {
                return Err(not_found(from));
            }
            disk.change_name(NameChange::Rename(from.to_owned(), to.to_owned()));
            Ok(())
        })
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.operate(|disk| {
            if !disk.names.contains_key(path) {
                return Err(not_found(path));
            }
            disk.change_name(NameChange::Remove(path.to_owned()));
            Ok(())
        })
    }

    /// Doesn't count as an operation.
    fn id(&self, path: &Path) -> io::Result<Option<FileId>> {
        let disk = self.lock_disk();
        if disk.is_off {
            return Err(powered_off());
        }
        let inode = disk.names.get(path);
        Ok(Some(inode.map_or(FileId::new(0, 0), |inode| FileId::new(1, *inode as u64))))
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let mut disk = self.lock_disk();
        match disk.next_directive() {
            Directive::Proceed => {
                disk.sync_folder(dir);
                Ok(())
            }
            // The power cut determines which of the names are durable.
            Directive::ProceedThenEnd(End::PowerCut) => {
                disk.cut_power();
                Err(powered_off())
            }
            Directive::ProceedThenEnd(End::Kill) => {
                disk.sync_folder(dir);
                disk.kill();
                Err(powered_off())
            }
            Directive::Fail(error) => Err(error),
        }
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn Any + Send + Sync>> {
        self.operate(|disk| {
            if !disk.locks.insert(path.to_owned()) {
                return Err(io::ErrorKind::WouldBlock.into());
            }
            Ok(Box::new(Lock { disk: self.disk.clone(), run: disk.run, path: path.to_owned() })
                as _)
        })
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        let mut disk = lock(&self.disk);
        if disk.run == self.run {
            disk.locks.remove(&self.path);
        }
    }
}

impl fmt::Debug for Faulty {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Faulty").field("operations", &self.operations()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
