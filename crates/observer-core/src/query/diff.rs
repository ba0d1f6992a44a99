//! What changed since a moment.

use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::Scope;
use super::figures::is_zero;

/// Request for what changed since a moment.
#[derive(Debug, Clone, PartialEq)]
pub struct DiffRequest {
    /// Sources that the caller may read.
    pub scope: Scope,
    /// Moment that separates before from after.
    pub since: Timestamp,
    /// Source whose attempts alone are considered.
    pub source: Option<String>,
    /// Model whose attempts alone are considered.
    pub model: Option<String>,
    /// Changes to report; empty for all.
    pub changes: Vec<Change>,
    /// Largest number of entries, from 1 to [`MAX_LIMIT`](super::MAX_LIMIT).
    pub limit: usize,
}

/// Kind of a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Change {
    /// The last attempt before the moment was solved, the last one after it failed.
    Failed,
    /// The last attempt before the moment failed, the last one after it is solved.
    Fixed,
    /// The mean cost of an attempt is higher by a quarter or more.
    Dearer,
    /// The mean duration of an attempt is longer by a quarter or more.
    Slower,
    /// Attempts in a period of the same length before the moment, and none after it.
    NoLongerRun,
}

impl Change {
    /// All kinds, the most urgent first.
    pub const ALL: [Self; 5] =
        [Self::Failed, Self::Fixed, Self::Dearer, Self::Slower, Self::NoLongerRun];

    /// Returns the name of the kind.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Failed => "failed",
            Self::Fixed => "fixed",
            Self::Dearer => "dearer",
            Self::Slower => "slower",
            Self::NoLongerRun => "no_longer_run",
        }
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What changed since a moment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Diff {
    /// Moment that separates before from after.
    pub since: Timestamp,
    /// Changes in the order of [`Change::ALL`], the latest first.
    pub entries: Vec<DiffEntry>,
    /// Number of changes beyond the limit.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub omitted: u64,
}

/// Change of one problem. A problem can have several.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct DiffEntry {
    /// Hash of the problem.
    pub sig_hash: String,
    /// What changed.
    pub change: Change,
    /// Attempts before the moment, in a period as long as the one after it; if there are none, all
    /// attempts before the moment.
    pub before: DiffSide,
    /// Attempts since the moment; `null` if there are none.
    pub after: Option<DiffSide>,
}

/// Attempts on one side of the moment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct DiffSide {
    /// Number of attempts.
    pub attempts: u64,
    /// Number of solved attempts.
    pub solved: u64,
    /// Outcome (`event_kind`) of the last attempt.
    pub last_kind: String,
    /// Model of the last attempt.
    pub last_model: Option<String>,
    /// Time of the last attempt.
    pub last: Timestamp,
    /// Mean cost of the attempts with a known cost, in US dollars.
    pub mean_cost: Option<f64>,
    /// Mean duration of the attempts with one, in milliseconds.
    pub mean_ms: Option<f64>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn change_has_the_same_name_in_json_and_as_text() {
        for change in Change::ALL {
            assert_eq!(serde_json::to_string(&change).unwrap(), format!("\"{change}\""));
        }
    }
}
