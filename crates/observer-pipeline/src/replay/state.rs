//! State of a replay, as it is reported and as it is stored with its position.

use observer_core::{Envelope, Filter, Timestamp};
use serde::{Deserialize, Serialize};

use crate::account::{Account, Checkpoint};
use crate::error::Failure;
use crate::event_log::Journal;

/// Suffix of the names of readers that belong to replays. No name of a sink has it.
const SUFFIX: &str = ":replay";

/// Selection of the events of a replay: a range of receipt times, and a filter.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ReplaySelection {
    /// Start of the range, inclusive.
    pub since: Timestamp,
    /// End of the range, exclusive; `None` for no end.
    pub until: Option<Timestamp>,
    /// Filter of the replay, which applies in addition to the sink's own.
    #[serde(default)]
    pub filter: Filter,
}

/// Status of a replay.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct ReplayStatus {
    /// Selected events.
    pub selection: ReplaySelection,
    /// State of the replay.
    pub state: ReplayState,
    /// Reason for which the replay has stopped, or current failure of a running one.
    pub failure: Option<Failure>,
    /// Number of events of the journal that the replay reads.
    pub events: u64,
    /// Account of the resolved events. Events outside the selection count as `filtered`.
    pub account: Account,
    /// Number of events that are not resolved yet.
    pub pending: u64,
    /// Sequence number of the last resolved event.
    pub seq: u64,
    /// Time at which the replay was started.
    pub begun_at: Timestamp,
    /// Time at which the replay ended.
    pub ended_at: Option<Timestamp>,
    /// Set if the journal no longer has the start of the selection: the time before which events
    /// have expired.
    pub gone_before: Option<Timestamp>,
}

/// State of a replay.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ReplayState {
    /// The replay runs, or continues when its sink runs again.
    Running,
    /// All events are resolved.
    Done,
    /// The replay can't continue.
    Stopped,
    /// The replay was cancelled by a caller.
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

/// Record of a replay, which is stored as JSON with its position in the journal.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct ReplayRecord {
    /// Last resolved event. The stored record has the last flushed one.
    #[serde(flatten)]
    pub(crate) checkpoint: Checkpoint,
    /// Epoch of `last`.
    epoch: u64,
    /// Last sequence number of the replay.
    pub(crate) last: u64,
    #[serde(rename = "past")]
    pub(crate) selection: ReplaySelection,
    begun_at: Timestamp,
    gone_before: Option<Timestamp>,
    state: ReplayState,
    ended_at: Option<Timestamp>,
    /// Reason for which the replay has stopped.
    reason: Option<String>,
    /// Current failure while the replay is running.
    #[serde(skip)]
    pub(crate) failure: Option<Failure>,
}

impl ReplayRecord {
    /// Creates the record of a replay that starts now, of the events from `first` to `last`.
    pub(crate) fn new(
        selection: ReplaySelection,
        first: u64,
        last: u64,
        gone_before: Option<Timestamp>,
    ) -> Self {
        Self {
            checkpoint: Checkpoint::start((first - 1).min(last)),
            epoch: 0,
            last,
            selection,
            begun_at: Timestamp::now(),
            gone_before,
            state: ReplayState::Running,
            ended_at: None,
            reason: None,
            failure: None,
        }
    }

    /// Loads the record of a sink's last replay, in terms of the current epoch.
    pub(crate) fn load(journal: &Journal, sink: &str) -> Option<Self> {
        let stored = journal.position(&reader_name(sink))?;
        let mut record: Self = serde_json::from_slice(&stored.state).ok()?;
        // Events that the journal has lost are not part of the replay. Their sequence numbers
        // belong to new events by now.
        let last = journal.translate(record.epoch, record.last, u64::MAX).unwrap_or(0);
        record.last = last.min(journal.head()).max(stored.seq);
        record.checkpoint.seq = stored.seq;
        Some(record)
    }

    pub(crate) fn is_running(&self) -> bool {
        self.state == ReplayState::Running
    }

