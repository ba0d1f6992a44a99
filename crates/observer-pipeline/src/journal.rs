//! The journal of events, whose appends carry the channel on which a producer waits.

use tokio::sync::oneshot;

use crate::error::Unavailable;

/// Journal whose appends carry an [`Answer`].
pub(crate) type Journal = observer_journal::Journal<Answer>;

/// Sends the result of one append to the request that waits for it.
pub(crate) type Answer = oneshot::Sender<Result<(), Unavailable>>;
