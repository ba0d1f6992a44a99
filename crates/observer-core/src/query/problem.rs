//! Problems by state, and what happened before on one problem.

use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::figures::is_zero;
use super::{Interval, Scope};
use crate::Uuid;

/// State of a problem. The thresholds are configuration of the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[non_exhaustive]
pub enum ProblemState {
    /// First seen recently.
    #[serde(rename = "new")]
    New,
    /// The last attempt failed.
    #[serde(rename = "failing")]
    Failing,
    /// Several attempts, all of which failed.
    #[serde(rename = "broken")]
    Broken,
    /// Successes and failures of one model and version within a short time.
    #[serde(rename = "flaky")]
    Flaky,
    /// One success after failures.
    #[serde(rename = "fixed?")]
    MaybeFixed,
    /// Several successes after failures, or a long time without a failure.
    #[serde(rename = "fixed")]
    Fixed,
    /// A failure after it was fixed.
    #[serde(rename = "regressed")]
    Regressed,
}

impl ProblemState {
    /// All states.
    pub const ALL: [Self; 7] = [
        Self::New,
        Self::Failing,
        Self::Broken,
        Self::Flaky,
        Self::MaybeFixed,
        Self::Fixed,
        Self::Regressed,
    ];

    /// Returns the name of the state.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::New => "new",
            Self::Failing => "failing",
            Self::Broken => "broken",
            Self::Flaky => "flaky",
            Self::MaybeFixed => "fixed?",
            Self::Fixed => "fixed",
            Self::Regressed => "regressed",
        }
    }

    /// Returns the state with this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == name)
    }
}

impl fmt::Display for ProblemState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Order of problems.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "lowercase")]
pub enum ProblemSort {
    /// Highest [`ProblemRow::wasted`] first.
    #[default]
    Wasted,
    /// Latest attempt first.
    Recent,
}

/// Request for problems. A problem must meet every condition; an empty list is no condition.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ProblemsRequest {
    /// Sources that the caller may read.
    pub scope: Scope,
    /// Accepted states.
    pub states: Vec<ProblemState>,
    /// Source that made an attempt.
    pub source: Option<String>,
    /// Model that made an attempt.
    pub model: Option<String>,
    /// Earliest time of the last attempt.
    pub since: Option<Timestamp>,
    /// Time before which the last attempt was made.
    pub until: Option<Timestamp>,
    /// Order of the result.
    pub sort: ProblemSort,
    /// Largest number of problems, from 1 to [`MAX_LIMIT`](super::MAX_LIMIT).
    pub limit: usize,
    /// [`ProblemPage::cursor`] of the page before.
    pub cursor: Option<String>,
}

/// Problems in the order that was asked for.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ProblemPage {
    /// The problems.
    pub problems: Vec<ProblemRow>,
    /// Where the next page begins; absent after the last page. The text is opaque.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
}

/// One problem among others.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ProblemRow {
    /// Hash of the problem.
    pub sig_hash: String,
    /// State of the problem.
    pub state: ProblemState,
    /// Time since which it is in this state.
    pub since: Timestamp,
    /// Time of the first attempt.
    pub first_seen: Timestamp,
    /// Time of the last attempt.
    pub last_seen: Timestamp,
    /// Number of attempts.
    pub attempts: u64,
    /// Number of solved attempts.
    pub solved: u64,
    /// Cost of all attempts in US dollars.
    pub cost: f64,
    /// Cost in US dollars while no attempt solved the problem; 0 once one did.
    pub wasted: f64,
    /// Number of attempts without a known price.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub unpriced: u64,
    /// Outcome (`event_kind`) of the last attempt.
    pub last_kind: String,
    /// Model of the last attempt.
    pub last_model: Option<String>,
}

/// Request for one problem.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ProblemRequest {
    /// Sources that the caller may read.
    pub scope: Scope,
    /// Hash of the problem.
    pub sig_hash: String,
    /// Model whose attempts alone are considered.
    pub model: Option<String>,
    /// Largest number of attempts in [`Problem::history`], newest first; 0 for none.
    pub history: usize,
    /// Largest number of changes in [`Problem::transitions`], newest first; 0 for none.
    pub transitions: usize,
}

