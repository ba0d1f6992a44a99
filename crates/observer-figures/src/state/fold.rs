//! Fold over the attempts at a problem.

use jiff::{SignedDuration, Timestamp};

use super::scopes::Scopes;
use super::version::{Seen, Version};
use super::{Attempt, Rules, Standing, State};

/// An event and its time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Mark {
    pub(super) at: Timestamp,
    pub(super) event: u64,
}

impl Mark {
    fn of(attempt: &Attempt<'_>) -> Self {
        Self { at: attempt.at, event: attempt.event }
    }
}

/// Successes or failures without the other in between.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Run {
    /// Successes since the last failure that counts.
    Successes {
        first: Mark,
        count: u32,
        /// The success that reached [`Rules::fixed_successes`].
        enough: Option<Mark>,
        /// Oldest version of these successes.
        version: Option<Version>,
        after_failure: bool,
    },
    /// Failures since the last success.
    Failures {
        first: Mark,
        /// The failure that made the problem `regressed`.
        regressed: Option<Mark>,
        /// The problem was fixed before the run, which began with a late failure.
        was_fixed: bool,
        /// From when the problem is `new` if it is: the state may have begun before the run.
        new_since: Mark,
    },
}

/// A period in which the problem is `flaky`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Flaky {
    pub(super) began: Mark,
    pub(super) until: Timestamp,
}

/// Everything but the counts once there is an attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Course {
    pub(super) first: Mark,
    pub(super) last: Mark,
    /// Latest arrival.
    pub(super) newest: u64,
    /// The attempt that reached [`Rules::broken_attempts`].
    pub(super) many: Option<Mark>,
    pub(super) run: Run,
    pub(super) flaky: Option<Flaky>,
    pub(super) scopes: Scopes,
    pub(super) seen: Seen,
}

/// Attempt that precedes one that the fold contains, by event time or by arrival. The fold is
/// unchanged; it has to be computed anew from all attempts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("event {event} precedes an attempt that was folded before; fold all attempts again")]
pub struct OutOfOrder {
    /// Number of the event.
    pub event: u64,
}

/// What is known of attempts before the ones that are folded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Past {
    /// Their number.
    pub attempts: u64,
    /// How many of them succeeded.
    pub solved: u64,
    /// Event time and number of the first of them.
    pub first: (Timestamp, u64),
}

/// State of a problem after a number of attempts. See [the module](super) for its rules and for
/// what a store keeps.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Fold {
    pub(super) attempts: u64,
    pub(super) solved: u64,
    pub(super) course: Option<Course>,
}

