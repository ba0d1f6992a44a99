//! Run of a machine against a destination, its worker and its stores.

use std::collections::{BTreeMap, BTreeSet};

use observer_core::RetrySettings;

use super::super::*;
use super::{BATCH, EVENTS, INTERVAL, Incident, Truth};
use crate::worker::resolution::evidence::ACCEPTANCE_WINDOW;

/// State that survives a crash once it is flushed.
#[derive(Debug, Clone, Default)]
struct Stored {
    /// Result of each event that was resolved or set aside.
    fates: BTreeMap<u64, Fate>,
    /// Events that are set aside.
    aside: BTreeMap<u64, AsideEvent<TestEvent>>,
}

pub(super) struct Run<'a> {
    machine: Machine,
    truth: &'a Truth,
    random: fastrand::Rng,
    backend_is_bad: bool,
    added: u64,
    requests: usize,
    /// Number of incidents that have happened.
    happened: usize,
    stored: Stored,
    flushed: Stored,
    flushed_at: Instant,
    is_flushed: bool,
    /// Number of refusals by the bad backend, by event.
    by_backend: BTreeMap<u64, u32>,
    accepted: BTreeSet<u64>,
    /// Accepted events in the order of their first acceptance.
    in_order: Vec<u64>,
    /// Acceptances that were lost by a crash, and may happen again.
    lost: BTreeSet<u64>,
    diverted: BTreeSet<u64>,
    /// Events that were refused alone.
    suspects: BTreeSet<u64>,
    last_accepted: Option<Instant>,
    first_refused: BTreeMap<u64, Instant>,
}

impl Stored {
    /// Returns the last event before the first unresolved one.
    fn position(&self) -> u64 {
        let first_unresolved = (1..).zip(self.fates.keys()).find(|(seq, known)| seq != *known);
        first_unresolved.map_or(self.fates.len() as u64, |(seq, _)| seq - 1)
    }
}

fn policy(truth: &Truth) -> Policy {
    let give_up_after = truth.give_up_after.map(Duration::from_secs);
    let retry = RetrySettings { give_up_after, ..RetrySettings::default() };
    Policy { max_aside: truth.max_aside, rules: Rules::new(&retry), ..live() }
}

impl<'a> Run<'a> {
    pub(super) fn new(truth: &'a Truth) -> Self {
        let machine = Machine::new(policy(truth));
        Self {
            flushed_at: machine.now,
            machine,
            truth,
            random: fastrand::Rng::with_seed(truth.seed),
            backend_is_bad: false,
            added: 0,
            requests: 0,
            happened: 0,
            stored: Stored::default(),
            flushed: Stored::default(),
            is_flushed: true,
            by_backend: BTreeMap::new(),
            accepted: BTreeSet::new(),
            in_order: Vec::new(),
            lost: BTreeSet::new(),
            diverted: BTreeSet::new(),
            suspects: BTreeSet::new(),
            last_accepted: None,
            first_refused: BTreeMap::new(),
        }
    }

    fn seconds(&self) -> u64 {
        (self.machine.now - self.machine.start).as_secs()
    }

    fn answer(&mut self, delivery: &Delivery<TestEvent>) -> Attempt {
        self.requests += 1;
        if delivery.renew || self.requests == 1 {
            let backends = self.truth.bad_backend.map(|(backends, _)| backends);
            self.backend_is_bad = backends.is_some_and(|backends| self.random.u32(..backends) == 0);
        }
        let now = self.seconds();
        let seqs: Vec<_> = delivery.events.iter().map(Item::seq).collect();
        let outage = self.truth.outages.iter().find(|(from, to, _)| (*from..*to).contains(&now));
        let bad = seqs.iter().find_map(|seq| self.truth.bad.get(seq));
        let backend = self.truth.bad_backend.filter(|_| self.backend_is_bad);
        let class =
            outage.map(|(_, _, class)| *class).or(backend.map(|(_, class)| class)).or(bad.copied());
        let Some(class) = class else {
            self.accept(&seqs);
            return Attempt::Accepted;
        };
        if let [seq] = seqs.as_slice() {
            self.suspects.insert(*seq);
            self.first_refused.entry(*seq).or_insert(self.machine.now);
            if outage.is_none() && backend.is_some() {
                *self.by_backend.entry(*seq).or_default() += 1;
            }
        }
        if class == Class::Unavailable { unavailable() } else { refused(class) }
    }

    fn accept(&mut self, seqs: &[u64]) {
        for seq in seqs {
            if self.accepted.insert(*seq) {
                self.in_order.push(*seq);
            } else {
                assert!(self.lost.remove(seq), "{seq} is delivered twice");
            }
        }
        self.last_accepted = Some(self.machine.now);
    }

