//! Pace at which a body has to arrive.

use std::time::Duration;

use tokio::time::Instant;

/// Time for which a body may arrive more slowly than it should, at its beginning and later.
const GRACE: Duration = Duration::from_secs(5);

/// Deadlines of a body: one for all of it, and one that each received byte extends.
///
/// A byte is worth the time that it takes at the least rate, up to [`GRACE`] in all. So neither a
/// body that trickles nor one that stops after a fast start lasts for long.
#[derive(Debug)]
pub(crate) struct Pace {
    end: Instant,
    slow_end: Instant,
    /// Least rate in bytes per second; 0 for any.
    min_rate: u64,
}

impl Pace {
    /// Returns the pace of a body that begins now. `timeout` is the time for all of it.
    pub(crate) fn new(now: Instant, timeout: Duration, min_rate: u64) -> Self {
        let end = now + timeout;
        Self { end, slow_end: if min_rate == 0 { end } else { now + GRACE }, min_rate }
    }

    /// Returns the time by which more has to arrive.
    pub(crate) fn deadline(&self) -> Instant {
        self.end.min(self.slow_end)
    }

    /// Returns whether a body that misses the deadline is too slow, rather than too long.
    pub(crate) fn is_slow(&self) -> bool {
        self.slow_end < self.end
    }

    /// Notes that bytes have arrived.
    pub(crate) fn received(&mut self, bytes: usize, now: Instant) {
        if self.min_rate > 0 {
            let worth = (bytes as f64 / self.min_rate as f64).min(GRACE.as_secs_f64());
            self.slow_end = (self.slow_end + Duration::from_secs_f64(worth)).min(now + GRACE);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATE: u64 = 1_000;

    /// Returns the seconds until a body ends that sends `bytes` each second, after `first` at once.
    fn duration(first: usize, bytes: usize, timeout: u64, rate: u64) -> (u64, bool) {
        let start = Instant::now();
        let mut pace = Pace::new(start, Duration::from_secs(timeout), rate);
        pace.received(first, start);
        for second in 1.. {
            let now = start + Duration::from_secs(second);
            if now > pace.deadline() {
                return (second - 1, pace.is_slow());
            }
            pace.received(bytes, now);
        }
        unreachable!("the range has no end")
    }

    #[tokio::test]
    async fn body_ends_when_it_is_too_slow_or_too_long() {
        for (first, bytes, timeout, rate, expected) in [
            (0, 0, 60, RATE, (5, true)),
            (16 << 20, 0, 60, RATE, (5, true)),
            (0, 1, 60, RATE, (5, true)),
            (0, 500, 60, RATE, (9, true)),
            (0, 1_000, 60, RATE, (60, false)),
            (0, 0, 3, RATE, (3, false)),
            (0, 0, 60, 0, (60, false)),
            (usize::MAX, 0, 60, 1, (5, true)),
        ] {
            let ended = duration(first, bytes, timeout, rate);
            assert_eq!(ended, expected, "{first} {bytes} {timeout} {rate}");
        }
    }
}
