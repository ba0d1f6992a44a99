//! Cells with figures.

use jiff::Timestamp;
use jiff::tz::TimeZone;
use observer_core::query::{Interval, ProblemState, Tokens};
use observer_figures::format;

use crate::cli::grid::{Cell, Tone};

/// Present time and time zone of the output.
#[derive(Debug, Clone)]
pub(super) struct Clock {
    now: Timestamp,
    zone: TimeZone,
}

impl Clock {
    /// Returns the clock of the system.
    pub(super) fn system() -> Self {
        Self { now: Timestamp::now(), zone: TimeZone::system() }
    }

    /// Returns a clock in UTC that stands still.
    #[cfg(test)]
    pub(super) fn at(now: &str) -> Self {
        Self { now: now.parse().expect("a time"), zone: TimeZone::UTC }
    }

    /// Returns a moment to the minute.
    pub(super) fn moment(&self, at: Timestamp) -> String {
        format::moment(at, self.now, &self.zone)
    }

    /// Returns the time since a moment.
    pub(super) fn age(&self, at: Timestamp) -> String {
        format::age(at, self.now)
    }
}

/// Returns an amount in dollars, as a lower bound if attempts without a price are missing in it.
pub(super) fn cost(usd: f64, unpriced: u64) -> String {
    let bound = if unpriced > 0 { "≥ " } else { "" };
    format!("{bound}{}", format::usd(usd))
}

/// Returns the cost per solved attempt. If none is solved, it is at least the cost so far; nothing
/// is said if no cost is known.
pub(super) fn cost_per_solved(per_solved: Option<f64>, total: f64, unpriced: u64) -> String {
    match per_solved {
        Some(usd) => cost(usd, unpriced),
        None if total > 0.0 => format!("≥ {}", format::usd(total)),
        None => "–".to_owned(),
    }
}

/// Returns the ratio of solved attempts with its interval: `43 % [39, 47]`.
pub(super) fn solved_ratio(solved: u64, attempts: u64, ci: Interval) -> String {
    if attempts == 0 {
        return "–".to_owned();
    }
    let ratio = format::percent(solved as f64 / attempts as f64);
    format!("{ratio} [{:.0}, {:.0}]", ci.low * 100.0, ci.high * 100.0)
}

/// Returns a cell with a duration in milliseconds.
pub(super) fn duration(ms: Option<f64>) -> Cell {
    ms.map_or_else(Cell::none, |ms| Cell::own(format::duration(ms)))
}

/// Returns a cell with an amount in dollars.
pub(super) fn usd(amount: Option<f64>) -> Cell {
    amount.map_or_else(Cell::none, |amount| Cell::own(format::usd(amount)))
}

/// Returns a cell with the tokens that were read and written.
pub(super) fn tokens(tokens: &Tokens) -> Cell {
    Cell::own(format!("{} / {}", format::count(tokens.input), format::count(tokens.output)))
}

/// Returns a cell with the name of a model.
pub(super) fn model(model: Option<&str>) -> Cell {
    Cell::optional(model)
}

/// Returns a cell with a kind of outcome.
pub(super) fn kind(kind: &str, ok: Option<bool>) -> Cell {
    Cell::foreign(kind).tone(match ok {
        Some(true) => Tone::Good,
        Some(false) => Tone::Bad,
        None => Tone::Dim,
    })
}

/// Returns a cell with a state.
pub(super) fn state(state: ProblemState) -> Cell {
    Cell::own(state.as_str()).tone(match state {
        ProblemState::Broken | ProblemState::Failing | ProblemState::Regressed => Tone::Bad,
        ProblemState::Flaky | ProblemState::MaybeFixed => Tone::Unsure,
        ProblemState::Fixed => Tone::Good,
        _ => Tone::Neutral,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_say_what_is_missing_in_them() {
        assert_eq!(cost(1.5, 0), "$1.50");
        assert_eq!(cost(1.5, 2), "≥ $1.50");
        assert_eq!(cost_per_solved(Some(4.6485), 1_217.9, 0), "$4.65");
        assert_eq!(cost_per_solved(Some(4.6485), 1_217.9, 1), "≥ $4.65");
        assert_eq!(cost_per_solved(None, 3.0, 0), "≥ $3.00");
        assert_eq!(cost_per_solved(None, 0.0, 0), "–");
        assert_eq!(cost_per_solved(Some(0.0), 0.0, 0), "$0.00");
        let ci = Interval { low: 0.387, high: 0.4653 };
        assert_eq!(solved_ratio(262, 616, ci), "43 % [39, 47]");
        assert_eq!(solved_ratio(0, 0, ci), "–");
    }
}
