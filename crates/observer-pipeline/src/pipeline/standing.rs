//! Where one event stands with each sink.
//!
//! The pipeline stores no result per event: a sink has a position, and an account of how many
//! events up to it had which result. [`Evidence::standing`] concludes from these, and from dead
//! letters and filters, what became of one event. Where they allow several results, it says so.

use std::collections::BTreeMap;
use std::io;

use observer_core::{Event, Filter, Position, Uuid};
use observer_journal::Chunk;

use super::Pipeline;
use crate::account::Account;
use crate::dead_letters::handle::DeadLetterError;
use crate::lock::lock;
use crate::status::SinkState;

/// Result of an event at one sink.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum EventState {
    /// The sink accepted the event.
    Delivered,
    /// The event is not resolved yet.
    Pending,
    /// The destination refused the event and accepted others. The event is tried again.
    Undecided,
    /// The sink rejected the event permanently.
    Dead,
    /// The destination rejected events without naming them.
    Refused,
    /// The journal removed the event at its size limit before it was delivered.
    Expired,
    /// The journal could no longer read the event before it was delivered.
    Lost,
    /// The filter of the sink excludes the event.
    Filtered,
    /// The event is older than the sink, or newer than its removal.
    NotOffered,
}

/// Where one event stands with a sink.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// The event has this state.
    Known(EventState),
    /// The event has one of these states. The list is empty if there is no evidence at all, as for
    /// an event of another epoch.
    Unknown(Vec<EventState>),
}

/// What is known of a sink with regard to one event.
#[derive(Debug, Clone)]
struct Evidence {
    /// Epoch of the journal.
    epoch: u64,
    /// Oldest event in the journal.
    oldest: u64,
    /// True if the journal can read the event.
    is_readable: bool,
    /// Last resolved event.
    seq: u64,
    account: Account,
    /// Number of events up to `seq` that are set aside.
    undecided: u64,
    is_undecided: bool,
    is_detached: bool,
    filter: FilterEvidence,
    dead_letters: DeadLetterEvidence,
}

/// What the filter of a sink says about an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum FilterEvidence {
    /// The sink has no filter now, or is detached.
    Absent,
    Excludes,
    Admits,
}

/// What the dead letters of a sink say about an event.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct DeadLetterEvidence {
    /// Number of the sink's dead letters.
    total: usize,
    /// True if the event is one of them.
    includes_event: bool,
}

impl EventState {
    /// All states.
    pub const ALL: [Self; 9] = [
        Self::Delivered,
        Self::Pending,
        Self::Undecided,
        Self::Dead,
        Self::Refused,
        Self::Expired,
        Self::Lost,
        Self::Filtered,
        Self::NotOffered,
    ];

    /// Returns the name of the state, as the API shows it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Delivered => "delivered",
            Self::Pending => "pending",
            Self::Undecided => "undecided",
            Self::Dead => "dead",
            Self::Refused => "refused",
            Self::Expired => "expired",
            Self::Lost => "lost",
            Self::Filtered => "filtered",
            Self::NotOffered => "not_offered",
        }
    }
}

impl Evidence {
    /// Concludes where the event at `position` stands.
    ///
    /// The filter is the present one: an event that an earlier filter excluded counts as delivered
    /// if the present one admits it.
    fn standing(&self, position: Position) -> Standing {
        use EventState::{Dead, Delivered, Expired, Filtered, Lost, NotOffered, Pending, Refused};

        let Account { delivered, dead, refused, expired, lost, filtered } = self.account;
        let start = self.seq.saturating_sub(self.account.resolved() + self.undecided);
        if self.dead_letters.includes_event {
            return Standing::Known(Dead);
        }
        if self.is_undecided {
            return Standing::Known(EventState::Undecided);
        }
        if position.epoch != self.epoch {
            return Standing::Unknown(Vec::new());
        }
        if position.seq > self.seq {
            return Standing::Known(if self.is_detached { NotOffered } else { Pending });
        }
        if position.seq <= start {
            return Standing::Known(NotOffered);
        }
        if filtered > 0 && self.filter == FilterEvidence::Excludes {
            return Standing::Known(Filtered);
        }
        let possible = [
            (Delivered, delivered > 0),
            // Dead letters that were purged or sent again are no longer stored.
            (Dead, dead > self.dead_letters.total as u64),
            (Refused, refused > 0),
            // An event that is still in the journal was not lost by it.
            (Expired, expired > 0 && position.seq < self.oldest),
            (Lost, lost > 0 && !self.is_readable),
            (Filtered, filtered > 0 && self.filter == FilterEvidence::Absent),
        ];
        let possible = possible.into_iter().filter(|(_, is_possible)| *is_possible);
        match possible.map(|(state, _)| state).collect::<Vec<_>>().as_slice() {
            [state] => Standing::Known(*state),
            states => Standing::Unknown(states.to_vec()),
        }
    }
}

