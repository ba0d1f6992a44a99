//! Confidence interval of a solved ratio.

use std::fmt;

/// 97.5th percentile of the standard normal distribution: two-sided 95 %.
const Z: f64 = 1.959_963_984_540_054;

/// Bounds of a ratio, both within `[0, 1]`.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct Interval {
    /// Lower bound.
    pub low: f64,
    /// Upper bound.
    pub high: f64,
}

impl Interval {
    /// Returns the Wilson score interval of `solved` out of `attempts` at 95 %, or `None` without
    /// attempts. More `solved` than `attempts` counts as all of them.
    ///
    /// Source: E. B. Wilson, "Probable inference, the law of succession, and statistical
    /// inference", Journal of the American Statistical Association 22 (1927). Unlike the normal
    /// approximation it stays within `[0, 1]` and is useful for a handful of attempts.
    ///
    /// ```
    /// use observer_figures::Interval;
    ///
    /// assert_eq!(Interval::wilson(262, 616).unwrap().to_string(), "[0.387, 0.465]");
    /// assert_eq!(Interval::wilson(1, 1).unwrap().to_string(), "[0.207, 1.000]");
    /// assert_eq!(Interval::wilson(0, 0), None);
    /// ```
    #[must_use]
    pub fn wilson(solved: u64, attempts: u64) -> Option<Self> {
        if attempts == 0 {
            return None;
        }
        let n = attempts as f64;
        let ratio = solved.min(attempts) as f64 / n;
        let z2 = Z * Z;
        let centre = (ratio + z2 / (2.0 * n)) / (1.0 + z2 / n);
        let spread = ratio * (1.0 - ratio) / n + z2 / (4.0 * n * n);
        let margin = Z / (1.0 + z2 / n) * spread.sqrt();
        // Exact at the ends, where rounding would leave a remainder of 1e-17.
        let low = if solved == 0 { 0.0 } else { (centre - margin).max(0.0) };
        let high = if solved >= attempts { 1.0 } else { (centre + margin).min(1.0) };
        Some(Self { low, high })
    }

    /// Returns the interval of the difference of two ratios over different attempts, first minus
    /// second, at 95 %: with against without hints, one week against the next. `None` if either has
    /// no attempts. Bounds are within `[-1, 1]`; zero inside them means no difference as far as
    /// shown.
    ///
    /// Source: R. G. Newcombe, "Interval estimation for the difference between independent
    /// proportions", Statistics in Medicine 17 (1998), method 10.
    ///
    /// ```
    /// use observer_figures::Interval;
    ///
    /// let difference = Interval::of_difference((56, 70), (48, 80)).unwrap();
    /// assert_eq!(difference.to_string(), "[0.052, 0.334]");
    /// assert!(!difference.contains(0.0));
    /// ```
    #[must_use]
    pub fn of_difference(first: (u64, u64), second: (u64, u64)) -> Option<Self> {
        let ratio = |(solved, attempts): (u64, u64)| solved.min(attempts) as f64 / attempts as f64;
        let a = Self::wilson(first.0, first.1)?;
        let b = Self::wilson(second.0, second.1)?;
        let (p, q) = (ratio(first), ratio(second));
        Some(Self {
            low: p - q - (p - a.low).hypot(b.high - q),
            high: p - q + (a.high - p).hypot(q - b.low),
        })
    }

    /// Reports whether `ratio` lies within the bounds.
    #[must_use]
    pub fn contains(&self, ratio: f64) -> bool {
        (self.low..=self.high).contains(&ratio)
    }
}

impl fmt::Display for Interval {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{:.3}, {:.3}]", self.low, self.high)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn intervals_of_known_ratios_are_right() {
        for (solved, attempts, text) in [
            (262, 616, "[0.387, 0.465]"),
            (274, 616, "[0.406, 0.484]"),
            (73, 100, "[0.636, 0.807]"),
            (0, 1, "[0.000, 0.793]"),
            (1, 1, "[0.207, 1.000]"),
            (0, 10, "[0.000, 0.278]"),
            (7, 5, "[0.566, 1.000]"),
        ] {
            let interval = Interval::wilson(solved, attempts).unwrap();
            assert_eq!(interval.to_string(), text, "{solved}/{attempts}");
        }
    }

    #[test]
    fn differences_of_known_ratios_are_right() {
        // Table II of the source, method 10, without the first row, which the example holds.
        for (first, second, text) in [
            ((9, 10), (3, 10), "[0.171, 0.809]"),
            ((6, 7), (2, 7), "[0.058, 0.806]"),
            ((5, 56), (0, 29), "[-0.038, 0.193]"),
            ((0, 10), (0, 20), "[-0.161, 0.278]"),
            ((10, 10), (0, 20), "[0.679, 1.000]"),
        ] {
            let difference = Interval::of_difference(first, second).unwrap();
            assert_eq!(difference.to_string(), text, "{first:?} {second:?}");
        }
        assert_eq!(Interval::of_difference((1, 2), (0, 0)), None);
    }

    proptest! {
        #[test]
        fn interval_holds_the_ratio(attempts in 1_u64.., part in 0.0..=1.0_f64) {
            let solved = (attempts as f64 * part) as u64;
            let interval = Interval::wilson(solved, attempts).unwrap();
            let ratio = solved.min(attempts) as f64 / attempts as f64;
            prop_assert!(0.0 <= interval.low && interval.high <= 1.0);
            prop_assert!(interval.low <= ratio + 1e-12 && ratio <= interval.high + 1e-12);
        }
    }
}
