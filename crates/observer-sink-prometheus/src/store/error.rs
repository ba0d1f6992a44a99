//! Error type of the store.

use std::path::PathBuf;

use observer_core::SinkError;

use super::files::FileError;
use super::snapshot::VERSION;

/// Failure of the store.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StoreError {
    #[error(transparent)]
    File(#[from] FileError),
    #[error(
        "{} has version {version} of its format, and this program reads and writes versions up to \
         {VERSION}; start a newer program, or move the file away to count from zero",
        path.display()
    )]
    Newer { path: PathBuf, version: u32 },
}

impl From<StoreError> for SinkError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::File(error) => error.into(),
            StoreError::Newer { .. } => Self::blocked(error),
        }
    }
}
