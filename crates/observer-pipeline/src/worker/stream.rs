//! Streams: the passes of a worker over the journal.
//!
//! The live stream delivers new events. While a replay runs, a second stream delivers retained
//! ones. Each has a reader, a checkpoint, an account and a [`Resolution`] of its own. They differ
//! in their policy: a failure blocks the live stream, and postpones a replay.

use std::collections::BTreeMap;
use std::sync::Arc;

use observer_core::{Envelope, Filter};
use observer_journal::GapReason;
use tokio::time::Instant;
use tracing::Span;

use crate::account::{Account, Checkpoint, Counts};
use crate::event_log::EventLog;
use crate::event_log::reader::{EventReader, Item};
use crate::replay::state::ReplaySelection;
use crate::spans;
use crate::worker::backoff::Backoff;
use crate::worker::resolution::{Fate, Policy, Resolution, Resolved};

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

/// One pass over a range of the journal: its reader, its checkpoint, and the results of events that
/// are not part of the checkpoint yet.
pub(crate) struct Stream {
    event_log: EventLog,
    pub(crate) selector: EventSelector,
    /// Last sequence number of the range.
    last: u64,
    pub(crate) reader: EventReader,
    pub(crate) resolution: Resolution<Arc<Envelope>>,
    /// Last event before the first unresolved one, with the account up to it.
    pub(crate) checkpoint: Checkpoint,
    /// Checkpoint at the last flush: the stream continues there after a flush that fails.
    pub(crate) flushed: Checkpoint,
    /// Runs of events after the checkpoint that are resolved or not delivered, by their first
    /// sequence number.
    runs: BTreeMap<u64, Run>,
    /// Span of the batch in hand, and the account before it.
    batch: Option<(Span, Account)>,
}

#[derive(Debug, Clone, Copy)]
struct Run {
    last: u64,
    counts: Counts,
}

impl Stream {
    pub(crate) fn new(
        event_log: EventLog,
        selector: EventSelector,
        checkpoint: Checkpoint,
        last: u64,
        policy: Policy,
    ) -> Self {
        Self {
            reader: EventReader::new(event_log.clone(), checkpoint.seq, last),
            event_log,
            selector,
            last,
            resolution: Resolution::new(policy),
            checkpoint,
            flushed: checkpoint,
            runs: BTreeMap::new(),
            batch: None,
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
    pub(crate) fn skip(&mut self, sink: &str, item: &Item, account: Account) {
        if let Item::Gap { reason, .. } = item {
            let (first_seq, last_seq) = (item.first_seq(), item.last_seq());
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
        self.add_run(item.first_seq(), item.last_seq(), account.into());
    }

    /// Counts resolved events, and moves the checkpoint as far as all events are resolved.
    pub(crate) fn resolve(&mut self, resolved: &[Resolved]) {
        for Resolved { seq, fate, is_aside } in resolved {
            if !is_aside {
                self.add_run(*seq, *seq, counts_of(*fate));
            }
        }
        self.advance();
    }

    /// Moves the checkpoint to the last event before the first unresolved one.
    pub(crate) fn advance(&mut self) {
        while let Some(first) = self.runs.first_entry() {
            if *first.key() != self.checkpoint.seq + 1 {
                break;
            }
            let Run { last, counts } = first.remove();
            self.checkpoint.advance(last, counts);
        }
        if self.batch.is_some() && self.resolution.is_idle() {
            self.end_batch(true);
        }
    }

    fn add_run(&mut self, first: u64, last: u64, counts: Counts) {
        if let Some((_, run)) = self.runs.range_mut(..first).next_back()
            && run.last + 1 == first
        {
            run.last = last;
            run.counts += counts;
            return;
        }
        self.runs.insert(first, Run { last, counts });
    }

    /// Begins the span of a batch, unless one is in hand.
    pub(crate) fn begin_batch(&mut self, span: impl FnOnce() -> Span) {
        if self.batch.is_none() {
            self.batch = Some((span(), self.checkpoint.account));
        }
    }

    /// Returns the span of the batch in hand.
    pub(crate) fn batch_span(&self) -> Span {
        self.batch.as_ref().map_or_else(Span::none, |(span, _)| span.clone())
    }

    pub(crate) fn end_batch(&mut self, is_complete: bool) {
        if let Some((span, before)) = self.batch.take() {
            spans::record_outcome(&span, before, is_complete.then_some(self.checkpoint.account));
        }
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
        self.end_batch(false);
        self.runs.clear();
        self.resolution.reset(self.checkpoint.seq);
        self.reader = EventReader::new(self.event_log.clone(), self.checkpoint.seq, self.last);
    }
}

fn counts_of(fate: Fate) -> Counts {
    let account = match fate {
        Fate::Delivered => Account { delivered: 1, ..Account::default() },
        Fate::Refused => Account { refused: 1, ..Account::default() },
        Fate::Dead => Account { dead: 1, ..Account::default() },
        Fate::SetAside => return Counts { set_aside: 1, ..Counts::default() },
    };
    account.into()
}

/// Streams of a worker.
pub(crate) struct Streams {
    pub(crate) live: Stream,
    pub(crate) replay: Option<ReplayStream>,
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
    /// Time before which the stream is not processed.
    pub(crate) not_before: Instant,
}

impl Streams {
    pub(crate) fn new(live: Stream) -> Self {
        Self { live, replay: None }
    }

    /// Returns a stream; the live one if there is no replay.
    pub(crate) fn get_mut(&mut self, kind: StreamKind) -> &mut Stream {
        match (kind, &mut self.replay) {
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
