//! Errors of a configuration.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

/// Error type for loading a configuration. Its message names the file and each faulty key.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The named file does not exist.
    #[error("the configuration file {} does not exist", path.display())]
    Absent {
        /// Path of the file.
        path: PathBuf,
    },
    /// The file can't be read.
    #[error("the configuration file {} can't be read", path.display())]
    Unreadable {
        /// Path of the file.
        path: PathBuf,
        /// Cause.
        source: io::Error,
    },
    /// The file is not valid TOML.
    #[error("{}: {message}", name(origin.as_deref()))]
    Syntax {
        /// Path of the file; `None` for text from another source.
        origin: Option<PathBuf>,
        /// Line, column and cause.
        message: String,
    },
    /// Keys or values are invalid.
    #[error("{}", Problems(origin.as_deref(), problems))]
    Invalid {
        /// Path of the file; `None` for a configuration from another source.
        origin: Option<PathBuf>,
        /// Problems; at least one.
        problems: Vec<Problem>,
    },
}

/// Problem of one key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Full path of the key, such as `sinks.archive.rotate.max_size`.
    pub key: String,
    /// Description of the problem.
    pub message: String,
}

impl Problem {
    /// Creates a problem.
    pub fn new(key: impl ToString, message: impl Into<String>) -> Self {
        Self { key: key.to_string(), message: message.into() }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.key, self.message)
    }
}

fn name(origin: Option<&Path>) -> String {
    origin.map_or_else(|| "configuration".to_owned(), |path| path.display().to_string())
}

struct Problems<'a>(Option<&'a Path>, &'a [Problem]);

impl fmt::Display for Problems<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(origin, problems) = self;
        match problems {
            [problem] => write!(f, "{}: {problem}", name(*origin)),
            _ => {
                write!(f, "{}: {} problems", name(*origin), problems.len())?;
                problems.iter().try_for_each(|problem| write!(f, "\n  {problem}"))
            }
        }
    }
}
