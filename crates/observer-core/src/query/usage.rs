//! Tokens, cost and time by model, source, day or label.

use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};

use super::figures::is_zero;
use super::{Interval, Scope, Tokens};

/// Request for usage. An empty condition is none.
#[derive(Debug, Clone, PartialEq)]
pub struct UsageRequest {
    /// Sources that the caller may read.
    pub scope: Scope,
    /// What a row stands for.
    pub by: UsageBy,
    /// Source whose attempts alone are considered.
    pub source: Option<String>,
    /// Model whose attempts alone are considered.
    pub model: Option<String>,
    /// Earliest time of an attempt.
    pub since: Option<Timestamp>,
    /// Time before which an attempt was made.
    pub until: Option<Timestamp>,
    /// Time zone of days.
    pub tz: TimeZone,
    /// Largest number of rows, from 1 to [`MAX_LIMIT`](super::MAX_LIMIT). Of days, the latest ones
    /// are kept. The total counts all.
    pub limit: usize,
}

/// What a row of a usage report stands for.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum UsageBy {
    /// A model.
    Model,
    /// A source.
    Source,
    /// A day in a time zone.
    Day,
    /// A value of the label with this name.
    Label(String),
}

/// Usage by model, source, day or label.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct UsageReport {
    /// Rows: days in order, without those that have no attempt; others by cost, the highest first.
    pub rows: Vec<UsageFigures>,
    /// Total of all rows, those beyond the limit included. Its key is `null`.
    pub total: UsageFigures,
    /// Number of rows beyond the limit.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub omitted: u64,
}

/// One row of a usage report.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct UsageFigures {
    /// Model, source, day (`2026-01-31`) or value of the label; `null` for attempts without one.
    pub key: Option<String>,
    /// Number of attempts.
    pub attempts: u64,
    /// Number of solved attempts.
    pub solved: u64,
    /// Interval of the ratio of solved attempts.
    pub ci: Interval,
    /// Sums of tokens.
    pub tokens: Tokens,
    /// Cost in US dollars, reported and priced.
    pub cost: f64,
    /// Part of `cost` that is reported.
    pub reported: f64,
    /// Part of `cost` that is priced.
    pub priced: f64,
    /// Number of attempts without a known price.
    pub unpriced: u64,
    /// Tokens of the attempts without a known price, input and output.
    pub unpriced_tokens: u64,
    /// Sum of turns.
    pub turns: u64,
    /// Sum of durations in milliseconds.
    pub duration_ms: f64,
    /// Median duration in milliseconds; `null` if no attempt has a duration.
    pub p50_ms: Option<f64>,
    /// 95th percentile of the duration in milliseconds; `null` if no attempt has a duration.
    pub p95_ms: Option<f64>,
}
