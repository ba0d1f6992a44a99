//! Account of a sink: the number of events per result of their delivery.

use serde::{Deserialize, Serialize};

/// Numbers of a sink's events per result of their delivery, since the sink's start.
///
/// Each event up to the sink's position is in exactly one of the counts. So with the pending
/// events, `accepted = delivered + dead + refused + expired + filtered + pending`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Account {
    /// Events that the sink accepted.
    pub delivered: u64,
    /// Events that became dead letters.
    pub dead: u64,
    /// Events that the destination rejected without naming them.
    pub refused: u64,
    /// Events that the journal lost or expired before they were delivered.
    pub expired: u64,
    /// Events that the sink's filter excludes.
    pub filtered: u64,
}

impl Account {
    /// Returns the number of events up to the sink's position: the sum of all counts.
    #[must_use]
    pub fn resolved(&self) -> u64 {
        self.delivered + self.dead + self.refused + self.expired + self.filtered
    }
}

impl std::ops::AddAssign for Account {
    fn add_assign(&mut self, more: Self) {
        self.delivered += more.delivered;
        self.dead += more.dead;
        self.refused += more.refused;
        self.expired += more.expired;
        self.filtered += more.filtered;
    }
}

/// Position of a sink with the account of all events up to it. Both are made durable together.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Checkpoint {
    #[serde(skip)]
    pub(crate) seq: u64,
    #[serde(flatten)]
    pub(crate) account: Account,
    /// Number of events between the start and `seq`: the sum of the account.
    pub(crate) accepted: u64,
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
    pub(crate) fn advance(&mut self, seq: u64, counts: Account) {
        debug_assert_eq!(
            counts.resolved(),
            seq - self.seq,
            "each event is in one count: {counts:?} from {} to {seq}",
            self.seq
        );
        self.accepted += seq - self.seq;
        self.seq = seq;
        self.account += counts;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checkpoint_survives_encoding_and_decoding() {
        let mut checkpoint = Checkpoint::start(10);
        checkpoint.advance(13, Account { delivered: 1, filtered: 2, ..Account::default() });
        assert_eq!(Checkpoint::decode(13, &checkpoint.encode()), checkpoint);
        assert_eq!(checkpoint.accepted, checkpoint.account.resolved());
        assert_eq!(Checkpoint::decode(5, b"?"), Checkpoint::start(5));
    }
}
