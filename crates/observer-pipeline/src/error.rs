//! Errors and failures that several modules share.

use std::time::Duration;

use observer_core::Timestamp;
use observer_journal::AppendError;

/// Why no event can be taken at the moment.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum Unavailable {
    /// The journal can't.
    #[error(transparent)]
    Journal(#[from] AppendError),
    /// The journal takes too long.
    #[error("the journal did not answer within {} ms", .0.as_millis())]
    Timeout(Duration),
    /// The pipeline is being shut down.
    #[error("the observer is shutting down")]
    ShuttingDown,
}

/// Something that went wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// What the far side said, or why it could not be asked.
    pub reason: String,
    /// Since when, or when.
    pub at: Timestamp,
}
