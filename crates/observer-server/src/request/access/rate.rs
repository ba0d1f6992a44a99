//! Rate limits of tokens.

use std::num::{NonZeroU32, NonZeroU64};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use axum::http::StatusCode;
use governor::clock::{Clock, DefaultClock};
use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use observer_pipeline::RejectReason;

use crate::problem::Problem;

const NANOS_PER_SECOND: u64 = 1_000_000_000;

/// Limit of the events that a token may send. A request without events counts as one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// Events per second in the long run.
    pub per_second: NonZeroU32,
    /// Events at once, after a period without any.
    pub burst: NonZeroU32,
    /// Bytes of bodies per second in the long run, if they are limited. A compressed body counts
    /// with its size after decompression.
    ///
    /// The allowance is at most that of one second. A request may begin while some of it is left,
    /// and its whole body is then charged, so that a single body may exceed the allowance. Further
    /// requests get 429 until the excess is paid off.
    pub bytes_per_second: Option<NonZeroU64>,
}

/// Rate limiter of a token.
#[derive(Debug)]
pub(crate) struct Limiter {
    name: String,
    rate: Rate,
    events: DefaultDirectRateLimiter,
    bytes: Option<ByteLimiter>,
    clock: DefaultClock,
}

/// Limiter of bytes: an allowance of one second, which a request may overdraw.
#[derive(Debug)]
struct ByteLimiter {
    per_second: NonZeroU64,
    started: Instant,
    /// Time at which the allowance is complete again, in nanoseconds after `started`.
    complete_at: AtomicU64,
}

/// Rate limiter that a request is charged to, or none for unlimited callers.
#[derive(Debug, Clone, Default)]
pub(crate) struct Charge(Option<Arc<Limiter>>);

impl Limiter {
    pub(crate) fn new(name: &str, rate: Rate) -> Self {
        let clock = DefaultClock::default();
        let quota = Quota::per_second(rate.per_second).allow_burst(rate.burst);
        Self {
            name: name.to_owned(),
            rate,
            events: RateLimiter::direct_with_clock(quota, clock.clone()),
            bytes: rate.bytes_per_second.map(ByteLimiter::new),
            clock,
        }
    }

    fn take(&self, events: NonZeroU32) -> Result<(), Problem> {
        let until = match self.events.check_n(events) {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(until)) => until,
            Err(_) => return Err(self.exceeds_burst()),
        };
        let Rate { per_second, burst, .. } = self.rate;
        let detail = format!(
            "the token `{}` exceeds its `rate` of {per_second} events a second and {burst} at \
             once; try again later",
            self.name
        );
        Err(exceeded(detail, until.wait_time_from(self.clock.now())))
    }

    /// Checks that some of the allowance of bytes is left.
    fn check_bytes(&self) -> Result<(), Problem> {
        let Some(bytes) = &self.bytes else { return Ok(()) };
        bytes.check(bytes.now()).map_err(|wait| {
            let detail = format!(
                "the token `{}` exceeds its `rate.bytes_per_second` of {}; try again later",
                self.name, bytes.per_second
            );
            exceeded(detail, wait)
        })
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

fn exceeded(detail: String, wait: Duration) -> Problem {
    let seconds = u16::try_from(wait.as_millis().div_ceil(1000)).unwrap_or(u16::MAX);
    Problem::new(StatusCode::TOO_MANY_REQUESTS, detail)
        .reason(RejectReason::RateLimited)
        .retry_after(seconds.max(1))
}

impl ByteLimiter {
    fn new(per_second: NonZeroU64) -> Self {
        Self { per_second, started: Instant::now(), complete_at: AtomicU64::new(0) }
    }

    /// Returns the time in nanoseconds after the start.
    fn now(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    /// Checks that some of the allowance is left, else returns the time until it is.
    fn check(&self, now: u64) -> Result<(), Duration> {
        let missing = self.complete_at.load(Ordering::Relaxed).saturating_sub(now);
        if missing < NANOS_PER_SECOND {
            return Ok(());
        }
        Err(Duration::from_nanos(missing - NANOS_PER_SECOND + 1))
    }

    fn charge(&self, bytes: usize, now: u64) {
        let nanos = bytes as u128 * u128::from(NANOS_PER_SECOND);
        let nanos = nanos.div_ceil(u128::from(self.per_second.get()));
        let nanos = u64::try_from(nanos).unwrap_or(u64::MAX);
        let _ = self.complete_at.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |at| {
            Some(at.max(now).saturating_add(nanos))
        });
    }
}

impl Charge {
    pub(crate) fn to(limiter: Option<Arc<Limiter>>) -> Self {
        Self(limiter)
    }

    /// Charges a request, which costs as much as one event.
    ///
    /// # Errors
    /// If the rate of events or of bytes is exceeded (429).
    pub(crate) fn take_request(&self) -> Result<(), Problem> {
        let Some(limiter) = &self.0 else { return Ok(()) };
        limiter.check_bytes()?;
        limiter.take(NonZeroU32::MIN)
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

    /// Charges bytes of a body, which may exceed the allowance.
    pub(crate) fn add_bytes(&self, bytes: usize) {
        if let Some(limiter) = &self.0
            && let Some(limiter) = &limiter.bytes
        {
            limiter.charge(bytes, limiter.now());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MILLISECOND: u64 = 1_000_000;

    #[test]
    fn body_may_exceed_the_allowance_and_later_requests_wait() {
        let limiter = ByteLimiter::new(NonZeroU64::new(1_000).unwrap());
        assert_eq!(limiter.check(0), Ok(()));
        limiter.charge(999, 0);
        assert_eq!(limiter.check(0), Ok(()), "one byte of the allowance is left");
        limiter.charge(5_000, 0);
        let wait = limiter.check(0).unwrap_err();
        assert_eq!(wait.as_millis(), 4_999);
        assert!(limiter.check(4_999 * MILLISECOND).is_err());
        assert_eq!(limiter.check(5_000 * MILLISECOND), Ok(()));
    }

    #[test]
    fn unused_allowance_is_that_of_one_second() {
        let limiter = ByteLimiter::new(NonZeroU64::new(1_000).unwrap());
        let later = 3_600_000 * MILLISECOND;
        limiter.charge(1_000, later);
        assert!(limiter.check(later).is_err());
        assert_eq!(limiter.check(later + MILLISECOND), Ok(()));
    }

    #[test]
    fn extreme_rates_do_not_overflow() {
        let slow = ByteLimiter::new(NonZeroU64::MIN);
        slow.charge(usize::MAX, u64::MAX - 1);
        assert!(slow.check(0).is_err());
        let fast = ByteLimiter::new(NonZeroU64::MAX);
        fast.charge(1 << 30, 0);
        assert_eq!(fast.check(0), Ok(()));
    }
}
