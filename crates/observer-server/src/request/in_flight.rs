//! What is being worked on at this moment, so that it is never too much.

use std::sync::atomic::{AtomicUsize, Ordering};

use axum::http::StatusCode;
use observer_pipeline::RejectReason;

use crate::problem::Problem;

/// Counts requests and the bytes of their bodies.
#[derive(Debug, Default)]
pub(crate) struct InFlight {
    requests: AtomicUsize,
    bytes: AtomicUsize,
}

/// A request, while it is worked on.
#[derive(Debug)]
pub(crate) struct Admitted<'a>(&'a InFlight);

/// Room for bytes, while they are held.
#[derive(Debug)]
pub(crate) struct Room<'a> {
    in_flight: &'a InFlight,
    bytes: usize,
    max_bytes: usize,
}

/// There is no room at this moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct NoRoom {
    max_bytes: usize,
}

impl InFlight {
    /// # Errors
    /// 429 when there are as many as there may be.
    pub(crate) fn admit(&self, max_requests: usize) -> Result<Admitted<'_>, Problem> {
        if self.requests.fetch_add(1, Ordering::Relaxed) < max_requests {
            return Ok(Admitted(self));
        }
        self.requests.fetch_sub(1, Ordering::Relaxed);
        let detail = format!(
            "there are {max_requests} requests in flight, and no more may be (`max_requests_in_flight`); come back later"
        );
        Err(Problem::new(StatusCode::TOO_MANY_REQUESTS, detail).reason(RejectReason::Overloaded))
    }

    /// No room yet, of so much at most for all requests together.
    pub(crate) fn room(&self, max_bytes: usize) -> Room<'_> {
        Room { in_flight: self, bytes: 0, max_bytes }
    }
}

impl Room<'_> {
    /// Make room for this many bytes in all; there is never less than before.
    ///
    /// # Errors
    /// When all requests together would hold more than they may.
    pub(crate) fn grow_to(&mut self, bytes: usize) -> Result<(), NoRoom> {
        let more = bytes.saturating_sub(self.bytes);
        let in_use = &self.in_flight.bytes;
        let within = |held: usize| held.checked_add(more).filter(|bytes| *bytes <= self.max_bytes);
        match in_use.fetch_update(Ordering::Relaxed, Ordering::Relaxed, within) {
            Ok(_) => {
                self.bytes += more;
                Ok(())
            }
            Err(_) => Err(NoRoom { max_bytes: self.max_bytes }),
        }
    }
}

impl From<NoRoom> for Problem {
    fn from(NoRoom { max_bytes }: NoRoom) -> Self {
        let detail = format!(
            "the requests in flight hold as many of the {max_bytes} bytes that they may hold together (`max_bytes_in_flight`) \
             that there is no room for this one; come back later"
        );
        Self::new(StatusCode::TOO_MANY_REQUESTS, detail).reason(RejectReason::Overloaded).closing()
    }
}

impl Drop for Admitted<'_> {
    fn drop(&mut self) {
        self.0.requests.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Drop for Room<'_> {
    fn drop(&mut self) {
        self.in_flight.bytes.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_room_again_when_a_request_has_ended() {
        let in_flight = InFlight::default();
        let one = in_flight.admit(2).unwrap();
        let _two = in_flight.admit(2).unwrap();
        assert_eq!(in_flight.admit(2).unwrap_err().status(), StatusCode::TOO_MANY_REQUESTS);
        drop(one);
        assert!(in_flight.admit(2).is_ok());
    }

    #[test]
    fn all_bodies_together_keep_to_their_limit() {
        let in_flight = InFlight::default();
        let mut one = in_flight.room(100);
        one.grow_to(60).unwrap();
        one.grow_to(50).unwrap();
        let mut two = in_flight.room(100);
        assert_eq!(two.grow_to(41), Err(NoRoom { max_bytes: 100 }));
        two.grow_to(40).unwrap();
        drop(one);
        two.grow_to(100).unwrap();
        assert_eq!(two.grow_to(usize::MAX), Err(NoRoom { max_bytes: 100 }));
        drop(two);
        assert_eq!(in_flight.bytes.load(Ordering::Relaxed), 0);
    }
}
