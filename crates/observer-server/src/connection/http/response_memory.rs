//! Memory of responses until they are sent.

use std::sync::Arc;

use axum::body::{Body, HttpBody};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http_body_util::BodyExt;

use crate::request::limits::budget::{
    BudgetExceeded, BudgetLimits, Holder, MemoryBudget, Reservation,
};
use crate::security_headers::add_security_headers;

/// Size up to which a response is not counted, in bytes. A connection holds one such response.
const UNCOUNTED: u64 = 4 << 10;

/// Memory that a response has reserved. It is free again when all clones are dropped.
#[derive(Debug, Clone)]
pub(crate) struct ResponseMemory(
    #[expect(dead_code, reason = "held until the response is sent")]
    Arc<Reservation<Arc<MemoryBudget>>>,
);

/// Bytes of a response with the memory that they occupy.
struct HeldBytes {
    bytes: Bytes,
    _memory: ResponseMemory,
}

impl ResponseMemory {
    /// Reserves memory for a response of so many bytes. `may_use_reserve` is true for responses that
    /// the reserve of the budget exists for.
    ///
    /// # Errors
    /// If the budget has no memory for it.
    pub(crate) fn reserve(
        budget: &Arc<MemoryBudget>,
        limits: BudgetLimits,
        holder: Holder,
        bytes: usize,
        may_use_reserve: bool,
    ) -> Result<Self, BudgetExceeded> {
        let mut reservation = Reservation::new(budget.clone(), limits, holder);
        if may_use_reserve {
            reservation.grow_into_reserve(bytes)?;
        } else {
            reservation.grow_to_whole(bytes)?;
        }
        Ok(Self(Arc::new(reservation)))
    }
}

impl AsRef<[u8]> for HeldBytes {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

/// Returns the size of a response that has to be counted.
pub(super) fn counted_size(response: &Response) -> Option<usize> {
    let size = response.body().size_hint().lower();
    (size > UNCOUNTED).then(|| usize::try_from(size).unwrap_or(usize::MAX))
}

/// Makes the memory of a response last until its bytes are sent.
pub(super) fn hold(response: Response, memory: ResponseMemory) -> Response {
    let held = move |bytes| Bytes::from_owner(HeldBytes { bytes, _memory: memory.clone() });
    response.map(|body| Body::new(body.map_frame(move |frame| frame.map_data(&held))))
}

/// Returns the response in place of one that there is no memory for.
pub(super) fn refuse(exceeded: BudgetExceeded) -> Response {
    let mut response = exceeded.of_response().into_response();
    add_security_headers(response.headers_mut());
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: BudgetLimits = BudgetLimits { max_bytes: 1 << 20, min_share: 1 << 20 };

    #[tokio::test]
    async fn memory_is_reserved_until_the_last_byte_is_dropped() {
        let budget = Arc::new(MemoryBudget::default());
        let reserve =
            |bytes| ResponseMemory::reserve(&budget, LIMITS, Holder::default(), bytes, false);
        let response = Response::new(Body::from("x".repeat(1 << 20)));
        assert_eq!(counted_size(&response), Some(1 << 20));
        let mut response = hold(response, reserve(1 << 20).unwrap());
        let sent = response.body_mut().frame().await.unwrap().unwrap().into_data().unwrap();
        drop(response);
        assert!(reserve(1).is_err(), "the bytes are not sent yet");
        assert_eq!(sent.len(), 1 << 20);
        drop(sent);
        reserve(1 << 20).unwrap();
    }

    #[test]
    fn small_response_is_not_counted() {
        for (size, counted) in [(0, None), (4 << 10, None), ((4 << 10) + 1, Some((4 << 10) + 1))] {
            let response = Response::new(Body::from(vec![0; size]));
            assert_eq!(counted_size(&response), counted);
        }
    }
}
