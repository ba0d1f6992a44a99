//! Work with files, off the async threads.

use observer_journal::Runner;
use tokio::task::JoinError;

/// Where work with files is done: where the journal writes its own.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Blocking(Runner);

impl Blocking {
    pub(crate) fn new(runner: Runner) -> Self {
        Self(runner)
    }

    /// Do it. With [`Runner::Caller`] it is done when this is polled first, so that the same calls
    /// work in the same order.
    ///
    /// # Errors
    /// When the work panics on its thread, or the runtime ends.
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
