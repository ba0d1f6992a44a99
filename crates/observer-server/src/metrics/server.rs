//! Metrics that the server counts itself: durations of requests, connections, and warnings.

use std::time::Instant;

use observer_core::{Field, FieldWarning};
use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{
    Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, Opts,
};

/// Upper bounds of the buckets of `observer_request_seconds`, in seconds.
const BUCKETS: [f64; 16] = [
    0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5,
    5.0, 10.0,
];

/// Metrics of requests, connections and warnings. Clones share their counts.
#[derive(Debug, Clone)]
pub(crate) struct ServerMetrics {
    request_seconds: HistogramVec,
    pub(crate) connections: IntGauge,
    pub(crate) rejected_connections: IntCounter,
    pub(crate) tls_handshake_failures: IntCounter,
    pub(crate) stream_readers: IntGauge,
    /// Events that streams did not contain, since the journal or the reader's speed did not allow it.
    pub(crate) stream_missed_events: IntCounter,
    field_warnings: IntCounterVec,
}

/// Timer of a request. It observes the duration when it is dropped, also if the client has
/// disconnected.
#[derive(Debug)]
pub(crate) struct Timer<'a> {
    since: Instant,
    histogram: &'a Histogram,
}

const VALID: &str = "names and labels are valid";

impl ServerMetrics {
    pub(crate) fn new() -> Self {
        let request_seconds = HistogramOpts::new(
            "observer_request_seconds",
            "Duration of requests from the end of the head to the response, by route.",
        );
        let request_seconds =
            HistogramVec::new(request_seconds.buckets(BUCKETS.to_vec()), &["route"]).expect(VALID);
        let field_warnings = Opts::new(
            "observer_field_warnings_total",
            "Warnings in responses to accepted events, by field.",
        );
        let field_warnings = IntCounterVec::new(field_warnings, &["field"]).expect(VALID);
        for field in Field::ALL.map(Field::as_str).into_iter().chain([FieldWarning::OTHER]) {
            field_warnings.with_label_values(&[field]);
        }
        Self {
            request_seconds,
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

    /// Returns the histogram of the durations of requests to a route, which is exported from now
    /// on.
    pub(crate) fn request_durations(&self, route: &str) -> Histogram {
        self.request_seconds.with_label_values(&[route])
    }

    pub(crate) fn descs(&self) -> Vec<Desc> {
        self.collectors().into_iter().flat_map(Collector::desc).cloned().collect()
    }

    pub(crate) fn families(&self) -> Vec<MetricFamily> {
        self.collectors().into_iter().flat_map(Collector::collect).collect()
    }

    fn collectors(&self) -> [&dyn Collector; 7] {
        [
            &self.request_seconds,
            &self.connections,
            &self.rejected_connections,
            &self.tls_handshake_failures,
            &self.stream_readers,
            &self.stream_missed_events,
            &self.field_warnings,
        ]
    }
}

impl<'a> Timer<'a> {
    pub(crate) fn start(histogram: &'a Histogram) -> Self {
        Self { since: Instant::now(), histogram }
    }
}

impl Drop for Timer<'_> {
    fn drop(&mut self) {
        self.histogram.observe(self.since.elapsed().as_secs_f64());
    }
}
