//! The clauses, and how a violation of one is told.

use std::fmt;

/// One thing that is expected of every sink.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Clause {
    /// Events are held once each, in the order in which they were delivered, whatever the sizes of
    /// batches and gaps between numbers.
    Order,
    /// What was delivered and flushed is there after the sink was dropped without `close` and built
    /// again.
    Durable,
    /// A delivery is dropped half-way and repeated: nothing is missing, and first appearances are
    /// in order.
    Cancelled,
    /// The same batch again is accepted, and adds nothing but repeats.
    Repeated,
    /// A batch of one and the largest batch.
    Sizes,
    /// The smallest and the largest fields arrive as they were sent.
    Fields,
    /// `check` tells a far side that can be reached from one that can't, says why, and leaves no
    /// event behind.
    Check,
    /// A sink that keeps its position is never ahead of what is held, and doesn't double what is
    /// held past it.
    Position,
    /// `close` ends in time.
    Close,
}

impl Clause {
    /// Each of them.
    pub const ALL: [Self; 9] = [
        Self::Order,
        Self::Durable,
        Self::Cancelled,
        Self::Repeated,
        Self::Sizes,
        Self::Fields,
        Self::Check,
        Self::Position,
        Self::Close,
    ];
}

impl fmt::Display for Clause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Order => "order",
            Self::Durable => "durable",
            Self::Cancelled => "cancelled",
            Self::Repeated => "repeated",
            Self::Sizes => "sizes",
            Self::Fields => "fields",
            Self::Check => "check",
            Self::Position => "position",
            Self::Close => "close",
        })
    }
}

/// A clause that a sink doesn't keep.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{clause}: {when}\n    expected: {expected}\n    found:    {found}")]
pub struct Violation {
    /// Which one.
    pub clause: Clause,
    /// What the suite had done.
    pub when: String,
    /// What should have been.
    pub expected: String,
    /// What was.
    pub found: String,
}

/// All that was found wrong with a sink, at most one violation of each clause.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the sink breaks its contract in {} of {} clauses{}", .0.len(), Clause::ALL.len(), list(.0))]
pub struct Violations(pub Vec<Violation>);

fn list(violations: &[Violation]) -> String {
    violations.iter().map(|violation| format!("\n  {violation}")).collect()
}

/// A sink kept all clauses that could be tried.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// What could not be tried, with the reason.
    pub skipped: Vec<(Clause, &'static str)>,
}

/// A violation before it is known of which clause.
#[derive(Debug)]
pub(crate) struct Broken {
    pub(crate) when: String,
    pub(crate) expected: String,
    pub(crate) found: String,
}

impl Broken {
    pub(crate) fn new(expected: impl Into<String>, found: impl Into<String>) -> Self {
        Self { when: String::new(), expected: expected.into(), found: found.into() }
    }
}

/// What had been done when it broke.
pub(crate) trait When {
    fn when(self, when: impl Into<String>) -> Self;
}

impl<T> When for Result<T, Broken> {
    /// The innermost word stays.
    fn when(self, when: impl Into<String>) -> Self {
        self.map_err(|broken| {
            if broken.when.is_empty() { Broken { when: when.into(), ..broken } } else { broken }
        })
    }
}

/// A clause was tried, or only in part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tried {
    Whole,
    LeftOut(&'static str),
}
