//! Comparison of two models on the problems that both tried.
//!
//! Ratios over different problems say nothing about two models: one may have had the easy ones.
//! [`Pairs`] therefore holds common problems alone, and [`Comparison`] ranks two models only where
//! the difference is unlikely to be chance.

use std::cmp::Ordering;

use crate::Spend;
use crate::format;

mod mcnemar;

pub use mcnemar::mcnemar;

/// Common problems below which two models are not ranked. Six one-sided problems are the fewest
/// that can reach [`SIGNIFICANCE`], and models that differ agree on some, too.
pub const MINIMUM_PROBLEMS: u32 = 10;

/// Probability of the observed difference by chance, below which one model is better.
pub const SIGNIFICANCE: f64 = 0.05;

/// Difference of two solved ratios that one run of a model may show against another run of the
/// same model: 2 to 6 points (arXiv 2602.07150).
pub const SINGLE_RUN_SWING: f64 = 0.06;

/// Ratio of attempts per problem above which more attempts explain more solved problems.
pub const UNEQUAL_ATTEMPTS: f64 = 1.25;

/// Attempts of one model at one problem.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tries {
    /// All attempts.
    pub attempts: u64,
    /// Attempts that succeeded.
    pub solved: u64,
}

/// Common problems of two models, by which of them solved it at least once, and the attempts and
/// costs on these problems.
///
/// ```
/// use observer_figures::compare::{Pairs, Tries};
/// use observer_figures::Spend;
///
/// let mut pairs = Pairs::default();
/// let once = |solved| Tries { attempts: 1, solved };
/// pairs.add(once(1), Spend::complete(0.5, 1), once(0), Spend::complete(2.0, 1));
/// assert_eq!((pairs.only_a, pairs.common()), (1, 1));
/// assert_eq!(pairs.b.spend.usd, 2.0);
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Pairs {
    /// Problems that both solved.
    pub both: u32,
    /// Problems that only the first one solved.
    pub only_a: u32,
    /// Problems that only the second one solved.
    pub only_b: u32,
    /// Problems that neither solved.
    pub neither: u32,
    /// Effort of the first one on the common problems.
    pub a: Effort,
    /// Effort of the second one on the common problems.
    pub b: Effort,
}

/// Attempts and cost of one model on the common problems.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Effort {
    /// Attempts.
    pub attempts: u64,
    /// Attempts that succeeded.
    pub solved: u64,
    /// Cost of these attempts.
    pub spend: Spend,
}

impl Effort {
    fn add(&mut self, tries: Tries, spend: Spend) {
        self.attempts = self.attempts.saturating_add(tries.attempts);
        self.solved = self.solved.saturating_add(tries.solved);
        self.spend = self.spend + spend;
    }
}

impl Pairs {
    /// Adds a problem. It is ignored unless both models tried it.
    pub fn add(&mut self, a: Tries, a_spend: Spend, b: Tries, b_spend: Spend) {
        if a.attempts == 0 || b.attempts == 0 {
            return;
        }
        let count = match (a.solved > 0, b.solved > 0) {
            (true, true) => &mut self.both,
            (true, false) => &mut self.only_a,
            (false, true) => &mut self.only_b,
            (false, false) => &mut self.neither,
        };
        *count = count.saturating_add(1);
        self.a.add(a, a_spend);
        self.b.add(b, b_spend);
    }

    /// Returns the same pairs with the models exchanged.
    #[must_use]
    pub fn swapped(self) -> Self {
        Self { only_a: self.only_b, only_b: self.only_a, a: self.b, b: self.a, ..self }
    }

    /// Returns the number of common problems.
    #[must_use]
    pub fn common(&self) -> u64 {
        [self.both, self.only_a, self.only_b, self.neither].map(u64::from).iter().sum()
    }

    /// Returns the problems that the first model failed, and how many of them the second solved.
    #[must_use]
    pub fn rescued_by_b(&self) -> (u64, u64) {
        (u64::from(self.only_b) + u64::from(self.neither), u64::from(self.only_b))
    }
}