    /// Adds the events that have arrived.
    fn read(&mut self) -> bool {
        let arrived = EVENTS.min(self.seconds() / INTERVAL + 1);
        let last = arrived.min(self.added + BATCH);
        if last == self.added {
            return false;
        }
        self.machine.resolution.add(events(self.added + 1..=last));
        self.added = last;
        true
    }

    fn step(&mut self) {
        let now = self.machine.now;
        let mut action = self.machine.resolution.next(now);
        if action == Action::Read {
            if self.read() {
                return;
            }
            action = self.machine.resolution.exhausted(now);
        }
        match action {
            Action::Deliver(delivery) => {
                let attempt = self.answer(&delivery);
                self.machine.resolution.on(attempt, now);
                self.machine.now += Duration::from_millis(50);
            }
            Action::DeadLetter(dead) => {
                dead.iter().for_each(|dead| self.check_dead(dead));
                self.machine.resolution.buried(&dead);
            }
            Action::SetAside(aside) => {
                for aside in aside {
                    self.machine.resolution.stored(aside.event.0);
                    self.stored.aside.insert(aside.event.0, aside);
                }
            }
            Action::BackOff { .. } | Action::SlowDown { .. } => {
                self.machine.now += Duration::from_millis(self.random.u64(1..10_000));
            }
            Action::Park { .. } => {
                self.machine.now += Duration::from_secs(self.random.u64(1..30));
                self.machine.resolution.woken();
                self.machine.resolution.expire(self.machine.now);
            }
            Action::Crowded { until, .. } => self.machine.now = now.max(until),
            Action::Read => {}
            Action::Wait(due) => {
                let next = now + Duration::from_secs(INTERVAL);
                self.machine.now = due.map_or(next, |due| due.clamp(now, next));
            }
        }
    }

    /// Adds what the machine has resolved to the account, and flushes it each second.
    fn resolve(&mut self) {
        for (seq, evidence) in self.machine.resolution.take_grown() {
            if let Some(aside) = self.stored.aside.get_mut(&seq) {
                aside.evidence = evidence;
                self.is_flushed = false;
            }
        }
        for Resolved { seq, fate, is_aside } in self.machine.resolution.take_resolved() {
            self.is_flushed = false;
            let before = self.stored.fates.insert(seq, fate);
            let expected = is_aside.then_some(Fate::SetAside);
            assert_eq!(before, expected, "{seq} is counted once before it is {fate:?}");
            if is_aside {
                self.stored.aside.remove(&seq);
            }
        }
        if self.machine.now - self.flushed_at >= Duration::from_secs(1) {
            self.flushed_at = self.machine.now;
            if !std::mem::replace(&mut self.is_flushed, true) {
                self.flushed = self.stored.clone();
            }
            self.check_position();
        }
    }

    fn happen(&mut self, incident: Incident) {
        let resolution = &mut self.machine.resolution;
        match incident {
            Incident::Retry => resolution.wake(self.machine.now),
            Incident::Divert => {
                let first = resolution.most_refused().copied();
                self.divert(first);
            }
            Incident::DivertEvent(seq) => self.divert(Some(TestEvent(seq, 0))),
            Incident::DivertHead(count) => {
                for _ in 0..count {
                    let first = self.machine.resolution.holding().copied();
                    self.divert(first);
                }
            }
            Incident::Crash => self.crash(),
        }
        self.resolve();
    }

    fn divert(&mut self, wanted: Option<TestEvent>) {
        let resolution = &mut self.machine.resolution;
        let dead = wanted.and_then(|wanted| resolution.divert(|event| event.0 == wanted.0));
        if let Some(dead) = dead {
            self.diverted.insert(dead.event.0);
            resolution.buried(&[dead]);
        }
        // The worker waits no longer.
        resolution.woken();
    }

    fn crash(&mut self) {
        let position = self.flushed.position();
        self.stored = self.flushed.clone();
        self.stored.fates.retain(|seq, _| *seq <= position);
        self.stored.aside.retain(|seq, _| *seq <= position);
        self.flushed = self.stored.clone();
        let is_delivered = |seq: &u64| self.stored.fates.get(seq) == Some(&Fate::Delivered);
        self.lost = self.accepted.iter().copied().filter(|seq| !is_delivered(seq)).collect();
        self.machine.resolution = Resolution::new(policy(self.truth));
        for aside in self.stored.aside.values() {
            self.machine.resolution.restore(aside.clone(), self.machine.now);
        }
        self.added = position;
        self.diverted.retain(|seq| self.stored.fates.get(seq) == Some(&Fate::Dead));
    }

    /// Checks how many events a crash repeats.
    fn check_position(&self) {
        let position = self.flushed.position();
        let beyond = self.accepted.range(position + 1..).count() as u64;
        let is_crowded = self.truth.max_aside < MAX_ASIDE;
        let most = if is_crowded { MAX_NEW_WHILE_STUCK + BATCH } else { BATCH };
        assert!(beyond <= most, "{beyond} accepted events follow the position {position}");
    }

