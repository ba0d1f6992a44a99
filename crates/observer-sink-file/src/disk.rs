//! File operations that tests can make fail, and helpers for folders that `std` lacks.

use std::fs::{File, Metadata};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use crate::access::Access;
use crate::error::FileError;

/// Operations on open files and folders.
pub(crate) trait Disk: Send + Sync {
    /// Writes a prefix of `bytes` and returns its length.
    fn write(&self, file: &File, bytes: &[u8]) -> io::Result<usize>;
    /// Truncates the file to `len` bytes.
    fn truncate(&self, file: &File, len: u64) -> io::Result<()>;
    /// Makes the contents and the length of the file durable.
    fn sync(&self, file: &File) -> io::Result<()>;
    /// Makes the contents and all metadata of the file durable.
    fn sync_all(&self, file: &File) -> io::Result<()>;
    /// Makes the names in a folder durable.
    fn sync_folder(&self, folder: &Path) -> Result<(), FileError>;
}

/// Disk of the operating system.
#[derive(Debug)]
pub(crate) struct RealDisk;

impl Disk for RealDisk {
    fn write(&self, mut file: &File, bytes: &[u8]) -> io::Result<usize> {
        file.write(bytes)
    }

    fn truncate(&self, file: &File, len: u64) -> io::Result<()> {
        file.set_len(len)
    }

    fn sync(&self, file: &File) -> io::Result<()> {
        file.sync_data()
    }

    fn sync_all(&self, file: &File) -> io::Result<()> {
        file.sync_all()
    }

    fn sync_folder(&self, folder: &Path) -> Result<(), FileError> {
        if cfg!(not(unix)) {
            return Ok(());
        }
        match File::open(folder) {
            // A deleted folder has no names to make durable.
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            opened => opened
                .and_then(|folder| folder.sync_all())
                .map_err(FileError::io("sync the folder", folder)),
        }
    }
}

/// Renames a file to a name that no file has. [`fs::rename`](std::fs::rename) would replace a file
/// that another program or sink has created since the name was chosen.
///
/// # Errors
/// [`ErrorKind::AlreadyExists`](io::ErrorKind::AlreadyExists) if the name is taken; both files are
/// unchanged then.
#[cfg(target_os = "linux")]
pub(crate) fn rename_new(from: &Path, to: &Path) -> io::Result<()> {
    use rustix::fs::{CWD, RenameFlags, renameat_with};
    use rustix::io::Errno;
    match renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
        // Some network file systems lack the flag.
        Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => link_and_remove(from, to),
        renamed => Ok(renamed?),
    }
}

/// Renames a file to a name that no file has.
#[cfg(not(target_os = "linux"))]
pub(crate) fn rename_new(from: &Path, to: &Path) -> io::Result<()> {
    link_and_remove(from, to)
}

/// Gives a file a second name that no file has, and removes the first one.
fn link_and_remove(from: &Path, to: &Path) -> io::Result<()> {
    std::fs::hard_link(from, to)?;
    std::fs::remove_file(from)
}

/// Makes the name of a file durable.
pub(crate) fn sync_folder(file: &Path) -> Result<(), FileError> {
    RealDisk.sync_folder(parent(file))
}

/// Opens a file of the state folder for appending. A new one is accessible to the user alone.
pub(crate) fn create_private(path: &Path) -> io::Result<File> {
    let mut options = File::options();
    options.create(true).append(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

/// Identity of a file, which does not depend on its name.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize,
)]
pub(crate) struct Identity {
    pub(crate) dev: u64,
    pub(crate) ino: u64,
}

impl Identity {
    #[cfg(unix)]
    pub(crate) fn of(metadata: &Metadata) -> Self {
        use std::os::unix::fs::MetadataExt;
        Self { dev: metadata.dev(), ino: metadata.ino() }
    }

    /// Without inode numbers, a renamed file can't be distinguished from the file that took its
    /// name.
    #[cfg(not(unix))]
    pub(crate) fn of(_: &Metadata) -> Self {
        Self { dev: 0, ino: 0 }
    }
}

/// Creates a folder and its missing ancestors with an access mode. Returns the folders that got a
/// new entry.
pub(crate) fn create_folders(folder: &Path, access: &Access) -> Result<Vec<PathBuf>, FileError> {
    let mut missing: Vec<_> = folder
        .ancestors()
        .take_while(|folder| !folder.as_os_str().is_empty() && !folder.exists())
        .collect();
    missing.reverse();
    for folder in &missing {
        access.create_folder(folder).map_err(FileError::io("create the folder", folder))?;
    }
    Ok(missing.into_iter().map(|folder| parent(folder).to_owned()).collect())
}

/// Returns the folder that contains `path`.
pub(crate) fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn sync_reaches_the_operating_system() {
        // The system can't sync this file, so an error shows that it was called.
        let null = Path::new("/dev/null");
        let file = File::options().write(true).open(null).unwrap();
        for sync in [RealDisk.sync(&file), RealDisk.sync_all(&file)] {
            assert_eq!(sync.unwrap_err().kind(), io::ErrorKind::InvalidInput);
        }
        assert_eq!(
            RealDisk.sync_folder(null).unwrap_err().to_string(),
            "can't sync the folder /dev/null"
        );
        RealDisk.sync_folder(Path::new("/nowhere/at all")).unwrap();
    }

    #[test]
    fn rename_to_a_name_that_is_taken_changes_neither_file() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        for rename in [rename_new, link_and_remove] {
            std::fs::write(at("own"), "own").unwrap();
            std::fs::write(at("foreign"), "foreign").unwrap();
            let error = rename(&at("own"), &at("foreign")).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
            assert_eq!(std::fs::read_to_string(at("own")).unwrap(), "own");
            assert_eq!(std::fs::read_to_string(at("foreign")).unwrap(), "foreign");
            rename(&at("own"), &at("new")).unwrap();
            assert!(!at("own").exists());
            assert_eq!(std::fs::read_to_string(at("new")).unwrap(), "own");
            std::fs::remove_file(at("new")).unwrap();
        }
    }
}
