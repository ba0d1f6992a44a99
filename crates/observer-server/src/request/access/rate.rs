//! How fast the holder of a token may be.

use std::num::NonZeroU32;
use std::sync::Arc;

use axum::http::StatusCode;
use governor::clock::{Clock, DefaultClock};
use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use observer_pipeline::RejectReason;

use crate::problem::Problem;

/// How many events a token's holder may send. A request without events counts as one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// In the long run.
    pub per_second: NonZeroU32,
    /// At once, after a while without any.
    pub burst: NonZeroU32,
}

/// A token's rate, and how much of it is used up.
#[derive(Debug)]
pub(crate) struct Limiter {
    name: String,
    rate: Rate,
    limiter: DefaultDirectRateLimiter,
    clock: DefaultClock,
}

/// What a request's events are charged to; nothing for those without a limit.
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
            Err(_) => return Err(self.too_many_at_once()),
        };
        let wait = until.wait_time_from(self.clock.now());
        let Rate { per_second, burst } = self.rate;
        let detail = format!(
            "the token `{}` may send {per_second} events a second and {burst} at once (its `rate`), and has used that up; come back later",
            self.name
        );
        let seconds = u16::try_from(wait.as_millis().div_ceil(1000)).unwrap_or(u16::MAX);
        Err(Problem::new(StatusCode::TOO_MANY_REQUESTS, detail)
            .reason(RejectReason::RateLimited)
            .retry_after(seconds.max(1)))
    }

    fn too_many_at_once(&self) -> Problem {
        let detail = format!(
            "the token `{}` may send {} events at once, and these are more; send fewer, or raise its `rate.burst`",
            self.name, self.rate.burst
        );
        Problem::new(StatusCode::PAYLOAD_TOO_LARGE, detail).reason(RejectReason::TooLarge)
    }
}

impl Charge {
    pub(crate) fn to(limiter: Option<Arc<Limiter>>) -> Self {
        Self(limiter)
    }

    /// A request uses up as much as one event.
    ///
    /// # Errors
    /// When it comes too early.
    pub(crate) fn take_request(&self) -> Result<(), Problem> {
        self.0.as_ref().map_or(Ok(()), |limiter| limiter.take(NonZeroU32::MIN))
    }

    /// What the events of a batch use up beside the request that they came with.
    ///
    /// # Errors
    /// When they come too early, or could never come at once.
    pub(crate) fn take_rest(&self, events: usize) -> Result<(), Problem> {
        let Some(limiter) = &self.0 else { return Ok(()) };
        let events = u32::try_from(events).unwrap_or(u32::MAX);
        if events > limiter.rate.burst.get() {
            return Err(limiter.too_many_at_once());
        }
        NonZeroU32::new(events.saturating_sub(1)).map_or(Ok(()), |rest| limiter.take(rest))
    }
}
