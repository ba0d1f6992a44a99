//! A histogram's new observations, as values that make the same histogram.
//!
//! The SDK takes single values alone, and of a Prometheus histogram only the counts of its buckets
//! and the sum are known. So for n new observations in a bucket a value of that bucket is given n
//! times, and the values are chosen so that the sum is right as well.

/// So many times this value.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Values {
    pub(super) value: f64,
    pub(super) times: u64,
}

/// Values for `counts` new observations, of which the last ones lie past the last of `bounds`, that
/// add up to `sum` as far as the buckets let them.
///
/// A bucket reaches from the bound before it, which isn't in it, to its own, which is. In each, the
/// value lies the same part of the way along; what is missing then lies in the last one, which has
/// no end.
pub(super) fn spread(bounds: &[f64], counts: &[u64], sum: f64) -> Vec<Values> {
    let buckets: Vec<_> = bounds
        .iter()
        .enumerate()
        .map(|(index, high)| (low(bounds, index), *high))
        .zip(counts)
        .collect();
    let past = counts.get(bounds.len()).copied().unwrap_or(0);
    let least_past = bounds.last().copied().unwrap_or(0.0).next_up();
    let total = |bound: fn(&(f64, f64)) -> f64| -> f64 {
        buckets.iter().map(|(bucket, count)| bound(bucket) * **count as f64).sum()
    };
    let (lows, highs) = (total(|bucket| bucket.0), total(|bucket| bucket.1));
    let part = (sum - past as f64 * least_past - lows) / (highs - lows);
    // Of nothing, or of what is no number, there is no part.
    let part = if part.is_finite() { part.clamp(0.0, 1.0) } else { 0.0 };
    let mut values = Vec::with_capacity(counts.len());
    let mut rest = sum;
    for (index, ((low, high), times)) in buckets.into_iter().enumerate() {
        let least = if index == 0 { low } else { low.next_up() };
        let value = (low + part * (high - low)).clamp(least, high);
        rest -= value * *times as f64;
        values.push(Values { value, times: *times });
    }
    let value = rest / past as f64;
    values.push(Values {
        value: if value.is_finite() { value.max(least_past) } else { least_past },
        times: past,
    });
    values.retain(|values| values.times > 0);
    values
}

/// Durations and sizes begin at zero.
fn low(bounds: &[f64], index: usize) -> f64 {
    match index.checked_sub(1) {
        Some(before) => bounds[before],
        None => bounds[0].min(0.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The same calls as the SDK's, and the histogram that they make.
    fn made(bounds: &[f64], values: &[Values]) -> (Vec<u64>, f64) {
        let (mut counts, mut sum) = (vec![0; bounds.len() + 1], 0.0);
        for Values { value, times } in values {
            for _ in 0..*times {
                counts[bounds.partition_point(|bound| bound < value)] += 1;
                sum += value;
            }
        }
        (counts, sum)
    }

    #[track_caller]
    fn check(observed: &[f64]) {
        let bounds = [0.005, 0.1, 1.0, 10.0];
        let mut counts = vec![0; 5];
        for value in observed {
            counts[bounds.partition_point(|bound| bound < value)] += 1;
        }
        let sum: f64 = observed.iter().sum();
        let (made_counts, made_sum) = made(&bounds, &spread(&bounds, &counts, sum));
        assert_eq!(made_counts, counts, "{observed:?}");
        assert!(
            (made_sum - sum).abs() <= 1e-9 * sum.max(1.0),
            "{made_sum} for {sum} of {observed:?}"
        );
    }

    #[test]
    fn counts_and_sum_are_those_of_what_was_observed() {
        check(&[]);
        check(&[0.0]);
        check(&[0.005]);
        check(&[0.005, 0.005_000_1]);
        check(&[0.1, 0.1, 1.0, 10.0]);
        check(&[10.000_001]);
        check(&[0.0, 1e9]);
        check(&[0.02, 0.03, 5.0, 7.0, 11.0, 1000.0]);
    }

    #[test]
    fn a_sum_that_can_not_be_leaves_every_value_in_its_bucket() {
        let bounds = [1.0, 2.0];
        for sum in [-1.0, 0.0, 1e300, f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            let values = spread(&bounds, &[1, 2, 0], sum);
            assert_eq!(made(&bounds, &values).0, [1, 2, 0], "{sum}");
        }
        assert_eq!(made(&bounds, &spread(&bounds, &[0, 0, 3], f64::NAN)).0, [0, 0, 3]);
        assert_eq!(spread(&[], &[2], 5.0), [Values { value: 2.5, times: 2 }]);
    }

    proptest::proptest! {
        #[test]
        fn whatever_was_observed_counts_are_exact_and_the_sum_is_within_rounding(
            observed in proptest::collection::vec(0.0..100.0_f64, 0..200),
            small in proptest::collection::vec(0.0..0.01_f64, 0..50),
        ) {
            check(&[observed, small].concat());
        }
    }
}
