//! How long requests take, and the connections that they come on.

use std::time::Instant;

use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{Histogram, HistogramOpts, HistogramVec, IntCounter, IntGauge};

const BUCKETS: [f64; 16] = [
    0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5,
    5.0, 10.0,
];

/// What is asked for.
#[derive(Debug, Clone, Copy)]
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

/// The values of the label, in the order of [`Route`].
const ROUTES: [&str; Route::Other as usize + 1] = [
    "/event",
    "/v1/events",
    "/v1/sinks",
    "/v1/sinks/{name}/dead-letters",
    "/v1/sinks/{name}/replay",
    "/metrics",
    "/livez",
    "/readyz",
    "/-/reload",
    "/openapi.json",
    "other",
];

/// What the server counts itself. Clones count together.
#[derive(Debug, Clone)]
pub(crate) struct Requests {
    seconds: HistogramVec,
    /// One look-up per route at the start, and none per request.
    by_route: [Histogram; ROUTES.len()],
    pub(crate) connections: IntGauge,
    pub(crate) refused_connections: IntCounter,
    pub(crate) tls_handshake_failures: IntCounter,
}

/// Measures until it is dropped: also what a client did not wait for.
#[derive(Debug)]
pub(crate) struct Time<'a> {
    since: Instant,
    histogram: &'a Histogram,
}

impl Requests {
    pub(crate) fn new() -> Self {
        let seconds = HistogramOpts::new(
            "observer_request_seconds",
            "How long requests took from their head to the answer, by route.",
        );
        let seconds =
            HistogramVec::new(seconds.buckets(BUCKETS.to_vec()), &["route"]).expect(VALID);
        Self {
            by_route: ROUTES.map(|route| seconds.with_label_values(&[route])),
            seconds,
            connections: IntGauge::new("observer_open_connections", "Connections from clients at this moment.")
                .expect(VALID),
            refused_connections: IntCounter::new(
                "observer_refused_connections_total",
                "Connections that were refused, since there were too many.",
            )
            .expect(VALID),
            tls_handshake_failures: IntCounter::new(
                "observer_tls_handshake_failures_total",
                "Connections to a TLS address that came to no request, since the handshake failed or took too long.",
            )
            .expect(VALID),
        }
    }

    pub(crate) fn time(&self, route: Route) -> Time<'_> {
        Time { since: Instant::now(), histogram: &self.by_route[route as usize] }
    }

    pub(crate) fn descs(&self) -> Vec<Desc> {
        self.parts().into_iter().flat_map(Collector::desc).cloned().collect()
    }

    pub(crate) fn families(&self) -> Vec<MetricFamily> {
        self.parts().into_iter().flat_map(Collector::collect).collect()
    }

    fn parts(&self) -> [&dyn Collector; 4] {
        [&self.seconds, &self.connections, &self.refused_connections, &self.tls_handshake_failures]
    }
}

const VALID: &str = "names and labels are valid";

impl Drop for Time<'_> {
    fn drop(&mut self) {
        self.histogram.observe(self.since.elapsed().as_secs_f64());
    }
}