    /// Checks that the number of events in memory and in the store is bounded.
    fn check_amount(&self) {
        let resolution = &self.machine.resolution;
        let beyond = MAX_BEYOND + BATCH as usize;
        assert!(resolution.aside.count <= self.truth.max_aside);
        assert!(
            resolution.aside.count + resolution.held.count + resolution.waiting.count
                <= self.truth.max_aside + beyond
        );
        for (place, amount) in [
            (Place::Aside, resolution.aside),
            (Place::Held, resolution.held),
            (Place::Waiting, resolution.waiting),
        ] {
            let count = resolution.seqs_at(place).count();
            assert_eq!(amount, Amount { count, bytes: 100 * count as u64 }, "{place:?}");
        }
    }

    /// Checks that there is evidence against an event, or that it was refused for too long.
    fn check_dead(&self, dead: &DeadEvent<TestEvent>) {
        let seq = dead.event.0;
        let (now, start) = (self.machine.now, self.machine.start);
        if dead.reason.starts_with("given up: ") {
            let limit = self.truth.give_up_after.expect("there is a limit");
            let limit = Duration::from_secs(limit);
            let refused = self.first_refused.get(&seq).copied().unwrap_or(now);
            let last = self.last_accepted.unwrap_or(start);
            assert!(now - refused.min(last) >= limit, "{seq} is given up too early");
            return;
        }
        let last = self.last_accepted.expect("the destination has accepted an event");
        let refused = self.first_refused[&seq];
        assert!(
            last >= refused || refused - last <= ACCEPTANCE_WINDOW,
            "{seq} is dead without an acceptance"
        );
        if self.truth.bad.get(&seq).is_none_or(|class| *class == Class::Unavailable) {
            // The first refusal in an outage follows an acceptance, too.
            let outages = u32::try_from(self.truth.outages.len()).unwrap();
            let refusals = self.by_backend.get(&seq).copied().unwrap_or(0) + outages;
            let needed = match self.truth.bad_backend {
                Some((_, Class::Permanent)) => 1,
                Some((_, Class::Denied)) => 3,
                _ => 8,
            };
            assert!(refusals >= needed, "{seq} is good, and dead after {refusals} refusals");
        }
    }

    pub(super) fn run(mut self) -> Self {
        // Two hours after the last event.
        while self.seconds() < EVENTS * INTERVAL + 7_200 {
            if let Some((at, incident)) = self.truth.incidents.get(self.happened)
                && *at <= self.seconds()
            {
                self.happened += 1;
                self.happen(*incident);
            }
            self.step();
            self.resolve();
            self.check_amount();
            assert!(self.requests < 20_000, "{} requests", self.requests);
            let is_over = self.added == EVENTS && self.machine.resolution.is_idle();
            if is_over && self.machine.resolution.next_aside().is_none() {
                break;
            }
        }
        self
    }

    /// Returns whether events arrive for fifteen minutes after an event, all outages and incidents.
    fn has_traffic_after(&self, seq: u64) -> bool {
        let outages = self.truth.outages.iter().map(|(_, to, _)| *to);
        let incidents = self.truth.incidents.iter().map(|(at, _)| *at);
        let since = outages.chain(incidents).chain([seq * INTERVAL]).max().unwrap_or(0);
        since + 900 < EVENTS * INTERVAL
    }

    pub(super) fn check(&self) {
        let fate = |seq: u64| self.stored.fates.get(&seq).copied();
        for seq in 1..=EVENTS {
            let is_dead = fate(seq) == Some(Fate::Dead);
            let is_accepted = self.accepted.contains(&seq);
            assert!(fate(seq) != Some(Fate::Delivered) || is_accepted, "{seq} is lost");
            if self.diverted.contains(&seq) {
                assert!(is_dead, "{seq} is diverted");
                continue;
            }
            if self.truth.give_up_after.is_some() {
                let is_decided = is_dead || fate(seq) == Some(Fate::Delivered);
                assert!(is_decided, "{seq} is not given up: {:?}", fate(seq));
            }
            match self.truth.bad.get(&seq) {
                None => assert!(is_accepted || is_dead, "{seq} is lost"),
                Some(Class::Unavailable) if !is_dead => {
                    let place = self.machine.resolution.place(seq);
                    assert!(
                        place.is_some_and(|place| place != Place::Queued)
                            || !self.has_traffic_after(seq),
                        "{seq} is lost"
                    );
                }
                // Too few events follow for the rounds.
                Some(_) if !self.has_traffic_after(seq) => assert!(!is_accepted),
                Some(class) => assert!(is_dead, "{seq} ({class:?}) is not dead"),
            }
        }
        let in_order: Vec<_> =
            self.in_order.iter().filter(|seq| !self.suspects.contains(seq)).collect();
        assert!(in_order.is_sorted(), "{in_order:?}");
    }
}
