//! Limits of the requests in flight: their number, and the number of queries among them.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::http::StatusCode;
use observer_pipeline::RejectReason;

use crate::problem::Problem;

/// Count of the requests in flight.
#[derive(Debug, Default)]
pub(crate) struct InFlight {
    requests: AtomicUsize,
}

/// Permit of a request in flight, which ends when this is dropped.
#[derive(Debug)]
pub(crate) struct RequestPermit<'a>(&'a InFlight);

/// Count of the queries in flight. Clones share it.
#[derive(Debug, Clone, Default)]
pub(crate) struct QueriesInFlight(Arc<AtomicUsize>);

/// Permit of a query in flight, which ends when this is dropped.
#[derive(Debug)]
pub(crate) struct QueryPermit(QueriesInFlight);

impl QueriesInFlight {
    /// Acquires the permit of a query.
    ///
    /// # Errors
    /// If the limit of queries is reached (503).
    pub(crate) fn acquire(&self, max_queries: usize) -> Result<QueryPermit, Problem> {
        if self.0.fetch_add(1, Ordering::Relaxed) < max_queries {
            return Ok(QueryPermit(self.clone()));
        }
        self.0.fetch_sub(1, Ordering::Relaxed);
        let detail = format!(
            "the limit of {max_queries} queries in flight (`max_queries_in_flight`) is reached; \
             try again later"
        );
        Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, detail))
    }
}

impl Drop for QueryPermit {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl InFlight {
    /// Acquires the permit of a request.
    ///
    /// # Errors
    /// If the limit of requests is reached (429).
    pub(crate) fn acquire(&self, max_requests: usize) -> Result<RequestPermit<'_>, Problem> {
        if self.requests.fetch_add(1, Ordering::Relaxed) < max_requests {
            return Ok(RequestPermit(self));
        }
        self.requests.fetch_sub(1, Ordering::Relaxed);
        let detail = format!(
            "the limit of {max_requests} requests in flight (`max_requests_in_flight`) is reached; \
             try again later"
        );
        Err(Problem::new(StatusCode::TOO_MANY_REQUESTS, detail).reason(RejectReason::Overloaded))
    }
}

impl Drop for RequestPermit<'_> {
    fn drop(&mut self) {
        self.0.requests.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn permit_is_free_again_when_its_request_ends() {
        let in_flight = InFlight::default();
        let one = in_flight.acquire(2).unwrap();
        let _two = in_flight.acquire(2).unwrap();
        assert_eq!(in_flight.acquire(2).unwrap_err().status(), StatusCode::TOO_MANY_REQUESTS);
        drop(one);
        assert!(in_flight.acquire(2).is_ok());
    }

    #[test]
    fn query_is_refused_until_another_one_ends() {
        let queries = QueriesInFlight::default();
        let one = queries.clone().acquire(1).unwrap();
        assert_eq!(queries.acquire(1).unwrap_err().status(), StatusCode::SERVICE_UNAVAILABLE);
        drop(one);
        assert!(queries.acquire(1).is_ok());
    }
}
