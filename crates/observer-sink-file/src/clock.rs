//! The trusted clock, by which files age.
//!
//! A wall clock can be wrong by decades for a moment: a host boots in 1970, or a time server is
//! misconfigured. A step of more than an hour against the monotonic clock, or against the time of
//! the last run, is a jump. After a jump no file is deleted by its age for a day on the new time,
//! or until an operator confirms it.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

/// Largest difference that counts as normal, in seconds.
const TOLERANCE: i64 = 3600;
/// Time for which a jump is distrusted, in seconds.
const HOLD: i64 = 86_400;

/// Time of the wall clock and of the monotonic clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Now {
    /// Seconds since 1970.
    pub(crate) wall: i64,
    /// Time since the sink started.
    pub(crate) elapsed: Duration,
}

impl Now {
    /// Reads both clocks.
    #[expect(clippy::disallowed_methods, reason = "retention compares both clocks")]
    pub(crate) fn read(started: Instant) -> Self {
        let wall = match SystemTime::now().duration_since(UNIX_EPOCH) {
            Ok(since) => i64::try_from(since.as_secs()).unwrap_or(i64::MAX),
            Err(before) => -i64::try_from(before.duration().as_secs()).unwrap_or(i64::MAX),
        };
        Self { wall, elapsed: started.elapsed() }
    }
}

/// Last known time, and how long it is distrusted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct TrustedClock {
    /// Last time of the wall clock, in seconds since 1970.
    last: i64,
    /// Time of the wall clock until which it is distrusted.
    hold_until: Option<i64>,
    /// Last time of the wall clock that was trusted.
    trusted: i64,
}

/// Difference between a step of the wall clock and one of the monotonic clock that was a jump.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Jump {
    pub(crate) seconds: i64,
}

impl TrustedClock {
    /// Creates the clock of a new sink, which trusts the wall clock.
    pub(crate) fn new(wall: i64) -> Self {
        Self { last: wall, hold_until: None, trusted: wall }
    }

    /// Advances to a new time. `elapsed` is the monotonic time since the last step, `None` after a
    /// restart.
    pub(crate) fn step(&mut self, wall: i64, elapsed: Option<Duration>) -> Option<Jump> {
        let elapsed = elapsed.map_or(0, |elapsed| i64::try_from(elapsed.as_secs()).unwrap_or(0));
        let seconds = wall - self.last - elapsed;
        self.last = wall;
        if seconds.abs() > TOLERANCE {
            self.hold_until = Some(wall.saturating_add(HOLD));
            return Some(Jump { seconds });
        }
        self.hold_until = self.hold_until.filter(|until| wall < *until);
        if self.hold_until.is_none() {
            self.trusted = wall;
        }
        None
    }

    /// Ends the wait after a jump.
    pub(crate) fn confirm(&mut self) {
        self.hold_until = None;
        self.trusted = self.last;
    }

    /// Returns the time by which files age, in seconds since 1970; `None` after a jump.
    pub(crate) fn trusted(&self) -> Option<i64> {
        self.hold_until.is_none().then_some(self.trusted)
    }

    /// Returns the earliest time that an event received now can have, in seconds since 1970. After
    /// a jump back, events must not look older than they are.
    pub(crate) fn floor(&self) -> i64 {
        if self.hold_until.is_some() { self.trusted } else { i64::MIN }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: i64 = 3600;
    const DAY: i64 = 24 * HOUR;

    /// Steps of the wall clock with the monotonic time between them, and the trusted time after
    /// them.
    #[track_caller]
    fn check(steps: &[(i64, Option<i64>)], trusted: Option<i64>) {
        let mut clock = TrustedClock::new(0);
        for (wall, elapsed) in steps {
            let elapsed = elapsed.map(|elapsed| Duration::from_secs(elapsed.unsigned_abs()));
            clock.step(*wall, elapsed);
        }
        assert_eq!(clock.trusted(), trusted, "{steps:?}");
    }

    #[test]
    fn jump_is_distrusted_for_a_day() {
        check(&[], Some(0));
        check(&[(10, Some(10))], Some(10));
        check(&[(DAY, Some(DAY))], Some(DAY));
        check(&[(HOUR, Some(0))], Some(HOUR));
        check(&[(HOUR + 1, Some(0))], None);
        check(&[(-HOUR - 1, Some(0))], None);
        check(&[(40 * DAY, Some(1)), (40 * DAY + 2, Some(2)), (3, Some(1))], None);
        // A day after the jump back.
        check(&[(40 * DAY, Some(1)), (3, Some(1)), (3 + DAY - 1, Some(DAY - 1))], None);
        check(&[(40 * DAY, Some(1)), (3, Some(1)), (3 + DAY, Some(DAY))], Some(3 + DAY));
        // A day on the new time.
        check(&[(40 * DAY, Some(1)), (41 * DAY, Some(DAY))], Some(41 * DAY));
        // A restart, shortly after the last step and much later.
        check(&[(HOUR, None)], Some(HOUR));
        check(&[(40 * DAY, None)], None);
        check(&[(-20 * 365 * DAY, None)], None);
        check(&[(40 * DAY, None), (40 * DAY + HOUR, None)], None);
        check(&[(40 * DAY, None), (41 * DAY, Some(DAY))], Some(41 * DAY));
    }

    #[test]
    fn operator_ends_the_wait() {
        let mut clock = TrustedClock::new(0);
        assert_eq!(clock.step(DAY, Some(Duration::ZERO)), Some(Jump { seconds: DAY }));
        assert_eq!(clock.floor(), 0);
        clock.confirm();
        assert_eq!((clock.trusted(), clock.floor()), (Some(DAY), i64::MIN));
    }
}
