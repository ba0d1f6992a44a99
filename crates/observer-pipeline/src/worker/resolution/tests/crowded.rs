//! Too many undecided events: the position waits, and few new events are tried meanwhile.

use std::collections::BTreeSet;

use super::*;

/// Machine that reads a journal without end, a batch at a time.
struct Crowded {
    machine: Machine,
    batch: u64,
    read: u64,
    /// Events that were tried.
    tried: BTreeSet<u64>,
    requests: usize,
}

impl Crowded {
    fn new(max_aside: usize, batch: u64) -> Self {
        let machine = Machine::new(Policy { max_aside, ..live() });
        Self { machine, batch, read: 0, tried: BTreeSet::new(), requests: 0 }
    }

    /// Performs actions for some time.
    fn run_for(&mut self, seconds: u64, answer: impl Fn(&[u64]) -> Attempt) {
        let until = self.machine.now + Duration::from_secs(seconds);
        let mut at_once = 0;
        while self.machine.now < until {
            let now = self.machine.now;
            self.step(&answer);
            at_once = if self.machine.now == now { at_once + 1 } else { 0 };
            assert!(at_once < 5, "actions without progress of time");
        }
    }

    fn step(&mut self, answer: &impl Fn(&[u64]) -> Attempt) {
        let (resolution, now) = (&mut self.machine.resolution, self.machine.now);
        match resolution.next(now) {
            Action::Read => {
                resolution.add(events(self.read + 1..=self.read + self.batch));
                self.read += self.batch;
            }
            Action::Deliver(delivery) => {
                let seqs: Vec<_> = delivery.events.iter().map(Item::seq).collect();
                self.tried.extend(&seqs);
                resolution.on(answer(&seqs), now);
                self.requests += 1;
                self.machine.now += Duration::from_millis(100);
            }
            Action::DeadLetter(dead) => resolution.buried(&dead),
            Action::SetAside(aside) => {
                aside.iter().for_each(|aside| resolution.stored(aside.event.0));
            }
            Action::BackOff { .. } | Action::SlowDown { .. } => {
                self.machine.now += Duration::from_secs(1);
            }
            Action::Park { .. } => {
                self.machine.now += Duration::from_secs(1);
                resolution.woken();
            }
            Action::Crowded { until, .. } => self.machine.now = until,
            // The worker would ask again at once.
            Action::Wait(_) => panic!("there are more events"),
        }
        self.machine.resolved.extend(self.machine.resolution.take_resolved());
    }

    /// Returns the first event that the position can't pass.
    fn position(&self) -> u64 {
        let resolved: BTreeSet<_> = self.machine.resolved.iter().map(|it| it.seq).collect();
        (1..).find(|seq| !resolved.contains(seq)).unwrap()
    }

    /// Returns the number of events after the position that were tried.
    fn tried_beyond(&self) -> usize {
        self.tried.range(self.position() + 1..).count()
    }
}

fn refuses(class: Class, is_bad: impl Fn(u64) -> bool) -> impl Fn(&[u64]) -> Attempt {
    move |seqs| match seqs.iter().any(|seq| is_bad(*seq)) {
        true if class == Class::Unavailable => unavailable(),
        true => refused(class),
        false => Attempt::Accepted,
    }
}

#[test]
fn few_new_events_are_tried_while_the_position_is_stuck() {
    for every in [2, 10] {
        for batch in [1, 100] {
            let mut crowded = Crowded::new(3, batch);
            crowded.run_for(9_000, refuses(Class::Unavailable, |seq| seq % every == 0));
            let beyond = crowded.tried_beyond();
            let most = MAX_NEW_WHILE_STUCK as usize + batch as usize;
            assert!((100..=most).contains(&beyond), "{every} {batch}: {beyond}");
            let resolution = &crowded.machine.resolution;
            assert!(resolution.held() <= most, "{every} {batch}: {}", resolution.held());
            assert!(crowded.read <= crowded.position() + 10 * most as u64);
        }
    }
}

#[test]
fn as_many_new_events_are_tried_when_the_position_is_stuck_again() {
    let mut crowded = Crowded::new(3, 10);
    let most = MAX_NEW_WHILE_STUCK as usize + 10;
    for outage in 1..=3 {
        crowded.run_for(9_000, refuses(Class::Unavailable, |seq| seq % 2 == 0));
        let beyond = crowded.tried_beyond();
        assert!((100..=most).contains(&beyond), "outage {outage}: {beyond}");
        let before = crowded.position();
        crowded.run_for(1_000, |_| Attempt::Accepted);
        assert!(crowded.position() > before + 1_000, "outage {outage}");
    }
}