impl Fold {
    /// Folds all attempts at a problem, in any order.
    #[must_use]
    pub fn of(attempts: &[Attempt<'_>], rules: &Rules) -> Self {
        let mut fold = Self::default();
        for (attempt, late) in in_order(attempts) {
            fold.apply(&attempt, late, rules);
        }
        fold
    }

    /// Folds the newest attempts at a problem, in any order, of which the counts and the first one
    /// are known for what precedes them.
    ///
    /// The result equals that of [`of`](Self::of) over all attempts, unless the state began before
    /// the ones that are given: then `regressed`, `fixed` and `flaky` of that time are unknown, and
    /// `since` is no earlier than the first one that is given.
    #[must_use]
    pub fn of_recent(past: Past, newest: &[Attempt<'_>], rules: &Rules) -> Self {
        if past.attempts == 0 {
            return Self::of(newest, rules);
        }
        let (at, event) = past.first;
        let mut fold = Self { attempts: past.attempts, solved: past.solved, course: None };
        for (attempt, late) in in_order(newest) {
            fold.apply(&attempt, late, rules);
            if let Some(course) = &mut fold.course {
                course.first = Mark { at, event };
            }
        }
        fold
    }

    /// Adds the next attempt.
    ///
    /// # Errors
    ///
    /// If it is earlier than one that the fold contains, by event time or by arrival; the fold is
    /// unchanged then.
    pub fn push(&mut self, attempt: &Attempt<'_>, rules: &Rules) -> Result<(), OutOfOrder> {
        let in_order = self.course.as_ref().is_none_or(|course| {
            attempt.order() > (course.last.at, course.last.event) && attempt.event > course.newest
        });
        if !in_order {
            return Err(OutOfOrder { event: attempt.event });
        }
        self.apply(attempt, false, rules);
        Ok(())
    }

    /// Returns the number of attempts.
    #[must_use]
    pub fn attempts(&self) -> u64 {
        self.attempts
    }

    /// Returns the number of attempts that succeeded.
    #[must_use]
    pub fn solved(&self) -> u64 {
        self.solved
    }

    /// Returns event time and number of the last attempt by event time.
    #[must_use]
    pub fn last(&self) -> Option<(Timestamp, u64)> {
        self.course.as_ref().map(|course| (course.last.at, course.last.event))
    }

    /// Returns the state at `now`, or `None` without attempts.
    #[must_use]
    pub fn standing(&self, now: Timestamp, rules: &Rules) -> Option<Standing> {
        let course = self.course.as_ref()?;
        let (state, mark) = course.state(self, now, rules);
        Some(Standing {
            state,
            since: mark.at,
            cause: mark.event,
            attempts: self.attempts,
            solved: self.solved,
            below_minimum: self.attempts < rules.minimum_attempts,
        })
    }

    /// Applies an attempt that follows all others by event time.
    pub(super) fn apply(&mut self, attempt: &Attempt<'_>, late: bool, rules: &Rules) {
        let mark = Mark::of(attempt);
        let had_failures = self.attempts > self.solved;
        self.attempts += 1;
        self.solved += u64::from(attempt.ok);
        let version = attempt.version.map(Version::new);
        let course = self.course.get_or_insert_with(|| Course::begin(attempt, had_failures));
        course.last = mark;
        course.newest = course.newest.max(attempt.event);
        if self.attempts == rules.broken_attempts {
            course.many = Some(mark);
        }
        if let Some(version) = &version {
            course.seen.note(version);
        }
        if attempt.ok {
            course.succeed(attempt, version, rules);
        } else {
            course.fail(attempt, version.as_ref(), late, rules);
        }
    }
}

/// Returns attempts by event time, each with whether it was late.
pub(super) fn in_order<'a>(
    attempts: &[Attempt<'a>],
) -> impl Iterator<Item = (Attempt<'a>, bool)> + use<'a> {
    let mut sorted = attempts.to_vec();
    sorted.sort_unstable_by_key(Attempt::order);
    let mut late = vec![false; sorted.len()];
    let mut earliest = u64::MAX;
    for (attempt, late) in sorted.iter().zip(&mut late).rev() {
        *late = earliest < attempt.event;
        earliest = earliest.min(attempt.event);
    }
    sorted.into_iter().zip(late)
}

impl Course {
    fn begin(attempt: &Attempt<'_>, had_failures: bool) -> Self {
        let first = Mark::of(attempt);
        let run = if attempt.ok {
            Run::Successes {
                first,
                count: 0,
                enough: None,
                version: None,
                after_failure: had_failures,
            }
        } else {
            Run::Failures { first, regressed: None, was_fixed: false, new_since: first }
        };
        Self {
            first,
            last: first,
            newest: attempt.event,
            many: None,
            run,
            flaky: None,
            scopes: Scopes::default(),
            seen: Seen::default(),
        }
    }

    fn succeed(&mut self, attempt: &Attempt<'_>, new: Option<Version>, rules: &Rules) {
        let mark = Mark::of(attempt);
        self.scopes.succeeded(attempt, rules.flaky_within);
        if let Run::Failures { .. } = self.run {
            self.run = Run::Successes {
                first: mark,
                count: 0,
                enough: None,
                version: None,
                after_failure: true,
            };
        }
        let Run::Successes { count, enough, version, .. } = &mut self.run else { return };
        *count = count.saturating_add(1);
        if *count == rules.fixed_successes {
            *enough = Some(mark);
        }
        let is_older = match (&new, &*version) {
            (Some(new), Some(old)) => self.seen.is_older(new, old),
            (new, None) => new.is_some(),
            (None, Some(_)) => false,
        };
        if is_older {
            *version = new;
        }
        if self.fixed(attempt.at, rules).is_some() {
            self.flaky = None;
        }
    }

    fn fail(
        &mut self,
        attempt: &Attempt<'_>,
        version: Option<&Version>,
        late: bool,
        rules: &Rules,
    ) {
        let mark = Mark::of(attempt);
        if let (Run::Successes { version: Some(fixed), .. }, Some(version)) = (&self.run, version)
            && self.seen.is_older(version, fixed)
        {
            return;
        }
        let fixed_before = self.fixed(attempt.at, rules).is_some();
        if let Run::Successes { after_failure, .. } = self.run {
            if fixed_before {
                self.flaky = None;
            }
            let stays_new = !after_failure && !fixed_before;
            self.run = Run::Failures {
                first: mark,
                regressed: None,
                was_fixed: fixed_before,
                new_since: if stays_new { self.first } else { mark },
            };
        }
        let Run::Failures { regressed, was_fixed, .. } = &mut self.run else { return };
        if *was_fixed && !late {
            *regressed = Some(mark);
            *was_fixed = false;
            // The successes before count for the state that ended.
            self.flaky = None;
            self.scopes = Scopes::default();
        }
        self.note_flip(attempt, rules.flaky_within);
    }

    /// Begins or extends the period in which the problem is `flaky` if a success in the failure's
    /// scope precedes it.
    fn note_flip(&mut self, attempt: &Attempt<'_>, within: SignedDuration) {
        let Some(success) = self.scopes.last_success(attempt) else { return };
        let until = later(success, within);
        if until <= attempt.at {
            return;
        }
        match &mut self.flaky {
            Some(flaky) if flaky.until > attempt.at => flaky.until = flaky.until.max(until),
            flaky => *flaky = Some(Flaky { began: Mark::of(attempt), until }),
        }
    }

    /// Returns since when the problem is fixed, if it is at `now`.
    fn fixed(&self, now: Timestamp, rules: &Rules) -> Option<Mark> {
        let Run::Successes { first, enough, .. } = self.run else { return None };
        let quiet = Mark { at: later(first.at, rules.fixed_after), event: first.event };
        let quiet = (quiet.at <= now).then_some(quiet);
        [quiet, enough].into_iter().flatten().min_by_key(|mark| mark.at)
    }

    fn state(&self, counts: &Fold, now: Timestamp, rules: &Rules) -> (State, Mark) {
        let new_until = later(self.first.at, rules.new_for);
        let is_new = now < new_until;
        let flaky = self.flaky.filter(|flaky| now < flaky.until);
        // What follows `flaky` began no earlier than its end.
        let flaky_until = self.flaky.map(|flaky| flaky.until).filter(|&until| until <= now);
        let after_flaky =
            |mark: Mark| Mark { at: mark.at.max(flaky_until.unwrap_or(mark.at)), ..mark };
        match self.run {
            Run::Successes { first, after_failure, .. } => {
                if let Some(mark) = self.fixed(now, rules) {
                    (State::Fixed, mark)
                } else if let Some(flaky) = flaky {
                    (State::Flaky, flaky.began)
                } else if !after_failure && is_new {
                    (State::New, self.first)
                } else {
                    (State::MaybeFixed, after_flaky(first))
                }
            }
            Run::Failures { first, regressed, new_since, .. } => {
                if let Some(mark) = regressed {
                    (State::Regressed, mark)
                } else if counts.solved == 0 && counts.attempts >= rules.broken_attempts {
                    (State::Broken, self.many.unwrap_or(first))
                } else if let Some(flaky) = flaky {
                    (State::Flaky, flaky.began)
                } else if is_new {
                    (State::New, after_flaky(new_since))
                } else {
                    let since = Mark { at: first.at.max(new_until), ..first };
                    (State::Failing, after_flaky(since))
                }
            }
        }
    }

    /// Returns the moments at which the state may change without an attempt.
    pub(super) fn deadlines(&self, rules: &Rules) -> [Option<Timestamp>; 3] {
        let fixed = match self.run {
            Run::Successes { first, .. } => Some(later(first.at, rules.fixed_after)),
            Run::Failures { .. } => None,
        };
        let flaky = self.flaky.map(|flaky| flaky.until);
        [Some(later(self.first.at, rules.new_for)), fixed, flaky]
    }
}

/// Returns `at + duration`, at most the last moment that there is.
fn later(at: Timestamp, duration: SignedDuration) -> Timestamp {
    at.saturating_add(duration).unwrap_or(Timestamp::MAX)
}
