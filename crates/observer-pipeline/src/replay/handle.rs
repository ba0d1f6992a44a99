//! Replays as others see them: begun, and ended early.

use std::io;

use observer_core::sink_name;
use tokio::sync::oneshot;

use crate::pipeline::Pipeline;
use crate::replay::state::{Kept, ReplaySelection, ReplayState, ReplayStatus};
use crate::worker::command::{NotBegun, Order, PastOrder, Stopped};

/// Why a replay doesn't begin, or end.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReplayError {
    /// There is no such sink.
    #[error("there is no sink named {name:?}")]
    UnknownSink {
        /// The name.
        name: String,
    },
    /// The sink can't take past events rightly, ever.
    #[error("the sink {name:?} can't be brought the past: {reason}")]
    InOrderOnly {
        /// The name.
        name: String,
        /// Why not.
        reason: String,
    },
    /// The sink doesn't run: it is configured no more, or is about to end.
    #[error("the sink {name:?} doesn't run, so it can't be brought anything")]
    SinkNotRunning {
        /// The name.
        name: String,
    },
    /// One replay at a time.
    #[error(
        "there is a replay for the sink {name:?} already, {progress}; it can be ended, or waited for"
    )]
    AlreadyRunning {
        /// The name.
        name: String,
        /// How far that one is.
        progress: String,
    },
    /// There is none that could end.
    #[error("there is no replay for the sink {name:?} that could end")]
    NoReplay {
        /// The name.
        name: String,
    },
    /// Not at the moment.
    #[error("the replay does not begin: {reason}")]
    Unavailable {
        /// Why not.
        reason: String,
    },
    /// A restart may bring it back.
    #[error("the end of the replay can't be stored now; this is tried again every second")]
    Store(#[source] io::Error),
}

impl Pipeline {
    /// Bring a sink past events that are still in the journal, up to where it stands: what comes
    /// after that it gets anyhow. When this returns, the replay is sure to go on until it ends,
    /// also after a restart; [`status`](Self::status) tells how far it is.
    ///
    /// The past goes in the journal's order, and takes turns with what is new, batch by batch.
    /// After a crash, what was delivered since the last commit (a second or two) is delivered
    /// again, under the same ids. Position and account of the sink don't change; what it refuses
    /// becomes dead letters.
    ///
    /// # Errors
    /// When nothing was begun.
    pub async fn start_replay(
        &self,
        sink: &str,
        past: ReplaySelection,
    ) -> Result<ReplayStatus, ReplayError> {
        if !sink_name::is_valid(sink) || !self.knows_sink(sink) {
            return Err(ReplayError::UnknownSink { name: sink.to_owned() });
        }
        let not_running = || ReplayError::SinkNotRunning { name: sink.to_owned() };
        let desk = self.desk(sink).ok_or_else(not_running)?;
        let (answer, answered) = oneshot::channel();
        desk.orders
            .send(Order::Past(PastOrder { past, answer }))
            .await
            .map_err(|_| not_running())?;
        answered.await.map_err(|_| not_running())?.map_err(|refused| match refused {
            NotBegun::Busy(progress) => {
                ReplayError::AlreadyRunning { name: sink.to_owned(), progress }
            }
            NotBegun::Stopped(Stopped::Never(reason)) => {
                ReplayError::InOrderOnly { name: sink.to_owned(), reason }
            }
            NotBegun::Stopped(Stopped::NotNow(reason)) => ReplayError::Unavailable { reason },
        })
    }

    /// End a sink's replay where it is. What is on its way is delivered.
    ///
    /// # Errors
    /// When there is none, or that can't be stored yet.
    pub async fn cancel_replay(&self, sink: &str) -> Result<ReplayStatus, ReplayError> {
        if !sink_name::is_valid(sink) || !self.knows_sink(sink) {
            return Err(ReplayError::UnknownSink { name: sink.to_owned() });
        }
        let progress = self
            .progress(sink)
            .ok_or_else(|| ReplayError::SinkNotRunning { name: sink.to_owned() })?;
        let ended = {
            let mut told = progress.lock();
            let running = told.replay.as_mut().filter(|kept| kept.is_running());
            running.map(|kept| {
                kept.end(ReplayState::Cancelled, None);
                // At once, since its worker may wait for its sink for long.
                kept.keep(self.journal(), sink, kept.place);
                Kept::shown(kept)
            })
        };
        let ended = ended.ok_or_else(|| ReplayError::NoReplay { name: sink.to_owned() })?;
        self.store_positions().await.map_err(ReplayError::Store)?;
        Ok(ended)
    }
}
