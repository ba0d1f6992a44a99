//! Resolution: the state machine that decides what is delivered next, and what becomes of it.
//!
//! The machine receives the result of each attempt, and returns the next [`Action`]. It performs no
//! I/O and reads no clock, so a table and a model can test it as a whole.
//!
//! A refused part of a batch is halved until the event at fault is alone. A refusal says little
//! about an event, since the destination may be at fault: only an acceptance of *another* event
//! between two refusals of this one is [`evidence`]. The machine therefore tries the events after
//! a refused one, and then the refused one again. A *spell* is the time since the first refusal
//! without an acceptance. In a spell events are tried one by one, first the oldest one and then one
//! that was not tried yet, at the pace of the back-off or of the checks of a parked sink.
//!
//! An event against which there is some evidence, but not enough, is set aside: the position of the
//! live stream passes it, and it is tried again when it is due.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use observer_core::Envelope;
use tokio::time::Instant;

use self::evidence::{ACCEPTANCE_WINDOW, Class, Conclusion, Evidence, Rules};
use crate::worker::attempt::Attempt;

mod choose;
pub(crate) mod evidence;
mod operate;
#[cfg(test)]
mod tests;

/// Number of consecutive failures after which a batch is halved: its size or one of its events may
/// be at fault.
const SPLIT_AFTER: u32 = 4;
/// Number of consecutive failures of a single event after which the one after it is tried. A lower
/// number would change the order whenever a destination fails occasionally.
const ALONE_AFTER: u32 = 16;
/// Number of attempts of the oldest event of a spell after which another one is tried.
const OLDEST_ATTEMPTS: u32 = 4;
/// Number of different events that are refused in a spell before the sink is parked, if it accepted
/// an event shortly before.
const PARK_AFTER: usize = 8;
/// The same for a sink that accepted nothing shortly before.
const PARK_AT_ONCE: usize = 2;
/// Number of events that become dead letters in a row on the evidence of an earlier acceptance. More
/// of them need a later one, since the destination may reject everything by now.
const MAX_ON_EARLIER: u32 = 64;
/// Longest interval between two attempts of an event that holds a stream.
const HELD_INTERVAL: Duration = Duration::from_secs(30);
/// Largest number of events that are set aside or held.
pub(crate) const MAX_ASIDE: usize = 1_000;
/// Largest total size of such events, in bytes.
pub(crate) const MAX_ASIDE_BYTES: u64 = 16 << 20;

/// Event as the machine sees it.
pub(crate) trait Item: Clone {
    fn seq(&self) -> u64;
    /// Returns the size in bytes.
    fn size(&self) -> u64;
}

impl Item for Arc<Envelope> {
    fn seq(&self) -> u64 {
        self.seq
    }

    fn size(&self) -> u64 {
        self.event.raw().len() as u64
    }
}

/// Policy of a stream.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Policy {
    pub(crate) rules: Rules,
    /// True if an event may be tried while an earlier one is unresolved.
    pub(crate) may_skip: bool,
    /// True if the position may pass an event that is set aside.
    pub(crate) may_set_aside: bool,
    /// Largest number of events of one attempt.
    pub(crate) max_delivery: usize,
}

/// Next step of a stream.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Action<E> {
    /// Deliver these events, and call [`Resolution::on`] with the result.
    Deliver(Delivery<E>),
    /// Write these events to the dead letters, and call [`Resolution::buried`].
    DeadLetter(Vec<DeadEvent<E>>),
    /// Store these events, and call [`Resolution::stored`].
    SetAside(Vec<AsideEvent<E>>),
    /// Wait for the back-off.
    BackOff { retry_after: Option<Duration>, reason: String },
    /// Park the sink until its check succeeds, and call [`Resolution::woken`].
    Park { reason: String },
    /// Read more events, and call [`Resolution::add`], or [`Resolution::exhausted`].
    Read,
    /// Wait for more events, or until this time.
    Wait(Option<Instant>),
}

