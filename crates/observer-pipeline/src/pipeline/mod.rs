//! The pipeline as others see it.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use observer_core::Submission;
use observer_journal::{Options, Recovery};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::blocking::Blocking;
use crate::dead_letters::store::DeadLetterStore;
use crate::ingest::reject::RejectReason;
use crate::ingest::{Ack, Ingest, IngestError};
use crate::journal::Journal;
use crate::lock::lock;
use crate::source::tail::Tail;
use crate::worker::command::Desk;
use crate::worker::progress::Progress;

mod builder;
mod error;
mod maintenance;
mod sinks;
mod status;

pub use builder::PipelineBuilder;
pub use error::{AddSinkError, ForgetSinkError, StartError};

use self::sinks::{Running, close, drain};

/// Takes events in, makes them durable, and has every sink get them.
///
/// A handle: clones are the same pipeline. It ends with [`shutdown`](Self::shutdown); without that,
/// what sinks had not flushed is delivered again next time.
#[derive(Clone)]
pub struct Pipeline {
    inner: Arc<Inner>,
}

struct Inner {
    blocking: Blocking,
    journal: Arc<Journal>,
    options: Options,
    tail: Arc<Tail>,
    ingest: Ingest,
    workers: Mutex<BTreeMap<String, Running>>,
    /// How far sinks were served that are not there any more.
    served: Mutex<BTreeMap<String, u64>>,
    /// The dead letters of each sink that there was: they have one owner, whether the sink runs or
    /// not.
    shelves: Mutex<BTreeMap<String, Arc<Mutex<DeadLetterStore>>>>,
    random: Mutex<fastrand::Rng>,
    recovery: Recovery,
    maintenance: Mutex<Option<JoinHandle<()>>>,
}

impl Pipeline {
    /// Take an event in. The answer comes when it is as durable as the journal promises; sinks have
    /// no part in that.
    ///
    /// The future may be dropped: the commit runs on, and the same event is a duplicate then.
    ///
    /// # Errors
    /// When the event isn't taken; it is nowhere then, or it will be a duplicate.
    pub async fn ingest(&self, event: impl Into<Submission>) -> Result<Ack, IngestError> {
        self.inner.ingest.ingest(event.into(), None).await
    }

    /// Take an event in whose identity is this key.
    ///
    /// # Errors
    /// Those of [`ingest`](Self::ingest), and when the key came with another event before.
    pub async fn ingest_with_key(
        &self,
        event: impl Into<Submission>,
        key: &str,
    ) -> Result<Ack, IngestError> {
        self.inner.ingest.ingest(event.into(), Some(key)).await
    }

    /// Take events in, each judged by itself: those that are new are committed together, all or
    /// none. The results are in the order of the events.
    pub async fn ingest_batch(&self, events: Vec<Submission>) -> Vec<Result<Ack, IngestError>> {
        self.inner.ingest.ingest_batch(events).await
    }

    /// Counts an event that was rejected before it reached the pipeline.
    pub fn count_rejected(&self, reason: RejectReason) {
        self.inner.ingest.counters().rejected.increment(reason);
    }

    /// What was found when the journal was opened.
    #[must_use]
    pub fn recovery(&self) -> &Recovery {
        &self.inner.recovery
    }

    /// Whether there is one of this name, or was.
    pub(crate) fn knows_sink(&self, name: &str) -> bool {
        self.inner.workers().contains_key(name) || self.inner.journal.position(name).is_some()
    }

    pub(crate) fn blocking(&self) -> Blocking {
        self.inner.blocking
    }

    pub(crate) fn journal(&self) -> &Journal {
        &self.inner.journal
    }

    pub(crate) fn progress(&self, sink: &str) -> Option<Arc<Progress>> {
        self.inner.workers().get(sink).map(|running| running.progress.clone())
    }

    /// Make positions durable now.
    pub(crate) async fn store_positions(&self) -> io::Result<()> {
        let journal = self.inner.journal.clone();
        let stored = self.inner.blocking.run(move || journal.maintain()).await;
        stored.map_err(io::Error::other).and_then(|stored| stored.map_err(io::Error::other))
    }

    pub(crate) fn shelf(&self, sink: &str) -> Arc<Mutex<DeadLetterStore>> {
        let inner = &self.inner;
        let mut shelves = lock(&inner.shelves);
        let new = || {
            DeadLetterStore::new(
                inner.options.fs(),
                self.dead_letters_dir(sink),
                inner.options.get_clock(),
            )
        };
        shelves.entry(sink.to_owned()).or_insert_with(|| Arc::new(Mutex::new(new()))).clone()
    }

    /// Where a running sink is handed what it is to send again.
    pub(crate) fn desk(&self, sink: &str) -> Option<Desk> {
        let workers = self.inner.workers();
        let running = workers.get(sink)?;
        Some(Desk { orders: running.orders.clone(), at_once: running.max_events })
    }

    /// Where a sink's dead letters are.
    #[must_use]
    pub fn dead_letters_dir(&self, sink: &str) -> PathBuf {
        self.inner.options.dir().join("dead-letters").join(sink)
    }

    /// Take no more events, let the sinks have what is there for up to `deadline`, and end. Nothing
    /// is lost by a deadline that is too short: what is left is delivered after the next start.
    pub async fn shutdown(&self, deadline: Duration) {
        self.shutdown_with(deadline, async {}).await;
    }

    /// The same with a `last_look`, when every sink was flushed for the last time and isn't closed
    /// yet, so that what it exports is still there.
    pub async fn shutdown_with(&self, deadline: Duration, last_look: impl Future<Output = ()>) {
        let inner = &self.inner;
        inner.ingest.close();
        let workers = std::mem::take(&mut *inner.workers());
        let flushed = drain(workers.into_iter().collect(), Instant::now() + deadline).await;
        inner.workers().extend(flushed);
        last_look.await;
        let workers = std::mem::take(&mut *inner.workers());
        close(workers.into_iter().collect()).await;
        let maintenance = inner.maintenance().take();
        if let Some(maintenance) = maintenance {
            maintenance.abort();
            let _ = maintenance.await;
        }
        let journal = inner.journal.clone();
        let maintained = inner.blocking.run(move || journal.maintain()).await;
        if let Ok(Err(error)) = maintained {
            tracing::error!(
                error = observer_core::report(&error),
                "the last positions could not be stored; some events will be delivered again"
            );
        }
    }
}

impl std::fmt::Debug for Pipeline {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pipeline").field("journal", &self.inner.journal).finish_non_exhaustive()
    }
}

impl Inner {
    fn workers(&self) -> MutexGuard<'_, BTreeMap<String, Running>> {
        lock(&self.workers)
    }

    fn served(&self) -> MutexGuard<'_, BTreeMap<String, u64>> {
        lock(&self.served)
    }

    fn random(&self) -> MutexGuard<'_, fastrand::Rng> {
        lock(&self.random)
    }

    fn maintenance(&self) -> MutexGuard<'_, Option<JoinHandle<()>>> {
        lock(&self.maintenance)
    }
}

#[cfg(test)]
mod tests;
