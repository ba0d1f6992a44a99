//! Exact McNemar test.

use std::f64::consts::{LN_2, PI};

/// Returns the two-sided p-value of the exact McNemar test: the probability that, of `only_a +
/// only_b` fair coin tosses, the rarer side comes up at most as often as it did.
///
/// Source: Q. McNemar, Psychometrika 12 (1947), with the binomial distribution in place of its
/// approximation. Terms are computed as logarithms and relative to each other, so nothing
/// overflows; four billion problems on each side take a few milliseconds.
///
/// ```
/// use observer_figures::compare::mcnemar;
///
/// assert!((mcnemar(56, 68) - 0.323).abs() < 5e-4);
/// assert_eq!(mcnemar(0, 0), 1.0);
/// ```
#[must_use]
pub fn mcnemar(only_a: u32, only_b: u32) -> f64 {
    let n = f64::from(only_a) + f64::from(only_b);
    let rarer = f64::from(only_a.min(only_b));
    if only_a == only_b {
        return 1.0;
    }
    // The sum of P(X = k) for k = rarer, rarer − 1, … as multiples of the first.
    let (mut sum, mut term, mut k) = (1.0, 1.0, rarer);
    while k > 0.0 && term > sum * 1e-17 {
        term *= k / (n - k + 1.0);
        sum += term;
        k -= 1.0;
    }
    (2.0 * sum * ln_probability(rarer, n).exp()).min(1.0)
}

/// Returns the logarithm of the probability of `k` heads in `n` tosses of a fair coin.
///
/// Source: C. Loader, "Fast and accurate computation of binomial probabilities" (2000): the
/// difference of large factorials cancels in the deviance instead of in floating point.
fn ln_probability(k: f64, n: f64) -> f64 {
    if k == 0.0 || k == n {
        return -n * LN_2;
    }
    let half = n / 2.0;
    stirling_error(n)
        - stirling_error(k)
        - stirling_error(n - k)
        - deviance(k, half)
        - deviance(n - k, half)
        + 0.5 * (n / (2.0 * PI * k * (n - k))).ln()
}

/// Returns `ln n! − ln(√(2πn) (n/e)ⁿ)`.
fn stirling_error(n: f64) -> f64 {
    if n < 16.0 {
        let ln_factorial = (2..=n as u32).map(|i| f64::from(i).ln()).sum::<f64>();
        return ln_factorial - (0.5 * (2.0 * PI * n).ln() + n * n.ln() - n);
    }
    let n2 = n * n;
    (1.0 / 12.0 - (1.0 / 360.0 - (1.0 / 1260.0 - (1.0 / 1680.0) / n2) / n2) / n2) / n
}

/// Returns `x ln(x / mean) + mean − x` without cancellation near the mean.
fn deviance(x: f64, mean: f64) -> f64 {
    let difference = x - mean;
    if difference.abs() >= 0.1 * (x + mean) {
        return x * (x / mean).ln() - difference;
    }
    let v = difference / (x + mean);
    let mut sum = difference * v;
    let mut term = 2.0 * x * v;
    for j in 1..1_000 {
        term *= v * v;
        let next = sum + term / f64::from(2 * j + 1);
        if next == sum {
            break;
        }
        sum = next;
    }
    sum
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn p_values_of_known_counts_are_right() {
        // From rational arithmetic.
        for (a, b, p) in [
            (56, 68, 0.323_247_647_184_98),
            (0, 1, 1.0),
            (0, 6, 0.031_25),
            (2, 30, 2.463_348_209_9e-7),
            (300, 600, 8.196_500_619e-24),
            (7, 7, 1.0),
        ] {
            let actual = mcnemar(a, b);
            assert!((actual / p - 1.0).abs() < 1e-9, "{a} vs {b}: {actual}");
        }
    }

    #[test]
    fn large_counts_do_not_overflow() {
        assert_eq!(mcnemar(0, u32::MAX), 0.0);
        assert_eq!(mcnemar(u32::MAX, u32::MAX), 1.0);
        let p = mcnemar(u32::MAX - 100_000, u32::MAX);
        // 1.08 standard deviations, two-sided.
        assert!((p - 0.280_608).abs() < 1e-4, "{p}");
    }

    proptest! {
        #[test]
        fn p_equals_the_sum_of_probabilities(a in 0..60_u32, b in 0..60_u32) {
            let n = a + b;
            let mut row = vec![1_u128];
            for _ in 0..n {
                let inner = row.windows(2).map(|pair| pair[0] + pair[1]).collect::<Vec<_>>();
                row = [vec![1], inner, vec![1]].concat();
            }
            let tail: u128 = row[..=a.min(b) as usize].iter().sum();
            let expected = (2.0 * tail as f64 / 2_f64.powi(n as i32)).min(1.0);
            prop_assert!((mcnemar(a, b) - expected).abs() < 1e-10 * expected.max(1e-3));
        }
    }
}
