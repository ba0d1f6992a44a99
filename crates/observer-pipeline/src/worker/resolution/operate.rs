//! Confirmations of actions, and what the status shows.

use tokio::time::Instant;

use super::evidence::Evidence;
use super::part::{Place, Suspect};
use super::{AsideEvent, DeadEvent, Fate, Item, Mode, Resolution, Resolved};

impl<E: Item> Resolution<E> {
    /// Confirms that events were written to the dead letters.
    pub(crate) fn buried(&mut self, dead: &[DeadEvent<E>]) {
        self.resolved.extend(dead.iter().map(|dead| Resolved {
            seq: dead.event.seq(),
            fate: Fate::Dead,
            is_aside: dead.is_aside,
        }));
    }

    /// Reports that events could not be written to the dead letters. They are written again after
    /// a back-off, or once a parked sink is woken.
    pub(crate) fn unburied(&mut self, dead: Vec<DeadEvent<E>>, reason: String, parks: bool) {
        self.dead.splice(..0, dead);
        self.is_store_failing = true;
        if parks {
            self.park(reason);
        } else {
            self.mode = Mode::Pause { retry_after: None, reason };
        }
    }

    /// Adds events that are to be written to the dead letters.
    pub(crate) fn bury_later(&mut self, dead: Vec<DeadEvent<E>>) {
        self.dead.extend(dead);
    }

    /// Keeps the order of events, and sets none aside: for a sink that keeps its own position.
    pub(crate) fn keep_order(&mut self) {
        self.policy.may_skip = false;
        self.policy.may_set_aside = false;
    }

    /// Replaces the reason for which the sink is parked.
    pub(crate) fn park_reason(&mut self, reason: &str) {
        if let Mode::Parked { reason: known } = &mut self.mode {
            reason.clone_into(known);
        }
    }

    /// Confirms that an event was stored as set aside, so that the position may pass it.
    pub(crate) fn stored(&mut self, seq: u64) {
        self.set_place(seq, Place::Aside);
        self.resolved.push(Resolved { seq, fate: Fate::SetAside, is_aside: false });
    }

    /// Forgets all events but the ones that are set aside up to `position`, since the stream
    /// continues there.
    pub(crate) fn reset(&mut self, position: u64) {
        self.queue.clear();
        self.flight = None;
        self.dead.clear();
        self.storing.clear();
        self.resolved.clear();
        self.grown.clear();
        self.spell = None;
        self.mode = Mode::Normal;
        self.is_store_failing = false;
        let gone: Vec<_> = self
            .suspects
            .iter()
            .filter(|(seq, suspect)| suspect.place != Place::Aside || **seq > position)
            .map(|(seq, _)| *seq)
            .collect();
        for seq in gone {
            self.forget(seq);
        }
    }

    /// Returns the first event that holds the stream: the oldest one that was refused and that the
    /// position can't pass, or the first one in the queue.
    pub(crate) fn holding(&self) -> Option<&E> {
        let is_held = |suspect: &&Suspect<E>| matches!(suspect.place, Place::Held | Place::Waiting);
        let held = self.suspects.values().find(is_held).map(|suspect| &suspect.event);
        let queued = self.queue.front().and_then(|part| part.events.first());
        match (held, queued) {
            (Some(held), Some(queued)) if queued.seq() < held.seq() => Some(queued),
            (Some(held), _) => Some(held),
            (None, queued) => queued,
        }
    }

    /// Returns the event that an operator most likely wants out of the way: the one that holds the
    /// stream in a spell, else the oldest undecided one, else the first one in the queue.
    pub(crate) fn most_refused(&self) -> Option<&E> {
        let undecided = self.suspects.values().next().map(|suspect| &suspect.event);
        if self.is_in_spell() { self.holding() } else { undecided.or_else(|| self.holding()) }
    }

    /// Returns whether the destination has refused events since it accepted one.
    pub(crate) fn is_in_spell(&self) -> bool {
        self.spell.is_some()
    }

    /// Returns whether an event is set aside.
    pub(crate) fn is_aside(&self, seq: u64) -> bool {
        self.place(seq) == Some(Place::Aside)
    }

    /// Returns whether no event is in hand: each one that was added is resolved or set aside.
    pub(crate) fn is_idle(&self) -> bool {
        self.queue.is_empty()
            && self.flight.is_none()
            && self.dead.is_empty()
            && self.suspects.values().all(|suspect| suspect.place == Place::Aside)
    }

    /// Returns the number of events in hand that were refused alone.
    pub(crate) fn held(&self) -> usize {
        self.held.count + self.waiting.count
    }

    /// Returns the time of the next attempt of an event that is set aside.
    #[cfg(test)]
    pub(crate) fn next_aside(&self) -> Option<Instant> {
        self.suspects
            .values()
            .filter(|suspect| suspect.place == Place::Aside)
            .map(|suspect| suspect.evidence.due)
            .min()
    }

    /// Adds an event that was set aside by an earlier worker, or before a failed flush.
    pub(crate) fn restore(&mut self, aside: AsideEvent<E>, now: Instant) {
        let AsideEvent { event, reason, attempts, evidence } = aside;
        let seq = event.seq();
        let evidence = Evidence::restored(evidence, now, self.accepted);
        let suspect = Suspect {
            event,
            evidence,
            reason,
            attempts,
            alone: 0,
            renew: false,
            place: Place::Queued,
            stuck_since: None,
        };
        self.suspects.insert(seq, suspect);
        self.set_place(seq, Place::Aside);
    }

    /// Returns the dead letter of an event in hand or set aside, on the order of the operator.
    pub(crate) fn divert(&mut self, is_wanted: impl Fn(&E) -> bool) -> Option<DeadEvent<E>> {
        let suspect = self.suspects.values().find(|suspect| is_wanted(&suspect.event));
        let last_reason = suspect.map(|suspect| suspect.reason.clone());
        let suspect = suspect.map(|suspect| (suspect.event.clone(), suspect.attempts));
        let (event, attempts) = suspect.or_else(|| {
            self.queue.iter().find_map(|part| {
                let event = part.events.iter().find(|event| is_wanted(event))?;
                Some((event.clone(), part.attempts))
            })
        })?;
        let seq = event.seq();
        for part in &mut self.queue {
            part.events.retain(|queued| queued.seq() != seq);
        }
        self.queue.retain(|part| !part.events.is_empty());
        self.storing.retain(|storing| *storing != seq);
        let last_reason = last_reason
            .or_else(|| self.spell.as_ref().map(|spell| spell.reason.clone()))
            .map_or_else(String::new, |reason| format!("; the last response was: {reason}"));
        let is_aside = self.forget(seq);
        Some(DeadEvent {
            event,
            reason: format!("diverted by an operator{last_reason}"),
            attempts,
            is_aside,
        })
    }
}
