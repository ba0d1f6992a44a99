//! Spells: the time without an acceptance since a refusal.

use std::collections::BTreeSet;

use tokio::time::Instant;

use super::PARK_IF_MIXED;
use super::evidence::Class;

/// Number of attempts of the oldest event of a spell after which another one is tried.
const OLDEST_ATTEMPTS: u32 = 4;
/// Largest number of events that a parked sink is sent after one successful check, while it rejects
/// them by their content. The number doubles with each check, so that a long run of bad events is
/// passed in little time, and a destination that rejects everything gets few requests at first.
const MAX_BURST: u32 = 64;
/// The same for a sink that is slowed down, after a pause.
const MAX_BURST_MIXED: u32 = 8;

/// Time without an acceptance since the first refusal.
#[derive(Debug, Clone)]
pub(super) struct Spell {
    pub(super) since: Instant,
    pub(super) reason: String,
    /// Events that were refused alone.
    pub(super) refused: BTreeSet<u64>,
    pub(super) park_after: usize,
    pub(super) is_parked: bool,
    /// So many events were refused that there is a pause or a check before further ones.
    pub(super) is_paced: bool,
    /// Number of untried events after the next pause or successful check, and of those that are
    /// left after the last one.
    pub(super) burst: u32,
    pub(super) burst_left: u32,
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
    /// Returns whether the sink is parked or slowed down now that an event was refused that is not
    /// the oldest one. `is_untried` says whether this was its first refusal in the spell, and
    /// `is_mixed` whether the destination is known to refuse events and to accept others.
    pub(super) fn is_burst_over(&mut self, class: Class, is_untried: bool, is_mixed: bool) -> bool {
        if !self.is_paced {
            let most = if is_mixed { PARK_IF_MIXED } else { self.park_after };
            self.is_paced = self.refused.len() >= most;
            return self.is_paced;
        }
        let is_about_events = class == Class::Permanent || is_mixed;
        if !is_about_events || !is_untried {
            (self.burst, self.burst_left) = (1, 0);
        } else if let Some(left) = self.burst_left.checked_sub(1) {
            self.burst_left = left;
            return false;
        } else {
            self.burst = (2 * self.burst).min(if is_mixed { MAX_BURST_MIXED } else { MAX_BURST });
            self.burst_left = self.burst - 1;
        }
        true
    }

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
