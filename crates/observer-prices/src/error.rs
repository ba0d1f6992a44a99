//! Errors of price files and entries.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

/// Error type for reading prices. Its message names the file, the entry and the key.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PriceError {
    /// The file can't be read.
    #[error("the price file {} can't be read", path.display())]
    Unreadable {
        /// Path of the file.
        path: PathBuf,
        /// Cause.
        source: io::Error,
    },
    /// The name of the file tells no format.
    #[error(
        "the price file {} has an unknown format; its name must end in .toml, or in .json for \
         LiteLLM's price map",
        path.display()
    )]
    UnknownFormat {
        /// Path of the file.
        path: PathBuf,
    },
    /// The file is no valid TOML or JSON, or no table of prices.
    #[error("{}: {message}", path.display())]
    Malformed {
        /// Path of the file.
        path: PathBuf,
        /// Position and cause.
        message: String,
    },
    /// An entry of a file is invalid.
    #[error("{}: {problem}", path.display())]
    Invalid {
        /// Path of the file.
        path: PathBuf,
        /// Entry, key and cause.
        problem: EntryProblem,
    },
    /// An entry that is in no file is invalid.
    #[error("{problem}")]
    InvalidOwn {
        /// Index of the entry.
        index: usize,
        /// Entry, key and cause.
        problem: EntryProblem,
    },
}

impl PriceError {
    /// Returns the path of the file, or `None` if the entry is in no file.
    #[must_use]
    pub fn path(&self) -> Option<&Path> {
        match self {
            Self::Unreadable { path, .. }
            | Self::UnknownFormat { path }
            | Self::Malformed { path, .. }
            | Self::Invalid { path, .. } => Some(path),
            Self::InvalidOwn { .. } => None,
        }
    }
}

/// Problem of one entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EntryProblem {
    /// Name of the entry, or its place if it has none.
    pub entry: String,
    /// Path of the key within the entry; empty if the problem is that of several keys.
    pub key: String,
    /// Description of the problem.
    pub message: String,
}

impl EntryProblem {
    pub(crate) fn new(
        entry: impl Into<String>,
        key: impl Into<String>,
        message: impl Into<String>,
    ) -> Self {
        Self { entry: entry.into(), key: key.into(), message: message.into() }
    }
}

impl fmt::Display for EntryProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { entry, key, message } = self;
        if key.is_empty() {
            write!(f, "{entry}: {message}")
        } else {
            write!(f, "{entry}: {key}: {message}")
        }
    }
}
