//! What happened, in figures.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::Mutex;
use std::time::Duration;

/// Counts by what they are of, in the order of their names.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    counts: Mutex<BTreeMap<String, u64>>,
    recoveries: Mutex<Vec<Duration>>,
}

impl Tally {
    pub(crate) fn add(&self, what: impl Into<String>, count: u64) {
        *self
            .counts
            .lock()
            .expect("nothing panics while it counts")
            .entry(what.into())
            .or_default() += count;
    }

    /// It took this long from the start after a kill to the first answer.
    pub(crate) fn recovered(&self, after: Duration) {
        self.recoveries.lock().expect("nothing panics while it counts").push(after);
    }

    pub(crate) fn get(&self, what: &str) -> u64 {
        self.counts.lock().expect("nothing panics while it counts").get(what).copied().unwrap_or(0)
    }

    pub(crate) fn shown(&self) -> String {
        let mut text = String::new();
        for (what, count) in &*self.counts.lock().expect("nothing panics while it counts") {
            let _ = writeln!(text, "  {what:<64}{:>12}", grouped(*count));
        }
        let mut recoveries =
            self.recoveries.lock().expect("nothing panics while it counts").clone();
        recoveries.sort();
        if let (Some(median), Some(last)) =
            (recoveries.get(recoveries.len() / 2), recoveries.last())
        {
            let median = format!("{} ms", median.as_millis());
            let _ = writeln!(
                text,
                "  {:<64}{median:>12}",
                "from start after a kill to the first answer: median"
            );
            let most = format!("{} ms", last.as_millis());
            let _ = writeln!(text, "  {:<64}{most:>12}", "… at most");
        }
        text
    }
}

/// `1,234,567`.
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
