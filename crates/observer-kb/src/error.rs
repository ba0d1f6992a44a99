//! Errors of the file.

use std::path::PathBuf;

use observer_core::SinkError;
use observer_core::query::QueryError;
use rusqlite::ErrorCode;

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
    /// Stored bytes can't be read.
    #[error("the row of {0} is damaged")]
    Damaged(&'static str),
    /// The sink is closed.
    #[error("the knowledge base is closed")]
    Closed,
}

impl KbError {
    /// Returns whether nothing but an operator can help.
    fn is_blocked(&self) -> bool {
        match self {
            Self::Newer { .. }
            | Self::Foreign { .. }
            | Self::Removed { .. }
            | Self::Io { .. }
            | Self::Damaged(_) => true,
            Self::Closed | Self::InUse { .. } => false,
            Self::Sqlite(error) => matches!(
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
        if error.is_blocked() || matches!(error, KbError::Closed) {
            return Self::Unavailable(error.into());
        }
        match &error {
            KbError::Sqlite(cause)
                if matches!(
                    cause.sqlite_error_code(),
                    Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked)
                ) =>
            {
                Self::Unavailable(error.into())
            }
            _ => Self::Internal(error.into()),
        }
    }
}
