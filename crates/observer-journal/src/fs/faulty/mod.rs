//! A disk that loses power and fails on demand, as disks do: for tests.
//!
//! What was written and not synced may be there after a power cut, or not, or in part: each write
//! by itself, each sector of a write by itself, and so in any order. Names (files made, renamed,
//! removed) are durable once their folder was synced; of later changes to one folder a first part
//! may be there, in order, as file systems with a journal have it. A sync that fails forgets some
//! of what it should have written for good, although it can still be read until the power goes.

use std::any::Any;
use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

use self::disk::{Change, Disk, End, Inode, Renaming, Verdict, gone, not_found};
use self::handle::Handle;
use super::{File, FileSystem, OpenMode};

mod disk;
mod handle;

/// What goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The power goes during the operation. Nothing works until [`Faulty::restart`].
    PowerCut,
    /// The operation is done, and the process is gone. Nothing works until [`Faulty::restart`].
    Kill,
    /// The operation fails with this error. Of a write, a part may have been done.
    Error(io::ErrorKind),
}

/// Files in memory behind a disk that can fail, for tests. Clones are doors to the same disk.
///
/// The same seed and the same operations make the same faults.
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
/// assert!(disk.sync_dir(Path::new("folder")).is_err(), "the power goes");
/// disk.restart();
/// let is_there = disk.open(path, OpenMode::Read).is_ok(); // or not
/// # let _ = is_there;
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
    /// An empty disk, whose faults are drawn from this seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self { disk: Arc::new(Mutex::new(Disk::new(seed))) }
    }

    /// How many operations there were.
    #[must_use]
    pub fn operations(&self) -> u64 {
        self.lock_disk().operations
    }

    /// Have the operation of this number go wrong; the first one is 0.
    pub fn fail_at(&self, operation: u64, fault: Fault) {
        self.lock_disk().faults.insert(operation, fault);
    }

    /// How many operations went wrong as they were told to.
    #[must_use]
    pub fn fault_count(&self) -> u64 {
        self.lock_disk().fault_count
    }

    /// Whether there is no space left.
    pub fn set_full(&self, full: bool) {
        self.lock_disk().full = full;
    }

    /// Whether the power has gone, or the process.
    #[must_use]
    pub fn is_off(&self) -> bool {
        self.lock_disk().is_off
    }

    /// Cut the power now.
    pub fn cut_power(&self) {
        self.lock_disk().cut_power();
    }

    /// End the process now, as with [`Fault::Kill`].
    pub fn kill(&self) {
        self.lock_disk().kill();
    }

    /// Faults that are still to come don't.
    pub fn clear_faults(&self) {
        self.lock_disk().faults.clear();
    }

    /// After a kill: all is there, also what is not durable yet, and faults that are still to come
    /// will come. Else power on again, with what the disk has kept, and faults that are still to
    /// come are called off.
    pub fn restart(&self) {
        let mut disk = self.lock_disk();
        if std::mem::take(&mut disk.killed) {
            disk.is_off = false;
            return;
        }
        disk.cut_power();
        disk.is_off = false;
        disk.full = false;
        disk.faults.clear();
    }

    /// The files as they are now.
    #[must_use]
    pub fn files(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        let disk = self.lock_disk();
        disk.names
            .iter()
            .map(|(path, inode)| (path.clone(), disk.inodes[*inode].bytes.clone()))
            .collect()
    }

    /// Put these bytes into a file behind everyone's back; `None` removes it.
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
        locked(&self.disk)
    }

    /// Count an operation on names, and do it unless it is to fail.
    fn names<T>(&self, work: impl FnOnce(&mut Disk) -> io::Result<T>) -> io::Result<T> {
        let mut disk = self.lock_disk();
        match disk.judge() {
            Verdict::Go => work(&mut disk),
            Verdict::LastOne(end) => {
                let done = work(&mut disk);
                disk.end(end);
                // A lock that was taken needs the disk to let go.
                drop(disk);
                drop(done);
                Err(gone())
            }
            Verdict::Fail(error) => Err(error),
        }
    }
}

fn locked(disk: &Mutex<Disk>) -> MutexGuard<'_, Disk> {
    disk.lock().expect("nothing panics while it holds the disk")
}

impl FileSystem for Faulty {
    fn create_dir_all(&self, _dir: &Path) -> io::Result<()> {
        self.names(|_| Ok(()))
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        self.names(|disk| {
            let inside = disk.names.keys().filter(|path| path.parent() == Some(dir));
            Ok(inside.filter_map(|path| path.file_name()?.to_str().map(str::to_owned)).collect())
        })
    }

    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn File>> {
        self.names(|disk| {
            let known = disk.names.get(path).copied();
            let inode = match (known, mode) {
                (Some(inode), OpenMode::Create) => {
                    disk.inodes[inode].change(Change::Resize(0));
                    inode
                }
                (Some(inode), _) => inode,
                (None, OpenMode::Create) if disk.full => {
                    return Err(io::ErrorKind::StorageFull.into());
                }
                (None, OpenMode::Create) => {
                    let inode = disk.inodes.len();
                    disk.inodes.push(Inode::default());
                    disk.rename(Renaming::Make(path.to_owned(), inode));
                    inode
                }
                (None, _) => return Err(not_found(path)),
            };
            Ok(Arc::new(Handle { disk: self.disk.clone(), run: disk.run, inode }) as Arc<dyn File>)
        })
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.names(|disk| {
            if !disk.names.contains_key(from) {
                return Err(not_found(from));
            }
            disk.rename(Renaming::Rename(from.to_owned(), to.to_owned()));
            Ok(())
        })
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.names(|disk| {
            if !disk.names.contains_key(path) {
                return Err(not_found(path));
            }
            disk.rename(Renaming::Remove(path.to_owned()));
            Ok(())
        })
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let mut disk = self.lock_disk();
        match disk.judge() {
            Verdict::Go => {
                disk.sync_folder(dir);
                Ok(())
            }
            // How far it came is up to the power cut.
            Verdict::LastOne(End::PowerCut) => {
                disk.cut_power();
                Err(gone())
            }
            Verdict::LastOne(End::Kill) => {
                disk.sync_folder(dir);
                disk.kill();
                Err(gone())
            }
            Verdict::Fail(error) => Err(error),
        }
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn Any + Send + Sync>> {
        self.names(|disk| {
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
        let mut disk = locked(&self.disk);
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
