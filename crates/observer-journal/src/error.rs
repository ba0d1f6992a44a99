//! Errors of opening a journal and of appending to it.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

/// Error of opening a journal.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// Another process, or another instance in this process, has the journal open.
    #[error("the journal at {} is in use by another process", .dir.display())]
    InUse {
        /// Folder of the journal.
        dir: PathBuf,
    },
    /// The folder contains no journal.
    #[error("there is no journal at {}", .dir.display())]
    Missing {
        /// Folder in which the journal was expected.
        dir: PathBuf,
    },
    /// A newer version of the program wrote a file. Nothing was changed.
    #[error(
        "{} has version {found} of its format, and this program reads and writes versions up to \
         {known}; start the version of the program that wrote it",
        .path.display()
    )]
    Newer {
        /// File of the newer version.
        path: PathBuf,
        /// Its version.
        found: String,
        /// Version that this program writes.
        known: u32,
    },
    /// A file operation failed.
    #[error("can't {action} {}", .path.display())]
    Io {
        /// Operation that failed, as a verb phrase.
        action: &'static str,
        /// File or folder of the operation.
        path: PathBuf,
        /// Error of the operating system.
        source: io::Error,
    },
}

impl OpenError {
    pub(crate) fn io(
        action: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { action, path, source }
    }
}

/// Error of an append. None of its records is committed, and the append can be repeated later.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum AppendError {
    /// The size limit is reached, and a required reader is not done with the oldest segment.
    #[error(
        "the journal is full: it has reached its limit of {max_size} bytes, and `{holder}` still \
         needs the oldest records"
    )]
    Full {
        /// Size limit in bytes.
        max_size: u64,
        /// Name of the reader that is not done.
        holder: String,
        /// Size in bytes of the block that did not fit.
        wanted: u64,
    },
    /// A write failed and was rolled back. The next write may succeed.
    #[error("the journal can't write to {}{}", .path.display(), advice(.source))]
    Write {
        /// File of the write.
        path: PathBuf,
        /// Error of the operating system.
        source: Arc<io::Error>,
    },
    /// A sync failed, so that the content of the file is unknown. The journal tries a new file,
    /// with pauses.
    #[error("the journal can't make {} durable", .path.display())]
    Sync {
        /// File of the sync.
        path: PathBuf,
        /// Error of the operating system.
        source: Arc<io::Error>,
    },
    /// The file or the folder of the journal was removed or replaced while it was open, so that
    /// records in it would be lost with the process. The journal writes to a new file next.
    #[error(
        "the journal can't make records durable: {} was removed or replaced while the journal \
         was open",
        .path.display()
    )]
    Removed {
        /// File or folder.
        path: PathBuf,
    },
    /// The folder of the journal was replaced by that of another journal.
    #[error(
        "the folder {} was replaced by another journal while this one was open; move the former \
         folder back, or restart the observer",
        .dir.display()
    )]
    Replaced {
        /// Folder of the journal.
        dir: PathBuf,
    },
    /// The queue of appends is full.
    #[error("the queue of the journal is full")]
    Busy,
    /// The journal is closed.
    #[error("the journal is closed")]
    Closed,
}

/// Returns what the operator can do, as the end of an error message; empty if the error may be
/// transient.
fn advice(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::StorageFull => "; free space on that disk",
        io::ErrorKind::QuotaExceeded => "; raise the quota",
        io::ErrorKind::FileTooLarge => "; raise the file size limit of the process (`ulimit -f`)",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn write_error_says_what_the_operator_can_do() {
        let message = |kind: io::ErrorKind| {
            AppendError::Write { path: "j/1.log".into(), source: Arc::new(kind.into()) }.to_string()
        };
        assert_eq!(
            message(io::ErrorKind::StorageFull),
            "the journal can't write to j/1.log; free space on that disk"
        );
        assert_eq!(
            message(io::ErrorKind::QuotaExceeded),
            "the journal can't write to j/1.log; raise the quota"
        );
        assert_eq!(message(io::ErrorKind::Other), "the journal can't write to j/1.log");
    }
}
