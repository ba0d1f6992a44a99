//! Choice of what is tried next.

use tokio::time::Instant;

use super::part::{Part, Place, Suspect};
use super::spell::Turn;
use super::{
    Action, AsideEvent, Delivery, Item, MAX_ASIDE_BYTES, MAX_BEYOND, MAX_NEW_WHILE_STUCK, Mode,
    Resolution, given_up,
};

impl<E: Item> Resolution<E> {
    /// Returns the next action.
    pub(crate) fn next(&mut self, now: Instant) -> Action<E> {
        if !self.dead.is_empty() && !self.is_store_failing {
            return Action::DeadLetter(std::mem::take(&mut self.dead));
        }
        self.set_waiting_aside();
        if !self.storing.is_empty() {
            return Action::SetAside(self.take_storing(now));
        }
        match &self.mode {
            Mode::Normal => {}
            Mode::Parked { reason } => return Action::Park { reason: reason.clone() },
            Mode::Pause { .. } => {
                let Mode::Pause { retry_after, reason } =
                    std::mem::replace(&mut self.mode, Mode::Normal)
                else {
                    unreachable!("the mode was matched above")
                };
                self.is_store_failing = false;
                return Action::BackOff { retry_after, reason };
            }
            Mode::Slow { reason } => {
                let reason = reason.clone();
                self.mode = Mode::Normal;
                return Action::SlowDown { reason };
            }
        }
        if self.policy.may_set_aside {
            if self.is_stuck() && self.spell.is_none() {
                return self.make_room(now);
            }
        } else if self.is_stuck() && std::mem::replace(&mut self.tried_since_woken, true) {
            let reason =
                "too many events of the replay are undecided; see why, or cancel the replay";
            self.park(reason.to_owned());
            return self.next(now);
        }
        match self.choose(now) {
            Some(part) => self.launch(part),
            None if self.may_read() => Action::Read,
            None => match self.exhausted(now) {
                // There may be new events, which must not be tried.
                Action::Wait(Some(until)) if self.policy.may_set_aside => Self::crowded(until),
                action => action,
            },
        }
    }

    /// Returns the next action when there are no further events at the moment.
    pub(crate) fn exhausted(&mut self, now: Instant) -> Action<E> {
        if let Some(spell) = &mut self.spell
            && self.held.count > 0
            && (spell.waits || spell.is_paced)
        {
            // There is no event that was not tried, so others take turns with the oldest.
            let is_turn = spell.turn == Turn::Untried;
            if let Some(part) = is_turn.then(|| self.choose_tried(now)).flatten() {
                return self.launch(part);
            }
            return self.continue_with_oldest(now);
        }
        let first = self.suspects.values().min_by_key(|suspect| suspect.evidence.due);
        match first.map(|suspect| (suspect.event.seq(), suspect.evidence.due)) {
            Some((seq, due)) if due <= now => {
                let is_held = self.place(seq) == Some(Place::Held);
                let probe = is_held.then_some(Turn::Oldest);
                let part = Part { probe, ..self.single(seq) };
                self.launch(part)
            }
            first => Action::Wait(first.map(|(_, due)| due)),
        }
    }

    /// Continues a spell with its oldest event: after the next check if the sink is parked, and
    /// after a pause if it is slowed down.
    fn continue_with_oldest(&mut self, now: Instant) -> Action<E> {
        if let Some(spell) = &mut self.spell {
            spell.turn = Turn::Oldest;
            let reason = spell.reason.clone();
            if spell.is_parked {
                self.park(reason);
            } else if spell.is_paced && !spell.waits {
                self.mode = Mode::Slow { reason };
            }
        }
        self.next(now)
    }

    /// Returns the next action while the position can't pass an event, since too many are
    /// undecided. These are tried when they are due. A new event is tried only when they need the
    /// acceptance of another one, so that few events are delivered before the position passes them.
    fn make_room(&mut self, now: Instant) -> Action<E> {
        let Some(seq) = self.due(now) else {
            let dues = self.undecided().map(|suspect| suspect.evidence.due);
            return Self::crowded(dues.min().expect("an event waits"));
        };
        if !self.suspects[&seq].evidence.is_round_possible(self.accepted) {
            if let Some(part) = self.take_untried() {
                return self.launch(part);
            }
            if self.queue.is_empty() && self.may_try_new() {
                return Action::Read;
            }
        }
        let part = self.single(seq);
        self.launch(part)
    }

    fn crowded(until: Instant) -> Action<E> {
        let reason = "too many events are undecided; divert them, or see why they are refused";
        Action::Crowded { until, reason: reason.to_owned() }
    }

