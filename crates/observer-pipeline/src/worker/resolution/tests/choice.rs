//! What is tried next, and limits of events in hand.

use super::*;

fn accepts_all(_: &[u64]) -> Attempt {
    Attempt::Accepted
}

/// Returns a machine with three events that are held, none of which was accepted for long.
fn three_held(class: Class) -> Machine {
    let mut machine = Machine::new(Policy { max_delivery: 1, ..live() });
    machine.resolution.add(events(1..=3));
    let answer = move |_: &[u64]| {
        if class == Class::Unavailable { unavailable() } else { refused(class) }
    };
    while machine.resolution.held() < 3 {
        machine.step(answer);
    }
    machine
}

#[test]
fn each_held_event_is_tried_although_the_oldest_is_never_accepted() {
    for class in [Class::Unavailable, Class::Failed, Class::Denied] {
        for good in [2, 3] {
            let mut machine = three_held(class);
            let answer = |seqs: &[u64]| {
                if seqs == [good] { Attempt::Accepted } else { refused(class) }
            };
            machine.run(40, answer);
            assert_eq!(machine.fates(Fate::Delivered), [good], "{class:?}");
        }
    }
}

#[test]
fn held_events_take_turns_with_undecided_ones_that_are_due() {
    let mut machine = three_held(Class::Unavailable);
    for seq in 101..=400 {
        let (event, reason) = (TestEvent(seq, 1), String::new());
        let evidence = StoredEvidence::default();
        let aside = AsideEvent { event, reason, attempts: 1, evidence };
        machine.resolution.restore(aside, machine.now);
    }
    let answer = |seqs: &[u64]| if seqs == [2] { Attempt::Accepted } else { unavailable() };
    machine.run(60, answer);
    assert_eq!(machine.fates(Fate::Delivered), [2]);
}

#[test]
fn held_events_are_delivered_together_once_the_oldest_is_accepted() {
    let mut machine = Machine::new(live());
    machine.resolution.add(events(1..=1));
    machine.run(9, accepts_all);
    machine.resolution.add(events(2..=4));
    let isolation = machine.run(9, |_| refused(Class::Denied));
    assert_eq!(isolation, ["2-4", "!2-3", "!2", "!3", "!4", "wait 20"]);
    machine.now += Duration::from_secs(20);
    assert_eq!(machine.run(9, accepts_all), ["!2", "!3-4", "wait"]);
}

#[test]
fn size_of_held_events_is_bounded() {
    let mut machine = Machine::new(Policy { max_delivery: 1, ..live() });
    let size = 1 << 20;
    for seq in 1..=200 {
        while !machine.resolution.may_read() {
            let action = machine.step(|_| refused(Class::Denied));
            if machine.now - machine.start > Duration::from_secs(600) {
                let held = machine.resolution.held() as u64;
                assert_eq!(held, MAX_ASIDE_BYTES / size + 1, "{action}");
                return;
            }
        }
        machine.resolution.add(vec![TestEvent(seq, size)]);
        machine.step(|_| refused(Class::Denied));
    }
    panic!("{} events are held", machine.resolution.held());
}

#[test]
fn sink_with_a_large_held_event_reads_no_more() {
    let mut machine = Machine::new(live());
    machine.resolution.add(vec![TestEvent(1, MAX_ASIDE_BYTES + 1)]);
    assert_eq!(machine.run(2, |_| refused(Class::Denied)), ["1", "crowded 20"]);
}

#[test]
fn events_of_a_replay_that_wait_and_that_are_held_count_together() {
    let mut machine = Machine::new(Policy { may_set_aside: false, max_aside: 2, ..live() });
    machine.resolution.add(events(1..=2));
    machine.run(9, |seqs| if seqs == [2] { Attempt::Accepted } else { refused(Class::Denied) });
    assert_eq!(machine.resolution.held(), 1);
    assert!(machine.resolution.may_read());
    machine.resolution.add(events(3..=3));
    machine.step(|_| refused(Class::Denied));
    assert_eq!(machine.resolution.held(), 2);
    assert!(!machine.resolution.may_read());
}

