//! Counts of what happened in a run, for the final summary.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::Mutex;
use std::time::Duration;

use crate::sync::lock;

/// Counts by name, and the times of recovery.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    counts: Mutex<BTreeMap<String, u64>>,
    recoveries: Mutex<Vec<Duration>>,
}

impl Tally {
    /// Adds to a count.
    pub(crate) fn add(&self, what: impl Into<String>, count: u64) {
        *lock(&self.counts).entry(what.into()).or_default() += count;
    }

    /// Records the time from a start after a kill to the first response.
    pub(crate) fn recovered(&self, after: Duration) {
        lock(&self.recoveries).push(after);
    }

    pub(crate) fn get(&self, what: &str) -> u64 {
        lock(&self.counts).get(what).copied().unwrap_or(0)
    }

    /// Returns the summary: one line for each count.
    pub(crate) fn summary(&self) -> String {
        let mut text = String::new();
        for (what, count) in &*lock(&self.counts) {
            let _ = writeln!(text, "  {what:<64}{:>12}", grouped(*count));
        }
        let mut recoveries = lock(&self.recoveries).clone();
        recoveries.sort();
        if let (Some(median), Some(last)) =
            (recoveries.get(recoveries.len() / 2), recoveries.last())
        {
            let median = format!("{} ms", median.as_millis());
            let _ = writeln!(
                text,
                "  {:<64}{median:>12}",
                "time from a start after a kill to the first response: median"
            );
            let most = format!("{} ms", last.as_millis());
            let _ = writeln!(
                text,
                "  {:<64}{most:>12}",
                "time from a start after a kill to the first response: maximum"
            );
        }
        text
    }
}

/// Formats a number with separators: `1,234,567`.
pub(crate) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}