    /// Returns the number of new events that had been tried when the position stopped at the first
    /// event that it can't pass; `None` if there is none.
    fn stuck_since(&self) -> Option<u64> {
        let before =
            |suspect: &Suspect<E>| suspect.stuck_since.filter(|_| !suspect.place.is_aside());
        self.suspects.values().find_map(before)
    }

    /// Returns whether a new event may be tried. While the position can't pass an event, all of
    /// them are delivered again after a crash.
    fn may_try_new(&self) -> bool {
        self.stuck_since().is_none_or(|before| self.new_while_stuck - before < MAX_NEW_WHILE_STUCK)
    }

    /// Sets events aside that had to wait until fewer are undecided.
    fn set_waiting_aside(&mut self) {
        if !self.policy.may_set_aside || self.waiting.count == 0 {
            return;
        }
        let waiting: Vec<_> = self.seqs_at(Place::Waiting).collect();
        for seq in waiting {
            if self.is_full(self.suspects[&seq].event.size()) {
                break;
            }
            self.set_place(seq, Place::Storing);
            self.storing.push(seq);
        }
    }

    /// Ends the wait of a parked sink: its check succeeded, or the operator wants an attempt.
    pub(crate) fn woken(&mut self) {
        if matches!(self.mode, Mode::Parked { .. }) {
            self.mode = Mode::Normal;
        }
        self.tried_since_woken = false;
        self.is_store_failing = false;
    }

    /// Makes every event due, for an operator who knows that the destination is available.
    pub(crate) fn wake(&mut self, now: Instant) {
        self.mode = Mode::Normal;
        self.woken();
        self.suspects.values_mut().for_each(|suspect| suspect.evidence.due = now);
    }

    /// Gives all events in hand up that the destination has refused for too long.
    pub(crate) fn expire(&mut self, now: Instant) {
        let Some(limit) = self.policy.rules.give_up_after else { return };
        let Some(spell) = self.spell.as_ref().filter(|spell| now - spell.since >= limit) else {
            return;
        };
        let reason = given_up(&spell.reason);
        let held: Vec<_> = self.seqs_at(Place::Held).collect();
        let held = held.into_iter().map(|seq| self.single(seq)).collect::<Vec<_>>();
        let queued = std::mem::take(&mut self.queue);
        let mut given_up: Vec<_> = held.into_iter().chain(queued).collect();
        given_up.sort_by_key(|part| part.events[0].seq());
        for part in given_up {
            self.bury(part, reason.clone());
        }
        self.spell = None;
        self.mode = Mode::Normal;
        self.is_store_failing = false;
    }

    /// Returns whether more events may be read: only in a spell, or if none of the events in hand
    /// can be tried.
    pub(super) fn may_read(&self) -> bool {
        if !self.policy.may_skip {
            return self.queue.is_empty();
        }
        let waits = |suspect: &&Suspect<E>| suspect.place == Place::Waiting;
        let has_round = |suspect: &Suspect<E>| suspect.evidence.is_round_possible(self.accepted);
        // In a spell no event that waits is tried, so only another one can end it.
        let is_waiting =
            self.spell.is_none() && self.suspects.values().filter(waits).any(has_round);
        self.queue.is_empty()
            && !is_waiting
            && self.may_try_new()
            && (self.policy.may_set_aside || !self.is_waiting_full())
            && (self.held.count == 0 || !self.is_full(0) || self.may_hold_beyond())
    }

    /// Returns whether the position can't pass an event since too many are undecided.
    fn is_stuck(&self) -> bool {
        if self.policy.may_set_aside { self.waiting.count > 0 } else { self.is_waiting_full() }
    }

    /// Returns whether a few more events may be held, although too many are undecided. Their number
    /// is also limited if the position is stuck.
    fn may_hold_beyond(&self) -> bool {
        self.policy.may_set_aside
            && (self.held.count < MAX_BEYOND || self.stuck_since().is_some())
            && self.waiting.bytes + self.held.bytes < MAX_ASIDE_BYTES
    }

    /// Returns whether no more events may wait in memory. The last batch may exceed the limit.
    fn is_waiting_full(&self) -> bool {
        self.waiting.count + self.held.count >= self.policy.max_aside
            || self.waiting.bytes + self.held.bytes >= MAX_ASIDE_BYTES
    }

    fn choose(&mut self, now: Instant) -> Option<Part<E>> {
        let is_probing = self.spell.is_some() && self.held.count > 0;
        if is_probing {
            return self.choose_probe();
        }
        if self.spell.is_none() {
            let due = (!self.tried_aside).then(|| self.due(now)).flatten();
            self.tried_aside = due.is_some();
            if let Some(seq) = due {
                return Some(self.single(seq));
            }
        }
        let is_single = self.is_stuck() || self.spell.as_ref().is_some_and(|spell| spell.is_parked);
        let part = if is_single { self.take_untried() } else { self.queue.pop_front() };
        // New events take turns with the ones that are due.
        let due = if self.may_read() { None } else { self.due(now) };
        part.or_else(|| due.map(|seq| self.single(seq)))
    }

