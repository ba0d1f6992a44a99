//! The trusted clock, by which files age.
//!
//! A wall clock can be wrong by decades for a moment: a host boots in 1970, or a time server is
//! misconfigured. A step of more than an hour against the monotonic clock, or against the time of
//! the last run, is a jump. After a jump no file is deleted by its age for a day on the new time,
//! or until an operator confirms it. Meanwhile the trusted time continues by the monotonic clock.
//!
//! The trusted time never goes back by itself. Files are dated by it: an event counts as received
//! now while both clocks disagree, never later than the trusted time, and never before an event
//! that was received earlier.

use std::fmt;
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use observer_core::Timestamp;
use serde::{Deserialize, Serialize};

/// Largest difference that counts as normal, in seconds.
pub(crate) const TOLERANCE: i64 = 3600;
/// Time for which a jump is distrusted, in seconds.
const HOLD: i64 = 86_400;
/// 2020-01-01. An earlier time is that of a host whose clock was never set.
const FIRST: i64 = 1_577_836_800;

/// Wall clock of the file sinks of a program.
#[derive(Clone)]
pub(crate) struct WallClock(pub(crate) Arc<dyn Fn() -> Timestamp + Send + Sync>);

impl Default for WallClock {
    fn default() -> Self {
        Self(Arc::new(Timestamp::now))
    }
}

impl fmt::Debug for WallClock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("WallClock").field(&(self.0)()).finish()
    }
}

/// Time of the wall clock and of the monotonic clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Now {
    /// Seconds since 1970.
    pub(crate) wall: i64,
    /// Monotonic time since a fixed moment, with the time for which the system was suspended if
    /// `/proc` has it.
    pub(crate) elapsed: Duration,
}

impl Now {
    /// Reads both clocks.
    pub(crate) fn read(wall_clock: &WallClock) -> Self {
        Self { wall: (wall_clock.0)().as_second(), elapsed: monotonic() }
    }
}

/// Returns the time since the boot, which `/proc/uptime` has with suspensions, or since the first
/// call.
fn monotonic() -> Duration {
    static FIRST_CALL: LazyLock<Instant> = LazyLock::new(Instant::now);
    let uptime = std::fs::read_to_string("/proc/uptime").ok();
    let uptime = uptime.as_deref().and_then(|text| text.split(' ').next()?.parse().ok());
    let uptime = uptime.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    uptime.unwrap_or_else(|| FIRST_CALL.elapsed())
}

