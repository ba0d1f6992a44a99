//! What became of each event, for one sink.

use serde::{Deserialize, Serialize};

/// What became of the events that a sink was to get, from its start on.
///
/// Each event that the sink is past is in exactly one of the counts; so with what is pending,
/// `accepted = delivered + dead + refused + expired + filtered + pending`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Account {
    /// Taken by the sink.
    pub delivered: u64,
    /// Put aside as dead letters.
    pub dead: u64,
    /// Refused by the far side, which did not say which.
    pub refused: u64,
    /// Gone from the journal before the sink could have them.
    pub expired: u64,
    /// Not wanted by the sink's filter.
    pub filtered: u64,
}

impl Account {
    /// How many events the sink is past.
    #[must_use]
    pub fn settled(&self) -> u64 {
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

/// How far a sink has come, and what became of all before: made durable together.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Place {
    #[serde(skip)]
    pub(crate) seq: u64,
    #[serde(flatten)]
    pub(crate) account: Account,
    /// How many events the sink was to get up to here; the account adds up to it.
    pub(crate) accepted: u64,
}

impl Place {
    pub(crate) fn start(seq: u64) -> Self {
        Self { seq, ..Self::default() }
    }

    /// From what was stored with the position; an account that can't be read begins anew.
    pub(crate) fn decode(seq: u64, state: &[u8]) -> Self {
        Self { seq, ..serde_json::from_slice(state).unwrap_or_default() }
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("an account is plain numbers")
    }

    /// Past `seq`, with what became of the events up to it.
    pub(crate) fn advance(&mut self, seq: u64, became: Account) {
        debug_assert_eq!(
            became.settled(),
            seq - self.seq,
            "each event is in one count: {became:?} from {} to {seq}",
            self.seq
        );
        self.accepted += seq - self.seq;
        self.seq = seq;
        self.account += became;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_account_is_stored_and_read_back() {
        let mut place = Place::start(10);
        place.advance(13, Account { delivered: 1, filtered: 2, ..Account::default() });
        assert_eq!(Place::decode(13, &place.encode()), place);
        assert_eq!(place.accepted, place.account.settled());
        assert_eq!(Place::decode(5, b"?"), Place::start(5));
    }
}
