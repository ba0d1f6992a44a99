//! Streams: the passes of a worker over the journal.
//!
//! The live stream delivers new events. While a replay runs, a second stream delivers retained
//! ones. Each has a reader, a checkpoint and an account of its own.

use std::collections::VecDeque;
use std::sync::Arc;

use observer_core::{Envelope, Filter};
use observer_journal::GapReason;
use tokio::time::Instant;

use crate::account::{Account, Checkpoint};
use crate::event_log::EventLog;
use crate::event_log::reader::{EventReader, Item};
use crate::replay::state::ReplaySelection;
use crate::worker::backoff::Backoff;

/// Selection of the events that a stream delivers.
#[derive(Clone, Default)]
pub(crate) struct EventSelector {
    /// Filter of the sink; `None` for a sink without one.
    pub(crate) filter: Option<Arc<Filter>>,
    /// Selection of the replay, for the stream of one.
    pub(crate) replay: Option<ReplaySelection>,
}

impl EventSelector {
    pub(crate) fn matches(&self, envelope: &Envelope) -> bool {
        self.filter.as_ref().is_none_or(|filter| filter.matches(&envelope.event))
            && self.replay.as_ref().is_none_or(|replay| replay.matches(envelope))
    }
}

/// One pass over a range of the journal: its reader, its checkpoint, and the counts of events that
/// are not part of the checkpoint yet.
pub(crate) struct Stream {
    event_log: EventLog,
    pub(crate) selector: EventSelector,
    /// Last sequence number of the range.
    last: u64,
    pub(crate) reader: EventReader,
    /// Last resolved event, with the account up to it.
    pub(crate) checkpoint: Checkpoint,
    /// Checkpoint at the last flush: the stream continues there after a flush that fails.
    pub(crate) flushed: Checkpoint,
    /// Counts of resolved events that have an unresolved one before them.
    pub(crate) ahead: Account,
    /// Runs of events that are not delivered, each by its last sequence number.
    skipped: VecDeque<(u64, Account)>,
}

impl Stream {
    pub(crate) fn new(
        event_log: EventLog,
        selector: EventSelector,
        checkpoint: Checkpoint,
        last: u64,
    ) -> Self {
        Self {
            reader: EventReader::new(event_log.clone(), checkpoint.seq, last),
            event_log,
            selector,
            last,
            checkpoint,
            flushed: checkpoint,
            ahead: Account::default(),
            skipped: VecDeque::new(),
        }
    }

    /// Returns whether all resolved events are flushed.
    pub(crate) fn is_flushed(&self) -> bool {
        self.checkpoint == self.flushed
    }

    /// Returns whether all events of the range are resolved.
    pub(crate) fn is_finished(&self) -> bool {
        self.checkpoint.seq >= self.last
    }

    /// Counts an item that is not delivered.
    pub(crate) fn skip(&mut self, sink: &str, item: &Item, counts: Account) {
        let last_seq = item.last_seq();
        if let Item::Gap { reason, .. } = item {
            let first_seq = item.first_seq();
            match reason {
                GapReason::Expired => tracing::error!(
                    sink,
                    first_seq,
                    last_seq,
                    "events expired before they were delivered: the journal is at its size limit"
                ),
                GapReason::Corrupt => {
                    tracing::error!(
                        sink,
                        first_seq,
                        last_seq,
                        "events can't be read from the journal"
                    );
                }
            }
        }
        match self.skipped.back_mut() {
            Some((last, account)) if *last + counts.resolved() == last_seq => {
                *last = last_seq;
                *account += counts;
            }
            _ => self.skipped.push_back((last_seq, counts)),
        }
    }

    /// Moves the checkpoint to `seq`: all events up to it are resolved.
    pub(crate) fn advance(&mut self, seq: u64) {
        let mut counts = std::mem::take(&mut self.ahead);
        while let Some((last, account)) =
            self.skipped.front().copied().filter(|(last, _)| *last <= seq)
        {
            debug_assert!(last <= seq);
            counts += account;
            self.skipped.pop_front();
        }
        self.checkpoint.advance(seq, counts);
    }

    /// Moves the stream to another checkpoint, which is flushed.
    pub(crate) fn restart_at(&mut self, checkpoint: Checkpoint) {
        self.checkpoint = checkpoint;
        self.flushed = checkpoint;
        self.discard_unresolved();
    }

    /// Moves the stream back to the last flush, since later deliveries may be lost.
    pub(crate) fn rewind(&mut self) {
        self.restart_at(self.flushed);
    }

    /// Discards everything after the checkpoint, so that it is read again.
    pub(crate) fn discard_unresolved(&mut self) {
        self.ahead = Account::default();
        self.skipped.clear();
        self.reader = EventReader::new(self.event_log.clone(), self.checkpoint.seq, self.last);
    }
}

/// Streams of a worker.
pub(crate) struct Streams {
    pub(crate) live: Stream,
    pub(crate) replay: Option<ReplayStream>,
    /// Stream that the worker processes at the moment.
    pub(crate) active: StreamKind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum StreamKind {
    Live,
    Replay,
}

/// Stream of a running replay.
pub(crate) struct ReplayStream {
    pub(crate) stream: Stream,
    /// Back-off of this stream alone, so that live events are delivered while a replayed one fails.
    pub(crate) backoff: Backoff,
    /// The last batch failed and has to be delivered again.
    pub(crate) postponed: bool,
    /// Time before which the stream is not processed.
    pub(crate) not_before: Instant,
}

impl Streams {
    pub(crate) fn new(live: Stream) -> Self {
        Self { live, replay: None, active: StreamKind::Live }
    }

    /// Returns the stream that the worker processes at the moment.
    pub(crate) fn active_stream(&mut self) -> &mut Stream {
        match (self.active, &mut self.replay) {
            (StreamKind::Replay, Some(replay)) => &mut replay.stream,
            _ => &mut self.live,
        }
    }

    pub(crate) fn are_flushed(&self) -> bool {
        self.live.is_flushed()
            && self.replay.as_ref().is_none_or(|replay| replay.stream.is_flushed())
    }

    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Stream> {
        [Some(&mut self.live), self.replay.as_mut().map(|replay| &mut replay.stream)]
            .into_iter()
            .flatten()
    }
}