#[test]
fn sink_goes_on_slowly_while_events_are_decided() {
    for (class, every) in [(Class::Denied, 2), (Class::Failed, 5), (Class::Permanent, 2)] {
        for batch in [1, 100] {
            let mut crowded = Crowded::new(3, batch);
            crowded.run_for(10_000, refuses(class, |seq| seq % every == 0));
            let dead = crowded.machine.fates(Fate::Dead);
            assert!(dead.iter().all(|seq| seq % every == 0) && dead.len() > 50, "{}", dead.len());
            assert!(crowded.position() > 300, "{class:?} {batch}: {}", crowded.position());
        }
    }
}

#[test]
fn bad_event_in_front_of_a_good_one_is_passed_although_many_wait() {
    for class in [Class::Denied, Class::Failed] {
        let is_bad = |seq| (2..100).contains(&seq) || (seq > 100 && seq % 2 == 1);
        let mut crowded = Crowded::new(3, 60);
        crowded.run_for(4_000, refuses(class, is_bad));
        let dead = crowded.machine.fates(Fate::Dead);
        assert!(dead.len() > 98 && dead.into_iter().all(is_bad), "{class:?}");
    }
}

#[test]
fn requests_of_a_crowded_sink_are_paced_while_the_destination_is_down() {
    for class in [Class::Unavailable, Class::Failed, Class::Denied] {
        let mut crowded = Crowded::new(3, 10);
        crowded.run_for(600, refuses(Class::Unavailable, |seq| seq % 2 == 0));
        let (tried, requests) = (crowded.tried.len(), crowded.requests);
        crowded.run_for(5_000, refuses(class, |_| true));
        let requests = crowded.requests - requests;
        assert!(requests < 12_000, "{class:?}: {requests} requests in 5,000 s");
        assert!(crowded.tried.len() - tried <= MAX_NEW_WHILE_STUCK as usize, "{class:?}");
        assert!(crowded.machine.fates(Fate::Dead).is_empty());
        // All are delivered when it is available again.
        let before = crowded.position();
        crowded.run_for(1_000, |_| Attempt::Accepted);
        assert!(crowded.position() > before + 1_000 && crowded.machine.resolution.held() == 0);
    }
}

#[test]
fn rules_without_a_time_lead_to_no_attempts_without_a_pause() {
    use observer_core::Evidence;
    let over = Duration::ZERO;
    let denied = Evidence { rounds: 3, over };
    let rules = Rules::new(&RetrySettings { denied, failed: denied, ..RetrySettings::default() });
    for class in [Class::Denied, Class::Failed] {
        let mut machine = Machine::new(Policy { rules, ..live() });
        machine.resolution.add(events(1..=2));
        let actions = machine.run(60, refuses(class, |seq| seq == 1));
        assert_eq!(actions.last().map(String::as_str), Some("wait 1"), "{actions:?}");
        for seq in 3..=4 {
            machine.resolution.add(events(seq..=seq));
            machine.run(9, refuses(class, |seq| seq == 1));
            machine.now += Duration::from_secs(1);
            machine.run(9, refuses(class, |seq| seq == 1));
        }
        assert_eq!(machine.fates(Fate::Dead), [1], "{class:?}");
    }
}

#[test]
fn dead_letters_are_written_after_what_is_in_hand_is_given_up_or_accepted_elsewhere() {
    let give_up_after = Some(Duration::from_secs(60));
    let retry = RetrySettings { give_up_after, ..RetrySettings::default() };
    for is_given_up in [true, false] {
        let mut machine = Machine::new(Policy { rules: Rules::new(&retry), ..live() });
        machine.resolution.blocked("disk full".into(), machine.now);
        let (event, reason) = (TestEvent(1, 1), String::new());
        let dead = vec![DeadEvent { event, reason, attempts: 1, is_aside: false }];
        machine.resolution.unburied(dead, "too many dead letters".into(), true);
        if is_given_up {
            machine.now += Duration::from_secs(60);
            machine.resolution.expire(machine.now);
        } else {
            machine.resolution.accepted_elsewhere(machine.now);
        }
        assert_eq!(machine.run(9, |_| Attempt::Accepted), ["dead 1", "wait"]);
    }
}
