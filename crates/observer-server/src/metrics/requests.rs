//! Metrics that the server counts itself: durations of requests, and connections.

use std::time::Instant;

use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{Histogram, HistogramOpts, HistogramVec, IntCounter, IntGauge};

/// Upper bounds of the buckets of `observer_request_seconds`, in seconds.
const BUCKETS: [f64; 16] = [
    0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5,
    5.0, 10.0,
];

/// Route of a request, the value of the label `route` of `observer_request_seconds`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Route {
    Event,
    Events,
    Sinks,
    DeadLetters,
    Replay,
    Metrics,
    Livez,
    Readyz,
    Reload,
    OpenApi,
    Other,
}

impl Route {
    pub(crate) const ALL: [Self; 11] = [
        Self::Event,
        Self::Events,
        Self::Sinks,
        Self::DeadLetters,
        Self::Replay,
        Self::Metrics,
        Self::Livez,
        Self::Readyz,
        Self::Reload,
        Self::OpenApi,
        Self::Other,
    ];

    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Event => "/event",
            Self::Events => "/v1/events",
            Self::Sinks => "/v1/sinks",
            Self::DeadLetters => "/v1/sinks/{name}/dead-letters",
            Self::Replay => "/v1/sinks/{name}/replay",
            Self::Metrics => "/metrics",
            Self::Livez => "/livez",
            Self::Readyz => "/readyz",
            Self::Reload => "/-/reload",
            Self::OpenApi => "/openapi.json",
            Self::Other => "other",
        }
    }
}

/// Metrics of requests and connections. Clones share their counts.
#[derive(Debug, Clone)]
pub(crate) struct RequestMetrics {
    seconds: HistogramVec,
    /// The histogram of each route, so that a request needs no look-up by label.
    by_route: [Histogram; Route::ALL.len()],
    pub(crate) connections: IntGauge,
    pub(crate) refused_connections: IntCounter,
    pub(crate) tls_handshake_failures: IntCounter,
}

/// Timer of a request. It observes when it is dropped, also after the client has disconnected.
#[derive(Debug)]
pub(crate) struct Timer<'a> {
    since: Instant,
    histogram: &'a Histogram,
}

const VALID: &str = "names and labels are valid";

impl RequestMetrics {
    pub(crate) fn new() -> Self {
        let seconds = HistogramOpts::new(
            "observer_request_seconds",
            "Duration of requests from the end of the head to the answer, by route.",
        );
        let seconds =
            HistogramVec::new(seconds.buckets(BUCKETS.to_vec()), &["route"]).expect(VALID);
        Self {
            by_route: Route::ALL.map(|route| seconds.with_label_values(&[route.as_str()])),
            seconds,
            connections: IntGauge::new(
                "observer_open_connections",
                "Open connections from clients.",
            )
            .expect(VALID),
            refused_connections: IntCounter::new(
                "observer_refused_connections_total",
                "Connections that were refused at the limit of connections.",
            )
            .expect(VALID),
            tls_handshake_failures: IntCounter::new(
                "observer_tls_handshake_failures_total",
                "Connections to a TLS address whose handshake failed or timed out.",
            )
            .expect(VALID),
        }
    }

    /// Starts the timer of a request.
    pub(crate) fn time(&self, route: Route) -> Timer<'_> {
        Timer { since: Instant::now(), histogram: &self.by_route[route as usize] }
    }

    pub(crate) fn descs(&self) -> Vec<Desc> {
        self.collectors().into_iter().flat_map(Collector::desc).cloned().collect()
    }

    pub(crate) fn families(&self) -> Vec<MetricFamily> {
        self.collectors().into_iter().flat_map(Collector::collect).collect()
    }

    fn collectors(&self) -> [&dyn Collector; 4] {
        [&self.seconds, &self.connections, &self.refused_connections, &self.tls_handshake_failures]
    }
}

impl Drop for Timer<'_> {
    fn drop(&mut self) {
        self.histogram.observe(self.since.elapsed().as_secs_f64());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_lists_the_routes_in_the_order_of_their_variants() {
        for (index, route) in Route::ALL.into_iter().enumerate() {
            assert_eq!(route as usize, index, "{route:?}");
        }
    }
}
