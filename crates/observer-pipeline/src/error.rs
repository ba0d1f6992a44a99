//! Errors and failures that several modules share.

use std::time::Duration;

use observer_core::Timestamp;
use observer_journal::AppendError;

/// Reason for which no event can be accepted at the moment.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum Unavailable {
    /// The journal rejects the append.
    #[error(transparent)]
    Journal(#[from] AppendError),
    /// The journal did not commit in time.
    #[error("the journal did not commit within {} ms", .0.as_millis())]
    Timeout(Duration),
    /// The pipeline is being shut down.
    #[error("the observer is shutting down")]
    ShuttingDown,
}

/// Failure of a sink or of a replay, as a status reports it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// Response of the destination, or the transport error.
    pub reason: String,
    /// Time of the failure; in a state that lasts, the time at which the state began.
    pub at: Timestamp,
}
