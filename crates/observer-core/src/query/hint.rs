//! Attempts with a hint against those without.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Interval, Scope};

/// Request for the effect of hints.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct HintsRequest {
    /// Sources that the caller may read.
    pub scope: Scope,
    /// Source whose attempts alone are considered.
    pub source: Option<String>,
    /// Model whose attempts alone are considered.
    pub model: Option<String>,
    /// Earliest time of an attempt.
    pub since: Option<Timestamp>,
    /// Time before which an attempt was made.
    pub until: Option<Timestamp>,
}

/// Figures of attempts with a hint (`labels.hint_id`), and of those without.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Hints {
    /// Attempts with a hint.
    pub with: HintFigures,
    /// Attempts without one.
    pub without: HintFigures,
}

/// Figures of attempts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct HintFigures {
    /// Number of attempts.
    pub attempts: u64,
    /// Number of solved attempts.
    pub solved: u64,
    /// Interval of the ratio of solved attempts.
    pub ci: Interval,
    /// Cost of all attempts in US dollars, reported and priced.
    pub cost: f64,
    /// Number of attempts without a known price.
    pub unpriced: u64,
    /// Cost of all attempts by solved attempts, in US dollars; `null` if none is solved.
    pub cost_per_solved: Option<f64>,
}
