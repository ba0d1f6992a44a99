//! Violations of the contract, and the report without any.

use super::clause::Clause;

/// Clause that a sink violates.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{clause}: {scenario}\n    expected: {expected}\n    found:    {found}")]
pub struct Violation {
    /// Clause that is violated.
    pub clause: Clause,
    /// Actions of the suite that led to the violation.
    pub scenario: String,
    /// Result that the contract requires.
    pub expected: String,
    /// Result that was observed.
    pub found: String,
}

/// Error type of [`SinkContract::try_verify`](crate::SinkContract::try_verify): all violations, at
/// most one of each clause.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "the sink violates {} of {} clauses of its contract{}",
    .0.len(),
    Clause::ALL.len(),
    list(.0)
)]
pub struct Violations(pub Vec<Violation>);

fn list(violations: &[Violation]) -> String {
    violations.iter().map(|violation| format!("\n  {violation}")).collect()
}

/// Result of a verification without violations.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// Clauses that were not verified, or only in part, each with the reason.
    pub skipped: Vec<(Clause, &'static str)>,
}

/// Violation of the clause that is being verified.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) scenario: String,
    pub(crate) expected: String,
    pub(crate) found: String,
}

impl Failure {
    pub(crate) fn new(expected: impl Into<String>, found: impl Into<String>) -> Self {
        Self { scenario: String::new(), expected: expected.into(), found: found.into() }
    }
}

/// Adds the scenario to a failure.
pub(crate) trait InScenario {
    /// Sets the scenario of a failure that has none yet.
    fn in_scenario(self, scenario: impl Into<String>) -> Self;
}

impl<T> InScenario for Result<T, Failure> {
    fn in_scenario(self, scenario: impl Into<String>) -> Self {
        self.map_err(|failure| {
            if failure.scenario.is_empty() {
                Failure { scenario: scenario.into(), ..failure }
            } else {
                failure
            }
        })
    }
}

/// Extent to which a clause was verified.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Coverage {
    Full,
    /// Reason for which the clause, or a part of it, was skipped.
    Skipped(&'static str),
}