    pub(crate) fn end(&mut self, state: ReplayState, reason: Option<String>) {
        (self.state, self.ended_at, self.reason) = (state, Some(Timestamp::now()), reason);
    }

    /// Passes the record to the journal with the checkpoint that is durable. Once the replay has
    /// ended, the journal holds no more events for it.
    pub(crate) fn store(&self, journal: &Journal, sink: &str, flushed: Checkpoint) {
        let name = reader_name(sink);
        let record = Self { checkpoint: flushed, epoch: journal.epoch(), ..self.clone() };
        let state = serde_json::to_vec(&record).expect("times, numbers and a filter can be JSON");
        if !self.is_running() {
            journal.release(&name);
        }
        journal.set_position(&name, flushed.seq, state.into());
    }

    pub(crate) fn status(&self) -> ReplayStatus {
        let pending = self.last.saturating_sub(self.checkpoint.seq);
        let stopped =
            self.reason.clone().zip(self.ended_at).map(|(reason, at)| Failure { reason, at });
        ReplayStatus {
            selection: self.selection.clone(),
            state: self.state,
            failure: stopped.or_else(|| self.failure.clone().filter(|_| self.is_running())),
            events: self.checkpoint.accepted + pending,
            account: self.checkpoint.account,
            pending,
            seq: self.checkpoint.seq,
            begun_at: self.begun_at,
            ended_at: self.ended_at,
            gone_before: self.gone_before,
        }
    }
}

impl ReplaySelection {
    pub(crate) fn matches(&self, envelope: &Envelope) -> bool {
        envelope.received_at >= self.since
            && self.until.is_none_or(|until| envelope.received_at < until)
            && self.filter.matches(&envelope.event)
    }
}

/// Returns the name of the reader that belongs to a sink's replay.
pub(crate) fn reader_name(sink: &str) -> String {
    format!("{sink}{SUFFIX}")
}

/// Returns whether a reader of the journal belongs to the replay of a sink, and not to a sink.
#[must_use]
pub fn is_replay_reader(name: &str) -> bool {
    name.ends_with(SUFFIX)
}

#[cfg(test)]
mod tests {
    use observer_journal::fs::Memory;
    use observer_journal::{Append, Record};

    use super::*;
    use crate::testing::options;

    fn everything() -> ReplaySelection {
        ReplaySelection { since: Timestamp::UNIX_EPOCH, until: None, filter: Filter::default() }
    }

    #[test]
    fn replay_ends_at_the_head_of_a_journal_that_lost_its_end() {
        let (journal, _) = Journal::open(options(&Memory::default()), |_| {}).unwrap();
        let (reply_to, _) = tokio::sync::oneshot::channel();
        journal.append(Append::new(vec![Record::new(1, [1; 16], "{}"); 50], reply_to));
        assert_eq!(journal.head(), 50);
        let record = ReplayRecord::new(everything(), 1, 100, None);
        let mut checkpoint = record.checkpoint;
        checkpoint.advance(20, Account { delivered: 20, ..Account::default() }.into());
        record.store(&journal, "sink", checkpoint);
        let loaded = ReplayRecord::load(&journal, "sink").unwrap();
        assert_eq!((loaded.checkpoint, loaded.last), (checkpoint, 50));
        assert_eq!((loaded.status().events, loaded.status().pending), (50, 30));
        assert!(ReplayRecord::load(&journal, "other").is_none());
    }

    #[test]
    fn stored_record_has_the_member_names_of_the_format() {
        let record = ReplayRecord::new(everything(), 1, 9, None);
        let json = serde_json::to_value(&record).unwrap();
        let mut names: Vec<_> = json.as_object().unwrap().keys().map(String::as_str).collect();
        names.sort_unstable();
        let expected = [
            "accepted",
            "begun_at",
            "dead",
            "delivered",
            "ended_at",
            "epoch",
            "expired",
            "filtered",
            "gone_before",
            "last",
            "lost",
            "past",
            "reason",
            "refused",
            "state",
        ];
        assert_eq!(names, expected);
        assert_eq!(json["state"], ReplayState::Running.as_str());
    }
}