/// Events of one attempt.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Delivery<E> {
    pub(crate) events: Vec<E>,
    /// Number of this attempt for these events, from 1.
    pub(crate) attempt: u32,
    /// True if the attempt has to use a new connection.
    pub(crate) renew: bool,
}

/// Event that becomes a dead letter.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct DeadEvent<E> {
    pub(crate) event: E,
    pub(crate) reason: String,
    pub(crate) attempts: u32,
    /// True if the position has passed the event.
    pub(crate) is_aside: bool,
}

/// Event that is set aside.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct AsideEvent<E> {
    pub(crate) event: E,
    pub(crate) reason: String,
    pub(crate) attempts: u32,
}

/// Result of one event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    Delivered,
    /// Rejected by the destination without being named.
    Refused,
    Dead,
    SetAside,
}

/// Event that is resolved, or that the position may pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Resolved {
    pub(crate) seq: u64,
    pub(crate) fate: Fate,
    /// True if the position has passed the event before.
    pub(crate) is_aside: bool,
}

/// State machine of a stream.
#[derive(Debug)]
pub(crate) struct Resolution<E> {
    policy: Policy,
    /// Events that are to be delivered, in order.
    queue: VecDeque<Part<E>>,
    /// Events that were refused alone, by sequence number.
    suspects: BTreeMap<u64, Suspect<E>>,
    /// Number of acceptances of the sink.
    accepted: u64,
    last_accepted: Option<Instant>,
    /// Number of dead letters since the last acceptance.
    dead_since_accepted: u32,
    spell: Option<Spell>,
    mode: Mode,
    /// Part whose attempt is awaited.
    flight: Option<Part<E>>,
    dead: Vec<DeadEvent<E>>,
    storing: Vec<u64>,
    resolved: Vec<Resolved>,
    aside: Amount,
    held: Amount,
    /// The last attempt was that of an event that is set aside.
    tried_aside: bool,
    /// There was an attempt since the sink was woken, while too many events are undecided.
    tried_since_woken: bool,
    /// The dead letters could not be written, and are written again after the next wait.
    is_store_failing: bool,
}

/// Number and size of events.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Amount {
    count: usize,
    bytes: u64,
}

/// Part of a batch.
#[derive(Debug, Clone)]
struct Part<E> {
    events: Vec<E>,
    attempts: u32,
    /// Number of consecutive failures.
    failures: u32,
    renew: bool,
    probe: Option<Turn>,
}

/// Event that was refused alone.
#[derive(Debug, Clone)]
struct Suspect<E> {
    event: E,
    evidence: Evidence,
    reason: String,
    attempts: u32,
    /// Number of attempts of the event alone.
    alone: u32,
    renew: bool,
    place: Place,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// In the queue, or in flight before the position.
    Queued,
    /// Held until another event is accepted.
    Held,
    /// Held until it is due, since the position may not pass it.
    Waiting,
    /// About to be set aside.
    Storing,
    /// Set aside.
    Aside,
}

/// Time without an acceptance since the first refusal.
#[derive(Debug, Clone)]
struct Spell {
    since: Instant,
    reason: String,
    /// Events that were refused alone.
    refused: BTreeSet<u64>,
    park_after: usize,
    is_parked: bool,
    /// The last refusal was that of a destination that needs time.
    waits: bool,
    turn: Turn,
    /// Number of attempts of the oldest event.
    oldest_attempts: u32,
    /// Held event that was tried last when there was no untried one.
    rotated: u64,
}

/// Event that is tried next in a spell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Turn {
    Oldest,
    Untried,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Mode {
    Normal,
    Pause { retry_after: Option<Duration>, reason: String },
    Parked { reason: String },
}

impl<E: Item> Resolution<E> {
    pub(crate) fn new(policy: Policy) -> Self {
        Self {
            policy,
            queue: VecDeque::new(),
            suspects: BTreeMap::new(),
            accepted: 0,
            last_accepted: None,
            dead_since_accepted: 0,
            spell: None,
            mode: Mode::Normal,
            flight: None,
            dead: Vec::new(),
            storing: Vec::new(),
            resolved: Vec::new(),
            aside: Amount::default(),
            held: Amount::default(),
            tried_aside: false,
            tried_since_woken: false,
            is_store_failing: false,
        }
    }

