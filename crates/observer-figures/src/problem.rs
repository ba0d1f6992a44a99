//! What is known of one problem: input of [`next`](crate::next) and [`summary`](crate::summary).

use jiff::Timestamp;

use crate::Spend;
use crate::fingerprint::Fingerprint;
use crate::next::Next;
use crate::state::Standing;

/// Figures of one model at one problem.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ModelFigures {
    /// Model, as the producer wrote it; empty if it named none.
    pub model: String,
    /// Attempts.
    pub attempts: u64,
    /// Attempts that succeeded.
    pub solved: u64,
    /// Cost of the attempts.
    pub spend: Spend,
    /// Event time of the last success.
    pub last_solved: Option<Timestamp>,
}

/// Failures of one kind with one fingerprint.
#[derive(Debug, Clone, PartialEq)]
pub struct Failure {
    /// `event_kind`, as the producer wrote it.
    pub kind: String,
    /// Group.
    pub fingerprint: Fingerprint,
    /// Failures in it.
    pub count: u64,
    /// Error line of the latest one.
    pub text: Option<String>,
    /// Event time of the latest one.
    pub last: Timestamp,
}

/// A success, with a pointer to its event.
#[derive(Debug, Clone, PartialEq)]
pub struct Worked {
    /// Model; empty if the producer named none.
    pub model: String,
    /// Id of the event.
    pub event: String,
    /// Event time.
    pub at: Timestamp,
    /// Cost in US dollars.
    pub cost: Option<f64>,
}

/// What is known of one problem.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Problem {
    /// Signature of the problem.
    pub sig_hash: String,
    /// Attempts.
    pub attempts: u64,
    /// Attempts that succeeded.
    pub solved: u64,
    /// Figures by model, in any order.
    pub models: Vec<ModelFigures>,
    /// Failures by group, in any order.
    pub failures: Vec<Failure>,
    /// The success to point at: the latest, or the cheapest.
    pub worked: Option<Worked>,
    /// Model to try next.
    pub next: Next,
    /// State.
    pub standing: Option<Standing>,
    /// Event time and id of the newest attempt.
    pub newest: Option<(Timestamp, String)>,
}
