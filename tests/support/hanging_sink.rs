//! Sink that never completes a delivery.

use std::sync::Arc;

use async_trait::async_trait;
use observer_core::{
    Batch, BuildError, EventSink, Receipt, SinkConfig, SinkContext, SinkError, SinkPart,
};

struct Hanging;

#[async_trait]
impl EventSink for Hanging {
    async fn deliver(&self, _batch: &Batch) -> Result<Receipt, SinkError> {
        std::future::pending().await
    }

    async fn flush(&self) -> Result<(), SinkError> {
        std::future::pending().await
    }

    async fn check(&self) -> Result<(), SinkError> {
        Ok(())
    }
}

/// Configuration of the sink type `hanging`, which only the tests register.
#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct HangingConfig {}

impl SinkConfig for HangingConfig {
    const TYPE: &'static str = "hanging";

    fn build(self, _context: &SinkContext) -> Result<Vec<SinkPart>, BuildError> {
        Ok(vec![SinkPart::whole(Arc::new(Hanging))])
    }
}
