//! Figures of models, and the comparison of two of them.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::figures::is_zero;
use super::{Interval, QueryError, Scope, Tokens};

/// Request for figures of models.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ModelsRequest {
    /// Sources that the caller may read.
    pub scope: Scope,
    /// Source whose attempts alone are considered.
    pub source: Option<String>,
    /// Problem whose attempts alone are considered.
    pub sig_hash: Option<String>,
    /// Earliest time of an attempt.
    pub since: Option<Timestamp>,
    /// Time before which an attempt was made. Problems count by the first and the last attempt of a
    /// model, and as solved if its last success is not before `since`.
    pub until: Option<Timestamp>,
    /// True for a row by model and source, not by model alone.
    pub by_source: bool,
    /// Two models to compare on the problems that both tried.
    pub compare: Option<(String, String)>,
}

impl ModelsRequest {
    /// Returns the models to compare, given by the parameters `a` and `b`.
    ///
    /// # Errors
    /// If one is given without the other, or both are the same.
    pub fn pair(
        a: Option<String>,
        b: Option<String>,
    ) -> Result<Option<(String, String)>, QueryError> {
        match (a, b) {
            (Some(a), Some(b)) if a == b => {
                Err(QueryError::bad_request("b", "is the same model as `a`; name another"))
            }
            (Some(a), Some(b)) => Ok(Some((a, b))),
            (None, None) => Ok(None),
            (Some(_), None) => Err(QueryError::bad_request("b", "is missing beside `a`")),
            (None, Some(_)) => Err(QueryError::bad_request("a", "is missing beside `b`")),
        }
    }
}

/// Figures of models.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Models {
    /// Figures by model; most attempts first.
    pub models: Vec<ModelFigures>,
    /// Comparison of two models; on request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub comparison: Option<Comparison>,
}

/// Figures of one model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ModelFigures {
    /// Model; `null` for attempts without one.
    pub model: Option<String>,
    /// Source; on request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// Number of attempts.
    pub attempts: u64,
    /// Number of solved attempts.
    pub solved: u64,
    /// Interval of the ratio of solved attempts.
    pub ci: Interval,
    /// Cost of all attempts in US dollars, reported and priced.
    pub cost: f64,
    /// Part of `cost` that is reported.
    pub reported: f64,
    /// Part of `cost` that is priced.
    pub priced: f64,
    /// Number of attempts without a known price.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub unpriced: u64,
    /// Cost of all attempts by solved attempts, in US dollars; `null` if none is solved.
    pub cost_per_solved: Option<f64>,
    /// Sums of tokens.
    pub tokens: Tokens,
    /// Sum of turns.
    pub turns: u64,
    /// Median duration in milliseconds; `null` if no attempt has a duration.
    pub p50_ms: Option<f64>,
    /// 95th percentile of the duration in milliseconds; `null` if no attempt has a duration.
    pub p95_ms: Option<f64>,
    /// Number of problems that the model tried.
    pub problems: u64,
    /// Number of problems that this model and another one of the result tried: those on which they
    /// can be compared.
    pub comparable_on: u64,
}

/// Comparison of two models on the problems that both tried, by an exact McNemar test. A model
/// solved a problem if one of its attempts did.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Comparison {
    /// First model.
    pub a: String,
    /// Second model.
    pub b: String,
    /// Result of the test.
    pub verdict: Verdict,
    /// Number of problems that both tried.
    pub common: u64,
    /// Number of common problems that both solved.
    pub both: u64,
    /// Number of common problems that `a` alone solved.
    pub only_a: u64,
    /// Number of common problems that `b` alone solved.
    pub only_b: u64,
    /// Number of common problems that neither solved.
    pub neither: u64,
    /// Probability of a difference at least as large, if both were equally good; `null` without
    /// common problems.
    pub p: Option<f64>,
    /// Cost per solved attempt of `a` on common problems, in US dollars.
    pub a_cost_per_solved: Option<f64>,
    /// The same of `b`.
    pub b_cost_per_solved: Option<f64>,
    /// The result in a sentence.
    pub text: String,
}

/// Result of a comparison.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Verdict {
    /// No common problems.
    NotComparable,
    /// Too few common problems.
    NotEnough,
    /// No difference beyond chance.
    Same,
    /// A difference of one run each that another run could reverse.
    WithinOneRun,
    /// A difference in favour of the model that had more attempts at each problem.
    UnequalAttempts,
    /// The first model solves more.
    ABetter,
    /// The second model solves more.
    BBetter,
}
