//! Error type of the crate, and its classification for the pipeline.

use std::io;
use std::path::{Path, PathBuf};

use observer_core::SinkError;

/// Failure of an operation on a file or of the sink's thread.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FileError {
    #[error("can't {action} {}{}", path.display(), remedy(source))]
    Io { action: &'static str, path: PathBuf, source: io::Error },
    #[error(
        "{} is locked: another observer or sink uses this state folder; give each sink its own",
        path.display()
    )]
    StateInUse { path: PathBuf },
    #[error(
        "{} has version {found} of its format, and this program writes version {known}; start the \
         version of the observer that wrote it",
        path.display()
    )]
    Newer { path: PathBuf, found: u32, known: u32 },
    #[error(
        "{} is not a folder; move it away, since the sink needs a folder there and does not follow \
         links",
        path.display()
    )]
    NoFolder { path: PathBuf },
    #[error("{files} closed files wait for their compression, which is slower than the events")]
    Backlog { files: usize },
    #[error("the sink is closed")]
    Closed,
    #[error("the thread that writes the files has panicked; see the log")]
    Panicked,
}

impl FileError {
    /// Returns a conversion for `map_err`; `action` and `path` complete "can't …".
    pub(crate) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { action, path: path.to_owned(), source }
    }

    /// Returns whether only an operator can remove the cause.
    fn needs_operator(&self) -> bool {
        match self {
            Self::Io { source, .. } => !remedy(source).is_empty(),
            Self::Backlog { .. } => false,
            _ => true,
        }
    }
}

impl From<FileError> for SinkError {
    fn from(error: FileError) -> Self {
        if error.needs_operator() { Self::blocked(error) } else { Self::transient(error) }
    }
}

/// Remedy that an operator can apply; empty if the error may be temporary.
fn remedy(error: &io::Error) -> &'static str {
    use io::ErrorKind as Kind;
    match error.kind() {
        Kind::StorageFull => "; free space on that disk, or lower `retain`",
        Kind::QuotaExceeded => "; raise the quota, or lower `retain`",
        Kind::FileTooLarge => {
            "; raise the file size limit of the process (`ulimit -f`), or set `rotate` below it"
        }
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
    fn errors_that_need_an_operator_block_the_sink_and_name_the_remedy() {
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
