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

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use tokio::time::Instant;

pub(crate) use self::action::{
    Action, AsideEvent, DeadEvent, Delivery, Fate, Item, Policy, Resolved,
};
use self::evidence::{Class, StoredEvidence};
use self::part::{Part, Place, Refusal, Suspect};
use self::spell::Spell;
use crate::worker::attempt::Attempt;

mod accept;
mod action;
mod choose;
pub(crate) mod evidence;
mod operate;
mod part;
mod refuse;
mod spell;
#[cfg(test)]
mod tests;

/// Number of consecutive failures after which a batch is halved: its size or one of its events may
/// be at fault.
const SPLIT_AFTER: u32 = 4;
/// Number of consecutive attempts of a single event after which the one after it is tried, if the
/// destination is unavailable. A lower number would change the order more often.
const ALONE_AFTER: u32 = 16;
/// The same for a failure that the event may have caused.
const ALONE_AFTER_FAILED: u32 = 4;
/// Time after a refusal with evidence against its event, during which events are suspected of a
/// failure at once. Each of many bad events would otherwise cost the pauses of an outage.
const SUSPICION_WINDOW: Duration = Duration::from_secs(600);
/// Number of different events that are refused in a spell before the sink is parked, if it accepted
/// an event shortly before.
const PARK_AFTER: usize = 8;
/// The same for a sink that accepted nothing shortly before.
const PARK_AT_ONCE: usize = 2;
/// The same for a destination that is known to refuse events and to accept others. Even if it
/// refuses four of five events, it hardly ever refuses as many in a row.
const PARK_IF_MIXED: usize = 64;
/// Number of events that become dead letters in a row on the evidence of an earlier acceptance.
/// More of them need a later one, since the destination may reject everything by now.
const MAX_ON_EARLIER: u32 = 64;
/// Longest interval between two attempts of an event that holds a stream.
const HELD_INTERVAL: Duration = Duration::from_secs(30);
/// Largest number of events that are set aside or held.
pub(crate) const MAX_ASIDE: usize = 4_000;
/// Largest total size of such events, in bytes.
pub(crate) const MAX_ASIDE_BYTES: u64 = 16 << 20;
/// Number of events that are held beyond these limits, in search of one that is accepted: without an
/// acceptance there is no evidence against the undecided ones.
const MAX_BEYOND: usize = 64;
/// Number of new events that are tried while the position can't pass one that waited. All of them
/// are delivered again after a crash.
const MAX_NEW_WHILE_STUCK: u64 = 256;

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
    /// Time of the last refusal with evidence against its event.
    last_suspected: Option<Instant>,
    /// Number of dead letters since the last acceptance.
    dead_since_accepted: u32,
    spell: Option<Spell>,
    mode: Mode,
    /// Part whose attempt is awaited.
    flight: Option<Part<E>>,
    dead: Vec<DeadEvent<E>>,
    storing: Vec<u64>,
    resolved: Vec<Resolved>,
    /// Evidence against events that are set aside that has grown.
    grown: Vec<(u64, StoredEvidence)>,
    aside: Amount,
    held: Amount,
    waiting: Amount,
    /// The last attempt was that of an event that is set aside.
    tried_aside: bool,
    /// Number of new events that were tried while the position could not pass another one.
    new_while_stuck: u64,
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

#[derive(Debug, Clone, PartialEq, Eq)]
enum Mode {
    Normal,
    Pause { retry_after: Option<Duration>, reason: String },
    Slow { reason: String },
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
            last_suspected: None,
            dead_since_accepted: 0,
            spell: None,
            mode: Mode::Normal,
            flight: None,
            dead: Vec::new(),
            storing: Vec::new(),
            resolved: Vec::new(),
            grown: Vec::new(),
            aside: Amount::default(),
            held: Amount::default(),
            waiting: Amount::default(),
            tried_aside: false,
            new_while_stuck: 0,
            tried_since_woken: false,
            is_store_failing: false,
        }
    }

    /// Returns whether the position can pass an event that is not resolved.
    pub(crate) fn may_skip(&self) -> bool {
        self.policy.may_skip
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

    /// Takes the evidence that has grown since the last call, by sequence number.
    pub(crate) fn take_grown(&mut self) -> Vec<(u64, StoredEvidence)> {
        std::mem::take(&mut self.grown)
    }

    /// Takes what was resolved since the last call.
    pub(crate) fn take_resolved(&mut self) -> Vec<Resolved> {
        std::mem::take(&mut self.resolved)
    }

    fn park(&mut self, reason: String) {
        if let Some(spell) = &mut self.spell {
            (spell.is_parked, spell.is_paced) = (true, true);
        }
        self.mode = Mode::Parked { reason };
    }

    /// Returns whether no event of this size can be set aside or held any more.
    fn is_full(&self, size: u64) -> bool {
        self.aside.count + self.held.count + self.storing.len() >= self.policy.max_aside
            || self.aside.bytes + self.held.bytes + size > MAX_ASIDE_BYTES
    }

    fn set_place(&mut self, seq: u64, place: Place) {
        let Some(suspect) = self.suspects.get_mut(&seq) else { return };
        let (before, size) = (std::mem::replace(&mut suspect.place, place), suspect.event.size());
        if place == Place::Waiting && self.policy.may_set_aside {
            suspect.stuck_since.get_or_insert(self.new_while_stuck);
        }
        for (is_member, amount) in [
            (Place::is_aside as fn(Place) -> bool, &mut self.aside),
            (Place::is_held, &mut self.held),
            (Place::is_waiting, &mut self.waiting),
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

fn given_up(reason: &str) -> String {
    format!("given up: {reason}")
}