#[test]
fn rejected_events_beside_an_accepted_one_are_dead_whatever_their_number() {
    let mut machine = Machine::new(live());
    machine.resolution.add(events(1..=100));
    let answer = |seqs: &[u64]| {
        let rejected = (1..seqs.len()).map(|index| (index, "no".to_owned())).collect();
        Attempt::PartlyRejected { rejected, refused: 0 }
    };
    assert_eq!(machine.run(9, answer), ["1-100", "dead 2-100", "wait"]);
    assert_eq!(machine.fates(Fate::Delivered), [1]);
}

#[test]
fn last_events_count_as_refused_if_the_destination_names_none() {
    let mut machine = Machine::new(live());
    machine.resolution.add(events(1..=5));
    let rejected = vec![(1, "no".to_owned())];
    let answer = |_: &[u64]| Attempt::PartlyRejected { rejected: rejected.clone(), refused: 2 };
    assert_eq!(machine.run(9, answer), ["1-5", "dead 2", "wait"]);
    assert_eq!(machine.fates(Fate::Delivered), [1, 3]);
    assert_eq!(machine.fates(Fate::Refused), [4, 5]);
}

#[test]
fn event_that_is_set_aside_at_the_position_stays_after_a_reset() {
    let mut machine = Machine::new(live());
    machine.resolution.add(events(1..=2));
    machine.run(9, |seqs| if seqs == [2] { Attempt::Accepted } else { refused(Class::Denied) });
    machine.resolution.reset(1);
    assert!(machine.resolution.is_aside(1));
    machine.resolution.reset(0);
    assert!(!machine.resolution.is_aside(1));
}

#[test]
fn dead_letters_of_an_earlier_worker_are_written_first() {
    let mut machine = Machine::new(live());
    let (event, reason) = (TestEvent(1, 1), String::new());
    let dead = DeadEvent { event, reason, attempts: 1, is_aside: true };
    machine.resolution.bury_later(vec![dead]);
    machine.resolution.add(events(2..=2));
    assert_eq!(machine.run(9, accepts_all), ["dead 1", "2", "wait"]);
}

#[test]
fn new_events_take_turns_with_undecided_ones_that_are_due() {
    let mut machine = Machine::new(live());
    for seq in 1..=100 {
        let (event, reason) = (TestEvent(seq, 1), String::new());
        let evidence = StoredEvidence::default();
        let aside = AsideEvent { event, reason, attempts: 1, evidence };
        machine.resolution.restore(aside, machine.now);
    }
    let mut read = 100;
    for _ in 0..50 {
        match machine.resolution.next(machine.now) {
            Action::Read => {
                read += 1;
                machine.resolution.add(events(read..=read));
            }
            Action::Deliver(delivery) => {
                let attempt = if delivery.events[0].0 > 100 {
                    Attempt::Accepted
                } else {
                    refused(Class::Denied)
                };
                machine.resolution.on(attempt, machine.now);
            }
            action => panic!("{action:?}"),
        }
    }
    assert!((110..=120).contains(&read), "{read}");
}

#[test]
fn acceptance_renews_the_number_of_dead_letters_on_earlier_evidence() {
    let mut machine = Machine::new(Policy { max_delivery: 1, ..live() });
    machine.resolution.add(events(1..=150));
    let answer = |seqs: &[u64]| {
        if seqs[0] % 50 == 1 { Attempt::Accepted } else { refused(Class::Permanent) }
    };
    let actions = machine.run(1_000, answer);
    assert!(!actions.contains(&"park".to_owned()), "{actions:?}");
    assert_eq!(machine.fates(Fate::Dead).len(), 147);
}

#[test]
fn operator_makes_an_undecided_event_due_at_once() {
    let mut machine = Machine::new(live());
    machine.resolution.add(events(1..=1));
    machine.run(9, accepts_all);
    machine.resolution.add(events(2..=3));
    let denies = |seqs: &[u64]| {
        if seqs.contains(&2) { refused(Class::Denied) } else { Attempt::Accepted }
    };
    let actions = machine.run(20, denies);
    assert_eq!(actions.last().map(String::as_str), Some("wait 20"), "{actions:?}");
    machine.resolution.wake(machine.now);
    assert_eq!(machine.run(9, accepts_all), ["!2", "wait"]);
}
