//! Metrics that the server counts itself: requests, connections, warnings, and the certificate.

use observer_core::{Field, FieldWarning};
use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{IntCounter, IntCounterVec, IntGauge, Opts};

use super::certificate::CertificateMetrics;
use super::requests::RequestMetrics;

/// Metrics of requests, connections, warnings and the certificate. Clones share their counts.
#[derive(Debug, Clone)]
pub(crate) struct ServerMetrics {
    pub(crate) requests: RequestMetrics,
    pub(crate) certificate: CertificateMetrics,
    pub(crate) connections: IntGauge,
    pub(crate) rejected_connections: IntCounter,
    pub(crate) tls_handshake_failures: IntCounter,
    pub(crate) stream_readers: IntGauge,
    /// Events that streams did not contain, since the journal or the reader's speed did not allow it.
    pub(crate) stream_missed_events: IntCounter,
    field_warnings: IntCounterVec,
}

const VALID: &str = "names and labels are valid";

impl ServerMetrics {
    pub(crate) fn new() -> Self {
        let field_warnings = Opts::new(
            "observer_field_warnings_total",
            "Warnings in responses to accepted events, by field.",
        );
        let field_warnings = IntCounterVec::new(field_warnings, &["field"]).expect(VALID);
        for field in Field::ALL.map(Field::as_str).into_iter().chain([FieldWarning::OTHER]) {
            field_warnings.with_label_values(&[field]);
        }
        Self {
            requests: RequestMetrics::new(),
            certificate: CertificateMetrics::new(),
            connections: IntGauge::new(
                "observer_open_connections",
                "Open connections from clients.",
            )
            .expect(VALID),
            rejected_connections: IntCounter::new(
                "observer_refused_connections_total",
                "Connections that were rejected at the limit of connections.",
            )
            .expect(VALID),
            tls_handshake_failures: IntCounter::new(
                "observer_tls_handshake_failures_total",
                "Connections to a TLS address whose handshake failed or timed out.",
            )
            .expect(VALID),
            stream_readers: IntGauge::new("observer_stream_readers", "Open streams of events.")
                .expect(VALID),
            stream_missed_events: IntCounter::new(
                "observer_stream_missed_events_total",
                "Events that streams of events left out, as their gaps state.",
            )
            .expect(VALID),
            field_warnings,
        }
    }

    /// Counts the warnings about an accepted event.
    pub(crate) fn count_warnings(&self, warnings: &[FieldWarning]) {
        for warning in warnings {
            self.field_warnings.with_label_values(&[warning.field]).inc();
        }
    }

    pub(crate) fn descs(&self) -> Vec<Desc> {
        self.collectors().into_iter().flat_map(Collector::desc).cloned().collect()
    }

    /// Returns the metrics that have a series.
    pub(crate) fn families(&self) -> Vec<MetricFamily> {
        let families = self.collectors().into_iter().flat_map(Collector::collect);
        families.filter(|family| !family.get_metric().is_empty()).collect()
    }

    fn collectors(&self) -> [&dyn Collector; 8] {
        [
            &self.requests,
            &self.certificate,
            &self.connections,
            &self.rejected_connections,
            &self.tls_handshake_failures,
            &self.stream_readers,
            &self.stream_missed_events,
            &self.field_warnings,
        ]
    }
}
