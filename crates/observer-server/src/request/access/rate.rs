//! Rate limits of tokens.

use std::num::NonZeroU32;
use std::sync::Arc;

use axum::http::StatusCode;
use governor::clock::{Clock, DefaultClock};
use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use observer_pipeline::RejectReason;

use crate::problem::Problem;

/// Limit of the events that a token may send. A request without events counts as one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// Events per second in the long run.
    pub per_second: NonZeroU32,
    /// Events at once, after a period without any.
    pub burst: NonZeroU32,
}

/// Rate limiter of a token.
#[derive(Debug)]
pub(crate) struct Limiter {
    name: String,
    rate: Rate,
    limiter: DefaultDirectRateLimiter,
    clock: DefaultClock,
}

/// Rate limiter that the events of a request are charged to, or none for unlimited clients.
#[derive(Debug, Clone, Default)]
pub(crate) struct Charge(Option<Arc<Limiter>>);

impl Limiter {
    pub(crate) fn new(name: &str, rate: Rate) -> Self {
        let clock = DefaultClock::default();
        let quota = Quota::per_second(rate.per_second).allow_burst(rate.burst);
        Self {
            name: name.to_owned(),
            rate,
            limiter: RateLimiter::direct_with_clock(quota, clock.clone()),
            clock,
        }
    }

    fn take(&self, events: NonZeroU32) -> Result<(), Problem> {
        let until = match self.limiter.check_n(events) {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(until)) => until,
            Err(_) => return Err(self.exceeds_burst()),
        };
        let wait = until.wait_time_from(self.clock.now());
        let Rate { per_second, burst } = self.rate;
        let detail = format!(
            "the token `{}` exceeds its `rate` of {per_second} events a second and {burst} at \
             once; try again later",
            self.name
        );
        let seconds = u16::try_from(wait.as_millis().div_ceil(1000)).unwrap_or(u16::MAX);
        Err(Problem::new(StatusCode::TOO_MANY_REQUESTS, detail)
            .reason(RejectReason::RateLimited)
            .retry_after(seconds.max(1)))
    }

    fn exceeds_burst(&self) -> Problem {
        let detail = format!(
            "the request exceeds the limit of {} events at once for the token `{}`; send fewer, or \
             raise its `rate.burst`",
            self.rate.burst, self.name
        );
        Problem::new(StatusCode::PAYLOAD_TOO_LARGE, detail).reason(RejectReason::TooLarge)
    }
}

impl Charge {
    pub(crate) fn to(limiter: Option<Arc<Limiter>>) -> Self {
        Self(limiter)
    }

    /// Charges a request, which costs as much as one event.
    ///
    /// # Errors
    /// If the rate is exceeded (429).
    pub(crate) fn take_request(&self) -> Result<(), Problem> {
        self.0.as_ref().map_or(Ok(()), |limiter| limiter.take(NonZeroU32::MIN))
    }

    /// Charges the events of a batch, except for the first, which its request has paid for.
    ///
    /// # Errors
    /// If the rate is exceeded (429), or the batch is larger than the burst (413).
    pub(crate) fn take_batch(&self, events: usize) -> Result<(), Problem> {
        let Some(limiter) = &self.0 else { return Ok(()) };
        let events = u32::try_from(events).unwrap_or(u32::MAX);
        if events > limiter.rate.burst.get() {
            return Err(limiter.exceeds_burst());
        }
        NonZeroU32::new(events.saturating_sub(1)).map_or(Ok(()), |rest| limiter.take(rest))
    }
}
