//! Positions in the journal.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Position of a sink: every event up to and including this one is resolved.
///
/// Sequence numbers are counted per epoch. A journal has a new epoch after it lost events at its
/// end, and another journal has another epoch, so a position never refers to the wrong event.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
pub struct Position {
    /// Epoch of the journal in which `seq` counts.
    pub epoch: u64,
    /// Sequence number of the last resolved event; 0 before the first one.
    pub seq: u64,
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.epoch, self.seq)
    }
}
