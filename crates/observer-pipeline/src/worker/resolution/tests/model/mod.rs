//! Model: a destination with hidden truth, operators and crashes, and what must hold whatever they
//! do.

use std::collections::BTreeMap;

use proptest::prelude::*;

use self::run::Run;
use super::*;

mod run;

/// Hidden truth about a destination, and what happens to the sink.
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
    /// Limit of the operator, in seconds.
    give_up_after: Option<u64>,
    /// What happens to the sink, in order, each with its time in seconds.
    incidents: Vec<(u64, Incident)>,
    seed: u64,
}

/// Command of an operator, or the end of the process.
#[derive(Debug, Clone, Copy)]
enum Incident {
    /// `observer sinks retry`.
    Retry,
    /// `observer dead-letters divert`.
    Divert,
    DivertEvent(u64),
    DivertHead(usize),
    /// The process is killed and starts again.
    Crash,
}

const EVENTS: u64 = 200;
/// Seconds between two events.
const INTERVAL: u64 = 20;
const BATCH: u64 = 16;

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
    let give_up_after = prop_oneof![3 => Just(None), 1 => (30_u64..1_800).prop_map(Some)];
    let destination = (bad, outages, backend);
    (destination, max_aside, give_up_after, incidents(), any::<u64>()).prop_map(
        |((bad, outages, bad_backend), max_aside, give_up_after, incidents, seed)| Truth {
            bad,
            outages,
            bad_backend,
            max_aside,
            give_up_after,
            incidents,
            seed,
        },
    )
}

fn incidents() -> impl Strategy<Value = Vec<(u64, Incident)>> {
    let incident = prop_oneof![
        2 => Just(Incident::Retry),
        2 => Just(Incident::Divert),
        1 => (1..=EVENTS).prop_map(Incident::DivertEvent),
        1 => (1_usize..20).prop_map(Incident::DivertHead),
        4 => Just(Incident::Crash),
    ];
    let incidents = proptest::collection::vec((0..EVENTS * INTERVAL * 5 / 8, incident), 0..6);
    incidents.prop_map(|mut incidents| {
        incidents.sort_by_key(|(at, _)| *at);
        incidents
    })
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
        give_up_after: None,
        incidents: Vec::new(),
        seed: 5_803_684_034_386_939_244,
    };
    Run::new(&truth).run().check();
}
