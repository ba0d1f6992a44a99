//! Histogram of the durations of cycles.

use serde::{Deserialize, Serialize};

use crate::aggregate::sum::Sum;

/// Upper bounds of the buckets in seconds, from 100 ms to two hours. Longer durations are in `+Inf`
/// only.
pub(crate) const BOUNDS: [f64; 16] = [
    0.1, 0.25, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1200.0, 1800.0, 3600.0,
    7200.0,
];

/// Histogram of durations.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Durations {
    /// Numbers of durations by bucket, not cumulative. The last bucket has no upper bound.
    counts: [u64; BOUNDS.len() + 1],
    seconds: Sum,
}

impl Durations {
    pub(crate) fn add(&mut self, seconds: f64) {
        let bucket = BOUNDS.partition_point(|bound| *bound < seconds);
        self.counts[bucket] = self.counts[bucket].saturating_add(1);
        self.seconds.add(seconds);
    }

    /// Returns each bound with the number of durations up to and including it.
    pub(crate) fn cumulative(&self) -> impl Iterator<Item = (f64, u64)> {
        BOUNDS.into_iter().zip(self.counts).scan(0_u64, |total, (bound, count)| {
            *total = total.saturating_add(count);
            Some((bound, *total))
        })
    }

    pub(crate) fn count(&self) -> u64 {
        self.counts.iter().fold(0, |total, count| total.saturating_add(*count))
    }

    pub(crate) fn seconds(&self) -> f64 {
        self.seconds.value()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bound_belongs_to_its_own_bucket() {
        let mut durations = Durations::default();
        for seconds in [0.0, 0.1, 0.101, 7200.0, 7200.5, 1e9] {
            durations.add(seconds);
        }
        let cumulative: Vec<_> = durations.cumulative().collect();
        assert_eq!(cumulative[0], (0.1, 2));
        assert_eq!(cumulative[1], (0.25, 3));
        assert_eq!(cumulative[14], (3600.0, 3));
        assert_eq!(cumulative[15], (7200.0, 4));
        assert_eq!(durations.count(), 6);
        assert_eq!(durations.seconds(), 1_000_014_400.701);
    }
}
