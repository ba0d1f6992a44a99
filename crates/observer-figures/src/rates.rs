//! Rates over the attempts at one problem, and what a solution costs.

use std::fmt;

use crate::format;

/// Returns the probability that at least one of `k` attempts succeeds, estimated from `solved` of
/// `attempts`: `1 − C(n−c, k) / C(n, k)`. `None` if `k` is 0 or more than `attempts`.
///
/// Source: M. Chen et al., "Evaluating Large Language Models Trained on Code", arXiv 2107.03374,
/// equation 1. Computed as a product, so that no binomial coefficient overflows.
///
/// ```
/// use observer_figures::rates::pass_at_k;
///
/// assert_eq!(pass_at_k(5, 2, 1), Some(0.4));
/// assert_eq!(pass_at_k(5, 2, 4), Some(1.0));
/// assert_eq!(pass_at_k(5, 2, 6), None);
/// ```
#[must_use]
pub fn pass_at_k(attempts: u32, solved: u32, k: u32) -> Option<f64> {
    let solved = solved.min(attempts);
    in_range(attempts, k).then(|| 1.0 - share_without(attempts, solved, k))
}

/// Returns the probability that all of `k` attempts succeed, estimated from `solved` of
/// `attempts`: `C(c, k) / C(n, k)`, written pass^k. `None` if `k` is 0 or more than `attempts`.
///
/// Source: S. Yao et al., "τ-bench", arXiv 2406.12045, section 3.
///
/// ```
/// use observer_figures::rates::pass_hat_k;
///
/// assert_eq!(pass_hat_k(4, 2, 1), Some(0.5));
/// assert_eq!(pass_hat_k(4, 2, 3), Some(0.0));
/// assert_eq!(pass_hat_k(4, 4, 3), Some(1.0));
/// ```
#[must_use]
pub fn pass_hat_k(attempts: u32, solved: u32, k: u32) -> Option<f64> {
    let failed = attempts - solved.min(attempts);
    in_range(attempts, k).then(|| share_without(attempts, failed, k))
}

fn in_range(attempts: u32, k: u32) -> bool {
    (1..=attempts).contains(&k)
}

/// Returns `C(n−marked, k) / C(n, k)`: the share of the samples of `k` out of `n` that hold none
/// of the `marked`.
fn share_without(n: u32, marked: u32, k: u32) -> f64 {
    if n - marked < k {
        return 0.0;
    }
    // The ratio is symmetric in `marked` and `k`: the shorter product.
    let (short, long) = (marked.min(k), marked.max(k));
    let mut share = 1.0;
    for i in 0..short {
        share *= f64::from(n - long - i) / f64::from(n - i);
        if share < f64::MIN_POSITIVE {
            return 0.0;
        }
    }
    share
}

/// Counts the changes between success and failure in outcomes ordered by event time.
///
/// ```
/// assert_eq!(observer_figures::rates::changes([true, false, false, true]), 2);
/// ```
#[must_use]
pub fn changes(outcomes: impl IntoIterator<Item = bool>) -> u64 {
    let mut outcomes = outcomes.into_iter();
    let Some(mut last) = outcomes.next() else { return 0 };
    let mut changes = 0;
    for ok in outcomes {
        changes += u64::from(ok != last);
        last = ok;
    }
    changes
}

/// Returns `changes / (attempts − 1)`, or `None` with fewer than two attempts.
///
/// ```
/// assert_eq!(observer_figures::rates::flip_rate(2, 5), Some(0.5));
/// assert_eq!(observer_figures::rates::flip_rate(0, 1), None);
/// ```
#[must_use]
pub fn flip_rate(changes: u64, attempts: u64) -> Option<f64> {
    (attempts > 1).then(|| changes.min(attempts - 1) as f64 / (attempts - 1) as f64)
}

/// Cost of a number of attempts, and how many of them it covers.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Spend {
    /// Sum of the known costs, in US dollars.
    pub usd: f64,
    /// Attempts whose cost is known, reported or priced.
    pub known: u64,
    /// All attempts.
    pub attempts: u64,
}

impl Spend {
    /// Returns a cost that covers all `attempts`.
    #[must_use]
    pub fn complete(usd: f64, attempts: u64) -> Self {
        Self { usd, known: attempts, attempts }
    }

    /// Returns the sum, or `None` if no attempt's cost is known.
    #[must_use]
    pub fn usd(&self) -> Option<f64> {
        (self.known > 0).then_some(self.usd)
    }

