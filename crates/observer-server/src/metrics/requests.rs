//! Metrics of requests: responses by route and status, and durations by class of routes.
//!
//! A [`Guard`](crate::routes::guard::Guard) looks its counts up once. Counting a response is then an
//! addition to an atomic number.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use axum::http::StatusCode;
use observer_metrics::Definition;
use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{Histogram, HistogramOpts, HistogramVec};

/// Label of requests that reach no route.
pub(crate) const OTHER: &str = "other";

const RESPONSES: Definition = Definition::counter(
    "observer_http_requests_total",
    &["route", "code"],
    "Requests that were responded to, by route and status code.",
);

/// Upper bounds of the buckets of `observer_request_duration_seconds`, in seconds.
const BUCKETS: [f64; 16] = [
    0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5,
    5.0, 10.0,
];

/// Lowest status code.
const FIRST_CODE: u16 = 100;
/// Number of status codes that are counted apart: all of the five classes.
const CODES: usize = 500;

/// Class of routes. Requests of one class take about the same time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RouteClass {
    /// Routes that receive events.
    Ingest,
    /// Queries, tools for agents and the OpenAPI document.
    Query,
    /// Streams of events. Their duration is that until the head of the response.
    Stream,
    /// Sinks, dead letters, replays and reloads.
    Admin,
    /// Health probes and metrics.
    Probe,
}

impl RouteClass {
    pub(crate) const ALL: [Self; 5] =
        [Self::Ingest, Self::Query, Self::Stream, Self::Admin, Self::Probe];

    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Ingest => "ingest",
            Self::Query => "query",
            Self::Stream => "stream",
            Self::Admin => "admin",
            Self::Probe => "probe",
        }
    }
}

/// Counts of the responses of one route by status code.
#[derive(Debug)]
pub(crate) struct RouteResponses {
    route: String,
    counts: Box<[AtomicU64]>,
}

/// Metrics of requests. Clones share their counts.
#[derive(Debug, Clone)]
pub(crate) struct RequestMetrics {
    routes: Arc<Mutex<BTreeMap<String, Arc<RouteResponses>>>>,
    responses: Desc,
    durations: HistogramVec,
}

/// Timer of a request. It observes the duration when it is dropped, also if the client has
/// disconnected.
#[derive(Debug)]
pub(crate) struct Timer<'a> {
    since: Instant,
    histogram: &'a Histogram,
}

impl RouteResponses {
    fn new(route: &str) -> Self {
        Self { route: route.to_owned(), counts: (0..CODES).map(|_| AtomicU64::default()).collect() }
    }

    /// Returns the path of the route as a template, or [`OTHER`].
    pub(crate) fn route(&self) -> &str {
        &self.route
    }

    /// Counts a response.
    pub(crate) fn count(&self, status: StatusCode) {
        let index = usize::from(status.as_u16().saturating_sub(FIRST_CODE));
        // Codes above the five classes have no meaning (RFC 9110, section 15).
        if let Some(count) = self.counts.get(index) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Returns the codes that occurred, with their counts.
    fn snapshot(&self) -> impl Iterator<Item = (u16, u64)> {
        let counts = self.counts.iter().map(|count| count.load(Ordering::Relaxed));
        (FIRST_CODE..).zip(counts).filter(|(_, count)| *count > 0)
    }
}

impl RequestMetrics {
    pub(crate) fn new() -> Self {
        let durations = HistogramOpts::new(
            "observer_request_duration_seconds",
            "Duration of requests from the end of the head to the response, by class of routes.",
        );
        let durations = HistogramVec::new(durations.buckets(BUCKETS.to_vec()), &["route_class"])
            .expect("names and labels are valid");
        for class in RouteClass::ALL {
            durations.with_label_values(&[class.as_str()]);
        }
        Self { routes: Arc::default(), responses: RESPONSES.desc(), durations }
    }

    /// Returns the counts of a route.
    pub(crate) fn responses(&self, route: &str) -> Arc<RouteResponses> {
        let mut routes = self.routes.lock().expect("no thread panics while it holds the lock");
        let responses = || Arc::new(RouteResponses::new(route));
        routes.entry(route.to_owned()).or_insert_with(responses).clone()
    }

    /// Returns the durations of a class of routes.
    pub(crate) fn durations(&self, class: RouteClass) -> Histogram {
        self.durations.with_label_values(&[class.as_str()])
    }
}

impl Collector for RequestMetrics {
    fn desc(&self) -> Vec<&Desc> {
        self.durations.desc().into_iter().chain([&self.responses]).collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let routes = self.routes.lock().expect("no thread panics while it holds the lock");
        let samples = routes.values().flat_map(|route| {
            let sample = |(code, count): (u16, u64)| {
                RESPONSES.sample(&[route.route(), &code.to_string()], count as f64)
            };
            route.snapshot().map(sample).collect::<Vec<_>>()
        });
        self.durations.collect().into_iter().chain([RESPONSES.family(samples)]).collect()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn responses_are_counted_by_code() {
        let metrics = RequestMetrics::new();
        for code in [200, 599, 100, 200, 600, 999] {
            metrics.responses("/event").count(StatusCode::from_u16(code).unwrap());
        }
        let counts: Vec<_> = metrics.responses("/event").snapshot().collect();
        assert_eq!(counts, [(100, 1), (200, 2), (599, 1)], "other codes have no class");
        assert_eq!(metrics.responses(OTHER).snapshot().count(), 0);
    }
}