    /// Adds events that follow the ones before.
    pub(crate) fn add(&mut self, events: Vec<E>) {
        if events.len() <= self.policy.max_delivery {
            self.queue.push_back(Part::new(events, 0));
        } else {
            let parts = events.chunks(self.policy.max_delivery).map(<[E]>::to_vec);
            self.queue.extend(parts.map(|events| Part::new(events, 0)));
        }
    }

    /// Adds the result of the attempt that the last action demanded. [`next`](Self::next) returns
    /// what follows from it.
    pub(crate) fn on(&mut self, attempt: Attempt, now: Instant) {
        let part = self.flight.take().expect("an attempt follows the action to deliver");
        match attempt {
            Attempt::Accepted => self.accept(&part.events, 0, part.probe, now),
            Attempt::PartlyRejected { rejected, refused } => {
                self.reject_items(part, rejected, refused, now);
            }
            Attempt::Refused { class, accepted, reason } => {
                if let Some(part) = self.accept_some(part, &accepted, now) {
                    self.refuse(part, Refusal { class, retry_after: None, reason }, now);
                }
            }
            Attempt::Unavailable { accepted, retry_after, reason } => {
                if let Some(part) = self.accept_some(part, &accepted, now) {
                    let class = Class::Unavailable;
                    self.refuse(part, Refusal { class, retry_after, reason }, now);
                }
            }
            Attempt::TimedOut { reason } => {
                let class = Class::Unavailable;
                self.refuse(part, Refusal { class, retry_after: None, reason }, now);
            }
            Attempt::Blocked { reason } => {
                self.begin_spell(&reason, now);
                self.put_back(part);
                self.park(reason);
            }
        }
        self.expire(now);
    }

    /// Begins a spell, and parks the sink: its check or a call before the first delivery failed.
    pub(crate) fn blocked(&mut self, reason: String, now: Instant) {
        self.begin_spell(&reason, now);
        self.park(reason);
    }

    /// Ends the spell of a blocked sink whose check succeeds, and that has no event to deliver.
    pub(crate) fn unblocked(&mut self) {
        if self.held.count == 0 {
            self.spell = None;
        }
    }

    /// Takes what was resolved since the last call.
    pub(crate) fn take_resolved(&mut self) -> Vec<Resolved> {
        std::mem::take(&mut self.resolved)
    }

    /// Adds an acceptance of an event of another stream to the same sink.
    pub(crate) fn accepted_elsewhere(&mut self, now: Instant) {
        self.note_acceptance(None, now);
    }

