//! What can go wrong, and what it means for the caller.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

/// Why a journal could not be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// Another process (or another journal in this one) has it.
    #[error("the journal at {} is in use by another process", .dir.display())]
    InUse {
        /// Where the journal is.
        dir: PathBuf,
    },
    /// There is none, and none was to be begun.
    #[error("there is no journal at {}", .dir.display())]
    Missing {
        /// Where it was looked for.
        dir: PathBuf,
    },
    /// The files can't be reached.
    #[error("can't {action} {}", .path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// With which file or folder.
        path: PathBuf,
        /// What the operating system said.
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

/// Why records were not taken. None of them was; the same ones may be offered again later.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum AppendError {
    /// The size limit is reached, and someone who must have everything is not done with the oldest
    /// segment.
    #[error(
        "the journal is full: it holds its {max_size} bytes, and `{holder}` still needs the oldest of them"
    )]
    Full {
        /// The limit, in bytes.
        max_size: u64,
        /// Who is not done.
        holder: String,
        /// How many bytes there was no room for.
        wanted: u64,
    },
    /// A write failed and was rolled back. The next one may succeed.
    #[error("the journal can't write to {}{}", .path.display(), advice(.source))]
    Write {
        /// To which file.
        path: PathBuf,
        /// What the operating system said.
        source: Arc<io::Error>,
    },
    /// A sync failed, so that the file can't be trusted any more; a fresh one is tried from time to
    /// time.
    #[error("the journal can't make {} durable", .path.display())]
    Sync {
        /// Which file.
        path: PathBuf,
        /// What the operating system said.
        source: Arc<io::Error>,
    },
    /// Too much is waiting to be written already.
    #[error("too much is waiting to be written to the journal")]
    Busy,
    /// The journal was closed.
    #[error("the journal is closed")]
    Closed,
}

/// What someone can do; empty where it may pass by itself.
fn advice(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::StorageFull => "; free space on that disk",
        io::ErrorKind::QuotaExceeded => "; raise the quota",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_write_that_failed_says_what_can_be_done() {
        let told = |kind: io::ErrorKind| {
            AppendError::Write { path: "j/1.log".into(), source: Arc::new(kind.into()) }.to_string()
        };
        assert_eq!(
            told(io::ErrorKind::StorageFull),
            "the journal can't write to j/1.log; free space on that disk"
        );
        assert_eq!(
            told(io::ErrorKind::QuotaExceeded),
            "the journal can't write to j/1.log; raise the quota"
        );
        assert_eq!(told(io::ErrorKind::Other), "the journal can't write to j/1.log");
    }
}
