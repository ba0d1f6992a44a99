//! Following the journal: events in the order of their commits, from a position on.
//!
//! A follower has no position in the journal and holds no segments, so it delays neither a commit
//! nor retention. What expires before it is read is a gap.

use std::io;
use std::sync::Arc;

use observer_core::{Envelope, Position};

use crate::event_log::head::Head;
use crate::event_log::reader::{EventReader, Item};
use crate::pipeline::Pipeline;

/// Reader of the events after a position that waits for further ones.
pub struct Follower {
    reader: EventReader,
    head: Arc<Head>,
    /// Gap before the first event that the reader finds.
    lost: Option<Followed>,
}

/// Next item of a [`Follower`].
#[derive(Debug, Clone)]
pub enum Followed {
    /// Committed event.
    Event(Arc<Envelope>),
    /// Events that the journal no longer has.
    Gap {
        /// Sequence number of the first missing event.
        first_seq: u64,
        /// Sequence number of the last missing event. If the journal lost its end, later events
        /// have these sequence numbers again, in a new epoch.
        last_seq: u64,
        /// Reason for the gap.
        reason: GapReason,
    },
}

/// Reason why the journal no longer has some events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum GapReason {
    /// They were removed, because of their age or the size of the journal.
    Expired,
    /// The files that contained them are corrupt or missing.
    Lost,
}

impl GapReason {
    /// All reasons.
    pub const ALL: [Self; 2] = [Self::Expired, Self::Lost];

    /// Returns the name of the reason.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Expired => "expired",
            Self::Lost => "lost",
        }
    }
}

/// Error type for a position that the journal never had.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the journal never had the position {0}; follow it from its head")]
pub struct UnknownPosition(pub Position);

impl Pipeline {
    /// Returns the position of the last committed event.
    #[must_use]
    pub fn head(&self) -> Position {
        Position { epoch: self.journal().epoch(), seq: self.event_log().tail.head().get() }
    }

    /// Follows the journal from its head: the events that are committed from now on.
    #[must_use]
    pub fn follow_from_head(&self) -> Follower {
        self.follow_after(self.event_log().tail.head().get(), None)
    }

    /// Follows the journal after a position. One of an older epoch is converted: what the journal
    /// lost at its end after it is a gap at the beginning.
    ///
    /// # Errors
    /// If the journal never had the epoch or the event of the position.
    pub fn follow(&self, after: Position) -> Result<Follower, UnknownPosition> {
        let resolved = self.journal().resolve(after.epoch, after.seq);
        let (seq, lost) = resolved.ok_or(UnknownPosition(after))?;
        let lost = (lost > 0).then(|| Followed::Gap {
            first_seq: after.seq + 1,
            last_seq: after.seq + lost,
            reason: GapReason::Lost,
        });
        Ok(self.follow_after(seq, lost))
    }

    fn follow_after(&self, seq: u64, lost: Option<Followed>) -> Follower {
        let event_log = self.event_log();
        let head = event_log.tail.head();
        Follower { reader: EventReader::new(event_log, seq, u64::MAX), head, lost }
    }
}

impl Follower {
    /// Returns the next item, and waits for it at the head.
    ///
    /// Cancel safe: no item is lost.
    ///
    /// # Errors
    /// Returns the error of the operating system. No event is skipped, and the call can be
    /// repeated.
    pub async fn next(&mut self) -> io::Result<Followed> {
        loop {
            if let Some(item) = self.try_next().await? {
                return Ok(item);
            }
            self.head.reaches(self.reader.next_seq()).await;
        }
    }

    /// Returns the next item; `None` at the head.
    ///
    /// Cancel safe: no item is lost.
    ///
    /// # Errors
    /// As [`next`](Self::next).
    pub async fn try_next(&mut self) -> io::Result<Option<Followed>> {
        if self.lost.is_some() {
            return Ok(self.lost.take());
        }
        self.reader.peek().await?;
        Ok(self.reader.take().map(Followed::from))
    }

    /// Returns the sequence number after the last item that was returned.
    #[must_use]
    pub fn next_seq(&self) -> u64 {
        self.reader.next_seq()
    }
}

impl From<Item> for Followed {
    fn from(item: Item) -> Self {
        let first_seq = item.first_seq();
        match item {
            Item::Event(envelope) => Self::Event(envelope),
            Item::Gap { last_seq, reason, .. } => {
                let reason = match reason {
                    observer_journal::GapReason::Expired => GapReason::Expired,
                    observer_journal::GapReason::Corrupt => GapReason::Lost,
                };
                Self::Gap { first_seq, last_seq, reason }
            }
        }
    }
}

impl std::fmt::Debug for Follower {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Follower").field("next_seq", &self.next_seq()).finish_non_exhaustive()
    }
}
