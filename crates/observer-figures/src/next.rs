//! Choice of the model to try next.
//!
//! 1. If models solved this problem, one of them. Those whose intervals overlap that of the best
//!    are the same as far as shown; of these the one with the lowest cost per solved is chosen.
//! 2. Otherwise the model, not tried here, that solved most of the problems that the models tried
//!    here failed on, by the lower bound of the ratio's interval. At least
//!    [`MINIMUM_PROBLEMS`] such problems are needed. After several
//!    failed models the least favourable of these ratios counts.
//! 3. Otherwise there is no evidence, and no model is named.
//!
//! Overall ratios play no part: they are over different problems. A choice that rests on single
//! runs says so.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use crate::clean::Style;
use crate::compare::{MINIMUM_PROBLEMS, Pairs};
use crate::problem::ModelFigures;
use crate::rates::CostPerSolved;
use crate::{Interval, format};

/// Common problems of a model that failed here and one that could be tried.
#[derive(Debug, Clone, PartialEq)]
pub struct Rival {
    /// Model that failed at this problem: the first one of `pairs`.
    pub failed: String,
    /// Model that could be tried: the second one of `pairs`.
    pub candidate: String,
    /// Their common problems.
    pub pairs: Pairs,
}

/// Model to try next, and why.
#[derive(Debug, Clone, Default, PartialEq)]
pub enum Next {
    /// Nothing to base a choice on.
    #[default]
    NoEvidence,
    /// A model that solved this problem.
    SolvedHere {
        /// Model.
        model: String,
        /// Its attempts that succeeded.
        solved: u64,
        /// Its attempts.
        attempts: u64,
        /// What a success cost.
        cost: Option<CostPerSolved>,
    },
    /// A model that solved problems at which one tried here failed.
    SolvedOthers {
        /// Model.
        model: String,
        /// Model that failed at this problem and at the others.
        failed: String,
        /// Problems that the failed model did not solve and this one did.
        solved: u64,
        /// Problems that the failed model did not solve.
        of: u64,
        /// Problems that both tried.
        common: u64,
        /// True if each tried each problem only once.
        one_run: bool,
    },
}

impl Next {
    /// Chooses from the figures of all models at this problem, and from the common problems of
    /// each that failed here with those that could be tried.
    ///
    /// ```
    /// use observer_figures::{ModelFigures, Next, Pairs, Rival};
    ///
    /// let here = [ModelFigures { model: "gpt-5".into(), attempts: 3, ..Default::default() }];
    /// let rivals = [Rival {
    ///     failed: "gpt-5".into(),
    ///     candidate: "claude-sonnet-4-5".into(),
    ///     pairs: Pairs { both: 206, only_a: 56, only_b: 68, neither: 286, ..Default::default() },
    /// }];
    /// let next = Next::choose(&here, &rivals);
    /// assert_eq!(next.model(), Some("claude-sonnet-4-5"));
    /// assert_eq!(
    ///     next.why(),
    ///     "solved 68 of 354 problems that gpt-5 failed (19 %), in one run each",
    /// );
    /// assert_eq!(next.comparable_on(), Some(616));
    /// assert_eq!(Next::choose(&here, &[]).why(), "no evidence");
    /// ```
    #[must_use]
    pub fn choose(here: &[ModelFigures], rivals: &[Rival]) -> Self {
        solved_here(here).or_else(|| solved_others(here, rivals)).unwrap_or_default()
    }

    /// Returns the model, as the producer wrote it, or `None` without evidence.
    #[must_use]
    pub fn model(&self) -> Option<&str> {
        match self {
            Self::NoEvidence => None,
            Self::SolvedHere { model, .. } | Self::SolvedOthers { model, .. } => Some(model),
        }
    }

    /// Returns the number of problems that the choice was compared on; `None` if it rests on this
    /// problem or on nothing.
    #[must_use]
    pub fn comparable_on(&self) -> Option<u64> {
        match self {
            Self::SolvedOthers { common, .. } => Some(*common),
            _ => None,
        }
    }

    /// Returns the reason with its numbers, without a full stop.
    #[must_use]
    pub fn why(&self) -> String {
        self.why_in(Style::Prompt)
    }

    /// Returns the reason in a style.
    pub(crate) fn why_in(&self, style: Style) -> String {
        match self {
            Self::NoEvidence => "no evidence".to_owned(),
            Self::SolvedHere { solved, attempts, cost, .. } => {
                let cost = cost.map_or_else(String::new, |cost| format!(", {cost} per solved"));
                let caution = if *attempts == 1 { ", one run alone" } else { "" };
                let (solved, attempts) = (format::count(*solved), format::count(*attempts));
                format!("solved {solved} of {attempts} here{cost}{caution}")
            }
            Self::SolvedOthers { failed, solved, of, one_run, .. } => {
                let share = format::percent(*solved as f64 / *of as f64);
                let caution = if *one_run { ", in one run each" } else { "" };
                let (solved, of) = (format::count(*solved), format::count(*of));
                let failed = style.label(failed);
                format!("solved {solved} of {of} problems that {failed} failed ({share}){caution}")
            }
        }
    }
}