/// Outcome of a comparison.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// No problem was tried by both.
    NotComparable,
    /// Fewer than [`MINIMUM_PROBLEMS`] common problems.
    NotEnough,
    /// No difference beyond chance.
    Same,
    /// A difference of one run each that is no larger than [`SINGLE_RUN_SWING`].
    WithinOneRun,
    /// A difference in favour of the model that had more attempts at each problem.
    UnequalAttempts,
    /// The first model is better.
    ABetter,
    /// The second model is better.
    BBetter,
}

impl Verdict {
    /// All verdicts.
    pub const ALL: [Self; 7] = [
        Self::NotComparable,
        Self::NotEnough,
        Self::Same,
        Self::WithinOneRun,
        Self::UnequalAttempts,
        Self::ABetter,
        Self::BBetter,
    ];

    /// Returns the name in answers of the API.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NotComparable => "not_comparable",
            Self::NotEnough => "not_enough",
            Self::Same => "same",
            Self::WithinOneRun => "within_one_run",
            Self::UnequalAttempts => "unequal_attempts",
            Self::ABetter => "a_better",
            Self::BBetter => "b_better",
        }
    }
}

/// Comparison of two models, with the numbers that it rests on.
///
/// ```
/// use observer_figures::compare::{Comparison, Effort, Pairs, Verdict};
/// use observer_figures::Spend;
///
/// let effort = |solved, usd| Effort { attempts: 616, solved, spend: Spend::complete(usd, 616) };
/// let comparison = Comparison::of(Pairs {
///     both: 206,
///     only_a: 56,
///     only_b: 68,
///     neither: 286,
///     a: effort(262, 1217.90),
///     b: effort(274, 6973.20),
/// });
/// assert_eq!(comparison.verdict, Verdict::Same);
/// assert_eq!(
///     comparison.text("gpt-5", "claude-sonnet-4-5"),
///     "same quality as far as shown (616 common problems, p = 0.323); \
///      claude-sonnet-4-5 at 5.5 times the cost per solved",
/// );
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct Comparison {
    /// Common problems.
    pub pairs: Pairs,
    /// Probability of a difference at least this large by chance, or `None` without common
    /// problems.
    pub p: Option<f64>,
    /// Cost per solved of the second model divided by that of the first, on the common problems;
    /// `None` unless both are known exactly and above 0.
    pub cost_ratio: Option<f64>,
    /// Outcome.
    pub verdict: Verdict,
}

impl Comparison {
    /// Compares two models on their common problems.
    #[must_use]
    pub fn of(pairs: Pairs) -> Self {
        let p = (pairs.common() > 0).then(|| mcnemar(pairs.only_a, pairs.only_b));
        Self { pairs, p, cost_ratio: cost_ratio(&pairs), verdict: verdict(&pairs, p) }
    }

    /// Describes the comparison in a sentence without a full stop. `a` and `b` are names as they
    /// are to be shown.
    #[must_use]
    pub fn text(&self, a: &str, b: &str) -> String {
        let common = self.pairs.common();
        let noun = if common == 1 { "common problem" } else { "common problems" };
        let p = self.p.map_or_else(String::new, |p| format!(", {}", format::p_value(p)));
        let basis = format!("({} {noun}{p})", format::count(common));
        let head = match self.verdict {
            Verdict::NotComparable => return "not comparable: no common problems".to_owned(),
            Verdict::NotEnough => {
                return format!(
                    "not enough to compare: {common} {noun} of at least {MINIMUM_PROBLEMS}"
                );
            }
            Verdict::Same => format!("same quality as far as shown {basis}"),
            Verdict::WithinOneRun => {
                format!("not ranked: one run each may differ by up to 6 points {basis}")
            }
            Verdict::UnequalAttempts => {
                format!("not ranked: unequal numbers of attempts per problem {basis}")
            }
            Verdict::ABetter => format!("{a} solves more than {b} {basis}"),
            Verdict::BBetter => format!("{b} solves more than {a} {basis}"),
        };
        match self.cost_ratio {
            Some(ratio) if ratio >= 1.05 => {
                format!("{head}; {b} at {ratio:.1} times the cost per solved")
            }
            Some(ratio) if ratio <= 1.0 / 1.05 => {
                format!("{head}; {a} at {:.1} times the cost per solved", 1.0 / ratio)
            }
            Some(_) => format!("{head}; at the same cost per solved"),
            None => head,
        }
    }
}

