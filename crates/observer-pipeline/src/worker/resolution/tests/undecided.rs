//! Events that are set aside or wait, in live streams and replays.

use std::collections::BTreeSet;

use super::*;

#[test]
fn replay_waits_for_evidence_instead_of_setting_aside() {
    let policy = Policy { may_set_aside: false, ..live() };
    let bad = refuses(&[1], Class::Denied);
    let mut machine = check(policy, 2, &bad, &["1-2", "!1", "!2", "!1", "wait 20"]);
    assert!(machine.fates(Fate::SetAside).is_empty() && !machine.resolution.is_idle());
    for _ in 0..3 {
        machine.resolution.accepted_elsewhere(machine.now);
        machine.now += Duration::from_secs(20);
        machine.run(9, &bad);
    }
    assert_eq!(machine.fates(Fate::Dead), [1]);
}

#[test]
fn too_many_undecided_events_slow_the_sink_down_until_some_are_dead() {
    let mut machine = Machine::new(Policy { max_aside: 2, ..live() });
    machine.resolution.add(events(1..=9));
    let isolation = ["1-9", "!1-5", "!1-3", "!1-2", "!1", "!2", "park", "!1", "!3", "park", "!1"];
    let full = ["!4", "!1", "aside 1", "!2", "aside 2", "!3", "crowded 20"];
    // A new event is tried when the undecided ones need the acceptance of another one.
    let first_round = ["!5", "!1", "!2", "!3", "crowded 20"];
    let second_round = ["!6", "!1", "!2", "!3", "crowded 20"];
    let third_round = ["!7", "!1", "dead 1", "aside 3", "!2", "dead 2", "!8-9", "!3", "dead 3"];
    let expected = [&isolation[..], &full, &first_round, &second_round, &third_round, &["wait"]];
    let actions = machine.run(40, refuses(&[1, 2, 3], Class::Denied));
    assert_eq!(actions, expected.concat());
    assert_eq!(machine.fates(Fate::Delivered), [4, 5, 6, 7, 8, 9]);
}

#[test]
fn too_many_undecided_events_and_a_bad_one_in_front_of_good_ones_are_decided() {
    for class in [Class::Failed, Class::Denied] {
        let mut machine = Machine::new(Policy { max_aside: 2, ..live() });
        machine.resolution.add(events(1..=4));
        let bad = refuses(&[1, 2, 3, 5], class);
        machine.run(60, &bad);
        for first in (5..=95).step_by(5) {
            // One event at a time, the first of which is bad.
            machine.resolution.add(events(first..=first + 4));
            machine.now += Duration::from_secs(60);
            machine.run(60, &bad);
        }
        assert_eq!(machine.fates(Fate::Dead), [1, 2, 3, 5], "{class:?}");
        assert_eq!(machine.fates(Fate::Delivered).len(), 95);
    }
}

#[test]
fn size_of_undecided_events_is_bounded() {
    let mut machine = Machine::new(live());
    machine.resolution.add(vec![TestEvent(1, MAX_ASIDE_BYTES + 1), TestEvent(2, 1)]);
    let actions = machine.run(20, refuses(&[1], Class::Denied));
    assert!(actions.contains(&"crowded 20".to_owned()), "{actions:?}");
    assert!(machine.fates(Fate::SetAside).is_empty());
}

/// Delivers batches of 100 events to a destination that is unavailable for each tenth one. Returns
/// the machine, the number of events that were added, and the number of the ones that waited.
fn replay_with_unavailable_events(batches: u64) -> (Machine, u64, usize) {
    let mut machine = Machine::new(Policy { may_set_aside: false, ..live() });
    let (mut added, mut most) = (0, 0);
    for _ in 0..10_000 {
        match machine.resolution.next(machine.now) {
            Action::Read if added == batches * 100 => break,
            Action::Read => {
                machine.resolution.add(events(added + 1..=added + 100));
                added += 100;
            }
            Action::Deliver(delivery) => {
                let is_bad = delivery.events.iter().any(|event| event.0.is_multiple_of(10));
                let attempt = if is_bad { unavailable() } else { Attempt::Accepted };
                machine.resolution.on(attempt, machine.now);
            }
            Action::Wait(due) => machine.now = due.expect("an event waits"),
            _ => {
                machine.now += Duration::from_secs(1);
                machine.resolution.woken();
            }
        }
        machine.resolved.extend(machine.resolution.take_resolved());
        most = most.max(machine.resolution.held());
    }
    (machine, added, most)
}

#[test]
fn replay_continues_while_its_last_event_is_held_and_another_one_waits() {
    let (machine, added, _) = replay_with_unavailable_events(4);
    assert_eq!((added, machine.fates(Fate::Delivered).len()), (400, 360));
}

