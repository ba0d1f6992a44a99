//! Refusals: of a part, which is halved, and of a single event, which is suspected or held.

use std::collections::BTreeSet;

use tokio::time::Instant;

use super::evidence::{ACCEPTANCE_WINDOW, Class, Conclusion, Evidence};
use super::part::{Part, Place, Refusal, Suspect};
use super::spell::{Spell, Turn};
use super::{
    ALONE_AFTER, ALONE_AFTER_FAILED, DeadEvent, HELD_INTERVAL, Item, MAX_ON_EARLIER, Mode,
    PARK_AFTER, PARK_AT_ONCE, Resolution, SPLIT_AFTER, SUSPICION_WINDOW, given_up,
};

impl<E: Item> Resolution<E> {
    pub(super) fn refuse(&mut self, mut part: Part<E>, refusal: Refusal, now: Instant) {
        part.renew = refusal.class.needs_new_connection();
        if part.events.len() == 1 {
            self.refuse_event(part, refusal, now);
            return;
        }
        self.begin_spell(&refusal.reason, now);
        part.failures += 1;
        match refusal.class {
            Class::Permanent | Class::Denied | Class::Unauthenticated => self.halve(part),
            Class::Failed | Class::Unavailable => {
                let is_failure = refusal.class == Class::Failed;
                if part.failures < SPLIT_AFTER && !(is_failure && self.suspects_events(now)) {
                    self.put_back(part);
                    self.pause(refusal);
                    return;
                }
                // The halves fail once more before they are halved, too.
                part.failures = SPLIT_AFTER - 1;
                self.halve(part);
                // A failure is found within a logarithmic number of requests. It takes no pauses,
                // which would make one bad event among many take as long as an outage.
                if !is_failure {
                    self.pause(refusal);
                }
            }
        }
    }

    pub(super) fn refuse_event(&mut self, part: Part<E>, refusal: Refusal, now: Instant) {
        let event = part.events[0].clone();
        let seq = event.seq();
        let (accepted, last_accepted) = (self.accepted, self.last_accepted);
        let may_count = self.policy.may_skip && self.dead_since_accepted < MAX_ON_EARLIER;
        let last_accepted = last_accepted.filter(|_| may_count);
        let suspect = self.suspects.entry(seq).or_insert_with(|| Suspect {
            event,
            evidence: Evidence::new(now, accepted),
            reason: String::new(),
            attempts: 0,
            alone: 0,
            renew: false,
            place: Place::Queued,
            stuck_since: None,
        });
        suspect.reason.clone_from(&refusal.reason);
        (suspect.attempts, suspect.renew) = (part.attempts, part.renew);
        suspect.alone += 1;
        let place = suspect.place;
        let rules = &self.policy.rules;
        // A refusal while the destination is unavailable, or the sink is parked or slowed down, is
        // no round of an event that the stream does not wait for.
        let is_probe = part.probe.is_some() && place != Place::Held && place != Place::Queued;
        let accepted = if is_probe { suspect.evidence.seen() } else { accepted };
        let conclusion =
            suspect.evidence.refuse(refusal.class, accepted, last_accepted, rules, now);
        if matches!(conclusion, Conclusion::AtFault | Conclusion::Suspicious) {
            self.last_suspected = Some(now);
        }
        match conclusion {
            Conclusion::AtFault => self.bury(part, refusal.reason),
            Conclusion::GivenUp => self.bury(part, given_up(&refusal.reason)),
            Conclusion::Suspicious if place == Place::Aside => {
                self.grown.push((seq, suspect.evidence.stored(now)));
            }
            Conclusion::Open if is_probe => {
                let waits = matches!(refusal.class, Class::Failed | Class::Unavailable);
                self.continue_spell(seq, Turn::Untried, waits, refusal, now);
            }
            Conclusion::Open if place == Place::Aside => {}
            Conclusion::Suspicious => self.suspect(&part),
            Conclusion::Open => self.hold(part, refusal, now),
        }
    }

    /// Returns whether an event was refused a short time ago while others were accepted.
    pub(super) fn suspects_events(&self, now: Instant) -> bool {
        self.last_suspected.is_some_and(|last| now - last <= SUSPICION_WINDOW)
    }

    /// Returns whether the destination is known to refuse events and to accept others: both were
    /// seen a short time ago.
    pub(crate) fn is_mixed(&self, now: Instant) -> bool {
        self.suspects_events(now)
            && self.last_accepted.is_some_and(|last| now - last <= SUSPICION_WINDOW)
    }

    /// Returns whether the destination has refused many events in a row, and the sink is not parked
    /// since it accepted others a short time ago.
    pub(crate) fn refuses_many(&self) -> bool {
        let is_run = |spell: &Spell| !spell.is_parked && spell.refused.len() > PARK_AFTER;
        self.spell.as_ref().is_some_and(|spell| is_run(spell) && !spell.waits)
    }

