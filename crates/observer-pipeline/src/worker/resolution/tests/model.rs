//! Model: a destination with hidden truth, and what must hold whatever it is.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;
use crate::worker::resolution::evidence::ACCEPTANCE_WINDOW;

/// Hidden truth about a destination.
#[derive(Debug, Clone)]
struct Truth {
    /// Events that the destination refuses whenever they are part of a request.
    bad: BTreeMap<u64, Class>,
    /// Time in seconds during which nothing is accepted, and how it is refused.
    outages: Vec<(u64, u64, Class)>,
    /// One of this number of backends refuses everything, in this class.
    bad_backend: Option<(u32, Class)>,
    /// Largest number of events that are set aside or held.
    max_aside: usize,
    seed: u64,
}

const EVENTS: u64 = 200;
/// Seconds between two events.
const INTERVAL: u64 = 20;
const BATCH: u64 = 16;

/// Run of a machine against a destination.
struct Run<'a> {
    machine: Machine,
    truth: &'a Truth,
    random: fastrand::Rng,
    backend_is_bad: bool,
    added: u64,
    requests: usize,
    /// Number of refusals by the bad backend, by event.
    by_backend: BTreeMap<u64, u32>,
    accepted: Vec<u64>,
    /// Events that were refused alone.
    suspects: BTreeSet<u64>,
    last_accepted: Option<Instant>,
    first_refused: BTreeMap<u64, Instant>,
}

impl<'a> Run<'a> {
    fn new(truth: &'a Truth) -> Self {
        Self {
            machine: Machine::new(Policy { max_aside: truth.max_aside, ..live() }),
            truth,
            random: fastrand::Rng::with_seed(truth.seed),
            backend_is_bad: false,
            added: 0,
            requests: 0,
            by_backend: BTreeMap::new(),
            accepted: Vec::new(),
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
            self.accepted.extend(&seqs);
            self.last_accepted = Some(self.machine.now);
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
                aside.iter().for_each(|aside| self.machine.resolution.stored(aside.event.0));
            }
            Action::BackOff { .. } => {
                self.machine.now += Duration::from_millis(self.random.u64(1..10_000));
            }
            Action::Park { .. } => {
                self.machine.now += Duration::from_secs(self.random.u64(1..30));
                self.machine.resolution.woken();
            }
            Action::Crowded { until, .. } => self.machine.now = now.max(until),
            Action::Read => {}
            Action::Wait(due) => {
                let next = now + Duration::from_secs(INTERVAL);
                self.machine.now = due.map_or(next, |due| due.clamp(now, next));
            }
        }
        self.machine.resolved.extend(self.machine.resolution.take_resolved());
        let resolution = &self.machine.resolution;
        let beyond = MAX_BEYOND + BATCH as usize;
        assert!(resolution.aside.count <= self.truth.max_aside);
        assert!(
            resolution.aside.count + resolution.held.count + resolution.waiting.count
                <= self.truth.max_aside + beyond
        );
    }

    /// Checks that there is evidence against an event.
    fn check_dead(&self, dead: &DeadEvent<TestEvent>) {
        let seq = dead.event.0;
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

    fn run(mut self) -> Self {
        // Two hours after the last event.
        while self.seconds() < EVENTS * INTERVAL + 7_200 {
            self.step();
            assert!(self.requests < 20_000, "{} requests", self.requests);
            if self.added == EVENTS && self.machine.resolution.is_idle() {
                let left = self.machine.resolution.next_aside();
                if left.is_none() {
                    break;
                }
            }
        }
        self
    }

    /// Returns whether events arrive for fifteen minutes after an event and all outages.
    fn has_traffic_after(&self, seq: u64) -> bool {
        let outages = self.truth.outages.iter().map(|(_, to, _)| *to);
        let since = outages.chain([seq * INTERVAL]).max().unwrap_or(0);
        since + 900 < EVENTS * INTERVAL
    }

    fn check(&self) {
        let dead: BTreeSet<_> = self.machine.fates(Fate::Dead).into_iter().collect();
        let accepted: BTreeSet<_> = self.accepted.iter().copied().collect();
        assert_eq!(accepted.len(), self.accepted.len(), "no event is accepted twice");
        for seq in 1..=EVENTS {
            match self.truth.bad.get(&seq) {
                None => assert!(accepted.contains(&seq) || dead.contains(&seq), "{seq} is lost"),
                Some(Class::Unavailable) if !dead.contains(&seq) => {
                    let resolution = &self.machine.resolution;
                    assert!(
                        resolution.place(seq).is_some_and(|place| place != Place::Queued)
                            || !self.has_traffic_after(seq),
                        "{seq} is lost"
                    );
                }
                // Too few events follow for the rounds.
                Some(_) if !self.has_traffic_after(seq) => assert!(!accepted.contains(&seq)),
                Some(class) => assert!(dead.contains(&seq), "{seq} ({class:?}) is not dead"),
            }
        }
        let in_order: Vec<_> =
            self.accepted.iter().filter(|seq| !self.suspects.contains(seq)).collect();
        assert!(in_order.is_sorted(), "{in_order:?}");
    }
}

