//! Diversions and resets.

use super::*;

#[test]
fn diverted_event_is_dead_wherever_it_is() {
    let bad = refuses(&[1], Class::Denied);
    let mut machine = check(live(), 2, &bad, &["1-2", "!1", "!2", "!1", "aside 1", "wait 20"]);
    let dead = machine.resolution.divert(|event| event.0 == 1).unwrap();
    assert!(dead.is_aside && dead.reason == "diverted by an operator; the last response was: no");
    assert_eq!(machine.run(9, &bad), ["wait"]);
    machine.resolution.add(events(3..=5));
    assert_eq!(machine.resolution.holding(), Some(&TestEvent(3, 100)));
    let dead = machine.resolution.divert(|event| event.0 == 4).unwrap();
    assert!(!dead.is_aside && dead.reason == "diverted by an operator");
    assert_eq!(machine.resolution.divert(|event| event.0 == 9), None);
    assert_eq!(machine.run(9, &bad), ["3,5", "wait"]);
}

#[test]
fn held_event_can_be_diverted_and_the_next_ones_follow() {
    let policy = Policy { may_skip: false, may_set_aside: false, ..live() };
    let bad = refuses(&[1], Class::Denied);
    let mut machine = check(policy, 3, &bad, &["1-3", "!1-2", "!1", "park"]);
    let holding = machine.resolution.holding().copied().unwrap();
    machine.resolution.divert(|event| *event == holding).unwrap();
    machine.resolution.wake(machine.now);
    assert_eq!(machine.run(9, &bad), ["!2", "!3", "wait"]);
}

#[test]
fn oldest_undecided_event_is_diverted_if_none_holds_the_sink() {
    let bad = refuses(&[2, 4], Class::Denied);
    let mut machine = Machine::new(live());
    machine.resolution.add(events(1..=6));
    machine.run(40, &bad);
    assert_eq!((machine.resolution.holding(), machine.fates(Fate::SetAside)), (None, vec![2, 4]));
    for expected in [2, 4] {
        let first = *machine.resolution.most_refused().unwrap();
        assert_eq!(first.0, expected);
        machine.resolution.divert(|event| *event == first).unwrap();
    }
    assert_eq!(machine.resolution.most_refused(), None);
    machine.resolution.add(events(7..=8));
    assert_eq!(machine.resolution.most_refused().map(|event| event.0), Some(7));
}

#[test]
fn reset_keeps_events_that_are_set_aside_before_the_position() {
    let bad = refuses(&[1, 4], Class::Denied);
    let mut machine = Machine::new(live());
    machine.resolution.add(events(1..=6));
    machine.run(40, &bad);
    assert!(machine.resolution.is_aside(1) && machine.resolution.is_aside(4));
    machine.resolution.reset(3);
    assert!(machine.resolution.is_aside(1) && !machine.resolution.is_aside(4));
    assert!(machine.resolution.is_idle());
}
