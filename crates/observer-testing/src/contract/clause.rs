//! Clauses of the contract.

use std::fmt;

/// One requirement on every sink.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Clause {
    /// Each event is stored once, in the order of delivery, for any sizes of batches and with gaps
    /// between sequence numbers.
    Order,
    /// Events that were delivered and flushed survive a crash of the sink.
    Durability,
    /// A delivery that was cancelled and repeated loses nothing, and the first appearances of its
    /// events are in order.
    ///
    /// Deliveries are cancelled after 0 to 24 polls. Then follows the same batch, a flush and the
    /// same batch, its halves, or a crash.
    Cancellation,
    /// A batch that is delivered again is accepted, and stores no event but its own.
    ///
    /// One batch is delivered twice in a row; others again after further batches, as after a failed
    /// flush.
    Redelivery,
    /// An event that the destination rejects is the only one that is not stored, and the sink says
    /// which it is.
    ///
    /// The sink may name the event in its receipt, count it as refused, or fail with an error that
    /// is not transient; the suite then delivers the batch in parts, as the pipeline does. Each
    /// index lies within the batch and is named once.
    Rejection,
    /// Events that a failed delivery names as accepted are stored, and are not needed again.
    ///
    /// The destination fails once it accepted a part of a batch. The suite then delivers the events
    /// that the error does not name.
    PartialAcceptance,
    /// A batch of one event and the largest batch are accepted.
    ///
    /// The largest batch has [`max_events`](crate::SinkContract::max_events).
    BatchSizes,
    /// The smallest and the largest values of each field are stored unchanged.
    ///
    /// They include control characters, numbers beyond the range of every type, and about
    /// [`max_event_bytes`](crate::SinkContract::max_event_bytes) of `extra`.
    FieldValues,
    /// `check` succeeds if the destination is available, fails in time with a reason if it is not,
    /// and stores no event.
    ///
    /// The error must be transient or blocked, because a permanent one concerns a batch. Once the
    /// destination is available again, `check` and deliveries succeed.
    Check,
    /// The position of a sink that keeps one is never ahead of the stored events, and events
    /// beyond it are not duplicated.
    ///
    /// This includes crashes after batches that were not flushed or were cancelled, and a new epoch
    /// with smaller sequence numbers.
    Position,
    /// `close` returns in time: without a delivery, after a flush, after a cancelled delivery.
    Close,
}

impl Clause {
    /// All clauses, in the order in which they are verified.
    pub const ALL: [Self; 11] = [
        Self::Order,
        Self::Durability,
        Self::Cancellation,
        Self::Redelivery,
        Self::Rejection,
        Self::PartialAcceptance,
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
            Self::Rejection => "rejection",
            Self::PartialAcceptance => "partial acceptance",
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
