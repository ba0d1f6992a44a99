//! Copy of a file whose folder can't be written.
//!
//! To read a file with a write-ahead log, SQLite needs an index of the log beside it. If there is
//! none, and the folder is read-only (a backup, a mounted snapshot), the file can't be opened.

use std::fs;
use std::io;
use std::path::Path;
use std::sync::Mutex;

use rusqlite::ErrorCode;
use tempfile::TempDir;

use crate::error::KbError;
use crate::schema::FILE;

/// Copy of a file, which exists once it is needed, until it is removed.
#[derive(Debug, Default)]
pub(super) struct FileCopy(Mutex<Option<TempDir>>);

impl FileCopy {
    /// Calls `open` with the folder of the file, and then with that of a copy if the file can't be
    /// opened and its folder can't be written.
    ///
    /// # Errors
    /// If `open` fails, or the file can't be copied.
    pub(super) fn open<T>(
        &self,
        folder: &Path,
        open: impl Fn(&Path) -> Result<T, KbError>,
    ) -> Result<T, KbError> {
        match open(folder) {
            Err(error) if cannot_open(&error) && is_read_only(folder) => {
                let mut copy = self.0.lock().expect("no thread panics while it holds the lock");
                let copy = match &mut *copy {
                    Some(copy) => copy,
                    none => none.insert(copied(folder)?),
                };
                open(copy.path())
            }
            opened => opened,
        }
    }

    /// Removes the copy. Connections that have it open can still read it.
    pub(super) fn remove(&self) {
        let copy = self.0.lock().expect("no thread panics while it holds the lock").take();
        if let Some(Err(error)) = copy.map(TempDir::close) {
            tracing::warn!(%error, "the copy of a knowledge base can't be removed");
        }
    }
}

fn cannot_open(error: &KbError) -> bool {
    matches!(error.sqlite_code(), Some(ErrorCode::CannotOpen | ErrorCode::ReadOnly))
}

fn is_read_only(folder: &Path) -> bool {
    let kinds = [io::ErrorKind::PermissionDenied, io::ErrorKind::ReadOnlyFilesystem];
    // The file has no name, and is gone when it is closed.
    folder.join(FILE).exists()
        && tempfile::tempfile_in(folder).is_err_and(|error| kinds.contains(&error.kind()))
}

fn copied(folder: &Path) -> Result<TempDir, KbError> {
    let copy = tempfile::Builder::new().prefix("observer-kb-").tempdir();
    let copy = copy.map_err(|source| KbError::Io { path: std::env::temp_dir(), source })?;
    for file in [FILE.to_owned(), format!("{FILE}-wal")] {
        let path = folder.join(&file);
        match fs::copy(&path, copy.path().join(&file)) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => {
                return Err(KbError::Io { path, source });
            }
            _ => {}
        }
    }
    tracing::info!(
        folder = %folder.display(),
        copy = %copy.path().display(),
        "the folder of the knowledge base can't be written; a copy is read"
    );
    Ok(copy)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn cannot() -> KbError {
        let code = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_CANTOPEN);
        KbError::Sqlite(rusqlite::Error::SqliteFailure(code, None))
    }

    #[test]
    fn copy_has_the_file_and_its_log() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(FILE), "rows").unwrap();
        fs::write(folder.path().join("kb.sqlite-wal"), "log").unwrap();
        fs::write(folder.path().join("kb.sqlite-shm"), "index").unwrap();
        let copy = copied(folder.path()).unwrap();
        assert_eq!(fs::read_to_string(copy.path().join(FILE)).unwrap(), "rows");
        assert_eq!(fs::read_to_string(copy.path().join("kb.sqlite-wal")).unwrap(), "log");
        assert!(!copy.path().join("kb.sqlite-shm").exists());
    }

    #[test]
    fn folder_that_can_be_written_is_not_copied() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(FILE), "rows").unwrap();
        let copy = FileCopy::default();
        assert!(copy.open(folder.path(), |_| Err::<(), _>(cannot())).is_err());
        assert!(copy.0.lock().unwrap().is_none());
        assert_eq!(copy.open(folder.path(), |path| Ok(path.to_owned())).unwrap(), folder.path());
    }

    #[test]
    fn folder_that_can_not_be_written_is_copied_once() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(FILE), "rows").unwrap();
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o555)).unwrap();
        if !is_read_only(folder.path()) {
            eprintln!("SKIPPED: this user can write every folder");
            return;
        }
        let copy = FileCopy::default();
        let open = |path: &Path| {
            if path == folder.path() { Err(cannot()) } else { Ok(path.to_owned()) }
        };
        let first = copy.open(folder.path(), open).unwrap();
        assert_eq!(copy.open(folder.path(), open).unwrap(), first);
        copy.remove();
        assert!(!first.exists());
    }
}
