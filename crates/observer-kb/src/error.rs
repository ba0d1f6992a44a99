//! Errors of the file.

use std::path::{Path, PathBuf};

use observer_core::SinkError;
use observer_core::query::QueryError;
use rusqlite::{ErrorCode, ffi};

use crate::schema::FILE;

/// Error of the knowledge base's file.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KbError {
    /// The file was written by a newer version of the program.
    #[error(
        "\"{}\" has version {found} of the knowledge base, and this program reads version {known} \
         and older; use the newer program, or move the file away and rebuild it",
        path.display()
    )]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: i64,
        /// The latest version that this program knows.
        known: i64,
    },
    /// The file holds something else.
    #[error("\"{}\" is no knowledge base; move the file away", path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
    },
    /// The file has no tables yet, since the sink is about to create them.
    #[error("\"{}\" has no tables yet; start the observer, or try again in a moment", path.display())]
    Unfinished {
        /// The file.
        path: PathBuf,
    },
    /// Another program has the file open.
    #[error("\"{}\" is in use; stop the program that has it open first", path.display())]
    InUse {
        /// The file.
        path: PathBuf,
    },
    /// The file was removed or replaced while it was open.
    #[error(
        "\"{}\" was removed or replaced; later events go into the file that is there or a new one, \
         and `observer kb rebuild` brings back earlier ones",
        path.display()
    )]
    Removed {
        /// The file.
        path: PathBuf,
    },
    /// A folder or file can't be created or read.
    #[error("can't open \"{}\"", path.display())]
    Io {
        /// The folder or file.
        path: PathBuf,
        /// Cause.
        source: std::io::Error,
    },
    /// SQLite failed.
    #[error("SQLite failed")]
    Sqlite(#[from] rusqlite::Error),
    /// SQLite failed on a file.
    #[error("SQLite failed on \"{}\": {}{}", path.display(), cause(error), remedy(error))]
    File {
        /// The file.
        path: PathBuf,
        /// Cause.
        error: rusqlite::Error,
    },
    /// Stored bytes can't be read.
    #[error("the row of {0} is damaged")]
    Damaged(&'static str),
    /// The sink is closed.
    #[error("the knowledge base is closed")]
    Closed,
}

impl KbError {
    /// Names the file in whose folder SQLite failed.
    pub(crate) fn at(self, folder: &Path) -> Self {
        match self {
            Self::Sqlite(error) => Self::File { path: folder.join(FILE), error },
            error => error,
        }
    }

    /// Returns the code of a failure of SQLite.
    pub(crate) fn sqlite_code(&self) -> Option<ErrorCode> {
        match self {
            Self::Sqlite(error) | Self::File { error, .. } => error.sqlite_error_code(),
            _ => None,
        }
    }

    /// Returns the cause without names of files, for callers that don't operate the observer.
    fn reason(&self) -> String {
        match self {
            Self::Newer { found, known, .. } => format!(
                "its file has version {found}, and this program reads version {known} and older"
            ),
            Self::Foreign { .. } => "its file is that of another program".to_owned(),
            Self::Unfinished { .. } => "its file has no tables yet".to_owned(),
            Self::InUse { .. } => "another program uses its file".to_owned(),
            Self::Removed { .. } => "its file was removed or replaced".to_owned(),
            Self::Io { source, .. } => format!("its file can't be opened: {}", source.kind()),
            Self::Sqlite(error) | Self::File { error, .. } => {
                format!("SQLite failed: {}", cause(error))
            }
            Self::Damaged(_) | Self::Closed => self.to_string(),
        }
    }

    /// Returns whether nothing but an operator can help.
    fn is_blocked(&self) -> bool {
        match self {
            Self::Newer { .. }
            | Self::Foreign { .. }
            | Self::Removed { .. }
            | Self::Io { .. }
            | Self::Damaged(_) => true,
            Self::Closed | Self::InUse { .. } | Self::Unfinished { .. } => false,
            Self::Sqlite(error) | Self::File { error, .. } => matches!(
                error.sqlite_error_code(),
                Some(
                    ErrorCode::DiskFull
                        | ErrorCode::ReadOnly
                        | ErrorCode::CannotOpen
                        | ErrorCode::DatabaseCorrupt
                        | ErrorCode::NotADatabase
                        | ErrorCode::PermissionDenied
                        | ErrorCode::SystemIoFailure
                )
            ),
        }
    }
}

impl From<KbError> for SinkError {
    fn from(error: KbError) -> Self {
        if error.is_blocked() { Self::blocked(error) } else { Self::transient(error) }
    }
}

impl From<KbError> for QueryError {
    fn from(error: KbError) -> Self {
        let is_busy = matches!(
            error.sqlite_code(),
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked)
        );
        let is_temporary = is_busy || matches!(error, KbError::Closed | KbError::Unfinished { .. });
        if is_temporary || error.is_blocked() {
            return Self::unavailable(error.reason(), error);
        }
        Self::Internal(error.into())
    }
}

