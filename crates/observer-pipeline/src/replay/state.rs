//! A replay: what a sink gets again of the retained past, or gets although it was added later.
//!
//! It is a second way through the journal, up to where the sink stood when the replay began; what
//! comes after that the sink gets anyhow. The two take turns, batch by batch, each in the journal's
//! order. How far a replay has come is kept as the position of a reader of its own, so the journal
//! keeps what it still needs, and it goes on after a restart. Position and account of the sink know
//! nothing of it: a replay has its own account.

use observer_core::{Envelope, Filter, Timestamp};
use serde::{Deserialize, Serialize};

use crate::account::{Account, Place};
use crate::error::Failure;
use crate::journal::Journal;

/// Which past events a sink is to get: those that were received in some time, and pass a filter.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ReplaySelection {
    /// Received at this time or later.
    pub since: Timestamp,
    /// Received before this time, if there is one.
    pub until: Option<Timestamp>,
    /// Of these, the ones that pass it. The sink's own filter holds, too.
    #[serde(default)]
    pub filter: Filter,
}

/// How a replay is doing.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct ReplayStatus {
    /// What it is for.
    pub selection: ReplaySelection,
    /// Whether it goes on.
    pub state: ReplayState,
    /// Why it has stopped, or what holds it up.
    pub failure: Option<Failure>,
    /// How many events it goes through.
    pub events: u64,
    /// What became of those that it is past. What is neither in the time nor passes the filters is
    /// `filtered`.
    pub account: Account,
    /// How many it is not past yet.
    pub pending: u64,
    /// The last event that it is past.
    pub seq: u64,
    /// When it was asked for.
    pub begun_at: Timestamp,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
    /// It was to reach further back than the journal does: what was received before this is gone.
    pub gone_before: Option<Timestamp>,
}

/// Whether a replay goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ReplayState {
    /// It goes on, or will when its sink is there again.
    Running,
    /// It has come to its end.
    Done,
    /// It can't go on.
    Stopped,
    /// Someone ended it.
    Cancelled,
}

impl ReplayState {
    /// All states.
    pub const ALL: [Self; 4] = [Self::Running, Self::Done, Self::Stopped, Self::Cancelled];

    /// Returns the name of the state, as the API shows it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Done => "done",
            Self::Stopped => "stopped",
            Self::Cancelled => "cancelled",
        }
    }
}

/// A replay as it is kept with its position.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Kept {
    /// What is settled of it. Durably, it is what was flushed.
    #[serde(flatten)]
    pub(crate) place: Place,
    /// Of `last`.
    epoch: u64,
    /// Where it ends.
    pub(crate) last: u64,
    pub(crate) past: ReplaySelection,
    begun_at: Timestamp,
    gone_before: Option<Timestamp>,
    state: ReplayState,
    ended_at: Option<Timestamp>,
    /// Why it has stopped.
    reason: Option<String>,
    #[serde(skip)]
    pub(crate) trouble: Option<Failure>,
}

impl Kept {
    pub(crate) fn begin(
        past: ReplaySelection,
        first: u64,
        last: u64,
        gone_before: Option<Timestamp>,
    ) -> Self {
        Self {
            place: Place::start((first - 1).min(last)),
            epoch: 0,
            last,
            past,
            begun_at: Timestamp::now(),
            gone_before,
            state: ReplayState::Running,
            ended_at: None,
            reason: None,
            trouble: None,
        }
    }

    /// The one that a sink had last, in terms of the present epoch.
    pub(crate) fn load(journal: &Journal, sink: &str) -> Option<Self> {
        let stored = journal.position(&reader(sink))?;
        let mut kept: Self = serde_json::from_slice(&stored.state).ok()?;
        // What the journal has lost takes no part; what has its numbers by now is new.
        let last = journal.resolve(kept.epoch, kept.last, u64::MAX).unwrap_or(0);
        kept.last = last.min(journal.head()).max(stored.seq);
        kept.place.seq = stored.seq;
        Some(kept)
    }

    pub(crate) fn is_running(&self) -> bool {
        self.state == ReplayState::Running
    }

    pub(crate) fn end(&mut self, state: ReplayState, reason: Option<String>) {
        (self.state, self.ended_at, self.reason) = (state, Some(Timestamp::now()), reason);
    }

    /// Keep it with what is durable of it; once it has ended, no events are held for it.
    pub(crate) fn keep(&self, journal: &Journal, sink: &str, flushed: Place) {
        let name = reader(sink);
        let kept = Self { place: flushed, epoch: journal.epoch(), ..self.clone() };
        let state = serde_json::to_vec(&kept).expect("times, numbers and a filter can be JSON");
        if !self.is_running() {
            journal.release(&name);
        }
        journal.set_position(&name, flushed.seq, state.into());
    }

    pub(crate) fn shown(&self) -> ReplayStatus {
        let pending = self.last.saturating_sub(self.place.seq);
        let stopped =
            self.reason.clone().zip(self.ended_at).map(|(reason, at)| Failure { reason, at });
        ReplayStatus {
            selection: self.past.clone(),
            state: self.state,
            failure: stopped.or_else(|| self.trouble.clone().filter(|_| self.is_running())),
            events: self.place.accepted + pending,
            account: self.place.account,
            pending,
            seq: self.place.seq,
            begun_at: self.begun_at,
            ended_at: self.ended_at,
            gone_before: self.gone_before,
        }
    }
}

impl ReplaySelection {
    pub(crate) fn has(&self, envelope: &Envelope) -> bool {
        envelope.received_at >= self.since
            && self.until.is_none_or(|until| envelope.received_at < until)
            && self.filter.matches(&envelope.event)
    }
}

/// The reader of a sink's replay, which can't be the name of a sink.
pub(crate) fn reader(sink: &str) -> String {
    format!("{sink}{SUFFIX}")
}

/// Whether this reader of the journal is the replay of a sink, and no sink.
#[must_use]
pub fn is_replay_reader(name: &str) -> bool {
    name.ends_with(SUFFIX)
}

const SUFFIX: &str = ":replay";

#[cfg(test)]
mod tests {
    use observer_journal::fs::Memory;
    use observer_journal::{Append, Record};

    use super::*;
    use crate::testing::options;

    #[test]
    fn a_replay_ends_where_the_journal_does_when_that_has_lost_its_end() {
        let (journal, _) = Journal::open(options(&Memory::default()), |_| {}).unwrap();
        let (answer, _) = tokio::sync::oneshot::channel();
        journal.append(Append::new(vec![Record::new(1, [1; 16], "{}"); 50], answer));
        assert_eq!(journal.head(), 50);
        let past = ReplaySelection {
            since: Timestamp::UNIX_EPOCH,
            until: None,
            filter: Filter::default(),
        };
        let kept = Kept::begin(past, 1, 100, None);
        let mut place = kept.place;
        place.advance(20, Account { delivered: 20, ..Account::default() });
        kept.keep(&journal, "sink", place);
        let loaded = Kept::load(&journal, "sink").unwrap();
        assert_eq!((loaded.place, loaded.last), (place, 50));
        assert_eq!((loaded.shown().events, loaded.shown().pending), (50, 30));
        assert!(Kept::load(&journal, "other").is_none());
    }
}
