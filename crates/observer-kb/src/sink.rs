//! The sink: an adapter between the writer and the pipeline.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use observer_core::{Batch, BuildError, EventSink, Position, Receipt, SinkContext, SinkError};

use crate::config::KbConfig;
use crate::reader::KbStore;
use crate::schema;
use crate::settings::Settings;
use crate::writer::Thread;

/// Sink that stores events and figures in a file.
///
/// The file is opened by the first call. [`store`](Self::store) answers queries on it.
pub struct KbSink {
    thread: Thread,
    store: Arc<KbStore>,
    settings: Arc<Settings>,
}

impl KbSink {
    /// Creates the sink. Nothing is opened yet.
    ///
    /// # Errors
    /// If a value is invalid; the error names its key.
    pub fn new(config: KbConfig, context: &SinkContext) -> Result<Self, BuildError> {
        let settings = Arc::new(config.settings(context)?);
        let store = Arc::new(KbStore::new(Arc::clone(&settings)));
        Ok(Self { thread: Thread::new(Arc::clone(&settings)), store, settings })
    }

    /// Returns the store that answers queries on what the sink has stored. Events are
    /// shown at once, and figures include them after the next [`flush`](EventSink::flush), or within
    /// three seconds if more than 8,192 events came before it.
    #[must_use]
    pub fn store(&self) -> Arc<KbStore> {
        Arc::clone(&self.store)
    }
}

#[async_trait]
impl EventSink for KbSink {
    /// Stores the events of a batch that are past the position, together with the position.
    ///
    /// # Cancel safety
    /// A dropped delivery may still be stored. Its repetition is recognised by the position.
    async fn deliver(&self, batch: &Batch) -> Result<Receipt, SinkError> {
        self.thread.store(batch.clone()).await?;
        Ok(Receipt::accepted())
    }

    async fn flush(&self) -> Result<(), SinkError> {
        Ok(self.thread.flush().await?)
    }

    async fn position(&self) -> Result<Option<Position>, SinkError> {
        Ok(self.thread.position().await?)
    }

    async fn verify_state(&self) -> Result<(), SinkError> {
        Ok(schema::verify_version(&self.settings.folder)?)
    }

    fn replay_rejection(&self) -> Option<&'static str> {
        Some("it stores its position with its events, and holds past events already")
    }

    async fn check(&self) -> Result<(), SinkError> {
        Ok(self.thread.check().await?)
    }

    async fn inspect(&self) -> Result<(), SinkError> {
        observer_core::verify_writable(&self.settings.folder).map_err(SinkError::blocked)
    }

    async fn close(&self) -> Result<(), SinkError> {
        Ok(self.thread.close().await?)
    }
}

impl fmt::Debug for KbSink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KbSink").field("folder", &self.settings.folder).finish_non_exhaustive()
    }
}
