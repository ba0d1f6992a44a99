//! The sink: a store behind the trait.

use std::fmt;
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use observer_core::{
    Batch, BatchSettings, BuildError, Envelope, Event, EventSink, Position, Receipt, SinkConfig,
    SinkContext, SinkError, SinkPart,
};
use prometheus::Registry;

use crate::collector::Registration;
use crate::config::PrometheusConfig;
use crate::store::Store;
use crate::store::files::FileError;

/// Counts events, and exports the counts through a [`Registry`].
///
/// A scrape sees what the last [`flush`](EventSink::flush) made durable. So a counter never goes
/// back: not even a process that is killed has shown a count that its successor must count once
/// more, which Prometheus would take for a reset and add twice.
///
/// Dropping the sink takes its metrics out of the registry, as [`close`](EventSink::close) does. It
/// needs a tokio runtime.
pub struct PrometheusSink {
    store: Arc<Store>,
    registry: Registry,
    registration: Mutex<Option<Registration>>,
    // Held by the write itself, so that one whose caller gave up is not overtaken by the next.
    writing: Arc<tokio::sync::Mutex<()>>,
}

impl PrometheusSink {
    /// A sink with a registry of its own.
    ///
    /// # Errors
    /// What in the configuration can't be.
    pub fn new(config: PrometheusConfig, context: &SinkContext) -> Result<Self, BuildError> {
        Self::with_registry(config, context, &Registry::new())
    }

    /// A sink with its metrics in a registry that others share.
    ///
    /// # Errors
    /// What in the configuration can't be, and a second sink of this type on the same registry.
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

    /// Where the metrics are. A copy is as good: registries are handles.
    ///
    /// `gather` is synchronous and takes milliseconds when there are thousands of series; a server
    /// calls it off its async threads.
    #[must_use]
    pub fn registry(&self) -> &Registry {
        &self.registry
    }

    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Store) -> Result<T, FileError> + Send + 'static,
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
    /// Count what is new in the batch. What lies at or before the position was counted and is
    /// passed over, so that repeating a batch changes nothing.
    async fn deliver(&self, batch: &Batch) -> Result<Receipt, SinkError> {
        let batch = batch.clone();
        let parsed = self.blocking(move |store| {
            let parsed = parse(&batch);
            store.load().map(|()| parsed)
        });
        let parsed = parsed.await?;
        // After the last await: a delivery that was given up can't count later.
        self.store.take(&parsed)?;
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

    fn replay_refusal(&self) -> Option<&'static str> {
        Some(
            "its counts go with its position, and an event from before that could be counted twice",
        )
    }

    async fn check(&self) -> Result<(), SinkError> {
        self.blocking(Store::check).await
    }

    async fn close(&self) -> Result<(), SinkError> {
        let _no_write_is_under_way = self.writing.lock().await;
        let registration = self.registration.lock().unwrap_or_else(PoisonError::into_inner).take();
        // It waits for a gather that is under way.
        self.blocking(move |_| {
            drop(registration);
            Ok(())
        })
        .await
    }
}

impl PrometheusConfig {
    /// Make the sink, with its metrics in a registry that others share: the way for a program that
    /// serves all of its metrics in one place. To replace a sink at run time, close the old one
    /// before the new one is built.
    ///
    /// # Errors
    /// What in the configuration can't be, and a second sink of this type on the same registry.
    pub fn build_with(
        self,
        context: &SinkContext,
        registry: &Registry,
    ) -> Result<Vec<SinkPart>, BuildError> {
        let sink = PrometheusSink::with_registry(self, context, registry)?;
        // A scrape shows what was flushed, once a second; counting more often than this gains
        // nothing.
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

    /// With a registry of its own, which nobody else can gather; programs that serve metrics use
    /// [`build_with`](PrometheusConfig::build_with).
    fn build(self, context: &SinkContext) -> Result<Vec<SinkPart>, BuildError> {
        self.build_with(context, &Registry::new())
    }
}

/// A copy with all that is counted read, so that counting under the lock is short. The events
/// themselves may stay in memory for others, who don't need what was read here.
fn parse(batch: &Batch) -> Batch {
    let copy = |envelope: &Arc<Envelope>| {
        let event = Event::from_parsed(envelope.event.raw().clone());
        let _parsed = event.usage();
        Arc::new(Envelope {
            id: envelope.id,
            seq: envelope.seq,
            received_at: envelope.received_at,
            event,
        })
    };
    Batch::new(batch.position().epoch, batch.events().iter().map(copy).collect())
}

impl fmt::Debug for PrometheusSink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PrometheusSink").field("name", &self.store.name()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
