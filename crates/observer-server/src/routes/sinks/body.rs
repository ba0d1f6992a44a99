//! Bodies of the requests that administer a sink.

use axum::extract::Request;
use bytes::Bytes;

use crate::problem::Problem;
use crate::request::access::Caller;
use crate::request::body::collect;
use crate::request::limits::budget::{MemoryBudget, Reservation};
use crate::state::ServerState;

/// Complete body of a request, with the memory that is reserved for it.
pub(super) struct SinkRequestBody<'a> {
    pub(super) bytes: Bytes,
    _reservation: Reservation<&'a MemoryBudget>,
}

impl<'a> SinkRequestBody<'a> {
    /// Reads the body.
    ///
    /// # Errors
    /// If the body exceeds a limit or ends early.
    pub(super) async fn read(
        state: &'a ServerState,
        caller: &Caller,
        request: Request,
    ) -> Result<Self, Problem> {
        let (limits, budget) = {
            let settings = state.settings.load();
            (settings.body, settings.budget)
        };
        let mut reservation = Reservation::new(&state.bodies, budget, caller.holder());
        let bytes = collect(request.into_body(), limits, &mut reservation, caller.charge()).await?;
        Ok(Self { bytes, _reservation: reservation })
    }
}
