//! Problems: one row each, with what lists and comparisons need.
//!
//! New attempts that follow the known ones are added to the row at constant cost. After a late
//! arrival or a correction the row is computed anew from the attempts
//! ([`attempts`](crate::attempts)), of which the newest [`NEWEST`] are read.
//!
//! Counts and sums include attempts whose events were deleted by age or size, as long as one event
//! is left.

mod encoding;
mod row;
mod update;

pub(crate) use self::encoding::ModelEntry;
pub(crate) use self::row::{ProblemRecord, each_entries};
pub(crate) use self::update::{Computer, Replaced, fold_attempt};

/// Attempts at a problem that are read at most.
pub(crate) const NEWEST: usize = 2_000;
