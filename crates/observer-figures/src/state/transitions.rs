//! Changes of the state, for the history of a problem.

use jiff::Timestamp;

use super::fold::{Fold, in_order};
use super::{Attempt, Rules, State};

/// A change of a problem's state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Transition {
    /// When the state began.
    pub at: Timestamp,
    /// The state that began.
    pub state: State,
    /// Event that caused it; after the passage of time, the event from which the time counts.
    pub cause: u64,
}

/// Returns the states of a problem until `now`, the oldest first, from its attempts in any order.
///
/// The last one is the state that [`Fold::standing`] gives.
///
/// ```
/// use observer_figures::state::{Attempt, Rules, State, transitions};
///
/// let at = |text: &str| text.parse::<jiff::Timestamp>();
/// let attempts = [
///     Attempt::new(1, at("2026-11-01T10:00:00Z")?, false),
///     Attempt::new(2, at("2026-11-02T10:00:00Z")?, true),
/// ];
/// let history = transitions(&attempts, at("2026-11-30T00:00:00Z")?, &Rules::default());
/// let states: Vec<_> = history.iter().map(|change| change.state).collect();
/// assert_eq!(states, [State::New, State::MaybeFixed, State::Fixed]);
/// # Ok::<(), jiff::Error>(())
/// ```
#[must_use]
pub fn transitions(attempts: &[Attempt<'_>], now: Timestamp, rules: &Rules) -> Vec<Transition> {
    let mut fold = Fold::default();
    let mut changes = Vec::new();
    for (attempt, late) in in_order(attempts) {
        pass_time(&fold, attempt.at, rules, &mut changes);
        fold.apply(&attempt, late, rules);
        note(&fold, attempt.at, rules, &mut changes);
    }
    pass_time(&fold, now, rules, &mut changes);
    changes
}

/// Notes the changes between the last attempt and `until` that need no attempt.
fn pass_time(fold: &Fold, until: Timestamp, rules: &Rules, changes: &mut Vec<Transition>) {
    let Some(course) = &fold.course else { return };
    let mut deadlines = course.deadlines(rules);
    deadlines.sort_unstable();
    for moment in deadlines.into_iter().flatten() {
        if course.last.at < moment && moment <= until {
            note(fold, moment, rules, changes);
        }
    }
}

fn note(fold: &Fold, now: Timestamp, rules: &Rules, changes: &mut Vec<Transition>) {
    let Some(standing) = fold.standing(now, rules) else { return };
    if changes.last().is_none_or(|last| last.state != standing.state) {
        let (state, cause) = (standing.state, standing.cause);
        changes.push(Transition { at: standing.since, state, cause });
    }
}