    fn accept(&mut self, events: &[E], refused: usize, probe: Option<Turn>, now: Instant) {
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
    fn accept_some(
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

    fn reject_items(
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

    fn refuse(&mut self, mut part: Part<E>, refusal: Refusal, now: Instant) {
        part.renew = matches!(refusal.class, Class::Failed | Class::Denied);
        if part.events.len() == 1 {
            self.refuse_event(part, refusal, now);
            return;
        }
        self.begin_spell(&refusal.reason, now);
        part.failures += 1;
        match refusal.class {
            Class::Permanent | Class::Denied => self.halve(part),
            Class::Failed | Class::Unavailable => {
                if part.failures >= SPLIT_AFTER {
                    // The halves fail once more before they are halved, too.
                    part.failures = SPLIT_AFTER - 1;
                    self.halve(part);
                } else {
                    self.put_back(part);
                }
                self.pause(refusal);
            }
        }
    }

    fn refuse_event(&mut self, part: Part<E>, refusal: Refusal, now: Instant) {
        let event = part.events[0].clone();
        let (accepted, last_accepted) = (self.accepted, self.last_accepted);
        let may_count = self.policy.may_skip && self.dead_since_accepted < MAX_ON_EARLIER;
        let last_accepted = last_accepted.filter(|_| may_count);
        let suspect = self.suspects.entry(event.seq()).or_insert_with(|| Suspect {
            event,
            evidence: Evidence::new(now, accepted),
            reason: String::new(),
            attempts: 0,
            alone: 0,
            renew: false,
            place: Place::Queued,
        });
        suspect.reason.clone_from(&refusal.reason);
        (suspect.attempts, suspect.renew) = (part.attempts, part.renew);
        suspect.alone += 1;
        let place = suspect.place;
        let rules = &self.policy.rules;
        match suspect.evidence.refuse(refusal.class, accepted, last_accepted, rules, now) {
            Conclusion::AtFault => self.bury(part, refusal.reason),
            Conclusion::GivenUp => self.bury(part, given_up(&refusal.reason)),
            _ if place == Place::Aside => {}
            Conclusion::Suspicious => self.suspect(part, refusal.reason),
            Conclusion::Open => self.hold(part, refusal, now),
        }
    }

    /// Sets an event aside against which there is some evidence.
    fn suspect(&mut self, part: Part<E>, reason: String) {
        let event = &part.events[0];
        let is_full = self.is_full(event.size());
        let place = match self.policy.may_set_aside {
            true if !is_full => Place::Storing,
            _ => Place::Waiting,
        };
        self.set_place(event.seq(), place);
        if place == Place::Storing {
            self.storing.push(event.seq());
        } else if self.policy.may_set_aside {
            self.park(format!(
                "too many events are undecided; divert them or see why they are refused: {reason}"
            ));
        }
    }

    /// Holds an event against which there is no evidence, and decides what is tried next.
    fn hold(&mut self, part: Part<E>, refusal: Refusal, now: Instant) {
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
        if waits && is_first && alone < ALONE_AFTER {
            self.put_back(part);
            self.pause(refusal);
            return;
        }
        self.set_place(seq, Place::Held);
        let suspect = self.suspects.get_mut(&seq).expect("the event was refused just now");
        suspect.evidence.due = suspect.evidence.due.min(now + HELD_INTERVAL);
        let spell = self.spell.as_mut().expect("the spell began above");
        spell.refused.insert(seq);
        spell.waits = waits;
        let probe = part.probe.unwrap_or(if is_first { Turn::Oldest } else { Turn::Untried });
        spell.turn = spell.turn_after(probe, waits);
        let is_over = probe == Turn::Untried || spell.turn == Turn::Oldest;
        if waits && (is_over || refusal.retry_after.is_some()) {
            self.pause(refusal);
        } else if !waits
            && probe == Turn::Untried
            && (spell.is_parked || spell.refused.len() >= spell.park_after)
        {
            spell.turn = Turn::Oldest;
            self.park(refusal.reason);
        }
    }

    /// Makes an event a dead letter.
    fn bury(&mut self, part: Part<E>, reason: String) {
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

    fn begin_spell(&mut self, reason: &str, now: Instant) {
        let is_recent = self.last_accepted.is_some_and(|last| now - last <= ACCEPTANCE_WINDOW);
        let spell = self.spell.get_or_insert_with(|| Spell {
            since: now,
            reason: String::new(),
            refused: BTreeSet::new(),
            park_after: if is_recent { PARK_AFTER } else { PARK_AT_ONCE },
            is_parked: false,
            waits: false,
            turn: Turn::Untried,
            oldest_attempts: 0,
            rotated: 0,
        });
        reason.clone_into(&mut spell.reason);
    }

    fn note_acceptance(&mut self, probe: Option<Turn>, now: Instant) {
        self.accepted += 1;
        self.last_accepted = Some(now);
        self.dead_since_accepted = 0;
        if self.spell.take().is_some() {
            if matches!(self.mode, Mode::Parked { .. }) {
                self.mode = Mode::Normal;
            }
            self.release(probe);
        }
    }

    /// Returns the held events to the front of the queue. If the oldest of them was accepted, the
    /// destination was at fault, and the others are delivered together; else one by one.
    fn release(&mut self, probe: Option<Turn>) {
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
        let is_single = probe != Some(Turn::Oldest) && held.len() <= PARK_AFTER;
        let size = if is_single { 1 } else { self.policy.max_delivery };
        for group in held.chunks(size).rev() {
            let attempts = group.iter().map(|(_, attempts, _)| *attempts).max().unwrap_or(0);
            let renew = group.iter().any(|(_, _, renew)| *renew);
            let events = group.iter().map(|(event, ..)| event.clone()).collect();
            self.queue.push_front(Part { renew, ..Part::new(events, attempts) });
        }
    }

    fn halve(&mut self, part: Part<E>) {
        let mut left = part;
        let right = left.events.split_off(left.events.len().div_ceil(2));
        let right = Part { events: right, ..left.clone_empty() };
        self.put_back(right);
        self.put_back(left);
    }

    /// Returns a part to the front of the queue, unless it is an event that is held or set aside.
    fn put_back(&mut self, part: Part<E>) {
        let is_queued =
            |event: &E| self.place(event.seq()).is_none_or(|place| place == Place::Queued);
        if part.events.iter().any(is_queued) {
            self.queue.push_front(Part { probe: None, ..part });
        }
    }

    fn pause(&mut self, refusal: Refusal) {
        let Refusal { retry_after, reason, .. } = refusal;
        self.mode = Mode::Pause { retry_after, reason };
    }

    fn park(&mut self, reason: String) {
        if let Some(spell) = &mut self.spell {
            spell.is_parked = true;
        }
        self.mode = Mode::Parked { reason };
    }

    /// Returns whether no event of this size can be set aside or held any more.
    fn is_full(&self, size: u64) -> bool {
        self.aside.count + self.held.count + self.storing.len() >= MAX_ASIDE
            || self.aside.bytes + self.held.bytes + size > MAX_ASIDE_BYTES
    }

    fn set_place(&mut self, seq: u64, place: Place) {
        let Some(suspect) = self.suspects.get_mut(&seq) else { return };
        let (before, size) = (std::mem::replace(&mut suspect.place, place), suspect.event.size());
        for (is_member, amount) in [
            (Place::is_aside as fn(Place) -> bool, &mut self.aside),
            (Place::is_held, &mut self.held),
        ] {
            if is_member(before) {
                amount.count -= 1;
                amount.bytes -= size;
            }
            if is_member(place) {
                amount.count += 1;
                amount.bytes += size;
            }
        }
    }

    fn place(&self, seq: u64) -> Option<Place> {
        self.suspects.get(&seq).map(|suspect| suspect.place)
    }

    /// Removes what is known of an event. Returns whether it was set aside.
    fn forget(&mut self, seq: u64) -> bool {
        if self.suspects.is_empty() {
            return false;
        }
        let is_aside = self.place(seq) == Some(Place::Aside);
        self.set_place(seq, Place::Queued);
        self.suspects.remove(&seq);
        is_aside
    }
}

/// Refusal of a part.
struct Refusal {
    class: Class,
    retry_after: Option<Duration>,
    reason: String,
}

fn given_up(reason: &str) -> String {
    format!("given up: {reason}")
}

impl Spell {
    /// Returns which event is tried after an attempt of one.
    fn turn_after(&mut self, probe: Turn, waits: bool) -> Turn {
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

impl Place {
    fn is_aside(self) -> bool {
        self == Self::Aside
    }

    fn is_held(self) -> bool {
        self == Self::Held
    }
}

impl<E> Part<E> {
    fn new(events: Vec<E>, attempts: u32) -> Self {
        Self { events, attempts, failures: 0, renew: false, probe: None }
    }

    /// Returns a copy without events.
    fn clone_empty(&self) -> Self {
        let Self { attempts, failures, renew, probe, .. } = *self;
        Self { events: Vec::new(), attempts, failures, renew, probe }
    }
}