    /// Reports whether the cost of every attempt is known.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.known >= self.attempts
    }

    /// Returns the cost of *all* attempts for each that `solved` counts, or `None` if no cost is
    /// known.
    ///
    /// ```
    /// use observer_figures::rates::{CostPerSolved, Spend};
    ///
    /// let spend = Spend::complete(1217.90, 616);
    /// assert_eq!(spend.per_solved(262).unwrap().to_string(), "$4.65");
    /// let unsolved = Spend::complete(3.0, 2).per_solved(0);
    /// assert_eq!(unsolved, Some(CostPerSolved::AtLeast(3.0)));
    /// assert_eq!(unsolved.unwrap().to_string(), "≥ $3.00");
    /// ```
    #[must_use]
    pub fn per_solved(&self, solved: u64) -> Option<CostPerSolved> {
        let usd = self.usd()?;
        Some(match solved {
            0 => CostPerSolved::AtLeast(usd),
            _ if !self.is_complete() => CostPerSolved::AtLeast(usd / solved as f64),
            _ => CostPerSolved::Exact(usd / solved as f64),
        })
    }

    /// Returns the cost if the problem it was spent on is still unsolved (`solved` is 0), else 0.
    /// The sum over problems is what was wasted.
    #[must_use]
    pub fn wasted(&self, solved: u64) -> f64 {
        if solved == 0 { self.usd } else { 0.0 }
    }
}

impl std::ops::Add for Spend {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            usd: self.usd + other.usd,
            known: self.known.saturating_add(other.known),
            attempts: self.attempts.saturating_add(other.attempts),
        }
    }
}

/// Cost of a solution, in US dollars.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum CostPerSolved {
    /// The cost of every attempt is known.
    Exact(f64),
    /// A lower bound: nothing solved so far, or attempts without a known cost.
    AtLeast(f64),
}

impl CostPerSolved {
    /// Returns the amount, be it exact or a lower bound.
    #[must_use]
    pub fn usd(self) -> f64 {
        match self {
            Self::Exact(usd) | Self::AtLeast(usd) => usd,
        }
    }

    /// Reports whether the amount is a lower bound.
    #[must_use]
    pub fn is_bound(self) -> bool {
        matches!(self, Self::AtLeast(_))
    }
}

impl fmt::Display for CostPerSolved {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.is_bound() { "≥ " } else { "" };
        write!(f, "{sign}{}", format::usd(self.usd()))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Binomial coefficient by Pascal's rule.
    fn choose(n: u32, k: u32) -> f64 {
        let mut row = vec![1_u128];
        for _ in 0..n {
            let inner = row.windows(2).map(|pair| pair[0] + pair[1]).collect::<Vec<_>>();
            row = [vec![1], inner, vec![1]].concat();
        }
        row.get(k as usize).map_or(0.0, |&count| count as f64)
    }

    #[test]
    fn costs_per_solved_of_known_sums_are_right() {
        for (usd, attempts, solved, expected) in
            [(1_217.90, 616, 262, 4.6485), (6_973.20, 616, 274, 25.4496), (67.21, 100, 73, 0.9206)]
        {
            let cost = Spend::complete(usd, attempts).per_solved(solved).unwrap();
            assert!((cost.usd() - expected).abs() < 1e-4, "{cost:?}");
            assert!(!cost.is_bound());
        }
    }

    #[test]
    fn cost_with_unknown_parts_is_a_lower_bound() {
        let spend = Spend { usd: 4.0, known: 3, attempts: 5 };
        assert_eq!(spend.per_solved(2), Some(CostPerSolved::AtLeast(2.0)));
        assert_eq!(Spend { usd: 0.0, known: 0, attempts: 5 }.per_solved(2), None);
    }

    #[test]
    fn wasted_is_the_cost_of_unsolved_problems() {
        let spend = Spend::complete(3.0, 2) + Spend::complete(1.5, 1);
        assert_eq!((spend.wasted(0), spend.wasted(1)), (4.5, 0.0));
    }

    #[test]
    fn rates_of_large_counts_do_not_overflow() {
        let half = u32::MAX / 2;
        assert_eq!(pass_at_k(u32::MAX, half, half), Some(1.0));
        assert_eq!(pass_hat_k(u32::MAX, half, half), Some(0.0));
        assert_eq!(pass_hat_k(u32::MAX, u32::MAX, 7), Some(1.0));
        assert_eq!(pass_at_k(u32::MAX, 0, u32::MAX), Some(0.0));
    }

    #[test]
    fn flip_rate_counts_changes() {
        for (outcomes, rate) in [
            (&[][..], None),
            (&[true], None),
            (&[true, true], Some(0.0)),
            (&[true, false, true], Some(1.0)),
            (&[false, false, true, true, false], Some(0.5)),
        ] {
            let changes = changes(outcomes.iter().copied());
            assert_eq!(flip_rate(changes, outcomes.len() as u64), rate, "{outcomes:?}");
        }
    }

    proptest! {
        #[test]
        fn rates_equal_their_definitions(n in 1..60_u32, c in 0..60_u32, k in 1..60_u32) {
            prop_assume!(c <= n && k <= n);
            let at = 1.0 - choose(n - c, k) / choose(n, k);
            let hat = choose(c, k) / choose(n, k);
            prop_assert!((pass_at_k(n, c, k).unwrap() - at).abs() < 1e-9);
            prop_assert!((pass_hat_k(n, c, k).unwrap() - hat).abs() < 1e-9);
        }
    }
}
