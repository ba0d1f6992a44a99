//! Scenario: the steps of the producers, drawn from a seed.

use std::time::Duration;

use observer_core::{Event, Uuid};

use crate::ingest::identity::Identity;
use crate::ingest::principal::Principal;

/// First number of the final events, which must arrive.
pub(super) const LAST: u64 = 1_000;

/// Step of a scenario.
#[derive(Debug, Clone)]
pub(super) enum Step {
    /// Sends one event.
    Single(u64),
    Batch(Vec<u64>),
    /// Sends all unacknowledged events again.
    Retry,
    Wait(Duration),
}

#[derive(Debug)]
pub(super) struct Scenario {
    pub(super) seed: u64,
    pub(super) steps: Vec<Step>,
    pub(super) segment_size: u64,
    pub(super) max_size: u64,
    pub(super) retain: Duration,
    /// Outage of the webhook, long enough that events expire.
    pub(super) outage: Duration,
}

impl Scenario {
    pub(super) fn draw(seed: u64) -> Self {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut steps = Vec::new();
        let mut sent = 0;
        while sent < 24 {
            match random.u8(..10) {
                0..4 => {
                    sent += 1;
                    steps.push(Step::Single(sent));
                }
                4..6 => {
                    let count = random.u64(2..6);
                    // One number repeats an earlier one, or one of the batch.
                    let mut numbers: Vec<_> = (sent + 1..=sent + count).collect();
                    numbers.push(random.u64(1..=sent + count));
                    sent += count;
                    steps.push(Step::Batch(numbers));
                }
                6 if sent > 0 => steps.push(Step::Single(random.u64(1..=sent))),
                7 => steps.push(Step::Retry),
                8 => steps.push(Step::Wait(Duration::from_millis(random.u64(1..400)))),
                _ => steps.push(Step::Wait(Duration::from_millis(random.u64(400..3_000)))),
            }
        }
        let expires = seed % 3 == 2;
        Self {
            seed,
            steps,
            segment_size: random.u64(4_096..9_000),
            max_size: if expires { 2 * 4_096 } else { 1 << 20 },
            retain: Duration::from_secs(if seed.is_multiple_of(3) { 2 } else { 24 * 60 * 60 }),
            outage: Duration::from_secs(if expires { 20 } else { 0 }),
        }
    }

    /// Returns whether events may expire before they are delivered.
    pub(super) fn expires(&self) -> bool {
        !self.outage.is_zero()
    }

    /// Returns whether a late retry of an event may be accepted as a new event.
    pub(super) fn may_duplicate(&self) -> bool {
        self.expires() || self.retain < Duration::from_secs(60)
    }
}

/// Returns the event of a number, which is always the same.
pub(super) fn event(number: u64) -> Event {
    let padding = "x".repeat(usize::try_from(number * 389 % 1_200).unwrap());
    let ok = !number.is_multiple_of(3);
    let head = format!(r#""source":"job","cycle_id":"c{number}","event_kind":"k","ok":{ok}"#);
    let extra = format!(r#"{{"n":{number},"x":"{padding}"}}"#);
    Event::parse(format!(r#"{{{head},"extra":{extra}}}"#)).unwrap()
}

pub(super) fn id(number: u64) -> Uuid {
    Identity::of(&Principal::anonymous(), &event(number).into(), None).id
}

pub(super) fn number_of(event: &Event) -> u64 {
    event.cycle_id().unwrap()[1..].parse().unwrap()
}

/// Returns whether the producer never retries this event, so that it may be present or missing
/// without an acknowledgement.
pub(super) fn is_sent_once(number: u64) -> bool {
    number % 4 == 1 && number < LAST
}

/// Way in which the strict sink rejects an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Poison {
    /// A batch with the event is rejected as a whole.
    Batch,
    /// The receipt names the event.
    Named,
}

pub(super) fn poison(number: u64) -> Option<Poison> {
    match (number % 7, number % 5) {
        (3, _) => Some(Poison::Batch),
        (_, 4) => Some(Poison::Named),
        _ => None,
    }
}
