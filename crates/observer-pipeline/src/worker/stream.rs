//! One way through the journal to a sink: what is read next, what of it is settled, and what became
//! of that.

use std::collections::VecDeque;
use std::sync::Arc;

use observer_core::{Envelope, Filter};
use observer_journal::GapReason;

use crate::account::{Account, Place};
use crate::replay::state::ReplaySelection;
use crate::source::Source;
use crate::source::reader::{Feed, Item};
use crate::worker::backoff::Backoff;
use tokio::time::Instant;

/// Which events the sink gets.
#[derive(Clone, Default)]
pub(crate) struct Wanted {
    /// The sink's own; `None` for a sink that gets everything.
    pub(crate) filter: Option<Arc<Filter>>,
    /// Those of a replay alone.
    pub(crate) past: Option<ReplaySelection>,
}

impl Wanted {
    pub(crate) fn has(&self, envelope: &Envelope) -> bool {
        self.filter.as_ref().is_none_or(|filter| filter.matches(&envelope.event))
            && self.past.as_ref().is_none_or(|past| past.has(envelope))
    }
}

pub(crate) struct Lane {
    source: Source,
    pub(crate) wanted: Wanted,
    /// Where it ends.
    last: u64,
    pub(crate) feed: Feed,
    /// What is settled.
    pub(crate) place: Place,
    /// What was settled when the sink was flushed last: where it goes on after a flush that fails.
    pub(crate) flushed: Place,
    /// What became of events in hand that can't be settled yet, since one before them is open.
    pub(crate) open: Account,
    /// Runs of events that the sink doesn't get, by the last of each.
    skipped: VecDeque<(u64, Account)>,
}

impl Lane {
    pub(crate) fn new(source: Source, wanted: Wanted, place: Place, last: u64) -> Self {
        Self {
            feed: Feed::new(source.clone(), place.seq, last),
            source,
            wanted,
            last,
            place,
            flushed: place,
            open: Account::default(),
            skipped: VecDeque::new(),
        }
    }

    /// Whether all that is settled is flushed.
    pub(crate) fn is_flushed(&self) -> bool {
        self.place == self.flushed
    }

    /// Whether nothing is left of it.
    pub(crate) fn is_over(&self) -> bool {
        self.place.seq >= self.last
    }

    /// Take note of what the sink doesn't get.
    pub(crate) fn skip(&mut self, sink: &str, item: &Item, became: Account) {
        let last_seq = item.last_seq();
        if let Item::Gap { reason, .. } = item {
            let first_seq = item.first_seq();
            match reason {
                GapReason::Expired => tracing::error!(
                    sink,
                    first_seq,
                    last_seq,
                    "events expired before the sink had them: the journal is at its size limit"
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
            Some((last, account)) if *last + became.settled() == last_seq => {
                *last = last_seq;
                *account += became;
            }
            _ => self.skipped.push_back((last_seq, became)),
        }
    }

    /// Everything up to `seq` is settled.
    pub(crate) fn advance(&mut self, seq: u64) {
        let mut became = std::mem::take(&mut self.open);
        while let Some((last, account)) =
            self.skipped.front().copied().filter(|(last, _)| *last <= seq)
        {
            debug_assert!(last <= seq);
            became += account;
            self.skipped.pop_front();
        }
        self.place.advance(seq, became);
    }

    /// Begin somewhere else, with nothing settled since.
    pub(crate) fn begin(&mut self, place: Place) {
        self.place = place;
        self.flushed = place;
        self.drop_hand();
    }

    /// What was delivered since the last flush may be gone: go on there.
    pub(crate) fn rewind(&mut self) {
        self.begin(self.flushed);
    }

    /// Read again what is not settled.
    pub(crate) fn drop_hand(&mut self) {
        self.open = Account::default();
        self.skipped.clear();
        self.feed = Feed::new(self.source.clone(), self.place.seq, self.last);
    }
}

pub(crate) struct Lanes {
    pub(crate) present: Lane,
    pub(crate) past: Option<PastLane>,
    pub(crate) turn: Turn,
}

/// Whose turn it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Turn {
    Present,
    Past,
}

/// A replay while it runs.
pub(crate) struct PastLane {
    pub(crate) lane: Lane,
    /// Its own: what is new has to have its turn while an old event fails.
    pub(crate) backoff: Backoff,
    /// Its last batch failed, and comes again.
    pub(crate) is_put_off: bool,
    pub(crate) not_before: Instant,
}

impl Lanes {
    pub(crate) fn new(present: Lane) -> Self {
        Self { present, past: None, turn: Turn::Present }
    }

    /// The one whose turn it is.
    pub(crate) fn current(&mut self) -> &mut Lane {
        match (self.turn, &mut self.past) {
            (Turn::Past, Some(past)) => &mut past.lane,
            _ => &mut self.present,
        }
    }

    pub(crate) fn are_flushed(&self) -> bool {
        self.present.is_flushed() && self.past.as_ref().is_none_or(|past| past.lane.is_flushed())
    }

    pub(crate) fn each(&mut self) -> impl Iterator<Item = &mut Lane> {
        [Some(&mut self.present), self.past.as_mut().map(|past| &mut past.lane)]
            .into_iter()
            .flatten()
    }
}
