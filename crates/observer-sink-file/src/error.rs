//! What goes wrong with files, and who has to do something about it.

use std::io;
use std::path::{Path, PathBuf};

use observer_core::SinkError;

#[derive(Debug, thiserror::Error)]
pub(crate) enum FileError {
    #[error("can't {action} {}{}", path.display(), advice(source))]
    Io { action: &'static str, path: PathBuf, source: io::Error },
    #[error("{} is locked: another observer or another sink uses this state folder; each sink needs its own", path.display())]
    StateInUse { path: PathBuf },
    #[error("{} is written by another sink or another process; give each sink its own `path`", path.display())]
    FileInUse { path: PathBuf },
    #[error("{} is not a plain file or folder; names made of events don't follow links, remove it", path.display())]
    Link { path: PathBuf },
    #[error("the sink is closed")]
    Closed,
    #[error("the thread that writes the files has ended; its panic is in the log")]
    Ended,
}

impl FileError {
    /// For `map_err`.
    pub(crate) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { action, path: path.to_owned(), source }
    }

    fn needs_someone(&self) -> bool {
        match self {
            Self::Io { source, .. } => !advice(source).is_empty(),
            _ => true,
        }
    }
}

impl From<FileError> for SinkError {
    fn from(error: FileError) -> Self {
        if error.needs_someone() { Self::blocked(error) } else { Self::transient(error) }
    }
}

/// What someone can do; empty where it may pass by itself.
fn advice(error: &io::Error) -> &'static str {
    use io::ErrorKind as Kind;
    match error.kind() {
        Kind::StorageFull => "; free space on that disk, or lower `retain`",
        Kind::QuotaExceeded => "; raise the quota, or lower `retain`",
        Kind::FileTooLarge => "; the file has reached the size limit of the system, set `rotate`",
        Kind::PermissionDenied => "; give the observer's user the right to write there",
        Kind::ReadOnlyFilesystem => "; mount the file system writable, or change `path`",
        Kind::NotFound | Kind::NotADirectory | Kind::IsADirectory | Kind::InvalidFilename => {
            "; check `path` and the folders above it"
        }
        Kind::NotSeekable => "; `path` must name a regular file",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use observer_core::ErrorKind;

    use super::*;

    #[test]
    fn what_someone_must_mend_blocks_and_says_where_and_how() {
        let check = |kind: io::ErrorKind, expected: ErrorKind, text: &str| {
            let error =
                SinkError::from(FileError::io("write", Path::new("/d/x.jsonl"))(kind.into()));
            assert_eq!(error.kind, expected);
            assert!(error.report().starts_with(text), "{}", error.report());
        };
        check(
            io::ErrorKind::StorageFull,
            ErrorKind::Blocked,
            "can't write /d/x.jsonl; free space on that disk",
        );
        check(
            io::ErrorKind::PermissionDenied,
            ErrorKind::Blocked,
            "can't write /d/x.jsonl; give the observer's user",
        );
        check(
            io::ErrorKind::ReadOnlyFilesystem,
            ErrorKind::Blocked,
            "can't write /d/x.jsonl; mount",
        );
        check(io::ErrorKind::TimedOut, ErrorKind::Transient, "can't write /d/x.jsonl: ");
    }
}
