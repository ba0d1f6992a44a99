//! API of the pipeline for replays: starting and cancelling.

use std::io;

use observer_core::sink_name;
use tokio::sync::oneshot;

use crate::pipeline::Pipeline;
use crate::replay::state::{ReplaySelection, ReplayState, ReplayStatus};
use crate::worker::command::{Command, NotStarted, Rejection, ReplayCommand};

/// Error type for starting and cancelling replays.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReplayError {
    /// There is no sink of this name.
    #[error("there is no sink named {name:?}")]
    UnknownSink {
        /// Requested name.
        name: String,
    },
    /// The sink does not support replays.
    #[error("the sink {name:?} does not support replays: {reason}")]
    ReplayUnsupported {
        /// Name of the sink.
        name: String,
        /// Reason that the sink states.
        reason: String,
    },
    /// The sink is no longer configured, or is being stopped.
    #[error("the sink {name:?} is not running; add it to the configuration first")]
    SinkNotRunning {
        /// Name of the sink.
        name: String,
    },
    /// Another replay of the sink is running.
    #[error(
        "the sink {name:?} has a running replay {progress}; cancel it, or wait until it has ended"
    )]
    AlreadyRunning {
        /// Name of the sink.
        name: String,
        /// Start and progress of the running replay.
        progress: String,
    },
    /// The sink has no replay that could be cancelled.
    #[error("the sink {name:?} has no running replay")]
    NoReplay {
        /// Name of the sink.
        name: String,
    },
    /// The sink is unavailable at the moment, or the replay can't be stored.
    #[error("the replay was not started: {reason}")]
    Unavailable {
        /// Failure of the sink, or of the journal.
        reason: String,
    },
    /// The end of the replay can't be stored yet. After a restart the replay may continue.
    #[error("the end of the replay can't be stored now; this is retried every second")]
    Store(#[source] io::Error),
}

impl Pipeline {
    /// Starts a replay: retained events are delivered to a sink, up to its current position. Later
    /// events reach the sink anyway.
    ///
    /// When this returns, the replay is stored durably and continues until it ends, also after a
    /// restart. [`status`](Self::status) shows its progress.
    ///
    /// Events are delivered in the order of the journal, and batches take turns with live ones.
    /// After a crash, events since the last commit (a second or two) are delivered again, under the
    /// same ids. Position and account of the sink don't change. Rejected events become dead
    /// letters.
    ///
    /// # Errors
    /// If the replay is not started.
    pub async fn start_replay(
        &self,
        sink: &str,
        selection: ReplaySelection,
    ) -> Result<ReplayStatus, ReplayError> {
        if !sink_name::is_valid(sink) || !self.has_sink(sink) {
            return Err(ReplayError::UnknownSink { name: sink.to_owned() });
        }
        let not_running = || ReplayError::SinkNotRunning { name: sink.to_owned() };
        let worker = self.worker_handle(sink).ok_or_else(not_running)?;
        let (reply, started) = oneshot::channel();
        worker
            .commands
            .send(Command::StartReplay(ReplayCommand { selection, reply }))
            .await
            .map_err(|_| not_running())?;
        started.await.map_err(|_| not_running())?.map_err(|error| match error {
            NotStarted::AlreadyRunning(progress) => {
                ReplayError::AlreadyRunning { name: sink.to_owned(), progress }
            }
            NotStarted::Rejected(Rejection::Permanent(reason)) => {
                ReplayError::ReplayUnsupported { name: sink.to_owned(), reason }
            }
            NotStarted::Rejected(Rejection::Temporary(reason)) => {
                ReplayError::Unavailable { reason }
            }
        })
    }

    /// Cancels a sink's running replay. The current batch is still delivered.
    ///
    /// # Errors
    /// If there is no running replay, or its end can't be stored yet.
    pub async fn cancel_replay(&self, sink: &str) -> Result<ReplayStatus, ReplayError> {
        if !sink_name::is_valid(sink) || !self.has_sink(sink) {
            return Err(ReplayError::UnknownSink { name: sink.to_owned() });
        }
        let progress = self
            .progress(sink)
            .ok_or_else(|| ReplayError::SinkNotRunning { name: sink.to_owned() })?;
        let cancelled = {
            let mut snapshot = progress.lock();
            let running = snapshot.replay.as_mut().filter(|record| record.is_running());
            running.map(|record| {
                record.end(ReplayState::Cancelled, None);
                // Stored here, since the worker may wait for its sink for a long time.
                record.store(self.journal(), sink, record.checkpoint);
                record.status()
            })
        };
        let cancelled = cancelled.ok_or_else(|| ReplayError::NoReplay { name: sink.to_owned() })?;
        self.store_positions().await.map_err(ReplayError::Store)?;
        Ok(cancelled)
    }
}
