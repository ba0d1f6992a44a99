//! File operations, off the threads of the async runtime.

use observer_journal::Runner;
use tokio::task::JoinError;

/// Executor of file operations: the blocking pool, or the caller's thread with
/// [`Runner::Caller`].
#[derive(Debug, Clone, Copy)]
pub(crate) struct Blocking(Runner);

impl Blocking {
    pub(crate) fn new(runner: Runner) -> Self {
        Self(runner)
    }

    /// Runs a blocking operation. With [`Runner::Caller`] it runs at the first poll, so that a
    /// simulation performs all operations in a deterministic order.
    ///
    /// # Errors
    /// If the operation panics on its thread, or the runtime shuts down.
    pub(crate) async fn run<T: Send + 'static>(
        self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, JoinError> {
        match self.0 {
            Runner::Thread => tokio::task::spawn_blocking(work).await,
            Runner::Caller => Ok(work()),
        }
    }
}
