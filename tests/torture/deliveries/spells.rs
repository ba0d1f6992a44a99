//! Timetable of the spells of destinations and of the ends of the observer.

use std::time::Duration;

/// Behaviour of a destination for some time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Spell {
    /// Responds to each event by its fate.
    Healthy,
    /// Responds with 429, or `RESOURCE_EXHAUSTED` without `RetryInfo`.
    Quota,
    /// Accepts connections and requests, and never responds to those, not even later.
    Stuck,
    /// Responds with 401, or `UNAUTHENTICATED`.
    Expired,
    /// Has closed its connections and its port, as during a restart.
    Down,
    /// Is stopped by SIGSTOP, so that connections acknowledge nothing.
    Frozen,
}

impl Spell {
    /// Spells that a destination begins when it reads their name.
    pub(crate) const OF_DESTINATION: [Self; 5] =
        [Self::Healthy, Self::Quota, Self::Stuck, Self::Expired, Self::Down];

    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Healthy => "healthy",
            Self::Quota => "quota",
            Self::Stuck => "stuck",
            Self::Expired => "expired",
            Self::Down => "down",
            Self::Frozen => "frozen",
        }
    }

    /// Returns the length within a run of an hour.
    fn length(self) -> Duration {
        Duration::from_secs(match self {
            Self::Healthy => 0,
            Self::Quota => 20,
            Self::Down => 30,
            Self::Stuck | Self::Frozen => 60,
            Self::Expired => 300,
        })
    }
}

/// Spells of a destination in the order of their begin, as parts of the run.
const SPELLS: [(f64, Spell); 15] = [
    (0.03, Spell::Quota),
    (0.08, Spell::Stuck),
    (0.13, Spell::Down),
    (0.17, Spell::Quota),
    (0.21, Spell::Expired),
    (0.33, Spell::Quota),
    (0.39, Spell::Frozen),
    (0.45, Spell::Stuck),
    (0.51, Spell::Down),
    (0.57, Spell::Quota),
    (0.63, Spell::Frozen),
    (0.69, Spell::Stuck),
    (0.75, Spell::Down),
    (0.81, Spell::Quota),
    (0.9, Spell::Quota),
];

/// Part of the run by which the spells of each further destination are later.
const SHIFT: f64 = 0.02;

/// Ends of the observer by SIGKILL, as parts of the run: within spells and between them.
pub(crate) const KILLS: [f64; 6] = [0.06, 0.09, 0.25, 0.48, 0.72, 0.87];

/// Shortest spell, in a short run.
const SHORTEST: Duration = Duration::from_millis(250);

/// Returns begin and length of each spell of a destination in a run of this duration.
pub(crate) fn timetable(destination: u32, run: Duration) -> Vec<(Duration, Duration, Spell)> {
    let shift = SHIFT * f64::from(destination);
    let spell = |(at, spell): &(f64, Spell)| {
        (run.mul_f64(at + shift), scaled(spell.length(), run).max(SHORTEST), *spell)
    };
    SPELLS.iter().map(spell).collect()
}

/// Returns a duration that holds for runs of an hour and longer, and is shorter in a shorter run.
pub(crate) fn scaled(duration: Duration, run: Duration) -> Duration {
    duration.mul_f64((run.as_secs_f64() / 3600.0).min(1.0))
}
