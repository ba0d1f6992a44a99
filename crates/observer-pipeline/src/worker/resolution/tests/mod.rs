//! Transitions of the machine as a table, and a model of a destination with hidden truth.

use std::fmt::Write;

use observer_core::RetrySettings;

use super::evidence::Rules;
use super::*;

mod choice;
mod crowded;
mod mixed;
mod model;
mod operations;
mod table;
mod transitions;
mod undecided;

/// Event of a test: a sequence number, and a size.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct TestEvent(pub(super) u64, pub(super) u64);

impl Item for TestEvent {
    fn seq(&self) -> u64 {
        self.0
    }

    fn size(&self) -> u64 {
        self.1
    }
}

pub(super) fn live() -> Policy {
    Policy {
        rules: Rules::new(&RetrySettings::default()),
        may_skip: true,
        may_set_aside: true,
        max_delivery: 1_000,
        max_aside: MAX_ASIDE,
    }
}

pub(super) fn events(seqs: std::ops::RangeInclusive<u64>) -> Vec<TestEvent> {
    seqs.map(|seq| TestEvent(seq, 100)).collect()
}

pub(super) fn refused(class: Class) -> Attempt {
    Attempt::Refused { class, accepted: Vec::new(), reason: "no".into() }
}

pub(super) fn unavailable() -> Attempt {
    Attempt::Unavailable { accepted: Vec::new(), retry_after: None, reason: "503".into() }
}

/// Machine with a clock, whose actions a test performs and reads as text.
pub(super) struct Machine {
    pub(super) resolution: Resolution<TestEvent>,
    pub(super) start: Instant,
    pub(super) now: Instant,
    pub(super) resolved: Vec<Resolved>,
}

impl Machine {
    pub(super) fn new(policy: Policy) -> Self {
        let now = Instant::now();
        Self { resolution: Resolution::new(policy), start: now, now, resolved: Vec::new() }
    }

    /// Performs one action. `answer` is the destination. Returns the action as text; an event after
    /// `!` uses a new connection.
    pub(super) fn step(&mut self, mut answer: impl FnMut(&[u64]) -> Attempt) -> String {
        let mut action = self.resolution.next(self.now);
        if action == Action::Read {
            action = self.resolution.exhausted(self.now);
        }
        let text = self.describe(&action);
        match action {
            Action::Deliver(delivery) => {
                let seqs: Vec<_> = delivery.events.iter().map(Item::seq).collect();
                self.resolution.on(answer(&seqs), self.now);
            }
            Action::DeadLetter(dead) => self.resolution.buried(&dead),
            Action::SetAside(aside) => {
                aside.iter().for_each(|aside| self.resolution.stored(aside.event.0));
            }
            Action::BackOff { .. } | Action::SlowDown { .. } => {
                self.now += Duration::from_secs(1);
            }
            Action::Park { .. } => {
                self.now += Duration::from_secs(1);
                self.resolution.woken();
                self.resolution.expire(self.now);
            }
            Action::Crowded { until, .. } => self.now = until,
            Action::Read | Action::Wait(_) => {}
        }
        self.resolved.extend(self.resolution.take_resolved());
        text
    }

    fn describe(&self, action: &Action<TestEvent>) -> String {
        let list = |events: &mut dyn Iterator<Item = u64>| {
            let seqs: Vec<_> = events.collect();
            match seqs.as_slice() {
                [first, .., last] if last - first + 1 == seqs.len() as u64 => {
                    format!("{first}-{last}")
                }
                seqs => seqs.iter().fold(String::new(), |mut text, seq| {
                    let separator = if text.is_empty() { "" } else { "," };
                    let _ = write!(text, "{separator}{seq}");
                    text
                }),
            }
        };
        match action {
            Action::Deliver(delivery) => {
                let renew = if delivery.renew { "!" } else { "" };
                format!("{renew}{}", list(&mut delivery.events.iter().map(Item::seq)))
            }
            Action::DeadLetter(dead) => {
                format!("dead {}", list(&mut dead.iter().map(|dead| dead.event.0)))
            }
            Action::SetAside(aside) => {
                format!("aside {}", list(&mut aside.iter().map(|aside| aside.event.0)))
            }
            Action::BackOff { retry_after: Some(delay), .. } => format!("pause {delay:?}"),
            Action::BackOff { .. } => "pause".into(),
            Action::SlowDown { .. } => "slow".into(),
            Action::Crowded { until, .. } => {
                format!("crowded {}", until.saturating_duration_since(self.now).as_secs())
            }
            Action::Park { .. } => "park".into(),
            Action::Read => "read".into(),
            Action::Wait(None) => "wait".into(),
            Action::Wait(Some(until)) => format!("wait {}", (*until - self.now).as_secs()),
        }
    }

    /// Performs actions until there is nothing to do without further events, or `limit` actions.
    pub(super) fn run(
        &mut self,
        limit: usize,
        mut answer: impl FnMut(&[u64]) -> Attempt,
    ) -> Vec<String> {
        let mut actions = Vec::new();
        while actions.len() < limit {
            let action = self.step(&mut answer);
            let is_over = action.starts_with("wait");
            actions.push(action);
            if is_over {
                break;
            }
        }
        actions
    }

    pub(super) fn fates(&self, fate: Fate) -> Vec<u64> {
        self.resolved.iter().filter(|it| it.fate == fate).map(|it| it.seq).collect()
    }
}

/// Runs a machine over the events 1 to `count`, and compares its actions.
#[track_caller]
pub(super) fn check(
    policy: Policy,
    count: u64,
    answer: impl FnMut(&[u64]) -> Attempt,
    expected: &[&str],
) -> Machine {
    let mut machine = Machine::new(policy);
    machine.resolution.add(events(1..=count));
    let actions = machine.run(expected.len(), answer);
    assert_eq!(actions, expected);
    machine
}

pub(super) fn refuses(bad: &'static [u64], class: Class) -> impl Fn(&[u64]) -> Attempt {
    move |seqs| {
        let is_bad = seqs.iter().any(|seq| bad.contains(seq));
        if is_bad { refused(class) } else { Attempt::Accepted }
    }
}

pub(super) fn rejects(bad: &'static [u64]) -> impl Fn(&[u64]) -> Attempt {
    move |seqs| {
        let rejected: Vec<_> = seqs
            .iter()
            .enumerate()
            .filter(|(_, seq)| bad.contains(seq))
            .map(|(index, _)| (index, "no".to_owned()))
            .collect();
        if rejected.is_empty() {
            Attempt::Accepted
        } else {
            Attempt::PartlyRejected { rejected, refused: 0 }
        }
    }
}