fn cost_ratio(pairs: &Pairs) -> Option<f64> {
    let per_solved = |effort: &Effort| {
        let cost = effort.spend.per_solved(effort.solved)?;
        (!cost.is_bound() && cost.usd() > 0.0).then(|| cost.usd())
    };
    Some(per_solved(&pairs.b)? / per_solved(&pairs.a)?)
}

fn verdict(pairs: &Pairs, p: Option<f64>) -> Verdict {
    let Some(p) = p else { return Verdict::NotComparable };
    let common = pairs.common();
    if common < u64::from(MINIMUM_PROBLEMS) {
        return Verdict::NotEnough;
    }
    if p >= SIGNIFICANCE {
        return Verdict::Same;
    }
    let (better, winner, loser) = match pairs.only_a.cmp(&pairs.only_b) {
        Ordering::Greater => (Verdict::ABetter, pairs.a, pairs.b),
        _ => (Verdict::BBetter, pairs.b, pairs.a),
    };
    if winner.attempts as f64 > loser.attempts as f64 * UNEQUAL_ATTEMPTS {
        return Verdict::UnequalAttempts;
    }
    let difference = f64::from(pairs.only_a.abs_diff(pairs.only_b)) / common as f64;
    let one_run_each = winner.attempts.max(loser.attempts) <= common;
    if one_run_each && difference <= SINGLE_RUN_SWING {
        return Verdict::WithinOneRun;
    }
    better
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(both: u32, only_a: u32, only_b: u32, neither: u32) -> Pairs {
        let common = u64::from(both + only_a + only_b + neither);
        let effort = |solved: u32| Effort {
            attempts: common,
            solved: solved.into(),
            spend: Spend::complete(common as f64, common),
        };
        Pairs { both, only_a, only_b, neither, a: effort(both + only_a), b: effort(both + only_b) }
    }

    #[test]
    fn verdicts_follow_the_rules() {
        let mut retried = pairs(10, 30, 2, 10);
        retried.a.attempts = 2 * retried.common();
        let mut repeated = pairs(5_000, 600, 300, 4_100);
        repeated.a.attempts *= 2;
        repeated.b.attempts *= 2;
        for (pairs, verdict) in [
            (repeated, Verdict::ABetter),
            (Pairs::default(), Verdict::NotComparable),
            (pairs(0, 1, 0, 0), Verdict::NotEnough),
            (pairs(0, 9, 0, 0), Verdict::NotEnough),
            (pairs(206, 56, 68, 286), Verdict::Same),
            (pairs(10, 30, 2, 10), Verdict::ABetter),
            (pairs(10, 2, 30, 10), Verdict::BBetter),
            (pairs(5_000, 600, 300, 4_100), Verdict::WithinOneRun),
            (retried, Verdict::UnequalAttempts),
            (retried.swapped(), Verdict::UnequalAttempts),
            (pairs(0, 10, 0, 0), Verdict::ABetter),
        ] {
            assert_eq!(Comparison::of(pairs).verdict, verdict, "{pairs:?}");
        }
    }

    #[test]
    fn winner_with_fewer_attempts_is_ranked() {
        let mut retried = pairs(10, 30, 2, 10);
        retried.b.attempts = 3 * retried.common();
        assert_eq!(Comparison::of(retried).verdict, Verdict::ABetter);
    }

    #[test]
    fn problems_of_one_model_alone_are_ignored() {
        let mut pairs = Pairs::default();
        let tried = Tries { attempts: 1, solved: 1 };
        pairs.add(tried, Spend::complete(1.0, 1), Tries::default(), Spend::default());
        pairs.add(Tries::default(), Spend::default(), tried, Spend::complete(1.0, 1));
        assert_eq!(pairs, Pairs::default());
        let text = Comparison::of(pairs).text("a", "b");
        assert_eq!(text, "not comparable: no common problems");
    }

    #[test]
    fn texts_name_the_dearer_model() {
        let mut dear = pairs(206, 56, 68, 286);
        dear.a.spend.usd *= 3.0;
        let text = Comparison::of(dear).text("x", "y");
        assert!(text.ends_with("; x at 3.1 times the cost per solved"), "{text}");
        let text = Comparison::of(pairs(0, 10, 0, 0)).text("x", "y");
        assert_eq!(text, "x solves more than y (10 common problems, p = 0.002)");
    }
}
