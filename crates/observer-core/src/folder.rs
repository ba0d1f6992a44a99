//! Inspection of a folder that a sink writes to.

use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::Access;

/// Reason why a folder can't be written to.
#[derive(Debug, thiserror::Error)]
#[error("can't {action} {}", path.display())]
pub struct FolderError {
    /// Operation that would fail, as a verb phrase.
    pub action: &'static str,
    /// Folder of the operation.
    pub path: PathBuf,
    /// Error of the operating system.
    pub source: io::Error,
}

/// Verifies that a folder can be written to, or created where it is missing. Nothing is created or
/// changed, so a full disk is not noticed.
///
/// # Errors
/// If a write, or the creation of a folder, would fail.
pub fn verify_writable(folder: &Path) -> Result<(), FolderError> {
    let ancestors = || folder.ancestors().map(of_relative);
    let missing = ancestors().take_while(|ancestor| !ancestor.exists()).last();
    let Some(existing) = ancestors().find(|ancestor| ancestor.exists()) else { return Ok(()) };
    let (action, path) = match missing {
        Some(missing) => ("create the folder", missing),
        None => ("write into", existing),
    };
    let failed = |source| FolderError { action, path: path.to_owned(), source };
    if !existing.is_dir() {
        return Err(failed(io::ErrorKind::NotADirectory.into()));
    }
    rustix::fs::access(existing, Access::WRITE_OK | Access::EXEC_OK)
        .map_err(|error| failed(error.into()))
}

/// Returns the folder of a relative path without a parent.
fn of_relative(path: &Path) -> &Path {
    if path.as_os_str().is_empty() { Path::new(".") } else { path }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn folder_is_inspected_without_a_change() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        fs::write(&file, "").unwrap();
        let cases = [
            (dir.path().to_owned(), None),
            (dir.path().join("a/b"), None),
            (PathBuf::from("a-folder-that-is-missing/b"), None),
            (file.clone(), Some(("write into", file.clone()))),
            (file.join("a/b"), Some(("create the folder", file.join("a")))),
        ];
        for (folder, expected) in cases {
            let found = verify_writable(&folder).err().map(|error| (error.action, error.path));
            assert_eq!(found, expected, "{folder:?}");
        }
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}
