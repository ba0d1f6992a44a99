//! Pipeline: ingest, the journal, and one worker per sink behind one handle.
//!
//! [`builder`] assembles a pipeline, [`sinks`] adds and removes sinks while it runs, [`status`]
//! composes its status, [`standing`] concludes what became of one event, and [`maintenance`] stores
//! positions and frees space once a second.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use observer_core::Submission;
use observer_journal::{Durability, Options, Recovery};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::blocking::Blocking;
use crate::dead_letters::store::DeadLetterStore;
use crate::dead_letters::undecided::{self, UndecidedStore};
use crate::event_log::tail::Tail;
use crate::event_log::{EventLog, Journal};
use crate::ingest::principal::Principal;
use crate::ingest::reject::RejectReason;
use crate::ingest::{Ack, Ingest, IngestError};
use crate::lock::lock;
use crate::worker::command::WorkerHandle;
use crate::worker::progress::Progress;

mod adopt;
mod builder;
mod error;
mod maintenance;
mod sinks;
pub(crate) mod standing;
mod status;

pub use builder::{PipelineBuilder, verify_versions};
pub use error::{AddSinkError, AdoptError, ForgetSinkError, StartError};

use self::sinks::{Running, close, drain};
use self::status::StoppedSink;

/// Handle of a pipeline, which makes events durable and delivers them to every sink.
///
/// Clones share one pipeline. [`shutdown`](Self::shutdown) ends it. Without a shutdown, events that
/// were not flushed are delivered again after the next start.
#[derive(Clone)]
pub struct Pipeline {
    inner: Arc<Inner>,
}

struct Inner {
    blocking: Blocking,
    journal: Arc<Journal>,
    options: Options,
    tail: Arc<Tail>,
    /// Time since which records have tags, and identities contain principals.
    tagged_since: u64,
    ingest: Ingest,
    workers: Mutex<BTreeMap<String, Running>>,
    /// Last event that was handed to each removed sink.
    served: Mutex<BTreeMap<String, u64>>,
    /// Dead-letter store of each sink, running or not, so that each folder has one owner.
    dead_letter_stores: Mutex<BTreeMap<String, Arc<Mutex<DeadLetterStore>>>>,
    /// Store of the undecided events of each sink.
    undecided_stores: Mutex<BTreeMap<String, Arc<Mutex<UndecidedStore>>>>,
    /// Last snapshot of each sink that a shutdown has stopped.
    stopped: Mutex<BTreeMap<String, StoppedSink>>,
    random: Mutex<fastrand::Rng>,
    recovery: Recovery,
    maintenance: Mutex<Option<JoinHandle<()>>>,
}

impl Pipeline {
    /// Ingests an event of the anonymous principal, with the right to relay. Returns when the event
    /// is as durable as the journal is configured to make it; no sink is involved.
    ///
    /// Cancel safe: the commit continues, and a retry of the event is a duplicate.
    ///
    /// # Errors
    /// If the event isn't accepted. After [`Unavailable::Timeout`](crate::Unavailable::Timeout)
    /// it may still be committed; then a retry is a duplicate.
    pub async fn ingest(&self, event: impl Into<Submission>) -> Result<Ack, IngestError> {
        self.ingest_as(&embedder(), event, None).await
    }

    /// Ingests an event of the anonymous principal whose identity is an idempotency key.
    ///
    /// # Errors
    /// Those of [`ingest`](Self::ingest), and when the key was used for another event before.
    pub async fn ingest_with_key(
        &self,
        event: impl Into<Submission>,
        key: &str,
    ) -> Result<Ack, IngestError> {
        self.ingest_as(&embedder(), event, Some(key)).await
    }

    /// Ingests an event in the name of a principal. With an idempotency key, that is the identity
    /// of the event.
    ///
    /// Cancel safe: the commit continues, and a retry of the event is a duplicate.
    ///
    /// # Errors
    /// Those of [`ingest`](Self::ingest), when the key was used for another event before, and when
    /// the source is `observer` and the principal may not relay.
    pub async fn ingest_as(
        &self,
        principal: &Principal,
        event: impl Into<Submission>,
        key: Option<&str>,
    ) -> Result<Ack, IngestError> {
        self.inner.ingest.ingest(principal, event.into(), key).await
    }

    /// Ingests a batch of the anonymous principal, with the right to relay. Each event is checked
    /// by itself; the new ones are committed together, all or none. Results are in the order of the
    /// events.
    pub async fn ingest_batch(&self, events: Vec<Submission>) -> Vec<Result<Ack, IngestError>> {
        self.ingest_batch_as(&embedder(), events).await
    }

    /// Ingests a batch in the name of a principal, like [`ingest_batch`](Self::ingest_batch).
    pub async fn ingest_batch_as(
        &self,
        principal: &Principal,
        events: Vec<Submission>,
    ) -> Vec<Result<Ack, IngestError>> {
        self.inner.ingest.ingest_batch(principal, events).await
    }

