//! What producers do, drawn from a seed.

use std::time::Duration;

use observer_core::{Event, Uuid};

use crate::ingest::identity::Identity;

/// Numbers from here on are for the events at the end, which have to arrive.
pub(super) const LAST: u64 = 1_000;

/// One thing after the other.
#[derive(Debug, Clone)]
pub(super) enum Step {
    /// One event.
    Single(u64),
    Batch(Vec<u64>),
    /// Everything that was not acknowledged is sent again.
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
    /// One of the sinks is away for so long that events expire.
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
                    // One of them was there before, and one comes twice.
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

    /// Whether events may expire before a sink had them.
    pub(super) fn expires(&self) -> bool {
        !self.outage.is_zero()
    }

    /// Whether an event that comes again late may be a new one.
    pub(super) fn forgets(&self) -> bool {
        self.expires() || self.retain < Duration::from_secs(60)
    }
}

/// The event of this number: always the same.
pub(super) fn event(number: u64) -> Event {
    let padding = "x".repeat(usize::try_from(number * 389 % 1_200).unwrap());
    let ok = !number.is_multiple_of(3);
    let line = format!(
        r#"{{"source":"job","cycle_id":"c{number}","event_kind":"k","ok":{ok},"extra":{{"n":{number},"x":"{padding}"}}}}"#
    );
    Event::parse(line).unwrap()
}

pub(super) fn id(number: u64) -> Uuid {
    Identity::of(&event(number), None, None).id
}

pub(super) fn number_of(event: &Event) -> u64 {
    event.cycle_id().unwrap()[1..].parse().unwrap()
}

/// Whether its producer never comes back after an answer that was not 200, or none. The event may
/// be there, or not.
pub(super) fn is_sent_once(number: u64) -> bool {
    number % 4 == 1 && number < LAST
}

/// How an event is bad, for the sink that is picky.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Poison {
    /// A batch with it is refused as a whole.
    Batch,
    /// It is named in the receipt.
    Named,
}

pub(super) fn poison(number: u64) -> Option<Poison> {
    match (number % 7, number % 5) {
        (3, _) => Some(Poison::Batch),
        (_, 4) => Some(Poison::Named),
        _ => None,
    }
}
