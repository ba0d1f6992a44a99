//! Space that is kept for positions, so that they can be committed, and the journal can give space
//! back, while the disk is full.
//!
//! Only as much of it is given up as is needed, and it is taken back at once: others write to the
//! same disk, and what they take of it is gone until there is space again.

use std::io;
use std::path::Path;

use crate::fs::{FileSystem, OpenMode};

pub(crate) const FILE: &str = "positions.reserve";
const SIZE: usize = 64 * 1024;
/// What file systems give and take at once.
const PAGE: u64 = 4096;

/// How much of the reserve there is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Reserve {
    Whole,
    /// Or nobody has looked yet.
    #[default]
    Short,
}

/// Where positions find space.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Space {
    Free,
    /// In what is given up of the reserve; nobody may append meanwhile.
    Reserve,
}

/// Whether an operation failed since there is no space.
pub(crate) fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// Set aside what is missing of it, or as much of that as there is.
pub(crate) fn keep(fs: &dyn FileSystem, dir: &Path) -> io::Result<()> {
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

/// Give up enough of it for `bytes` more bytes, or what is left.
///
/// # Errors
/// When nothing is left.
pub(crate) fn give_up(fs: &dyn FileSystem, dir: &Path, bytes: u64) -> io::Result<()> {
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
    fn the_reserve_takes_space_on_the_disk() {
        let dir = tempfile::tempdir().unwrap();
        for left in [0, 4096, 10_000, 64 * 1024] {
            keep(&Disk, dir.path()).unwrap();
            let file = dir.path().join(FILE);
            assert!(
                std::fs::metadata(&file).unwrap().blocks() * 512 >= SIZE as u64,
                "no hole, which takes none"
            );
            Disk.open(&file, OpenMode::Write).unwrap().truncate(left).unwrap();
        }
        give_up(&Disk, dir.path(), 5000).unwrap();
        assert_eq!(std::fs::metadata(dir.path().join(FILE)).unwrap().len(), 56 * 1024);
    }
}
