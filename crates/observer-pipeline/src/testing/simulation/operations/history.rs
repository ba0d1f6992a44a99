//! History of a destination: what it accepted and refused, independent of the pipeline.

use std::collections::BTreeMap;

use observer_core::Uuid;

use super::script::Bad;

/// Time for which an acceptance before a rejection counts as evidence, in microseconds.
const ACCEPTANCE_WINDOW: u64 = 300_000_000;

/// Durable observations of one destination.
#[derive(Debug, Default)]
pub(super) struct History {
    /// Each acceptance of an event, by its sequence number: the id, and the time in microseconds.
    pub(super) accepted: BTreeMap<u64, Vec<(Uuid, u64)>>,
    /// Refusals of each event since its last durable acceptance.
    pub(super) refused: BTreeMap<u64, Refusals>,
    /// Times after which recent events may be repeated: crashes, failed flushes, lost responses.
    pub(super) incidents: Vec<u64>,
    acceptances: u64,
    last_acceptance: Option<u64>,
}

/// Refusals of one event, and the acceptances of others between them.
#[derive(Debug, Clone, Copy)]
pub(super) struct Refusals {
    first: u64,
    pub(super) last: u64,
    /// Number of refusals that followed an acceptance of another event.
    pub(super) rounds: u32,
    /// A rejection of the event's content came shortly after an acceptance, or beside one.
    pub(super) is_rejected: bool,
    seen: u64,
}

impl Refusals {
    /// Returns the time between the first refusal and the last one, in microseconds.
    pub(super) fn span(&self) -> u64 {
        self.last - self.first
    }
}

impl History {
    /// Adds the acceptance of some events. They may not be durable yet, and if they are lost, the
    /// refusals before still count.
    pub(super) fn accept(&mut self, now: u64) {
        self.acceptances += 1;
        self.last_acceptance = Some(now);
    }

    /// Adds an event that is durable at the destination.
    pub(super) fn keep(&mut self, seq: u64, id: Uuid, accepted_at: u64) {
        self.refused.remove(&seq);
        self.accepted.entry(seq).or_default().push((id, accepted_at));
    }

    /// Adds a failure that says nothing of the event. A refusal after the next acceptance is a
    /// round.
    pub(super) fn fail(&mut self, seq: u64, now: u64) {
        let acceptances = self.acceptances;
        let new =
            Refusals { first: now, last: now, rounds: 0, is_rejected: false, seen: acceptances };
        self.refused.entry(seq).or_insert(new);
    }

    pub(super) fn refuse(&mut self, seq: u64, class: Bad, now: u64) {
        self.fail(seq, now);
        let is_recent = self.last_acceptance.is_some_and(|last| now - last <= ACCEPTANCE_WINDOW);
        let acceptances = self.acceptances;
        let Some(refusals) = self.refused.get_mut(&seq) else { return };
        let is_round = acceptances > refusals.seen;
        refusals.last = now;
        refusals.rounds += u32::from(is_round);
        refusals.seen = acceptances;
        refusals.is_rejected |=
            matches!(class, Bad::Named | Bad::Permanent) && (is_round || is_recent);
    }
}
