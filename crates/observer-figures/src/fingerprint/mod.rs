//! Grouping of failures by what went wrong.
//!
//! The fingerprint of a failure is its kind and the first line of its error text, without what
//! differs from run to run: numbers, identifiers, hexadecimal digits, paths and addresses. It
//! groups failures *within* a problem; it never joins problems.

use std::fmt;

use sha2::{Digest as _, Sha256};

use crate::clean;

mod error_line;
mod find;
mod normalize;

pub use normalize::normalized;

/// Longest text of a failure, in characters.
pub const TEXT_LIMIT: usize = 160;

/// Version of the recipe. A change of it changes every fingerprint.
const RECIPE: &[u8] = b"failure 1\0";

/// Identity of a group of failures: 48 bits, shown as twelve hexadecimal digits.
///
/// ```
/// use observer_figures::fingerprint::Fingerprint;
///
/// let fingerprint = Fingerprint::of("tests_failed", Some("timed out after 30 s"));
/// assert_eq!(fingerprint, Fingerprint::of("tests_failed", Some("timed out after 31 s")));
/// assert_ne!(fingerprint, Fingerprint::of("crashed", Some("timed out after 30 s")));
/// assert_eq!(Fingerprint::from_u64(fingerprint.to_u64()), fingerprint);
/// assert_eq!(fingerprint.to_string().len(), 12);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fingerprint(u64);

impl Fingerprint {
    /// Returns the fingerprint of a kind and, if there is one, an error line.
    #[must_use]
    pub fn of(kind: &str, line: Option<&str>) -> Self {
        let mut hash = Sha256::new();
        hash.update(RECIPE);
        hash.update(kind);
        hash.update([0]);
        hash.update(line.map(normalized).unwrap_or_default());
        let digest = hash.finalize();
        Self(digest[..6].iter().fold(0, |value, &byte| value << 8 | u64::from(byte)))
    }

    /// Returns the fingerprint as a number below 2^48, for storage.
    #[must_use]
    pub fn to_u64(self) -> u64 {
        self.0
    }

    /// Returns the fingerprint of a stored number, of which the upper 16 bits are ignored.
    #[must_use]
    pub fn from_u64(value: u64) -> Self {
        Self(value & 0xffff_ffff_ffff)
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:012x}", self.0)
    }
}

/// What went wrong in one attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ErrorSummary {
    /// Group of the failure.
    pub fingerprint: Fingerprint,
    /// First line of the error, clean, of at most [`TEXT_LIMIT`] characters; `None` if the event
    /// holds no error text.
    pub text: Option<String>,
}

/// Returns what went wrong in a failed attempt, from its `event_kind` and the JSON text of its
/// `extra` or of the whole event.
///
/// The error text is the value of a field such as `error`, `failure_message`, `exception`,
/// `message`, `reason`, `stderr` or `traceback`, in this order, at any of six levels. The whole
/// event finds it in unknown fields of the top level, too. Text that is not JSON counts as none.
/// The work is bounded: 256 KiB of the JSON, 16 KiB and 200 lines of the text are read.
///
/// ```
/// use observer_figures::fingerprint::summarize;
///
/// let extra = r#"{"run":{"error":{"message":"\u001b[31mno such table: a1b2c3d4e5\nat x.rs"}}}"#;
/// let summary = summarize("tests_failed", extra);
/// assert_eq!(summary.text.as_deref(), Some("no such table: a1b2c3d4e5"));
/// let other = r#"{"stderr":"no such table: 0f9e8d7c6b"}"#;
/// assert_eq!(summarize("tests_failed", other).fingerprint, summary.fingerprint);
/// assert_eq!(summarize("tests_failed", "{}").text, None);
/// ```
#[must_use]
pub fn summarize(kind: &str, json: &str) -> ErrorSummary {
    let line = find::find(json).and_then(|found| error_line::error_line(&found));
    let text = line.as_deref().map(|line| clean::line(line, TEXT_LIMIT));
    let text = text.filter(|text| !text.is_empty());
    ErrorSummary { fingerprint: Fingerprint::of(kind, line.as_deref()), text }
}

#[cfg(test)]
mod tests;