    /// Adds the names of tokens whose events are counted by principal. The events of tokens that
    /// were never added are counted together, as `other`.
    pub fn add_principals<N: Into<Arc<str>>>(&self, names: impl IntoIterator<Item = N>) {
        self.inner.ingest.counters().principals.add(names.into_iter().map(Into::into));
    }

    /// Counts an event that was rejected before it reached the pipeline.
    pub fn count_rejected(&self, reason: RejectReason) {
        self.inner.ingest.counters().rejected.increment(reason);
    }

    /// Returns the recovery report of the journal.
    #[must_use]
    pub fn recovery(&self) -> &Recovery {
        &self.inner.recovery
    }

    /// Returns whether a sink of this name is running, or has a stored position.
    pub(crate) fn has_sink(&self, name: &str) -> bool {
        self.inner.workers().contains_key(name) || self.inner.journal.position(name).is_some()
    }

    pub(crate) fn blocking(&self) -> Blocking {
        self.inner.blocking
    }

    pub(crate) fn journal(&self) -> &Journal {
        &self.inner.journal
    }

    pub(crate) fn event_log(&self) -> EventLog {
        let inner = &self.inner;
        EventLog {
            blocking: inner.blocking,
            journal: inner.journal.clone(),
            tail: inner.tail.clone(),
            tagged_since: inner.tagged_since,
        }
    }

    pub(crate) fn progress(&self, sink: &str) -> Option<Arc<Progress>> {
        self.inner.workers().get(sink).map(|running| running.progress.clone())
    }

    /// Makes positions durable now.
    pub(crate) async fn store_positions(&self) -> io::Result<()> {
        let journal = self.inner.journal.clone();
        let stored = self.inner.blocking.run(move || journal.maintain()).await;
        stored.map_err(io::Error::other).and_then(|stored| stored.map_err(io::Error::other))
    }

    pub(crate) fn dead_letter_store(&self, sink: &str) -> Arc<Mutex<DeadLetterStore>> {
        let inner = &self.inner;
        let mut stores = lock(&inner.dead_letter_stores);
        let new = || {
            DeadLetterStore::new(
                inner.options.fs(),
                self.dead_letters_dir(sink),
                inner.options.get_clock(),
            )
        };
        stores.entry(sink.to_owned()).or_insert_with(|| Arc::new(Mutex::new(new()))).clone()
    }

    pub(crate) fn undecided_store(&self, sink: &str) -> Arc<Mutex<UndecidedStore>> {
        let inner = &self.inner;
        let mut stores = lock(&inner.undecided_stores);
        let new = || {
            let path = inner.options.dir().join(undecided::FOLDER).join(format!("{sink}.ndjson"));
            UndecidedStore::new(inner.options.fs(), path, inner.options.get_clock())
        };
        stores.entry(sink.to_owned()).or_insert_with(|| Arc::new(Mutex::new(new()))).clone()
    }

    /// Returns the handle of a running sink's worker.
    pub(crate) fn worker_handle(&self, sink: &str) -> Option<WorkerHandle> {
        let workers = self.inner.workers();
        let running = workers.get(sink)?;
        Some(WorkerHandle { commands: running.commands.clone(), batch_size: running.max_events })
    }

    /// Returns the durability of accepted events.
    #[must_use]
    pub fn durability(&self) -> Durability {
        self.inner.journal.durability()
    }

    /// Returns the folder of a sink's dead letters.
    #[must_use]
    pub fn dead_letters_dir(&self, sink: &str) -> PathBuf {
        self.inner.options.dir().join("dead-letters").join(sink)
    }

    /// Stops ingest, delivers pending events for up to `deadline`, and ends the pipeline.
    ///
    /// A short deadline loses nothing: the remaining events are delivered after the next start.
    pub async fn shutdown(&self, deadline: Duration) {
        self.shutdown_with(deadline, async {}).await;
    }

    /// Like [`shutdown`](Self::shutdown), and awaits `before_close` after the last flush of all
    /// sinks, before they are closed. Their metrics are final then, and still exported.
    pub async fn shutdown_with(&self, deadline: Duration, before_close: impl Future<Output = ()>) {
        let inner = &self.inner;
        inner.ingest.close();
        let workers = std::mem::take(&mut *inner.workers());
        let stopped =
            workers.iter().map(|(name, running)| (name.clone(), StoppedSink::new(running)));
        lock(&inner.stopped).extend(stopped);
        let flushed = drain(workers.into_iter().collect(), Instant::now() + deadline).await;
        inner.workers().extend(flushed);
        before_close.await;
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

/// Returns the principal of a program that embeds the pipeline.
fn embedder() -> Principal {
    Principal::anonymous().with_relay(true)
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
