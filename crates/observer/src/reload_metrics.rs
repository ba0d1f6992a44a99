//! Metrics of the last reload of the configuration.

use jiff::Timestamp;
use prometheus::{Gauge, IntGauge, Registry};

/// Result and time of the last reload. The start counts as one. Clones share their values.
#[derive(Debug, Clone)]
pub(crate) struct ReloadMetrics {
    successful: IntGauge,
    timestamp: Gauge,
}

const VALID: &str = "names are valid";

impl ReloadMetrics {
    /// Exports the start as a successful reload.
    pub(crate) fn register(registry: &Registry) -> Self {
        let successful = IntGauge::new(
            "observer_config_last_reload_successful",
            "1 if the last reload of the configuration succeeded, or there was none, else 0.",
        );
        let timestamp = Gauge::new(
            "observer_config_last_reload_timestamp_seconds",
            "Time of the last reload of the configuration or of the start, in seconds since 1970.",
        );
        let metrics =
            Self { successful: successful.expect(VALID), timestamp: timestamp.expect(VALID) };
        metrics.record(true);
        let registered = registry
            .register(Box::new(metrics.successful.clone()))
            .and_then(|()| registry.register(Box::new(metrics.timestamp.clone())));
        if let Err(error) = registered {
            let error = observer_core::report(&error);
            tracing::warn!(error, "the results of reloads are not exported");
        }
        metrics
    }

    /// Records a reload that has ended.
    pub(crate) fn record(&self, is_successful: bool) {
        self.successful.set(i64::from(is_successful));
        self.timestamp.set(Timestamp::now().as_duration().as_secs_f64());
    }
}
