//! Open file of the simulated disk.

use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard};

use super::disk::{Change, Directive, Disk, End, Inode, powered_off};
use crate::fs::{File, FileId};
use crate::lock::lock;

#[derive(Clone)]
pub(super) struct Handle {
    pub(super) disk: Arc<Mutex<Disk>>,
    pub(super) run: u64,
    pub(super) inode: usize,
}

impl Handle {
    /// Locks the disk and returns what the operation has to do.
    fn begin(&self) -> (MutexGuard<'_, Disk>, Directive) {
        let mut disk = lock(&self.disk);
        let directive = if disk.run == self.run {
            disk.next_directive()
        } else {
            Directive::Fail(powered_off())
        };
        (disk, directive)
    }

    fn read<T>(&self, work: impl FnOnce(&Inode) -> T) -> io::Result<T> {
        let (mut disk, directive) = self.begin();
        match directive {
            Directive::Proceed => Ok(work(&disk.inodes[self.inode])),
            Directive::ProceedThenEnd(end) => {
                disk.end(end);
                Err(powered_off())
            }
            Directive::Fail(error) => Err(error),
        }
    }

    fn change(&self, change: Change) -> io::Result<()> {
        let (mut disk, directive) = self.begin();
        let size = disk.inodes[self.inode].bytes.len();
        let grows = matches!(
            &change,
            Change::Write { offset, bytes } if offset + bytes.len() > size
        );
        match directive {
            Directive::Proceed if disk.is_full && grows => {
                disk.write_prefix(self.inode, change);
                Err(io::ErrorKind::StorageFull.into())
            }
            Directive::Proceed => {
                disk.inodes[self.inode].change(change);
                Ok(())
            }
            Directive::ProceedThenEnd(end) => {
                disk.inodes[self.inode].change(change);
                disk.end(end);
                Err(powered_off())
            }
            Directive::Fail(error) => {
                if disk.run == self.run && !disk.is_off {
                    disk.write_prefix(self.inode, change);
                }
                Err(error)
            }
        }
    }
}

impl File for Handle {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.read(|inode| {
            let start = usize::try_from(offset).unwrap_or(usize::MAX).min(inode.bytes.len());
            let count = buffer.len().min(inode.bytes.len() - start);
            buffer[..count].copy_from_slice(&inode.bytes[start..start + count]);
            count
        })
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let offset = usize::try_from(offset).map_err(io::Error::other)?;
        self.change(Change::Write { offset, bytes: bytes.to_owned() })
    }

    fn size(&self) -> io::Result<u64> {
        self.read(|inode| inode.bytes.len() as u64)
    }

    /// Doesn't count as an operation.
    fn id(&self) -> io::Result<FileId> {
        Ok(FileId::new(1, self.inode as u64))
    }

    fn truncate(&self, size: u64) -> io::Result<()> {
        self.change(Change::Resize(usize::try_from(size).map_err(io::Error::other)?))
    }

    fn sync(&self) -> io::Result<()> {
        let (mut disk, directive) = self.begin();
        let disk = &mut *disk;
        match directive {
            Directive::Proceed => {
                disk.inodes[self.inode].sync();
                Ok(())
            }
            Directive::ProceedThenEnd(End::PowerCut) => {
                disk.cut_power();
                Err(powered_off())
            }
            Directive::ProceedThenEnd(End::Kill) => {
                disk.inodes[self.inode].sync();
                disk.kill();
                Err(powered_off())
            }
            Directive::Fail(error) => {
                if disk.run == self.run && !disk.is_off {
                    let random = &mut disk.random;
                    disk.inodes[self.inode].changes.retain(|_| random.bool());
                }
                Err(error)
            }
        }
    }
}

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handle").field("inode", &self.inode).finish_non_exhaustive()
    }
}
