//! Spells: the time without an acceptance since a refusal.

use std::collections::BTreeSet;

use tokio::time::Instant;

/// Number of attempts of the oldest event of a spell after which another one is tried.
const OLDEST_ATTEMPTS: u32 = 4;

/// Time without an acceptance since the first refusal.
#[derive(Debug, Clone)]
pub(super) struct Spell {
    pub(super) since: Instant,
    pub(super) reason: String,
    /// Events that were refused alone.
    pub(super) refused: BTreeSet<u64>,
    pub(super) park_after: usize,
    pub(super) is_parked: bool,
    /// The last refusal was that of a destination that needs time.
    pub(super) waits: bool,
    pub(super) turn: Turn,
    /// Number of attempts of the oldest event.
    pub(super) oldest_attempts: u32,
    /// Held event that was tried last when there was no untried one.
    pub(super) rotated: u64,
}

/// Event that is tried next in a spell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Turn {
    Oldest,
    Untried,
}
impl Spell {
    /// Returns which event is tried after an attempt of one.
    pub(super) fn turn_after(&mut self, probe: Turn, waits: bool) -> Turn {
        match probe {
            Turn::Untried if waits => Turn::Oldest,
            Turn::Untried => Turn::Untried,
            Turn::Oldest => {
                self.oldest_attempts += 1;
                let is_turn_over = (self.oldest_attempts - 1).is_multiple_of(OLDEST_ATTEMPTS);
                if !waits || is_turn_over { Turn::Untried } else { Turn::Oldest }
            }
        }
    }
}