fn class() -> impl Strategy<Value = Class> {
    prop_oneof![
        Just(Class::Unavailable),
        Just(Class::Failed),
        Just(Class::Denied),
        Just(Class::Permanent)
    ]
}

fn truth() -> impl Strategy<Value = Truth> {
    // A destination that begins to reject everything by its content costs some good events.
    let whole = prop_oneof![
        Just(Class::Unavailable),
        Just(Class::Failed),
        Just(Class::Denied),
        Just(Class::Unauthenticated),
    ];
    let outage = (0_u64..EVENTS * INTERVAL / 2, 1_u64..900, whole)
        .prop_map(|(from, length, class)| (from, from + length, class));
    let outages = proptest::collection::vec(outage, 0..3);
    let bad = proptest::collection::btree_map(1..=EVENTS, class(), 0..12);
    let backend =
        proptest::option::of((2_u32..5, prop_oneof![Just(Class::Failed), Just(Class::Denied)]));
    let max_aside = prop_oneof![Just(MAX_ASIDE), Just(4)];
    (bad, outages, backend, max_aside, any::<u64>()).prop_map(
        |(bad, outages, bad_backend, max_aside, seed)| Truth {
            bad,
            outages,
            bad_backend,
            max_aside,
            seed,
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn good_events_are_delivered_and_bad_ones_are_dead_whatever_the_destination_does(
        truth in truth()
    ) {
        Run::new(&truth).run().check();
    }

    #[test]
    fn isolating_bad_events_takes_few_requests(
        bad in proptest::collection::btree_set(1_u64..=1_000, 1..12),
        class in prop_oneof![Just(Class::Denied), Just(Class::Permanent)],
    ) {
        let mut machine = Machine::new(live());
        machine.resolution.add(events(1..=1_000));
        let mut requests = 0;
        for step in 0..10_000 {
            let action = machine.step(|seqs| {
                requests += 1;
                let is_bad = seqs.iter().any(|seq| bad.contains(seq));
                if is_bad { refused(class) } else { Attempt::Accepted }
            });
            if action.starts_with("wait") {
                break;
            }
            prop_assert!(step < 9_999);
        }
        let most = 2 + bad.len() * (2 * 10 + 4);
        prop_assert!(requests <= most, "{requests} requests for {} bad events", bad.len());
    }
}

#[test]
fn undecided_events_are_delivered_although_the_last_event_is_never_accepted() {
    use Class::{Denied, Failed, Unavailable};
    let bad = [(12, Denied), (17, Failed), (22, Denied), (25, Denied), (187, Failed)];
    let truth = Truth {
        bad: bad.into_iter().chain([(EVENTS, Unavailable)]).collect(),
        outages: Vec::new(),
        bad_backend: Some((3, Failed)),
        max_aside: MAX_ASIDE,
        seed: 5_803_684_034_386_939_244,
    };
    Run::new(&truth).run().check();
}
