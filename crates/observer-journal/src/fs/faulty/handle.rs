//! An open file of a disk that fails.

use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard};

use super::disk::{Change, Disk, End, Inode, Verdict, gone};
use super::locked;
use crate::fs::File;

#[derive(Clone)]
pub(super) struct Handle {
    pub(super) disk: Arc<Mutex<Disk>>,
    pub(super) run: u64,
    pub(super) inode: usize,
}

impl Handle {
    /// The disk with the verdict on this operation.
    fn begin(&self) -> (MutexGuard<'_, Disk>, Verdict) {
        let mut disk = locked(&self.disk);
        let verdict = if disk.run == self.run { disk.judge() } else { Verdict::Fail(gone()) };
        (disk, verdict)
    }

    fn read<T>(&self, work: impl FnOnce(&Inode) -> T) -> io::Result<T> {
        let (mut disk, verdict) = self.begin();
        match verdict {
            Verdict::Go => Ok(work(&disk.inodes[self.inode])),
            Verdict::LastOne(end) => {
                disk.end(end);
                Err(gone())
            }
            Verdict::Fail(error) => Err(error),
        }
    }

    fn change(&self, change: Change) -> io::Result<()> {
        let (mut disk, verdict) = self.begin();
        let grows = matches!(&change, Change::Write { offset, bytes } if offset + bytes.len() > disk.inodes[self.inode].bytes.len());
        match verdict {
            Verdict::Go if disk.full && grows => {
                disk.write_some(self.inode, change);
                Err(io::ErrorKind::StorageFull.into())
            }
            Verdict::Go => {
                disk.inodes[self.inode].change(change);
                Ok(())
            }
            Verdict::LastOne(end) => {
                disk.inodes[self.inode].change(change);
                disk.end(end);
                Err(gone())
            }
            Verdict::Fail(error) => {
                if disk.run == self.run && !disk.is_off {
                    disk.write_some(self.inode, change);
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

    fn truncate(&self, size: u64) -> io::Result<()> {
        self.change(Change::Resize(usize::try_from(size).map_err(io::Error::other)?))
    }

    fn sync(&self) -> io::Result<()> {
        let (mut disk, verdict) = self.begin();
        let disk = &mut *disk;
        match verdict {
            Verdict::Go => {
                disk.inodes[self.inode].sync();
                Ok(())
            }
            Verdict::LastOne(End::PowerCut) => {
                disk.cut_power();
                Err(gone())
            }
            Verdict::LastOne(End::Kill) => {
                disk.inodes[self.inode].sync();
                disk.kill();
                Err(gone())
            }
            Verdict::Fail(error) => {
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
