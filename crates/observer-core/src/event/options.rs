//! Options of the parser.

use std::sync::Arc;

use observer_redact::Redactor;
use serde::{Deserialize, Serialize};

/// Options of [`Submission::parse_with`](crate::Submission::parse_with). A clone shares the
/// phases and the redactor.
///
/// ```
/// use observer_core::{ParseOptions, Phases, Submission};
///
/// let event = r#"{"source":"bot","event_kind":"queued"}"#;
/// assert!(Submission::parse(event).is_err(), "an outcome needs `ok`");
///
/// let options = ParseOptions { phases: Phases::new(["queued"]), ..ParseOptions::default() };
/// assert!(Submission::parse_with(event, &options)?.event.is_phase());
/// # Ok::<(), observer_core::EventError>(())
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ParseOptions {
    /// Event kinds that are phases.
    pub phases: Phases,
    /// True if an optional field that can't be read makes the event invalid. Otherwise the field is
    /// absent, and there is a warning.
    pub strict: bool,
    /// Redactor of the secrets in `extra`, in `labels` and in unknown fields; none by default.
    ///
    /// ```
    /// use observer_core::redact::Redactor;
    /// use observer_core::{ParseOptions, Submission};
    ///
    /// let options = ParseOptions { redactor: Some(Redactor::default()), ..Default::default() };
    /// let event = r#"{"source":"s","event_kind":"ok","ok":true,"extra":{"api_key":"k-1"}}"#;
    /// let submission = Submission::parse_with(event, &options)?;
    /// assert_eq!(submission.event.extra(), Some(r#"{"api_key":"[redacted:api_key]"}"#));
    /// assert_eq!(
    ///     submission.warnings[0].detail,
    ///     "a secret was redacted: extra.api_key (rule api_key)"
    /// );
    /// # Ok::<(), observer_core::EventError>(())
    /// ```
    pub redactor: Option<Redactor>,
}

/// Event kinds that report the progress of a cycle and not its outcome.
///
/// By default they are `started`, `heartbeat` and `progress`. In a configuration, a list of strings.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(from = "Vec<String>", into = "Vec<String>")]
pub struct Phases(Kinds);

#[derive(Debug, Clone)]
enum Kinds {
    Default,
    /// Sorted, without repetitions.
    Given(Arc<[Box<str>]>),
}

/// Default phases, sorted.
const DEFAULT: [&str; 3] = ["heartbeat", "progress", "started"];

impl Phases {
    /// Creates a set of event kinds.
    pub fn new(kinds: impl IntoIterator<Item = impl Into<String>>) -> Self {
        let mut kinds: Vec<Box<str>> =
            kinds.into_iter().map(|kind| kind.into().into_boxed_str()).collect();
        kinds.sort_unstable();
        kinds.dedup();
        Self(Kinds::Given(kinds.into()))
    }

    /// Returns an empty set: every event is an outcome.
    #[must_use]
    pub fn none() -> Self {
        Self::new([""; 0])
    }

    /// Returns whether events of this kind are phases.
    #[must_use]
    pub fn contains(&self, event_kind: &str) -> bool {
        match &self.0 {
            Kinds::Default => DEFAULT.contains(&event_kind),
            Kinds::Given(kinds) => kinds.iter().any(|kind| **kind == *event_kind),
        }
    }

    /// Returns the event kinds in alphabetical order.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        let (default, given): (&[&str], &[Box<str>]) = match &self.0 {
            Kinds::Default => (&DEFAULT, &[]),
            Kinds::Given(kinds) => (&[], kinds),
        };
        default.iter().copied().chain(given.iter().map(|kind| &**kind))
    }
}

impl Default for Phases {
    /// Returns `started`, `heartbeat` and `progress`.
    fn default() -> Self {
        Self(Kinds::Default)
    }
}

impl PartialEq for Phases {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

impl Eq for Phases {}

impl From<Vec<String>> for Phases {
    fn from(kinds: Vec<String>) -> Self {
        Self::new(kinds)
    }
}

impl From<Phases> for Vec<String> {
    fn from(phases: Phases) -> Self {
        phases.iter().map(str::to_owned).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn default_phases_equal_the_same_phases_when_given() {
        let given: Phases =
            serde_json::from_str(r#"["started","progress","heartbeat","started"]"#).unwrap();
        assert_eq!(given, Phases::default());
        assert_ne!(given, Phases::none());
        for phases in [given, Phases::default()] {
            assert_eq!(
                serde_json::to_string(&phases).unwrap(),
                r#"["heartbeat","progress","started"]"#
            );
            assert!(phases.contains("started") && !phases.contains("ok"));
        }
        assert!(!Phases::none().contains("started"));
    }
}
