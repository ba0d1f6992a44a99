//! Limits of the requests in flight: their number, the bytes of their bodies, and the number of
//! queries among them.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::http::StatusCode;
use observer_pipeline::RejectReason;

use crate::problem::Problem;

/// Counts of the requests in flight and of the bytes of their bodies.
#[derive(Debug, Default)]
pub(crate) struct InFlight {
    requests: AtomicUsize,
    bytes: AtomicUsize,
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

/// Memory budget that a request has reserved, which is free again when this is dropped.
#[derive(Debug)]
pub(crate) struct Reservation<'a> {
    in_flight: &'a InFlight,
    bytes: usize,
    max_bytes: usize,
}

/// Error for a reservation that exceeds the memory budget of all requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct BudgetExceeded {
    max_bytes: usize,
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

    /// Returns an empty reservation from a budget of `max_bytes` for all requests together.
    pub(crate) fn reservation(&self, max_bytes: usize) -> Reservation<'_> {
        Reservation { in_flight: self, bytes: 0, max_bytes }
    }
}

impl Reservation<'_> {
    /// Grows the reservation to this many bytes. It never shrinks.
    ///
    /// # Errors
    /// If all reservations together would exceed the budget. This one is then unchanged.
    pub(crate) fn grow_to(&mut self, bytes: usize) -> Result<(), BudgetExceeded> {
        let more = bytes.saturating_sub(self.bytes);
        let in_use = &self.in_flight.bytes;
        let within = |held: usize| held.checked_add(more).filter(|bytes| *bytes <= self.max_bytes);
        match in_use.fetch_update(Ordering::Relaxed, Ordering::Relaxed, within) {
            Ok(_) => {
                self.bytes += more;
                Ok(())
            }
            Err(_) => Err(BudgetExceeded { max_bytes: self.max_bytes }),
        }
    }
}

impl From<BudgetExceeded> for Problem {
    fn from(BudgetExceeded { max_bytes }: BudgetExceeded) -> Self {
        let detail = format!(
            "the bodies of the requests in flight would exceed {max_bytes} bytes \
             (`max_bytes_in_flight`); try again later"
        );
        Self::new(StatusCode::TOO_MANY_REQUESTS, detail).reason(RejectReason::Overloaded).closing()
    }
}

impl Drop for RequestPermit<'_> {
    fn drop(&mut self) {
        self.0.requests.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Drop for Reservation<'_> {
    fn drop(&mut self) {
        self.in_flight.bytes.fetch_sub(self.bytes, Ordering::Relaxed);
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

    #[test]
    fn reservations_together_stay_within_the_budget() {
        let in_flight = InFlight::default();
        let mut one = in_flight.reservation(100);
        one.grow_to(60).unwrap();
        one.grow_to(50).unwrap();
        let mut two = in_flight.reservation(100);
        assert_eq!(two.grow_to(41), Err(BudgetExceeded { max_bytes: 100 }));
        two.grow_to(40).unwrap();
        drop(one);
        two.grow_to(100).unwrap();
        assert_eq!(two.grow_to(usize::MAX), Err(BudgetExceeded { max_bytes: 100 }));
        drop(two);
        assert_eq!(in_flight.bytes.load(Ordering::Relaxed), 0);
    }
}