/// What happened before on one problem.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "openapi", schema(as = Signature))]
pub struct Problem {
    /// Hash of the problem.
    pub sig_hash: String,
    /// State of the problem.
    pub state: ProblemState,
    /// Time since which it is in this state.
    pub since: Timestamp,
    /// Time of the first attempt.
    pub first_seen: Timestamp,
    /// Time of the last attempt.
    pub last_seen: Timestamp,
    /// Number of attempts.
    pub attempts: u64,
    /// Number of solved attempts.
    pub solved: u64,
    /// Interval of the ratio of solved attempts.
    pub ci: Interval,
    /// Cost of all attempts in US dollars.
    pub cost: f64,
    /// Cost in US dollars while no attempt solved the problem; 0 once one did.
    pub wasted: f64,
    /// Number of attempts without a known price.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub unpriced: u64,
    /// Cost of all attempts by solved attempts, in US dollars; `null` if none is solved.
    pub cost_per_solved: Option<f64>,
    /// Changes between success and failure by pairs of neighbouring attempts, from 0 to 1; `null`
    /// for a single attempt.
    pub flip_rate: Option<f64>,
    /// Figures by model; most attempts first.
    pub models: Vec<ProblemModel>,
    /// Failures in groups; the largest group first.
    pub failures: Vec<FailureGroup>,
    /// Attempt that solved the problem last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub solved_by: Option<SolvedBy>,
    /// Model to try next.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<NextModel>,
    /// Id of this state of knowledge, which a producer sends back as `labels.hint_id`.
    pub hint_id: String,
    /// Attempts, newest first; on request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub history: Option<Vec<Attempt>>,
    /// Changes of the state, newest first; on request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub transitions: Option<Vec<Transition>>,
}

/// Figures of one model on one problem.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ProblemModel {
    /// Model; `null` for attempts without one.
    pub model: Option<String>,
    /// Number of attempts.
    pub attempts: u64,
    /// Number of solved attempts.
    pub solved: u64,
    /// Interval of the ratio of solved attempts.
    pub ci: Interval,
    /// Cost of all attempts in US dollars.
    pub cost: f64,
    /// Median duration in milliseconds; `null` if no attempt has a duration.
    pub p50_ms: Option<f64>,
    /// 95th percentile of the duration in milliseconds; `null` if no attempt has a duration.
    pub p95_ms: Option<f64>,
    /// Time of the last attempt.
    pub last: Timestamp,
}

/// Failures with the same cause, as far as their text shows.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct FailureGroup {
    /// Outcome (`event_kind`).
    pub kind: String,
    /// Hash of the kind and of the first line of the error without digits, ids and paths.
    pub fingerprint: String,
    /// Number of failures.
    pub count: u64,
    /// First line of the last error, as the producer sent it; `null` without one.
    pub text: Option<String>,
    /// Time of the last failure.
    pub last: Timestamp,
}

/// Attempt that solved a problem.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct SolvedBy {
    /// Model of the attempt.
    pub model: Option<String>,
    /// Id of the event.
    pub event: Uuid,
    /// Time of the attempt.
    pub at: Timestamp,
    /// Cost of the attempt in US dollars.
    pub cost: Option<f64>,
}

/// Model to try next.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct NextModel {
    /// Model; `null` if there is no evidence for any.
    pub model: Option<String>,
    /// Reason with the number it rests on.
    pub why: String,
    /// Number of problems on which the reason rests.
    pub comparable_on: u64,
}

/// Request for the summary of one problem.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct SummaryRequest {
    /// Sources that the caller may read.
    pub scope: Scope,
    /// Hash of the problem.
    pub sig_hash: String,
    /// Model whose attempts alone are considered.
    pub model: Option<String>,
    /// How producers' text is marked as data.
    pub style: SummaryStyle,
    /// Largest number of characters.
    pub max_chars: usize,
}

/// How a summary marks text from producers as data.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum SummaryStyle {
    /// For a prompt: between `«` and `»`.
    #[default]
    Prompt,
    /// As Markdown: in code spans.
    Markdown,
}

/// Summary of what happened before on one problem.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// Text. A problem without attempts has one, too.
    pub text: String,
    /// Id of this state of knowledge, which a producer sends back as `labels.hint_id`; absent
    /// without attempts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint_id: Option<String>,
    /// Known signatures that resemble this one, if there are no attempts.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub similar: Vec<String>,
}

/// One attempt at a problem.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Attempt {
    /// Id of the event.
    pub event: Uuid,
    /// Time of the attempt.
    pub at: Timestamp,
    /// Producer.
    pub source: String,
    /// Outcome (`event_kind`).
    pub kind: String,
    /// True if the attempt solved the problem.
    pub ok: bool,
    /// Model.
    pub model: Option<String>,
    /// Value of `labels.version`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// Cost in US dollars, if it is reported or priced.
    pub cost: Option<f64>,
    /// Duration in milliseconds.
    pub duration_ms: Option<f64>,
    /// First line of the error.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// Event that this one corrects.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub corrects: Option<Uuid>,
}

/// Change of the state of a problem.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Transition {
    /// State since then.
    pub state: ProblemState,
    /// Time of the change.
    pub at: Timestamp,
    /// Event that caused it; absent if time alone did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub event: Option<Uuid>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn state_has_the_same_name_in_json_and_as_text() {
        for state in ProblemState::ALL {
            let json = serde_json::to_string(&state).unwrap();
            assert_eq!(json, format!("\"{state}\""));
            assert_eq!(ProblemState::from_name(state.as_str()), Some(state));
        }
        assert_eq!(ProblemState::from_name("healthy"), None);
    }
}