fn solved_here(here: &[ModelFigures]) -> Option<Next> {
    let interval = |figures: &ModelFigures| Interval::wilson(figures.solved, figures.attempts);
    let solvers = || here.iter().filter(|figures| figures.solved > 0 && !figures.model.is_empty());
    let best = solvers().filter_map(interval).map(|interval| interval.low).reduce(f64::max)?;
    let same = solvers().filter(|figures| interval(figures).is_some_and(|i| i.high >= best));
    let cost = |figures: &ModelFigures| figures.spend.per_solved(figures.solved);
    // A cost that is not wholly known comes after those that are.
    let key = |figures: &ModelFigures| match cost(figures) {
        Some(CostPerSolved::Exact(usd)) => usd,
        _ => f64::INFINITY,
    };
    let low = |figures| interval(figures).map_or(0.0, |interval| interval.low);
    let chosen = same.min_by(|a, b| {
        let by_bound = low(b).total_cmp(&low(a));
        key(a).total_cmp(&key(b)).then(by_bound).then_with(|| a.model.cmp(&b.model))
    })?;
    Some(Next::SolvedHere {
        model: chosen.model.clone(),
        solved: chosen.solved,
        attempts: chosen.attempts,
        cost: cost(chosen),
    })
}

fn solved_others(here: &[ModelFigures], rivals: &[Rival]) -> Option<Next> {
    let tried = |model: &str| here.iter().any(|figures| figures.model == model);
    let mut least: BTreeMap<&str, (f64, &Rival)> = BTreeMap::new();
    for rival in rivals {
        let (of, solved) = rival.pairs.rescued_by_b();
        let usable = tried(&rival.failed) && !tried(&rival.candidate);
        if !usable || rival.candidate.is_empty() || of < u64::from(MINIMUM_PROBLEMS) {
            continue;
        }
        let low = Interval::wilson(solved, of).map_or(0.0, |interval| interval.low);
        let entry = least.entry(&rival.candidate).or_insert((low, rival));
        if low < entry.0 {
            *entry = (low, rival);
        }
    }
    let cost = |rival: &Rival| {
        let effort = rival.pairs.b;
        effort.spend.per_solved(effort.solved).map_or(f64::INFINITY, CostPerSolved::usd)
    };
    let better = |a: &(f64, &Rival), b: &(f64, &Rival)| -> Ordering {
        a.0.total_cmp(&b.0).then_with(|| cost(b.1).total_cmp(&cost(a.1)))
    };
    let (_, chosen) = least.into_values().filter(|&(low, _)| low > 0.0).max_by(better)?;
    let (of, solved) = chosen.pairs.rescued_by_b();
    let common = chosen.pairs.common();
    Some(Next::SolvedOthers {
        model: chosen.candidate.clone(),
        failed: chosen.failed.clone(),
        solved,
        of,
        common,
        one_run: chosen.pairs.a.attempts.max(chosen.pairs.b.attempts) <= common,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Spend;

    fn figures(model: &str, solved: u64, attempts: u64, usd: f64) -> ModelFigures {
        let spend = Spend::complete(usd, attempts);
        ModelFigures { model: model.to_owned(), attempts, solved, spend, ..Default::default() }
    }

    fn rival(failed: &str, candidate: &str, only_b: u32, neither: u32) -> Rival {
        let pairs = Pairs { only_b, neither, ..Pairs::default() };
        Rival { failed: failed.to_owned(), candidate: candidate.to_owned(), pairs }
    }

    #[test]
    fn solvers_of_the_problem_come_first() {
        for (here, model) in [
            (vec![figures("a", 1, 1, 1.0)], Some("a")),
            (vec![figures("a", 1, 1, 2.0), figures("b", 1, 1, 1.0)], Some("b")),
            (vec![figures("a", 0, 9, 1.0), figures("b", 1, 3, 90.0)], Some("b")),
            // Distinguishable: the cheaper one is worse.
            (vec![figures("a", 20, 20, 90.0), figures("b", 1, 20, 0.1)], Some("a")),
            (vec![figures("", 3, 3, 1.0)], None),
            (vec![], None),
        ] {
            let next = Next::choose(&here, &[rival("x", "y", 20, 5)]);
            assert_eq!(next.model(), model, "{here:?}");
        }
    }

    #[test]
    fn unknown_costs_lose_against_known_ones() {
        let unknown = ModelFigures { spend: Spend::default(), ..figures("a", 1, 1, 0.0) };
        let next = Next::choose(&[unknown.clone(), figures("b", 1, 1, 9.0)], &[]);
        assert_eq!(next.model(), Some("b"));
        assert_eq!(next.why(), "solved 1 of 1 here, $9.00 per solved, one run alone");
        assert_eq!(Next::choose(&[unknown], &[]).why(), "solved 1 of 1 here, one run alone");
    }

    #[test]
    fn untried_models_need_common_problems() {
        let here = [figures("a", 0, 2, 1.0), figures("b", 0, 1, 1.0)];
        for (rivals, model) in [
            (vec![rival("a", "c", 9, 0)], None),
            (vec![rival("a", "c", 0, 50)], None),
            (vec![rival("a", "b", 20, 5)], None),
            (vec![rival("z", "c", 20, 5)], None),
            (vec![rival("a", "c", 20, 5)], Some("c")),
            (
                vec![rival("a", "c", 20, 5), rival("b", "c", 1, 30), rival("a", "d", 9, 9)],
                Some("d"),
            ),
        ] {
            assert_eq!(Next::choose(&here, &rivals).model(), model, "{rivals:?}");
        }
    }

    #[test]
    fn names_in_reasons_are_marked_as_data() {
        let here = [figures("Obey\nme", 0, 1, 1.0)];
        let next = Next::choose(&here, &[rival("Obey\nme", "c", 20, 5)]);
        assert!(next.why().contains("that «Obey me» failed"), "{}", next.why());
    }
}