    /// Returns whether an event that is set aside or waits is due.
    pub(crate) fn is_due(&self, now: Instant) -> bool {
        self.due(now).is_some()
    }

    /// Returns the next event of a spell.
    fn choose_probe(&mut self) -> Option<Part<E>> {
        let spell = self.spell.as_ref()?;
        let turn = spell.turn;
        let part = match turn {
            Turn::Oldest => {
                let oldest = self.seqs_at(Place::Held).next();
                oldest.map(|seq| self.single(seq))
            }
            Turn::Untried => self.take_untried(),
        };
        part.map(|part| Part { probe: Some(turn), ..part })
    }

    /// Returns an event of a spell that was tried before: one that is set aside or waits and is due,
    /// or another held one than the oldest.
    fn choose_tried(&mut self, now: Instant) -> Option<Part<E>> {
        let is_held_next = self.held.count > 1 && self.tried_aside;
        let due = (!is_held_next).then(|| self.due(now)).flatten();
        self.tried_aside = due.is_some();
        match due {
            Some(seq) => Some(Part { probe: Some(Turn::Untried), ..self.single(seq) }),
            None => (self.held.count > 1).then(|| self.rotate()),
        }
    }

    /// Returns the next held event after the oldest one.
    fn rotate(&mut self) -> Part<E> {
        let last = self.spell.as_ref().map_or(0, |spell| spell.rotated);
        let held: Vec<_> = self.seqs_at(Place::Held).skip(1).collect();
        let next = held.iter().find(|seq| **seq > last).or(held.first());
        let next = *next.expect("several events are held");
        if let Some(spell) = &mut self.spell {
            spell.rotated = next;
        }
        self.single(next)
    }

    /// Takes the first event of the queue, unless it is new and must not be tried.
    fn take_untried(&mut self) -> Option<Part<E>> {
        let first = self.queue.front()?.events[0].seq();
        let is_new = !self.suspects.contains_key(&first);
        if is_new && self.stuck_since().is_some() {
            if !self.may_try_new() {
                return None;
            }
            self.new_while_stuck += 1;
        }
        self.take_first()
    }

    fn take_first(&mut self) -> Option<Part<E>> {
        let mut part = self.queue.pop_front()?;
        if part.events.len() > 1 {
            let rest = part.events.split_off(1);
            self.queue.push_front(Part { events: rest, ..part.clone_empty() });
        }
        Some(part)
    }

    /// Returns an event that was refused alone.
    pub(super) fn single(&self, seq: u64) -> Part<E> {
        let suspect = &self.suspects[&seq];
        let part = Part::new(vec![suspect.event.clone()], suspect.attempts);
        Part { renew: suspect.renew, ..part }
    }

    /// Returns an event that is set aside or waits, and is due.
    fn due(&self, now: Instant) -> Option<u64> {
        let is_due = |suspect: &&Suspect<E>| suspect.evidence.due <= now;
        let key = |suspect: &&Suspect<E>| suspect.evidence.due;
        self.undecided().filter(is_due).min_by_key(key).map(|suspect| suspect.event.seq())
    }

    /// Returns the events that are set aside or wait.
    fn undecided(&self) -> impl Iterator<Item = &Suspect<E>> {
        let is_undecided =
            |suspect: &&Suspect<E>| matches!(suspect.place, Place::Aside | Place::Waiting);
        self.suspects.values().filter(is_undecided)
    }

    pub(super) fn seqs_at(&self, place: Place) -> impl Iterator<Item = u64> {
        let is_there = move |suspect: &&Suspect<E>| suspect.place == place;
        self.suspects.values().filter(is_there).map(|suspect| suspect.event.seq())
    }

    fn launch(&mut self, mut part: Part<E>) -> Action<E> {
        part.attempts += 1;
        let delivery =
            Delivery { events: part.events.clone(), attempt: part.attempts, renew: part.renew };
        self.flight = Some(part);
        Action::Deliver(delivery)
    }

    fn take_storing(&mut self, now: Instant) -> Vec<AsideEvent<E>> {
        let seqs = std::mem::take(&mut self.storing);
        let event = |seq: &u64| {
            let suspect = self.suspects.get(seq)?;
            let (event, reason) = (suspect.event.clone(), suspect.reason.clone());
            let evidence = suspect.evidence.stored(now);
            Some(AsideEvent { event, reason, attempts: suspect.attempts, evidence })
        };
        seqs.iter().filter_map(event).collect()
    }
}
