//! State of a problem over its attempts.
//!
//! # Input
//!
//! Attempts are ordered by event time, and by arrival among equals ([`Attempt::order`]). An outcome
//! that another one corrects (`replaces`) has the corrected result, in the original's place. Event
//! times lie no later than receipt ([`event_time`]).
//!
//! # Rules
//!
//! Thresholds are [`Rules`]; their defaults are given here. Later rows are examined only if no
//! earlier one holds:
//!
//! | state | holds |
//! |---|---|
//! | `regressed` | a failure while the problem was `fixed`, and no success since |
//! | `fixed` | 3 successes since the last failure, or 7 days since the first of them |
//! | `broken` | at least 3 attempts, all of them failures |
//! | `flaky` | in one scope (model and version), a failure after a success, both within 14 days |
//! | `fixed?` | 1 or 2 successes since the last failure |
//! | `new` | first attempt less than 7 days ago |
//! | `failing` | the last attempt failed |
//!
//! A success after failures is progress, so it alone is not `flaky`; otherwise `fixed?` would never
//! be seen. The failure that makes a problem `regressed` is not `flaky` either, since it has a
//! name. Becoming `fixed` ends `flaky`.
//!
//! **Late arrivals.** An attempt is late if one with a later event time arrived before it. A late
//! failure counts in every figure, ends a series of successes, and may make the problem `failing`
//! or `flaky`, but never `regressed`. If the problem was `fixed` at its time, the next failure that
//! is not late makes it `regressed`, unless there was a success in between. Whether an attempt is
//! late depends on the arrival order alone and never changes afterwards.
//!
//! **Versions.** While a problem has successes since its last failure, a failure in an older
//! version than the oldest of these successes' changes nothing but the counts. Versions of numbers
//! and dots (`1.10.2`, `v2`, `2026-11-27`) are compared as such, others by first appearance. A
//! failure without a version, or after successes without one, is compared with nothing and counts.
//!
//! **Time.** Some changes need no attempt: `fixed?` becomes `fixed`, `new` becomes `failing`,
//! `flaky` ends. [`Fold::standing`] therefore takes the present time.
//!
//! # What a store keeps
//!
//! A [`Fold`] is the state in less than 2 KiB, typically 100 bytes ([`Fold::encode`]). A store
//! keeps one for each (problem, source) and calls [`Fold::push`] for each outcome, at constant
//! cost. If that returns [`OutOfOrder`] (a late arrival), if an outcome was corrected or removed,
//! or if [`Fold::decode`] refuses stored bytes, it reads the attempts and calls [`Fold::of`] once.
//! Both ways give the same fold. A question about several sources at once needs [`Fold::of`] over
//! their attempts, or [`Fold::of_recent`] over the newest ones.
//!
//! ```
//! use observer_figures::state::{Attempt, Fold, Rules, State};
//!
//! let rules = Rules::default();
//! let at = |text: &str| text.parse::<jiff::Timestamp>();
//! let mut fold = Fold::default();
//! fold.push(&Attempt::new(1, at("2026-11-20T10:00:00Z")?, false).model("gpt-5"), &rules)?;
//! fold.push(&Attempt::new(2, at("2026-11-21T10:00:00Z")?, true).model("claude"), &rules)?;
//! let standing = fold.standing(at("2026-11-21T12:00:00Z")?, &rules).unwrap();
//! assert_eq!((standing.state, standing.cause), (State::MaybeFixed, 2));
//! let later = fold.standing(at("2026-11-30T12:00:00Z")?, &rules).unwrap();
//! assert_eq!((later.state, later.since), (State::Fixed, at("2026-11-28T10:00:00Z")?));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use std::fmt;

use jiff::{SignedDuration, Timestamp};

mod encoding;
mod fold;
mod scopes;
mod transitions;
mod version;

pub use encoding::{FoldError, RulesId};
pub use fold::{Fold, OutOfOrder, Past};
pub use transitions::{Transition, transitions};

const DAY: SignedDuration = SignedDuration::from_hours(24);

