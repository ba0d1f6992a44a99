//! Mergeable histogram of durations.
//!
//! # Buckets
//!
//! A bucket spans a factor of γ = 2^(1/8): eight buckets an octave from 2⁻¹⁰ ms (1 µs) to 2⁴² ms
//! (139 years), and bucket 0 for everything below. A quantile is the harmonic mean of the bounds of
//! its bucket, so its relative error is at most (γ − 1) / (γ + 1), 4.4 % (Masson, Rim, Lee:
//! "DDSketch", PVLDB 12 (2019)). The bucket of a value follows from its bits and a table of
//! constants, so it is the same on every machine.
//!
//! # Encoding
//!
//! One byte of version (1), then for each bucket that is not empty, in ascending order, two
//! variable-length integers (LEB128): the number of empty buckets since the previous one, and its
//! count. An empty sketch is the version alone. A sketch has one encoding; at most 417 buckets
//! bound it to 4.6 KiB, and a typical one takes less than 100 bytes.

use crate::bytes;

mod bucket;

use bucket::BUCKETS;

/// Version of the encoding.
const VERSION: u8 = 1;

/// Error of [`Sketch::decode`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SketchError {
    /// A version that this program does not know.
    #[error("sketch has version {0}, and this program reads version {VERSION}")]
    Version(u8),
    /// Bytes that no sketch encodes to.
    #[error("sketch is damaged")]
    Damaged,
}

/// Histogram of durations in milliseconds with a relative error of at most 5 %.
///
/// Adding and merging commute: any order gives the same sketch and the same bytes.
///
/// ```
/// use observer_figures::Sketch;
///
/// let (mut monday, mut tuesday) = (Sketch::new(), Sketch::new());
/// (1..=90).for_each(|n| monday.add(f64::from(n) * 1000.0));
/// (91..=100).for_each(|n| tuesday.add(f64::from(n) * 1000.0));
/// monday.merge(&tuesday);
/// assert_eq!(monday.count(), 100);
/// assert!((monday.p50().unwrap() / 50_000.0 - 1.0).abs() < 0.05);
/// assert!((monday.p95().unwrap() / 95_000.0 - 1.0).abs() < 0.05);
/// assert_eq!(Sketch::decode(&monday.encode())?, monday);
/// # Ok::<(), observer_figures::SketchError>(())
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sketch {
    /// Buckets that are not empty, ascending.
    buckets: Vec<(u16, u64)>,
}

impl Sketch {
    /// Creates an empty sketch.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a duration in milliseconds. Negative values and NaN count as 0.
    pub fn add(&mut self, ms: f64) {
        let bucket = bucket::of(ms);
        match self.position(bucket) {
            Ok(at) => self.buckets[at].1 = self.buckets[at].1.saturating_add(1),
            Err(at) => self.buckets.insert(at, (bucket, 1)),
        }
    }

    /// Removes a duration that was added before, for a correction. Returns whether its bucket held
    /// one.
    pub fn remove(&mut self, ms: f64) -> bool {
        let Ok(at) = self.position(bucket::of(ms)) else { return false };
        self.buckets[at].1 -= 1;
        if self.buckets[at].1 == 0 {
            self.buckets.remove(at);
        }
        true
    }

    fn position(&self, bucket: u16) -> Result<usize, usize> {
        self.buckets.binary_search_by_key(&bucket, |&(bucket, _)| bucket)
    }

    /// Adds everything in `other`.
    pub fn merge(&mut self, other: &Self) {
        for &(bucket, count) in &other.buckets {
            match self.position(bucket) {
                Ok(at) => self.buckets[at].1 = self.buckets[at].1.saturating_add(count),
                Err(at) => self.buckets.insert(at, (bucket, count)),
            }
        }
    }

    /// Removes everything in `other`, whose durations were added before.
    pub fn subtract(&mut self, other: &Self) {
        for bucket in &mut self.buckets {
            let part = other.position(bucket.0).map_or(0, |at| other.buckets[at].1);
            bucket.1 = bucket.1.saturating_sub(part);
        }
        self.buckets.retain(|&(_, count)| count > 0);
    }

    /// Returns the number of durations.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.buckets.iter().fold(0, |sum, &(_, count)| sum.saturating_add(count))
    }

    /// Reports whether the sketch holds no duration.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.buckets.is_empty()
    }

    /// Returns the median in milliseconds.
    #[must_use]
    pub fn p50(&self) -> Option<f64> {
        self.quantile(0.5)
    }

    /// Returns the 95th percentile in milliseconds.
    #[must_use]
    pub fn p95(&self) -> Option<f64> {
        self.quantile(0.95)
    }

    /// Returns a quantile in milliseconds by nearest rank: the smallest duration with at least
    /// `share` of all at or below it. `None` for an empty sketch; `share` is clamped to `[0, 1]`.
    #[must_use]
    pub fn quantile(&self, share: f64) -> Option<f64> {
        let rank = ((share.clamp(0.0, 1.0) * self.count() as f64).ceil() as u64).max(1);
        let mut seen = 0_u64;
        let found = self.buckets.iter().find(|&&(_, count)| {
            seen = seen.saturating_add(count);
            seen >= rank
        });
        // Rounding of a huge count may place the rank past the end.
        found.or(self.buckets.last()).map(|&(bucket, _)| bucket::centre(bucket))
    }

    /// Returns the encoding that [`decode`](Self::decode) reads.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(1 + 3 * self.buckets.len());
        out.push(VERSION);
        let mut next = 0;
        for &(bucket, count) in &self.buckets {
            bytes::put(&mut out, u64::from(bucket - next));
            bytes::put(&mut out, count);
            next = bucket + 1;
        }
        out
    }

    /// Reads an encoded sketch.
    ///
    /// # Errors
    ///
    /// If the version is unknown or the bytes are not the encoding of a sketch.
    pub fn decode(encoded: &[u8]) -> Result<Self, SketchError> {
        let mut reader = bytes::Reader(encoded);
        match reader.byte() {
            Some(VERSION) => {}
            Some(version) => return Err(SketchError::Version(version)),
            None => return Err(SketchError::Damaged),
        }
        let mut buckets = Vec::new();
        let mut next = 0_u64;
        while !reader.is_empty() {
            let entry = reader.get().zip(reader.get());
            let (distance, count) = entry.ok_or(SketchError::Damaged)?;
            let bucket = next.checked_add(distance).filter(|&at| at < u64::from(BUCKETS));
            match bucket {
                Some(bucket) if count > 0 => buckets.push((bucket as u16, count)),
                _ => return Err(SketchError::Damaged),
            }
            next = next + distance + 1;
        }
        Ok(Self { buckets })
    }
}

#[cfg(test)]
mod tests;