    /// Sets an event aside against which there is some evidence.
    pub(super) fn suspect(&mut self, part: &Part<E>) {
        let event = &part.events[0];
        let is_full = self.is_full(event.size());
        let place = match self.policy.may_set_aside {
            true if !is_full => Place::Storing,
            _ => Place::Waiting,
        };
        self.set_place(event.seq(), place);
        if place == Place::Storing {
            self.storing.push(event.seq());
        }
    }

    /// Holds an event against which there is no evidence, and decides what is tried next.
    pub(super) fn hold(&mut self, part: Part<E>, refusal: Refusal, now: Instant) {
        let seq = part.events[0].seq();
        self.begin_spell(&refusal.reason, now);
        let waits = matches!(refusal.class, Class::Failed | Class::Unavailable);
        let alone = self.suspects[&seq].alone;
        if !self.policy.may_skip {
            self.put_back(part);
            if waits {
                self.pause(refusal);
            } else {
                self.park(refusal.reason);
            }
            return;
        }
        let is_first = self.held.count == 0;
        let alone_after = match refusal.class {
            Class::Failed if self.suspects_events(now) => 1,
            Class::Failed => ALONE_AFTER_FAILED,
            _ => ALONE_AFTER,
        };
        if waits && is_first && alone < alone_after {
            self.put_back(part);
            self.pause(refusal);
            return;
        }
        self.set_place(seq, Place::Held);
        let suspect = self.suspects.get_mut(&seq).expect("the event was refused just now");
        suspect.evidence.due = suspect.evidence.due.min(now + HELD_INTERVAL);
        let probe = part.probe.unwrap_or(if is_first { Turn::Oldest } else { Turn::Untried });
        self.continue_spell(seq, probe, waits, refusal, now);
    }

    /// Decides what a spell tries after an event was refused, and whether it waits before.
    fn continue_spell(
        &mut self,
        seq: u64,
        probe: Turn,
        waits: bool,
        refusal: Refusal,
        now: Instant,
    ) {
        let is_mixed = refusal.class == Class::Denied && self.is_mixed(now);
        let Some(spell) = &mut self.spell else { return };
        // A replay can wait; it sends no bursts.
        let is_untried = spell.refused.insert(seq) && self.policy.may_set_aside;
        spell.waits = waits;
        spell.turn = spell.turn_after(probe, waits);
        let is_over = probe == Turn::Untried || spell.turn == Turn::Oldest;
        if waits && (is_over || refusal.retry_after.is_some()) {
            self.pause(refusal);
        } else if !waits
            && probe == Turn::Untried
            && spell.is_burst_over(refusal.class, is_untried, is_mixed)
        {
            spell.turn = Turn::Oldest;
            if is_mixed {
                self.mode = Mode::Slow { reason: refusal.reason };
            } else {
                self.park(refusal.reason);
            }
        }
    }

    /// Makes an event a dead letter.
    pub(super) fn bury(&mut self, part: Part<E>, reason: String) {
        for event in part.events {
            self.dead_since_accepted = self.dead_since_accepted.saturating_add(1);
            let is_aside = self.forget(event.seq());
            self.dead.push(DeadEvent {
                event,
                reason: reason.clone(),
                attempts: part.attempts,
                is_aside,
            });
        }
    }

    pub(super) fn begin_spell(&mut self, reason: &str, now: Instant) {
        let is_recent = self.last_accepted.is_some_and(|last| now - last <= ACCEPTANCE_WINDOW);
        let spell = self.spell.get_or_insert_with(|| Spell {
            since: now,
            reason: String::new(),
            refused: BTreeSet::new(),
            park_after: if is_recent { PARK_AFTER } else { PARK_AT_ONCE },
            is_parked: false,
            is_paced: false,
            waits: false,
            burst: 1,
            burst_left: 0,
            turn: Turn::Untried,
            oldest_attempts: 0,
            rotated: 0,
        });
        reason.clone_into(&mut spell.reason);
    }

    pub(super) fn halve(&mut self, part: Part<E>) {
        let mut left = part;
        let right = left.events.split_off(left.events.len().div_ceil(2));
        let right = Part { events: right, ..left.clone_empty() };
        self.put_back(right);
        self.put_back(left);
    }

    /// Returns a part to the front of the queue, unless it is an event that is held or set aside.
    pub(super) fn put_back(&mut self, part: Part<E>) {
        let is_queued =
            |event: &E| self.place(event.seq()).is_none_or(|place| place == Place::Queued);
        if part.events.iter().any(is_queued) {
            self.queue.push_front(Part { probe: None, ..part });
        }
    }

    pub(super) fn pause(&mut self, refusal: Refusal) {
        let Refusal { retry_after, reason, .. } = refusal;
        self.mode = Mode::Pause { retry_after, reason };
    }
}
