//! Account of a sink: the number of events per result of their delivery.

use serde::{Deserialize, Serialize};

/// Numbers of a sink's events per result of their delivery, since the sink's start.
///
/// Each event up to the sink's position is in exactly one of the counts. So with the pending
/// events, `accepted = delivered + dead + refused + expired + lost + filtered + pending`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Account {
    /// Events that the sink accepted.
    pub delivered: u64,
    /// Events that became dead letters.
    pub dead: u64,
    /// Events that the destination rejected without naming them.
    pub refused: u64,
    /// Events that the journal removed at its size limit before they were delivered.
    pub expired: u64,
    /// Events that the journal could no longer read before they were delivered, since a part of it
    /// is corrupt or missing.
    pub lost: u64,
    /// Events that the sink's filter excludes.
    pub filtered: u64,
}

impl Account {
    /// Returns the number of events up to the sink's position: the sum of all counts.
    #[must_use]
    pub fn resolved(&self) -> u64 {
        self.delivered + self.dead + self.refused + self.expired + self.lost + self.filtered
    }
}

impl std::ops::AddAssign for Account {
    fn add_assign(&mut self, more: Self) {
        self.delivered += more.delivered;
        self.dead += more.dead;
        self.refused += more.refused;
        self.expired += more.expired;
        self.lost += more.lost;
        self.filtered += more.filtered;
    }
}

/// Counts of a run of events.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) account: Account,
    /// Events that were set aside: the position may pass them, and their result is counted apart.
    pub(crate) set_aside: u64,
}

impl Counts {
    pub(crate) fn total(&self) -> u64 {
        self.account.resolved() + self.set_aside
    }
}

impl std::ops::AddAssign for Counts {
    fn add_assign(&mut self, more: Self) {
        self.account += more.account;
        self.set_aside += more.set_aside;
    }
}

impl From<Account> for Counts {
    fn from(account: Account) -> Self {
        Self { account, set_aside: 0 }
    }
}

/// Position of a sink with the account of all events up to it. Both are made durable together.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Checkpoint {
    #[serde(skip)]
    pub(crate) seq: u64,
    #[serde(flatten)]
    pub(crate) account: Account,
    /// Number of events up to `seq` that were ever set aside. What became of them is in the store
    /// of undecided events.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub(crate) set_aside: u64,
    /// Number of events between the start and `seq`: the sum of all counts.
    pub(crate) accepted: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_zero(count: &u64) -> bool {
    *count == 0
}

impl Checkpoint {
    pub(crate) fn start(seq: u64) -> Self {
        Self { seq, ..Self::default() }
    }

    /// Decodes the state that is stored with a position. An unreadable account starts at zero.
    pub(crate) fn decode(seq: u64, state: &[u8]) -> Self {
        Self { seq, ..serde_json::from_slice(state).unwrap_or_default() }
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("an account is plain numbers")
    }

    /// Moves the position to `seq`, and adds the counts of the events up to it.
    pub(crate) fn advance(&mut self, seq: u64, counts: Counts) {
        debug_assert_eq!(
            counts.total(),
            seq - self.seq,
            "each event is in one count: {counts:?} from {} to {seq}",
            self.seq
        );
        self.accepted += seq - self.seq;
        self.seq = seq;
        self.account += counts.account;
        self.set_aside += counts.set_aside;
    }

    /// Counts events after the position that the journal lost at its end.
    pub(crate) fn lose(&mut self, count: u64) {
        self.accepted += count;
        self.account.lost += count;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checkpoint_survives_encoding_and_decoding() {
        let mut checkpoint = Checkpoint::start(10);
        let account = Account { delivered: 1, filtered: 2, ..Account::default() };
        checkpoint.advance(13, account.into());
        assert_eq!(Checkpoint::decode(13, &checkpoint.encode()), checkpoint);
        assert!(!String::from_utf8(checkpoint.encode()).unwrap().contains("set_aside"));
        assert_eq!(checkpoint.accepted, checkpoint.account.resolved());
        assert_eq!(Checkpoint::decode(5, b"?"), Checkpoint::start(5));
        checkpoint.advance(14, Counts { set_aside: 1, ..Counts::default() });
        assert_eq!(Checkpoint::decode(14, &checkpoint.encode()), checkpoint);
        assert_eq!(checkpoint.accepted, checkpoint.account.resolved() + 1);
    }

    #[test]
    fn state_of_the_first_version_is_decoded() {
        let state =
            br#"{"delivered":7,"dead":1,"refused":0,"expired":0,"filtered":2,"accepted":10}"#;
        let checkpoint = Checkpoint::decode(12, state);
        assert_eq!((checkpoint.account.resolved(), checkpoint.accepted), (10, 10));
        assert_eq!(checkpoint.set_aside, 0);
    }
}