/// State of a problem.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum State {
    /// First seen a short while ago, and nothing else to say.
    New,
    /// The last attempt failed.
    Failing,
    /// All of several attempts failed.
    Broken,
    /// Successes and failures in one scope.
    Flaky,
    /// A success after failures: `fixed?`.
    MaybeFixed,
    /// Several successes, or some time without failure.
    Fixed,
    /// A failure after it was fixed.
    Regressed,
}

impl State {
    /// All states.
    pub const ALL: [Self; 7] = [
        Self::New,
        Self::Failing,
        Self::Broken,
        Self::Flaky,
        Self::MaybeFixed,
        Self::Fixed,
        Self::Regressed,
    ];

    /// Returns the name in answers and queries.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::New => "new",
            Self::Failing => "failing",
            Self::Broken => "broken",
            Self::Flaky => "flaky",
            Self::MaybeFixed => "fixed?",
            Self::Fixed => "fixed",
            Self::Regressed => "regressed",
        }
    }

    /// Returns the state of a name.
    ///
    /// ```
    /// use observer_figures::state::State;
    ///
    /// assert_eq!(State::parse("fixed?"), Some(State::MaybeFixed));
    /// assert_eq!(State::parse("healthy"), None);
    /// ```
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == name)
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// Thresholds of the states.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rules {
    /// Time since the first attempt within which a problem is `new`.
    pub new_for: SignedDuration,
    /// Attempts, all failures, from which a problem is `broken`.
    pub broken_attempts: u64,
    /// Time within which a success and a later failure in one scope make a problem `flaky`.
    pub flaky_within: SignedDuration,
    /// Successes since the last failure from which a problem is `fixed`.
    pub fixed_successes: u32,
    /// Time since the first success after the last failure from which a problem is `fixed`.
    pub fixed_after: SignedDuration,
    /// Attempts below which their number is shown instead of a state.
    pub minimum_attempts: u64,
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            new_for: DAY * 7,
            broken_attempts: 3,
            flaky_within: DAY * 14,
            fixed_successes: 3,
            fixed_after: DAY * 7,
            minimum_attempts: 2,
        }
    }
}

/// One outcome at a problem.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Attempt<'a> {
    /// Number of the event in the order of arrival; it also names the cause of a transition.
    pub event: u64,
    /// Event time.
    pub at: Timestamp,
    /// True if it succeeded.
    pub ok: bool,
    /// Model, or an empty string.
    pub model: &'a str,
    /// Version of what was tried (`labels.version`).
    pub version: Option<&'a str>,
}

impl<'a> Attempt<'a> {
    /// Creates an attempt without a model and a version.
    #[must_use]
    pub fn new(event: u64, at: Timestamp, ok: bool) -> Self {
        Self { event, at, ok, model: "", version: None }
    }

    /// Sets the model.
    #[must_use]
    pub fn model(self, model: &'a str) -> Self {
        Self { model, ..self }
    }

    /// Sets the version.
    #[must_use]
    pub fn version(self, version: Option<&'a str>) -> Self {
        Self { version, ..self }
    }

    /// Returns the key by which attempts are ordered: event time, then arrival.
    #[must_use]
    pub fn order(&self) -> (Timestamp, u64) {
        (self.at, self.event)
    }
}

/// Returns the event time of an event: its `timestamp`, but not later than its receipt, since a
/// clock that is ahead would make everything that follows late.
#[must_use]
pub fn event_time(timestamp: Option<Timestamp>, received: Timestamp) -> Timestamp {
    timestamp.map_or(received, |timestamp| timestamp.min(received))
}

/// State of a problem at a moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Standing {
    /// State.
    pub state: State,
    /// When it began. A change by the passage of time began when the time had passed.
    pub since: Timestamp,
    /// Event that caused it. After the passage of time, the event from which the time counts.
    pub cause: u64,
    /// Attempts so far.
    pub attempts: u64,
    /// Attempts that succeeded.
    pub solved: u64,
    /// True if there are too few attempts to speak of a state.
    pub below_minimum: bool,
}

impl Standing {
    /// Returns the state for people, or the number of attempts if there are too few to tell.
    #[must_use]
    pub fn label(&self) -> String {
        if self.below_minimum {
            return crate::format::counted(self.attempts, "attempt");
        }
        self.state.as_str().to_owned()
    }
}

#[cfg(test)]
mod tests;
