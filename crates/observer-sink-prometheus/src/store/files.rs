//! Durable file operations, and their error type.

use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use observer_core::{FolderError, SinkError, private_files};

/// Failure of an operation on a file.
#[derive(Debug, thiserror::Error)]
#[error("can't {action} {}", path.display())]
pub(crate) struct FileError {
    action: &'static str,
    path: PathBuf,
    source: io::Error,
}

impl FileError {
    /// Returns a conversion for `map_err`; `action` and `path` complete "can't …".
    pub(crate) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self { action, path: path.to_owned(), source }
    }
}

impl From<FolderError> for FileError {
    fn from(FolderError { action, path, source }: FolderError) -> Self {
        Self { action, path, source }
    }
}

impl From<FileError> for SinkError {
    /// Classifies the error: permissions and full disks need an operator, other errors may be
    /// temporary.
    fn from(error: FileError) -> Self {
        match error.source.kind() {
            ErrorKind::PermissionDenied
            | ErrorKind::ReadOnlyFilesystem
            | ErrorKind::StorageFull
            | ErrorKind::QuotaExceeded
            | ErrorKind::NotADirectory
            | ErrorKind::IsADirectory
            | ErrorKind::AlreadyExists => Self::blocked(error),
            _ => Self::transient(error),
        }
    }
}

/// Reads a file; `None` if it does not exist.
pub(crate) fn read(path: &Path) -> Result<Option<Vec<u8>>, FileError> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(source) => Err(FileError { action: "read", path: path.to_owned(), source }),
    }
}

/// Renames a file within its folder, durably.
pub(crate) fn rename(from: &Path, to: &Path) -> Result<(), FileError> {
    fs::rename(from, to).map_err(|source| FileError {
        action: "rename",
        path: from.to_owned(),
        source,
    })?;
    sync_folder(folder_of(to))
}

/// Creates a folder and its missing ancestors, durably.
pub(crate) fn create_folder(path: &Path) -> Result<(), FileError> {
    create_folder_with(path, sync_folder)
}

fn create_folder_with(
    path: &Path,
    mut sync: impl FnMut(&Path) -> Result<(), FileError>,
) -> Result<(), FileError> {
    let missing = path
        .ancestors()
        .take_while(|folder| !folder.as_os_str().is_empty() && !folder.exists())
        .count();
    private_files::create_folder(path).map_err(|source| FileError {
        action: "create the folder",
        path: path.to_owned(),
        source,
    })?;
    path.ancestors().take(missing).try_for_each(|folder| sync(folder_of(folder)))
}

/// Checks that a file of one block can be written in a folder.
pub(crate) fn probe(folder: &Path) -> Result<(), FileError> {
    let path = folder.join("writable.tmp");
    let written = fs::write(&path, [0; 4096]);
    // A concurrent probe may already have deleted the file.
    let removed = fs::remove_file(&path);
    written
        .and(
            removed.or_else(
                |error| if error.kind() == ErrorKind::NotFound { Ok(()) } else { Err(error) },
            ),
        )
        .map_err(|source| FileError { action: "write", path, source })
}

fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

fn sync_folder(folder: &Path) -> Result<(), FileError> {
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(|source| FileError {
        action: "sync the folder",
        path: folder.to_owned(),
        source,
    })
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn sync_reaches_the_operating_system() {
        // The system can't sync this file, so an error shows that it was called.
        assert!(sync_folder(Path::new("/dev/null")).is_err());
    }

    #[test]
    fn folders_with_new_entries_are_synced() {
        let dir = tempfile::tempdir().unwrap();
        let [a, b] = ["a", "a/b"].map(|name| dir.path().join(name));
        let mut synced = Vec::new();
        let mut create = || {
            create_folder_with(&b, |folder| {
                synced.push(folder.to_owned());
                Ok(())
            })
            .unwrap();
        };
        create();
        create();
        assert_eq!(synced, [a, dir.path().to_owned()]);
    }
}
