//! Why a configuration can't be used.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

/// Why a configuration can't be used. Its text names the file, and each key at fault.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// A file was named, and isn't there.
    #[error("the configuration file {} does not exist", path.display())]
    Absent {
        /// The file.
        path: PathBuf,
    },
    /// The file is there, but can't be read.
    #[error("the configuration file {} can't be read", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The file isn't TOML.
    #[error("{}: {message}", place(origin.as_deref()))]
    Syntax {
        /// The file; `None` for text that came from elsewhere.
        origin: Option<PathBuf>,
        /// Line, column, and what was expected there.
        message: String,
    },
    /// Values that can't be.
    #[error("{}", Problems(origin.as_deref(), problems))]
    Invalid {
        /// The file; `None` for a configuration that didn't come from one.
        origin: Option<PathBuf>,
        /// What is wrong; at least one.
        problems: Vec<Problem>,
    },
}

/// One thing that is wrong in a configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The key, with its full path: `sinks.archive.rotate.max_size`.
    pub key: String,
    /// What is wrong with it.
    pub message: String,
}

impl Problem {
    /// A key, and what is wrong with it.
    pub fn new(key: impl ToString, message: impl Into<String>) -> Self {
        Self { key: key.to_string(), message: message.into() }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.key, self.message)
    }
}

fn place(origin: Option<&Path>) -> String {
    origin.map_or_else(|| "configuration".to_owned(), |path| path.display().to_string())
}

struct Problems<'a>(Option<&'a Path>, &'a [Problem]);

impl fmt::Display for Problems<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(origin, problems) = self;
        match problems {
            [problem] => write!(f, "{}: {problem}", place(*origin)),
            _ => {
                write!(f, "{}: {} problems", place(*origin), problems.len())?;
                problems.iter().try_for_each(|problem| write!(f, "\n  {problem}"))
            }
        }
    }
}
