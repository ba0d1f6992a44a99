//! Clauses of the contract.

use std::fmt;

/// One requirement on every sink.
///
/// The [crate's documentation](crate#clauses) describes how each clause is verified.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Clause {
    /// Each event is stored once, in the order of delivery, for any sizes of batches and with gaps
    /// between sequence numbers.
    Order,
    /// Events that were delivered and flushed survive a crash of the sink.
    Durability,
    /// A delivery that was cancelled and repeated loses nothing, and the first appearances of its
    /// events are in order.
    Cancellation,
    /// A batch that is delivered again is accepted, and stores no event but its own.
    Redelivery,
    /// A batch of one event and the largest batch are accepted.
    BatchSizes,
    /// The smallest and the largest values of each field are stored unchanged.
    FieldValues,
    /// `check` succeeds if the destination is available, fails with a reason if it is not, and
    /// stores no event.
    Check,
    /// The position of a sink that keeps one is never ahead of the stored events, and events
    /// beyond it are not duplicated.
    Position,
    /// `close` returns in time.
    Close,
}

impl Clause {
    /// All clauses, in the order in which they are verified.
    pub const ALL: [Self; 9] = [
        Self::Order,
        Self::Durability,
        Self::Cancellation,
        Self::Redelivery,
        Self::BatchSizes,
        Self::FieldValues,
        Self::Check,
        Self::Position,
        Self::Close,
    ];

    /// Returns the name in reports of violations.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Order => "order",
            Self::Durability => "durability",
            Self::Cancellation => "cancellation",
            Self::Redelivery => "redelivery",
            Self::BatchSizes => "batch sizes",
            Self::FieldValues => "field values",
            Self::Check => "check",
            Self::Position => "position",
            Self::Close => "close",
        }
    }
}

impl fmt::Display for Clause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