/// Returns the cause of a failure of SQLite. It names no file, unlike the message of SQLite.
fn cause(error: &rusqlite::Error) -> String {
    match error.sqlite_error() {
        Some(error) => format!("{error} (code {})", error.extended_code),
        None => error.to_string(),
    }
}

/// Returns what an operator can do, to follow the cause.
fn remedy(error: &rusqlite::Error) -> &'static str {
    const LOCKS: [i32; 4] = [
        ffi::SQLITE_IOERR_LOCK,
        ffi::SQLITE_IOERR_UNLOCK,
        ffi::SQLITE_IOERR_RDLOCK,
        ffi::SQLITE_IOERR_SHMLOCK,
    ];
    let Some(error) = error.sqlite_error() else { return "" };
    if LOCKS.contains(&error.extended_code) {
        return "; its file system must be able to lock files: move it to a local disk";
    }
    match error.code {
        ErrorCode::DiskFull => "; free some space on its disk",
        ErrorCode::ReadOnly | ErrorCode::CannotOpen | ErrorCode::PermissionDenied => {
            "; give this user access to the file and its folder"
        }
        ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase => {
            "; write it anew with `observer kb rebuild`"
        }
        ErrorCode::SystemIoFailure => {
            "; check its disk and file system, and the file size limit of the process (`ulimit -f`)"
        }
        ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked => {
            "; stop the other program that has it open"
        }
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failure(code: i32) -> KbError {
        let message = Some("unable to open database file: /secret/kb.sqlite".to_owned());
        KbError::from(rusqlite::Error::SqliteFailure(ffi::Error::new(code), message))
    }

    #[test]
    fn failure_of_sqlite_names_file_cause_and_remedy() {
        for (code, remedy) in [
            (ffi::SQLITE_IOERR_LOCK, "move it to a local disk"),
            (ffi::SQLITE_IOERR_SHMLOCK, "move it to a local disk"),
            (ffi::SQLITE_IOERR_READ, "the file size limit of the process (`ulimit -f`)"),
            (ffi::SQLITE_FULL, "free some space on its disk"),
            (ffi::SQLITE_READONLY_DIRECTORY, "give this user access to the file and its folder"),
            (ffi::SQLITE_CORRUPT, "write it anew with `observer kb rebuild`"),
        ] {
            let text = failure(code).at(Path::new("/data/kb")).to_string();
            let start = "SQLite failed on \"/data/kb/kb.sqlite\": ";
            assert!(text.starts_with(start) && text.ends_with(remedy), "{text}");
            assert!(text.contains(&format!("(code {code});")), "{text}");
        }
        let closed = KbError::Closed.at(Path::new("/data/kb"));
        assert!(matches!(closed, KbError::Closed), "{closed}");
    }

    #[test]
    fn reason_names_no_file() {
        let path = || PathBuf::from("/secret/kb.sqlite");
        let source = std::io::Error::new(std::io::ErrorKind::PermissionDenied, "/secret");
        for (error, expected) in [
            (failure(ffi::SQLITE_CANTOPEN), "SQLite failed: "),
            (failure(ffi::SQLITE_IOERR).at(Path::new("/secret")), "SQLite failed: "),
            (KbError::Io { path: path(), source }, "its file can't be opened: permission denied"),
            (KbError::Newer { path: path(), found: 9, known: 1 }, "its file has version 9, "),
            (KbError::Foreign { path: path() }, "its file is that of another program"),
            (KbError::Removed { path: path() }, "its file was removed or replaced"),
            (KbError::Damaged("a problem"), "the row of a problem is damaged"),
        ] {
            let QueryError::Unavailable { reason, .. } = QueryError::from(error) else {
                panic!("{expected} is no fault of the program");
            };
            assert!(reason.starts_with(expected) && !reason.contains("/secret"), "{reason}");
        }
    }
}