impl FilterEvidence {
    fn of(filter: Option<&Filter>, event: &Event) -> Self {
        match filter {
            Some(filter) if filter.matches_all() => Self::Absent,
            Some(filter) if filter.matches(event) => Self::Admits,
            Some(_) => Self::Excludes,
            None => Self::Absent,
        }
    }
}

impl Pipeline {
    /// Returns where an event stands with each sink, by the name of the sink.
    ///
    /// # Errors
    /// If the dead letters of a sink can't be read.
    pub async fn standings(
        &self,
        event: &Event,
        id: Uuid,
        position: Position,
    ) -> Result<BTreeMap<String, Standing>, DeadLetterError> {
        // Read before the dead letters: an event becomes one before the position passes it.
        let status = self.status();
        let head = status.journal.head;
        let has_losses = status.sinks.values().any(|sink| sink.account.lost > 0);
        let is_readable = !has_losses || self.is_readable(position).await;
        let mut standings = BTreeMap::new();
        for (name, sink) in status.sinks {
            let dead_letters = if sink.account.dead > 0 || sink.pending > 0 {
                self.dead_letter_evidence(&name, id).await?
            } else {
                DeadLetterEvidence::default()
            };
            let filter = self.inner.workers().get(&name).map(|running| running.filter.clone());
            let after = head.saturating_sub(sink.position.seq);
            let is_detached = sink.state == SinkState::Detached;
            let undecided =
                if is_detached { sink.pending } else { sink.pending.saturating_sub(after) };
            let is_undecided =
                sink.undecided > 0 && lock(&self.undecided_store(&name)).ids().contains(&id);
            let evidence = Evidence {
                epoch: status.epoch,
                oldest: status.journal.oldest,
                is_readable,
                seq: sink.position.seq,
                account: sink.account,
                undecided,
                is_undecided,
                is_detached,
                filter: FilterEvidence::of(filter.as_ref(), event),
                dead_letters,
            };
            standings.insert(name, evidence.standing(position));
        }
        Ok(standings)
    }

    /// Returns whether the journal can read the event at a position.
    async fn is_readable(&self, position: Position) -> bool {
        let journal = self.inner.journal.clone();
        let read = move || journal.reader(position.seq.saturating_sub(1)).read();
        matches!(self.inner.blocking.run(read).await, Ok(Ok(Some(Chunk::Records { .. }))))
    }

    async fn dead_letter_evidence(
        &self,
        sink: &str,
        id: Uuid,
    ) -> Result<DeadLetterEvidence, DeadLetterError> {
        let store = self.dead_letter_store(sink);
        let index = self.blocking().run(move || lock(&store).index()).await;
        let entries = index.map_err(io::Error::other).flatten().map_err(DeadLetterError::Files)?;
        let includes_event = entries.iter().any(|entry| entry.id == id);
        Ok(DeadLetterEvidence { total: entries.len(), includes_event })
    }
}

#[cfg(test)]
mod tests {
    use super::EventState::{
        Dead, Delivered, Expired, Filtered, Lost, NotOffered, Pending, Refused,
    };
    use super::*;

    /// A sink that began after the event 100 and has resolved 10 events, of which the account tells
    /// the result. The journal begins with the event 105.
    fn evidence(account: Account) -> Evidence {
        assert_eq!(account.resolved(), 10);
        Evidence {
            epoch: 3,
            oldest: 105,
            is_readable: true,
            seq: 110,
            account,
            undecided: 0,
            is_undecided: false,
            is_detached: false,
            filter: FilterEvidence::Absent,
            dead_letters: DeadLetterEvidence::default(),
        }
    }

    fn delivered() -> Evidence {
        evidence(Account { delivered: 10, ..Account::default() })
    }

    fn known(state: EventState) -> Standing {
        Standing::Known(state)
    }

    fn unknown(states: &[EventState]) -> Standing {
        Standing::Unknown(states.to_vec())
    }