/// Last known time, and how long it is distrusted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct TrustedClock {
    /// Last time of the wall clock, in seconds since 1970.
    last: i64,
    /// Time of the wall clock until which it is distrusted.
    hold_until: Option<i64>,
    /// Trusted time, in seconds since 1970.
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
    ///
    /// A start within a day after the last run begins a wait, and doesn't prolong one: a sink that
    /// is stopped every night must delete files, too.
    pub(crate) fn step(&mut self, wall: i64, elapsed: Option<Duration>) -> Option<Jump> {
        let is_start = elapsed.is_none();
        let elapsed = elapsed.map_or(0, |elapsed| i64::try_from(elapsed.as_secs()).unwrap_or(0));
        let seconds = wall - self.last - elapsed;
        self.last = wall;
        self.trusted = self.trusted.saturating_add(elapsed);
        let is_jump = seconds.abs() > TOLERANCE;
        let is_pause = is_start && (0..=HOLD).contains(&seconds);
        if is_jump && !(is_pause && self.hold_until.is_some()) {
            self.hold_until = Some(wall.saturating_add(HOLD));
        }
        self.hold_until = self.hold_until.filter(|until| wall < *until);
        if self.hold_until.is_none() {
            self.trusted = self.trusted.max(wall);
        }
        is_jump.then_some(Jump { seconds })
    }

    /// Ends the wait after a jump, and trusts the wall clock.
    pub(crate) fn confirm(&mut self) {
        self.hold_until = None;
        self.trusted = self.last;
    }

    /// Returns the time by which files age, in seconds since 1970; `None` after a jump.
    pub(crate) fn trusted(&self) -> Option<i64> {
        self.hold_until.is_none().then_some(self.trusted)
    }

    /// Returns the trusted time, which continues by the monotonic clock after a jump.
    pub(crate) fn time(&self) -> i64 {
        self.trusted
    }

    /// Returns the latest date that an event can have, if the last step was less than an hour ago.
    pub(crate) fn latest_date(&self) -> i64 {
        self.trusted.saturating_add(2 * TOLERANCE)
    }

    /// Returns the date of an event by the trusted time, in seconds since 1970. `after` is the date
    /// of the events before it.
    pub(crate) fn date(&self, received: i64, after: i64) -> i64 {
        let disagrees = self.last.abs_diff(self.trusted) > TOLERANCE.unsigned_abs();
        let date = if disagrees { self.trusted } else { received.min(self.trusted) };
        date.max(after)
    }

    /// Returns another date for a file whose date can't be right: it is later than the trusted
    /// time, or that of a host whose clock was never set.
    pub(crate) fn corrected(&self, date: i64) -> Option<i64> {
        let is_early = date != 0 && date < FIRST && self.trusted >= FIRST;
        let is_late = date > self.trusted.saturating_add(TOLERANCE);
        (is_early || is_late).then_some(self.trusted)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: i64 = 3600;
    const DAY: i64 = 24 * HOUR;
    const YEAR: i64 = 365 * DAY;

    fn stepped(steps: &[(i64, Option<i64>)]) -> TrustedClock {
        let mut clock = TrustedClock::new(0);
        for (wall, elapsed) in steps {
            let elapsed = elapsed.map(|elapsed| Duration::from_secs(elapsed.unsigned_abs()));
            clock.step(*wall, elapsed);
        }
        clock
    }

    /// Steps of the wall clock with the monotonic time between them, and the trusted time after
    /// them.
    #[track_caller]
    fn check(steps: &[(i64, Option<i64>)], trusted: Option<i64>) {
        assert_eq!(stepped(steps).trusted(), trusted, "{steps:?}");
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
        // A second jump begins the wait again.
        check(&[(40 * DAY, Some(1)), (41 * DAY, Some(1))], None);
        // A restart, shortly after the last step and much later.
        check(&[(HOUR, None)], Some(HOUR));
        check(&[(40 * DAY, None)], None);
        check(&[(-20 * YEAR, None)], None);
        check(&[(40 * DAY, None), (40 * DAY + HOUR, None)], None);
        check(&[(40 * DAY, None), (41 * DAY, Some(DAY))], Some(41 * DAY));
    }

    #[test]
    fn sink_that_is_stopped_every_night_waits_for_a_day_only() {
        let night = |day: i64| (day * DAY, None);
        let evening = |day: i64| (day * DAY + 8 * HOUR, Some(8 * HOUR));
        check(&[night(1)], None);
        check(&[night(1), evening(1)], None);
        check(&[night(1), evening(1), night(2)], Some(2 * DAY));
        // A longer stop begins the wait again.
        check(&[night(1), evening(1), night(3)], None);
    }

    #[test]
    fn trusted_time_continues_after_a_jump_and_never_goes_back() {
        let trusted = |steps: &[(i64, Option<i64>)]| stepped(steps).trusted;
        assert_eq!(trusted(&[(40 * DAY, Some(1)), (40 * DAY + 5, Some(5))]), 6);
        assert_eq!(trusted(&[(100, Some(100)), (-20 * YEAR, Some(7))]), 107);
        // The wrong time lasts: files don't age faster once it is trusted.
        let steps = [(YEAR, Some(YEAR)), (0, Some(5)), (DAY, Some(DAY)), (2 * DAY, Some(DAY))];
        assert_eq!(trusted(&steps), YEAR + 5 + 2 * DAY);
    }

    #[test]
    fn operator_ends_the_wait() {
        let mut clock = TrustedClock::new(0);
        assert_eq!(clock.step(DAY, Some(Duration::ZERO)), Some(Jump { seconds: DAY }));
        assert_eq!(clock.trusted(), None);
        clock.confirm();
        assert_eq!(clock.trusted(), Some(DAY));
        clock.step(0, Some(Duration::ZERO));
        clock.confirm();
        assert_eq!(clock.trusted(), Some(0), "the operator's word sets it back");
    }

    #[test]
    fn event_is_dated_by_the_trusted_time_and_after_earlier_events() {
        let now = FIRST + YEAR;
        let clock = TrustedClock::new(now);
        for (received, after, date) in [
            (now, 0, now),
            (now - DAY, 0, now - DAY),
            (now - DAY, now - HOUR, now - HOUR),
            (now + 40 * YEAR, 0, now),
        ] {
            assert_eq!(clock.date(received, after), date, "{received} {after}");
        }
        let mut wrong = clock;
        wrong.step(0, Some(Duration::from_secs(9)));
        for received in [0, now - DAY, now + DAY] {
            assert_eq!(wrong.date(received, 0), now + 9, "{received}");
        }
    }

    #[test]
    fn impossible_dates_are_corrected() {
        let now = FIRST + YEAR;
        let table = [
            (now, now, None),
            (now, FIRST, None),
            (now, now + HOUR, None),
            (now, now + HOUR + 1, Some(now)),
            (now, FIRST - 1, Some(now)),
            (now, 0, None),
            (7, 5, None),
            (7, now, Some(7)),
        ];
        for (trusted, date, corrected) in table {
            assert_eq!(TrustedClock::new(trusted).corrected(date), corrected, "{trusted} {date}");
        }
    }
}
