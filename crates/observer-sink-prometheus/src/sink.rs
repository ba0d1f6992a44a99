//! The sink: an adapter between the store and the pipeline.

use std::fmt;
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use observer_core::{
    Batch, BatchSettings, BuildError, EventSink, Position, Receipt, SinkConfig, SinkContext,
    SinkError, SinkPart,
};
use prometheus::Registry;

use crate::collector::Registration;
use crate::config::PrometheusConfig;
use crate::store::Store;
use crate::store::error::StoreError;
use crate::sync::lock;

/// Sink that counts events and exports the counts through a [`Registry`].
///
/// A scrape shows the state that the last [`flush`](EventSink::flush) made durable, so a counter
/// never decreases. If a scrape showed later counts and the process were killed, the next process
/// would count these events again; Prometheus would see a reset and add them twice.
///
/// Both [`close`](EventSink::close) and dropping the sink remove its metrics from the registry. The
/// sink needs a tokio runtime.
pub struct PrometheusSink {
    store: Arc<Store>,
    registry: Registry,
    registration: Mutex<Option<Registration>>,
    // A write holds this lock itself, so that the next one waits even if the caller was cancelled.
    writing: Arc<tokio::sync::Mutex<()>>,
}

impl PrometheusSink {
    /// Creates a sink with its own registry.
    ///
    /// # Errors
    /// If a value is invalid; the error names its key.
    pub fn new(config: PrometheusConfig, context: &SinkContext) -> Result<Self, BuildError> {
        Self::with_registry(config, context, &Registry::new())
    }

    /// Creates a sink that registers its metrics in a shared registry.
    ///
    /// # Errors
    /// If a value is invalid, or the registry has a sink of this type already.
    pub fn with_registry(
        config: PrometheusConfig,
        context: &SinkContext,
        registry: &Registry,
    ) -> Result<Self, BuildError> {
        config.check()?;
        let store = Arc::new(Store::new(config, context));
        let registration = Registration::new(Arc::clone(&store), registry)?;
        Ok(Self {
            store,
            registry: registry.clone(),
            registration: Mutex::new(Some(registration)),
            writing: Arc::default(),
        })
    }

    /// Returns the registry of the metrics. It is a handle: a clone refers to the same registry.
    ///
    /// `gather` is synchronous and takes milliseconds for thousands of series, so an async server
    /// should call it on the blocking pool.
    #[must_use]
    pub fn registry(&self) -> &Registry {
        &self.registry
    }

    /// Runs work on the blocking pool. The work continues if the returned future is dropped.
    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Store) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, SinkError> {
        let store = Arc::clone(&self.store);
        let done = tokio::task::spawn_blocking(move || work(&store))
            .await
            .map_err(SinkError::transient)?;
        Ok(done?)
    }
}

#[async_trait]
impl EventSink for PrometheusSink {
    /// Counts the events of a batch that are past the position; the others were counted before. A
    /// repeated batch therefore changes nothing.
    ///
    /// # Cancel safety
    /// A dropped delivery counts nothing.
    async fn deliver(&self, batch: &Batch) -> Result<Receipt, SinkError> {
        let batch = batch.clone();
        let read = self.blocking(move |store| {
            let read = store.read_batch(&batch);
            store.load().map(|()| read)
        });
        let read = read.await?;
        // There is no await after this line, so a cancelled delivery can't count.
        self.store.count(&read)?;
        Ok(Receipt::accepted())
    }

    async fn flush(&self) -> Result<(), SinkError> {
        let turn = Arc::clone(&self.writing).lock_owned().await;
        self.blocking(move |store| {
            let saved = store.save();
            drop(turn);
            saved
        })
        .await
    }

    async fn position(&self) -> Result<Option<Position>, SinkError> {
        self.blocking(Store::position).await
    }

    async fn verify_state(&self) -> Result<(), SinkError> {
        let verified = |store: &Store| match store.verify_version() {
            Err(error @ StoreError::Newer { .. }) => Err(error),
            // The first call that needs the snapshot reports other errors.
            _ => Ok(()),
        };
        self.blocking(verified).await
    }

    fn replay_rejection(&self) -> Option<&'static str> {
        Some(
            "its counts belong to its position, and an event before that position could be counted \
             twice",
        )
    }

    async fn check(&self) -> Result<(), SinkError> {
        self.blocking(Store::check).await
    }

    async fn inspect(&self) -> Result<(), SinkError> {
        self.blocking(Store::inspect).await
    }

    async fn close(&self) -> Result<(), SinkError> {
        let _no_write_is_under_way = self.writing.lock().await;
        let registration = lock(&self.registration).take();
        // Dropping the registration waits for a `gather` in progress.
        self.blocking(move |_| {
            drop(registration);
            Ok(())
        })
        .await
    }
}

impl PrometheusConfig {
    /// Builds the sink with its metrics in a shared registry, for programs that serve all of their
    /// metrics in one place. To replace a sink at run time, close the old one first.
    ///
    /// # Errors
    /// If a value is invalid, or the registry has a sink of this type already.
    pub fn build_with(
        self,
        context: &SinkContext,
        registry: &Registry,
    ) -> Result<Vec<SinkPart>, BuildError> {
        let sink = PrometheusSink::with_registry(self, context, registry)?;
        // A scrape shows flushed counts, and flushes happen once a second, so a shorter linger
        // gains nothing.
        let batch = BatchSettings {
            max_events: NonZeroUsize::new(8192),
            linger: Some(Duration::from_millis(250)),
            ..BatchSettings::default()
        };
        Ok(vec![SinkPart::whole(Arc::new(sink)).with_batch(batch)])
    }
}

impl SinkConfig for PrometheusConfig {
    const TYPE: &'static str = "prometheus";

    /// Builds the sink with its own registry, which the program can't gather. Programs that serve
    /// metrics use [`build_with`](PrometheusConfig::build_with).
    fn build(self, context: &SinkContext) -> Result<Vec<SinkPart>, BuildError> {
        self.build_with(context, &Registry::new())
    }
}

impl fmt::Debug for PrometheusSink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PrometheusSink").field("name", &self.store.name()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
