//! Acceptances: what was delivered, and what follows for the events that were refused before.

use std::collections::BTreeMap;

use tokio::time::Instant;

use super::evidence::Class;
use super::part::{Part, Place, Refusal};
use super::spell::Turn;
use super::{Amount, Fate, Item, Mode, PARK_AFTER, PARK_IF_MIXED, Resolution, Resolved};

impl<E: Item> Resolution<E> {
    /// Adds an acceptance of an event of another stream to the same sink.
    pub(crate) fn accepted_elsewhere(&mut self, now: Instant) {
        self.note_acceptance(None, now);
    }

    pub(super) fn accept(
        &mut self,
        events: &[E],
        refused: usize,
        probe: Option<Turn>,
        now: Instant,
    ) {
        let delivered = events.len() - refused;
        for (index, event) in events.iter().enumerate() {
            let fate = if index < delivered { Fate::Delivered } else { Fate::Refused };
            let seq = event.seq();
            let is_aside = self.forget(seq);
            self.resolved.push(Resolved { seq, fate, is_aside });
        }
        if delivered > 0 {
            self.note_acceptance(probe, now);
        }
    }

    /// Accepts some events of a part, and returns the others.
    pub(super) fn accept_some(
        &mut self,
        mut part: Part<E>,
        accepted: &[usize],
        now: Instant,
    ) -> Option<Part<E>> {
        if accepted.is_empty() {
            return Some(part);
        }
        let is_accepted = |index: usize| accepted.binary_search(&index).is_ok();
        let (mut good, mut rest) = (Vec::new(), Vec::new());
        for (index, event) in part.events.drain(..).enumerate() {
            if is_accepted(index) { good.push(event) } else { rest.push(event) }
        }
        self.accept(&good, 0, part.probe, now);
        part.events = rest;
        (!part.events.is_empty()).then_some(part)
    }

    pub(super) fn reject_items(
        &mut self,
        part: Part<E>,
        rejected: Vec<(usize, String)>,
        refused: usize,
        now: Instant,
    ) {
        let mut reasons: BTreeMap<_, _> = rejected.into_iter().collect();
        let (mut good, mut bad) = (Vec::new(), Vec::new());
        for (index, event) in part.events.into_iter().enumerate() {
            match reasons.remove(&index) {
                Some(reason) => bad.push((event, reason)),
                None => good.push(event),
            }
        }
        // First, since an acceptance beside a rejection is evidence.
        self.accept(&good, refused, part.probe, now);
        // The position of a sink that keeps its own can't pass an unresolved event.
        let is_conclusive = good.len() > refused || !self.policy.may_skip;
        for (event, reason) in bad {
            let probe = part.probe;
            let part = Part { events: vec![event], probe, ..Part::new(Vec::new(), part.attempts) };
            if is_conclusive {
                self.bury(part, reason);
            } else {
                let refusal = Refusal { class: Class::Permanent, retry_after: None, reason };
                self.refuse(part, refusal, now);
            }
        }
    }

    pub(super) fn note_acceptance(&mut self, probe: Option<Turn>, now: Instant) {
        self.accepted += 1;
        self.last_accepted = Some(now);
        self.dead_since_accepted = 0;
        if self.spell.take().is_some() {
            if matches!(self.mode, Mode::Parked { .. }) {
                self.mode = Mode::Normal;
                self.is_store_failing = false;
            }
            self.release(probe, now);
        }
    }

    /// Returns the held events to the front of the queue. If the oldest of them was accepted, the
    /// destination was at fault, and the others are delivered together; else one by one.
    pub(super) fn release(&mut self, probe: Option<Turn>, now: Instant) {
        let held: Vec<_> = self
            .suspects
            .values_mut()
            .filter(|suspect| suspect.place == Place::Held)
            .map(|suspect| {
                suspect.place = Place::Queued;
                (suspect.event.clone(), suspect.attempts, suspect.renew)
            })
            .collect();
        self.held = Amount::default();
        let most = if self.suspects_events(now) { PARK_IF_MIXED } else { PARK_AFTER };
        let is_single = probe != Some(Turn::Oldest) && held.len() <= most;
        let size = if is_single { 1 } else { self.policy.max_delivery };
        for group in held.chunks(size).rev() {
            let attempts = group.iter().map(|(_, attempts, _)| *attempts).max().unwrap_or(0);
            let renew = group.iter().any(|(_, _, renew)| *renew);
            let events = group.iter().map(|(event, ..)| event.clone()).collect();
            self.queue.push_front(Part { renew, ..Part::new(events, attempts) });
        }
    }
}
