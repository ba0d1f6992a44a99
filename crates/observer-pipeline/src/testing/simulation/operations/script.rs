//! Script: the operations of producers, destinations and operators, drawn from a seed.

use std::io::ErrorKind;
use std::time::Duration;

use observer_journal::fs::Fault;

use super::super::scenario::LAST;

/// Sink of the simulation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Target {
    /// Accepts everything at once, and shows so what is in the journal.
    Witness,
    /// Events are durable when they are accepted.
    Webhook,
    /// Events are durable after a flush, which may fail. Has a filter.
    Archive,
    /// Keeps its own position.
    Ledger,
}

impl Target {
    pub(super) const ALL: [Self; 4] = [Self::Witness, Self::Webhook, Self::Archive, Self::Ledger];
    const OPERATED: [Self; 3] = [Self::Webhook, Self::Archive, Self::Ledger];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Witness => "witness",
            Self::Webhook => "webhook",
            Self::Archive => "archive",
            Self::Ledger => "ledger",
        }
    }
}

/// Way in which a destination treats every delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    Healthy,
    /// Fails occasionally, also after it accepted some or all events.
    Flaky,
    /// Refuses everything, like one with an expired token.
    Denying,
    Failing,
    Unavailable,
    Blocked,
    /// Gives no response.
    Silent,
}

/// Way in which a destination refuses an event, always.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Bad {
    /// The receipt names it.
    Named,
    /// Like 422.
    Permanent,
    /// Like 403.
    Denied,
    /// Like 500.
    Failed,
}

/// Events that an operator diverts.
#[derive(Debug, Clone, Copy)]
pub(super) enum Pick {
    Holding,
    Head(usize),
    Event(u64),
}

#[derive(Debug, Clone)]
pub(super) enum Operation {
    Send(Vec<u64>),
    Wait(Duration),
    Set(Target, Mode),
    /// The destination accepts all events that were bad so far.
    Mend(Target),
    /// Starts a replay of the events from a part of the time so far on.
    Replay {
        target: Target,
        since: f64,
        until: Option<f64>,
        only_ok: bool,
    },
    CancelReplay(Target),
    /// Redelivers one event, or all dead letters.
    Redeliver(Target, Option<u64>),
    Divert(Target, Pick),
    Wake(Target),
    Restart,
    Crash {
        is_kill: bool,
    },
    /// A later file operation fails.
    FailLater(u64, Fault),
}

#[derive(Debug)]
pub(super) struct Script {
    pub(super) seed: u64,
    pub(super) operations: Vec<Operation>,
    /// Rounds of refusals and the seconds that they span: for failures, and for denials.
    pub(super) failed: (u32, u64),
    pub(super) denied: (u32, u64),
    pub(super) max_events: usize,
}

impl Script {
    pub(super) fn draw(seed: u64) -> Self {
        let mut random = fastrand::Rng::with_seed(seed);
        let (failed, denied) =
            if seed.is_multiple_of(5) { ((8, 600), (3, 60)) } else { ((3, 20), (2, 5)) };
        let (mut operations, mut sent) = (Vec::new(), 0);
        let count = random.usize(15..60);
        while operations.len() < count {
            operations.push(draw_operation(&mut random, &mut sent));
        }
        Self { seed, operations, failed, denied, max_events: random.usize(1..8) }
    }

    /// Returns whether the journal removes events soon after every sink has passed them. Replays
    /// are then incomplete, and a late retry can be another event.
    pub(super) fn expires_events(&self) -> bool {
        !self.seed.is_multiple_of(2)
    }

    pub(super) fn retain(&self) -> Duration {
        Duration::from_secs(if self.expires_events() { 2 } else { 24 * 60 * 60 })
    }

    /// Returns how a destination refuses an event, if it does.
    pub(super) fn bad(&self, target: Target, number: u64) -> Option<Bad> {
        if target == Target::Witness || number >= LAST {
            return None;
        }
        let salt = self.seed.wrapping_mul(31).wrapping_add(target as u64) << 32;
        let mut random = fastrand::Rng::with_seed(salt ^ number);
        random.usize(..10);
        match random.u8(..24) {
            0 | 1 => Some(Bad::Named),
            2 => Some(Bad::Permanent),
            3 => Some(Bad::Denied),
            4 => Some(Bad::Failed),
            _ => None,
        }
    }
}

fn draw_operation(random: &mut fastrand::Rng, sent: &mut u64) -> Operation {
    let target = Target::OPERATED[random.usize(..3)];
    let earlier = |random: &mut fastrand::Rng| random.u64(1..=(*sent).max(1));
    match random.u8(..40) {
        0..12 => {
            let first = *sent + 1;
            *sent += random.u64(1..9);
            Operation::Send((first..=*sent).collect())
        }
        12..18 => Operation::Wait(Duration::from_millis(random.u64(1..3_000))),
        18..20 => Operation::Wait(Duration::from_secs(random.u64(3..90))),
        20..26 => Operation::Set(target, draw_mode(random)),
        26 => Operation::Mend(target),
        27..30 => Operation::Replay {
            target,
            since: random.f64() * 0.7,
            until: random.bool().then(|| 0.7 + random.f64() * 0.3),
            only_ok: random.u8(..3) == 0,
        },
        30 => Operation::CancelReplay(target),
        31 => Operation::Redeliver(target, None),
        32 => Operation::Redeliver(target, Some(earlier(random))),
        33 => Operation::Divert(target, Pick::Holding),
        34 => match random.bool() {
            true => Operation::Divert(target, Pick::Head(random.usize(1..6))),
            false => Operation::Divert(target, Pick::Event(earlier(random))),
        },
        35 => Operation::Wake(target),
        36 => Operation::Restart,
        37 => Operation::Crash { is_kill: random.bool() },
        _ => {
            let fault = match random.u8(..4) {
                0 => Fault::PowerCut,
                1 => Fault::Kill,
                2 => Fault::Error(ErrorKind::Other),
                _ => Fault::Error(ErrorKind::StorageFull),
            };
            Operation::FailLater(random.u64(1..40), fault)
        }
    }
}

fn draw_mode(random: &mut fastrand::Rng) -> Mode {
    match random.u8(..10) {
        0..3 => Mode::Healthy,
        3 | 4 => Mode::Flaky,
        5 => Mode::Denying,
        6 => Mode::Failing,
        7 => Mode::Unavailable,
        8 => Mode::Blocked,
        _ => Mode::Silent,
    }
}
