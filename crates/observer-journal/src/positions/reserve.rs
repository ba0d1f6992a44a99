//! Reserved space on the disk, in which positions are stored while the disk is full.
//!
//! Without new positions, no segment could be removed, and the disk would stay full. Only as much
//! of the reserve is released as is needed, and it is refilled at once: other programs write to the
//! same disk, and space that they take is not available until the disk has free space again.

use std::io;
use std::path::Path;

use crate::fs::{FileSystem, OpenMode};

pub(crate) const FILE: &str = "positions.reserve";
const SIZE: usize = 64 * 1024;
/// Number of bytes in which file systems allocate space.
const PAGE: u64 = 4096;

/// State of the reserve.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Reserve {
    Complete,
    /// Some of it is missing, or its size is not known yet.
    #[default]
    Incomplete,
}

/// Space in which positions are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Space {
    Free,
    /// Space that the reserve releases. The caller prevents appends meanwhile.
    Reserve,
}

/// Returns whether an operation failed because the disk or the quota is full.
pub(crate) fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// Refills the reserve, as far as there is space.
pub(crate) fn refill(fs: &dyn FileSystem, dir: &Path) -> io::Result<()> {
    let path = dir.join(FILE);
    let file = match fs.open(&path, OpenMode::Write) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            fs.open(&path, OpenMode::Create)?
        }
        file => file?,
    };
    let missing = SIZE.saturating_sub(usize::try_from(file.size()?).unwrap_or(SIZE));
    if missing == 0 {
        return Ok(());
    }
    let written = file.write_at(&vec![0; missing], (SIZE - missing) as u64);
    file.sync()?;
    written
}

/// Returns the size of the reserve in bytes; 0 if it is missing or can't be read.
pub(crate) fn size(fs: &dyn FileSystem, dir: &Path) -> u64 {
    fs.open(&dir.join(FILE), OpenMode::Read).and_then(|file| file.size()).unwrap_or(0)
}

/// Releases enough space for `bytes` bytes, or all that is left.
///
/// # Errors
/// Returns [`io::ErrorKind::StorageFull`] if nothing is left.
pub(crate) fn release(fs: &dyn FileSystem, dir: &Path, bytes: u64) -> io::Result<()> {
    let file = fs.open(&dir.join(FILE), OpenMode::Write)?;
    let size = file.size()?;
    if size == 0 {
        return Err(io::ErrorKind::StorageFull.into());
    }
    file.truncate(size.saturating_sub(bytes.next_multiple_of(PAGE)))
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;
    use crate::fs::Disk;

    #[test]
    fn reserve_occupies_space_on_the_disk() {
        let dir = tempfile::tempdir().unwrap();
        for left in [0, 4096, 10_000, 64 * 1024] {
            refill(&Disk, dir.path()).unwrap();
            let file = dir.path().join(FILE);
            assert!(
                std::fs::metadata(&file).unwrap().blocks() * 512 >= SIZE as u64,
                "the file has no holes, which would occupy no space"
            );
            Disk.open(&file, OpenMode::Write).unwrap().truncate(left).unwrap();
        }
        release(&Disk, dir.path(), 5000).unwrap();
        assert_eq!(std::fs::metadata(dir.path().join(FILE)).unwrap().len(), 56 * 1024);
    }
}
