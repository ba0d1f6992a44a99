//! Histogram of durations.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Upper bounds of the buckets, in microseconds.
const BOUNDS: [u64; 17] = [
    100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000,
    1_000_000, 2_500_000, 5_000_000, 10_000_000, 30_000_000,
];

/// Histogram of durations from 100 µs to 30 s, to which several threads can add.
#[derive(Debug, Default)]
pub struct Durations {
    buckets: [AtomicU64; BOUNDS.len() + 1],
    micros: AtomicU64,
}

/// State of a [`Durations`] at one time.
#[derive(Debug, Clone, PartialEq)]
pub struct DurationsSnapshot {
    /// Upper bound of each bucket in seconds, with the cumulative number of durations up to it.
    pub buckets: Vec<(f64, u64)>,
    /// Number of durations.
    pub count: u64,
    /// Sum of all durations, in seconds.
    pub sum: f64,
}

impl Durations {
    /// Adds a duration.
    pub fn record(&self, duration: Duration) {
        let micros = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        let bucket = BOUNDS.partition_point(|bound| *bound < micros);
        self.buckets[bucket].fetch_add(1, Ordering::Relaxed);
        self.micros.fetch_add(micros, Ordering::Relaxed);
    }

    /// Returns the current state.
    #[must_use]
    pub fn snapshot(&self) -> DurationsSnapshot {
        let mut count = 0;
        let mut cumulative = |bucket: &AtomicU64| {
            count += bucket.load(Ordering::Relaxed);
            count
        };
        let buckets = BOUNDS
            .iter()
            .zip(&self.buckets)
            .map(|(bound, bucket)| (*bound as f64 / 1e6, cumulative(bucket)))
            .collect();
        let count = cumulative(&self.buckets[BOUNDS.len()]);
        DurationsSnapshot { buckets, count, sum: self.micros.load(Ordering::Relaxed) as f64 / 1e6 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn duration_counts_in_the_first_bucket_that_holds_it() {
        let durations = Durations::default();
        for micros in [100, 101, 40_000_000] {
            durations.record(Duration::from_micros(micros));
        }
        let snapshot = durations.snapshot();
        assert_eq!(snapshot.buckets[..2], [(0.0001, 1), (0.00025, 2)]);
        assert_eq!((snapshot.buckets.last().unwrap().1, snapshot.count), (2, 3));
        assert!((snapshot.sum - 40.000_201).abs() < 1e-9);
    }
}
