//! Synthetic observations that reproduce a histogram.
//!
//! The SDK records single values, but a Prometheus histogram holds only bucket counts and a sum.
//! For n new observations in a bucket, one value of that bucket is recorded n times. The values are
//! chosen so that they add up to the sum.

/// Value with the number of its observations.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Values {
    pub(super) value: f64,
    pub(super) times: u64,
}

/// Returns values for `counts` new observations that add up to `sum` as far as the buckets permit.
/// The last count is that of the unbounded bucket above the last of `bounds`.
///
/// A bucket excludes its lower bound and includes its upper bound. The value lies at the same
/// fraction of each bucket, and the unbounded bucket takes the remainder.
pub(super) fn spread(bounds: &[f64], counts: &[u64], sum: f64) -> Vec<Values> {
    let buckets: Vec<_> = bounds
        .iter()
        .enumerate()
        .map(|(index, high)| (low(bounds, index), *high))
        .zip(counts)
        .collect();
    let unbounded = counts.get(bounds.len()).copied().unwrap_or(0);
    let min_unbounded = bounds.last().copied().unwrap_or(0.0).next_up();
    let total = |bound: fn(&(f64, f64)) -> f64| -> f64 {
        buckets.iter().map(|(bucket, count)| bound(bucket) * **count as f64).sum()
    };
    let (lows, highs) = (total(|bucket| bucket.0), total(|bucket| bucket.1));
    let fraction = (sum - unbounded as f64 * min_unbounded - lows) / (highs - lows);
    // Without observations, or with a sum that is not finite, there is no fraction.
    let fraction = if fraction.is_finite() { fraction.clamp(0.0, 1.0) } else { 0.0 };
    let mut values = Vec::with_capacity(counts.len());
    let mut remainder = sum;
    for (index, ((low, high), times)) in buckets.into_iter().enumerate() {
        let min = if index == 0 { low } else { low.next_up() };
        let value = (low + fraction * (high - low)).clamp(min, high);
        remainder -= value * *times as f64;
        values.push(Values { value, times: *times });
    }
    let value = remainder / unbounded as f64;
    values.push(Values {
        value: if value.is_finite() { value.max(min_unbounded) } else { min_unbounded },
        times: unbounded,
    });
    values.retain(|values| values.times > 0);
    values
}

/// Returns the lower bound of a bucket; that of the first one is zero, as for durations and sizes.
fn low(bounds: &[f64], index: usize) -> f64 {
    match index.checked_sub(1) {
        Some(before) => bounds[before],
        None => bounds[0].min(0.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Records the values like the SDK, and returns bucket counts and sum.
    fn record(bounds: &[f64], values: &[Values]) -> (Vec<u64>, f64) {
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
        let (recorded_counts, recorded_sum) = record(&bounds, &spread(&bounds, &counts, sum));
        assert_eq!(recorded_counts, counts, "{observed:?}");
        assert!(
            (recorded_sum - sum).abs() <= 1e-9 * sum.max(1.0),
            "{recorded_sum} for {sum} of {observed:?}"
        );
    }

    #[test]
    fn counts_and_sum_match_the_observations() {
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
    fn impossible_sum_keeps_every_value_in_its_bucket() {
        let bounds = [1.0, 2.0];
        for sum in [-1.0, 0.0, 1e300, f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            let values = spread(&bounds, &[1, 2, 0], sum);
            assert_eq!(record(&bounds, &values).0, [1, 2, 0], "{sum}");
        }
        assert_eq!(record(&bounds, &spread(&bounds, &[0, 0, 3], f64::NAN)).0, [0, 0, 3]);
        assert_eq!(spread(&[], &[2], 5.0), [Values { value: 2.5, times: 2 }]);
    }

    proptest::proptest! {
        #[test]
        fn counts_are_exact_and_the_sum_is_within_rounding(
            observed in proptest::collection::vec(0.0..100.0_f64, 0..200),
            small in proptest::collection::vec(0.0..0.01_f64, 0..50),
        ) {
            check(&[observed, small].concat());
        }
    }
}
