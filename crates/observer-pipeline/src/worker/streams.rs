//! The two ways through the journal that a worker goes: with what is new, and with the past while
//! there is a replay.

use tokio::time::Instant;

use crate::worker::backoff::Backoff;
use crate::worker::stream::Lane;

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
