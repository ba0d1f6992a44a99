//! How far a sink has come.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The last event that is settled for a sink: everything up to and including it is done.
///
/// The epoch tells apart two journals, or one journal before and after it lost its end: a sequence
/// number alone could mean another event by then.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
pub struct Position {
    /// Of the journal that counted `seq`.
    pub epoch: u64,
    /// Of the last settled event; 0 before the first.
    pub seq: u64,
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.epoch, self.seq)
    }
}