#[test]
fn replay_is_postponed_when_too_many_of_its_events_wait() {
    let mut machine = Machine::new(Policy { may_set_aside: false, ..live() });
    machine.resolution.add(vec![TestEvent(1, MAX_ASIDE_BYTES), TestEvent(2, 1)]);
    let bad = refuses(&[1], Class::Denied);
    let expected = ["1-2", "!1", "!2", "!1", "park", "wait 19"];
    assert_eq!(machine.run(9, &bad), expected);
    for _ in 0..3 {
        assert!(!machine.resolution.may_read(), "the event that waits takes all memory");
        machine.resolution.accepted_elsewhere(machine.now);
        machine.now += Duration::from_secs(20);
        machine.run(9, &bad);
    }
    assert_eq!(machine.fates(Fate::Dead), [1]);
    assert!(machine.resolution.may_read());
}

#[test]
fn undecided_events_are_tried_while_an_unavailable_one_is_held() {
    let mut machine = Machine::new(live());
    let first = MAX_ASIDE as u64 + 1;
    for seq in 1..first {
        let event = TestEvent(seq, 1);
        let evidence = StoredEvidence::default();
        let aside = AsideEvent { event, reason: String::new(), attempts: 1, evidence };
        machine.resolution.restore(aside, machine.now + Duration::from_secs(60));
    }
    machine.resolution.add(events(first..=first));
    let answer = |seqs: &[u64]| {
        if seqs.contains(&first) { unavailable() } else { Attempt::Accepted }
    };
    for _ in 0..3 * MAX_ASIDE {
        if machine.step(answer).starts_with("wait") {
            machine.now += Duration::from_secs(60);
        }
    }
    let delivered: BTreeSet<_> = machine.fates(Fate::Delivered).into_iter().collect();
    assert_eq!(delivered, (1..first).collect());
    assert_eq!(machine.fates(Fate::SetAside), [first]);
}

#[test]
fn undecided_events_are_tried_at_the_pace_of_an_outage() {
    let bad = refuses(&[1, 2, 3], Class::Denied);
    for (answer, pause) in [(unavailable(), "pause"), (refused(Class::Denied), "park")] {
        let mut machine = Machine::new(live());
        machine.resolution.add(events(1..=4));
        machine.run(40, &bad);
        assert_eq!(machine.fates(Fate::SetAside), [1, 2, 3]);
        machine.resolution.add(events(5..=6));
        machine.now += Duration::from_secs(900);
        let actions: Vec<_> = (0..200).map(|_| machine.step(|_| answer.clone())).collect();
        let attempts: Vec<_> = actions.split(|action| action == pause).skip(10).collect();
        assert!(attempts.len() > 50, "{actions:?}");
        assert!(attempts.iter().all(|attempts| attempts.len() <= 2), "{actions:?}");
        for seq in ["1", "2", "3"] {
            assert!(
                attempts
                    .iter()
                    .any(|attempts| attempts.iter().any(|it| it.trim_start_matches("!") == seq)),
                "{actions:?}"
            );
        }
        assert!(machine.fates(Fate::Dead).is_empty(), "no refusal in a spell is a round");
    }
}

#[test]
fn refusal_in_an_outage_does_not_complete_the_rounds_of_an_undecided_event() {
    let one_round_left = [
        (Class::Denied, r#"{"refused_ms":900000,"denied":{"rounds":2,"ms":900000}}"#),
        (
            Class::Unauthenticated,
            r#"{"refused_ms":900000,"unauthenticated":{"rounds":2,"ms":900000}}"#,
        ),
        (Class::Failed, r#"{"refused_ms":900000,"failed":{"rounds":7,"ms":900000}}"#),
    ];
    for (class, evidence) in one_round_left {
        let mut machine = Machine::new(live());
        let evidence = serde_json::from_str(evidence).unwrap();
        let event = TestEvent(1, 1);
        let aside = AsideEvent { event, reason: String::new(), attempts: 1, evidence };
        machine.resolution.restore(aside, machine.now + Duration::from_secs(3_600));
        machine.resolution.add(events(2..=2));
        assert_eq!(machine.run(9, |_| Attempt::Accepted)[0], "2");
        // The outage begins after that acceptance, and the undecided event becomes due in it.
        machine.resolution.add(events(3..=20));
        let mut actions: Vec<_> = (0..200).map(|_| machine.step(|_| refused(class))).collect();
        machine.now += Duration::from_secs(3_600);
        actions.extend((0..200).map(|_| machine.step(|_| refused(class))));
        assert!(actions.iter().any(|action| action == "1" || action == "!1"), "{actions:?}");
        assert!(machine.resolution.take_grown().is_empty(), "{class:?} {actions:?}");
        assert!(machine.fates(Fate::Dead).is_empty(), "{class:?} {actions:?}");
        // The same refusal after the outage does.
        let refuses_first = refuses(&[1], class);
        let actions: Vec<_> = (0..100)
            .map(|_| {
                machine.now += Duration::from_secs(60);
                machine.step(&refuses_first)
            })
            .collect();
        assert_eq!(machine.fates(Fate::Dead), [1], "{class:?} {actions:?}");
        assert!(machine.fates(Fate::Delivered).contains(&3), "{class:?} {actions:?}");
    }
}