    #[track_caller]
    fn check(evidence: &Evidence, seq: u64, expected: &Standing) {
        assert_eq!(evidence.standing(Position { epoch: 3, seq }), *expected, "{seq} {evidence:?}");
    }

    #[test]
    fn position_and_start_of_the_sink_bound_what_it_had() {
        for (seq, expected) in [(100, NotOffered), (101, Delivered), (110, Delivered)] {
            check(&delivered(), seq, &known(expected));
        }
        check(&delivered(), 111, &known(Pending));
        let detached = Evidence { is_detached: true, ..delivered() };
        check(&detached, 110, &known(Delivered));
        check(&detached, 111, &known(NotOffered));
        assert_eq!(delivered().standing(Position { epoch: 2, seq: 105 }), unknown(&[]));
    }

    #[test]
    fn dead_letter_of_the_event_is_conclusive() {
        let dead_letters = DeadLetterEvidence { total: 1, includes_event: true };
        let account = Account { delivered: 9, dead: 1, ..Account::default() };
        for seq in [50, 105, 111] {
            check(&Evidence { dead_letters, ..evidence(account) }, seq, &known(Dead));
        }
        let others = DeadLetterEvidence { total: 1, includes_event: false };
        let with_others = Evidence { dead_letters: others, ..evidence(account) };
        check(&with_others, 105, &known(Delivered));
        check(&evidence(account), 105, &unknown(&[Delivered, Dead]));
    }

    #[test]
    fn undecided_event_is_known_and_counts_as_offered() {
        let account = Account { delivered: 10, ..Account::default() };
        let others = Evidence { undecided: 2, seq: 112, ..evidence(account) };
        check(&others, 101, &known(Delivered));
        check(&others, 100, &known(NotOffered));
        check(&Evidence { is_undecided: true, ..others }, 105, &known(EventState::Undecided));
    }

    #[test]
    fn account_with_several_results_leaves_each_possible() {
        let refused = Account { delivered: 8, refused: 2, ..Account::default() };
        check(&evidence(refused), 105, &unknown(&[Delivered, Refused]));
        check(&evidence(Account { refused: 10, ..Account::default() }), 105, &known(Refused));
        let expired = Account { delivered: 5, expired: 5, ..Account::default() };
        check(&evidence(expired), 104, &unknown(&[Delivered, Expired]));
        check(&evidence(expired), 105, &known(Delivered));
        let lost = evidence(Account { delivered: 5, lost: 5, ..Account::default() });
        check(&lost, 105, &known(Delivered));
        let unreadable = Evidence { is_readable: false, ..lost };
        check(&unreadable, 105, &unknown(&[Delivered, Lost]));
        let all = Account { expired: 10, ..Account::default() };
        check(&evidence(all), 104, &known(Expired));
        check(&evidence(all), 105, &unknown(&[]));
    }

    #[test]
    fn present_filter_decides_about_filtered_events() {
        let account = Account { delivered: 4, filtered: 6, ..Account::default() };
        for (filter, expected) in [
            (FilterEvidence::Excludes, known(Filtered)),
            (FilterEvidence::Admits, known(Delivered)),
            (FilterEvidence::Absent, unknown(&[Delivered, Filtered])),
        ] {
            check(&Evidence { filter, ..evidence(account) }, 105, &expected);
        }
        // A filter that was added after the event.
        let added = Evidence { filter: FilterEvidence::Excludes, ..delivered() };
        check(&added, 105, &known(Delivered));
    }

    #[test]
    fn filter_without_conditions_is_none() {
        let event = Event::parse(r#"{"source":"a","event_kind":"ok","ok":true}"#).unwrap();
        let of = |filter: Option<&str>| {
            let filter = filter.map(|text| serde_json::from_str::<Filter>(text).unwrap());
            FilterEvidence::of(filter.as_ref(), &event)
        };
        assert_eq!(of(None), FilterEvidence::Absent);
        assert_eq!(of(Some("{}")), FilterEvidence::Absent);
        assert_eq!(of(Some(r#"{"ok":true}"#)), FilterEvidence::Admits);
        assert_eq!(of(Some(r#"{"ok":false}"#)), FilterEvidence::Excludes);
    }

    #[test]
    fn states_have_distinct_names() {
        let names: std::collections::BTreeSet<_> = EventState::ALL.map(EventState::as_str).into();
        assert_eq!(names.len(), EventState::ALL.len());
    }
}
