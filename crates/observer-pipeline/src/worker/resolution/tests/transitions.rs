//! Each transition, as the actions that follow from a destination's answers.

use super::*;

#[test]
fn accepted_batch_is_delivered_at_once() {
    let machine = check(live(), 5, |_| Attempt::Accepted, &["1-5", "wait"]);
    assert_eq!(machine.fates(Fate::Delivered), [1, 2, 3, 4, 5]);
    assert!(machine.resolution.is_idle());
}

#[test]
fn delivery_is_limited_to_what_the_sink_takes() {
    let policy = Policy { max_delivery: 2, ..live() };
    check(policy, 5, |_| Attempt::Accepted, &["1-2", "3-4", "5", "wait"]);
}

#[test]
fn rejected_event_beside_an_accepted_one_is_dead() {
    let machine = check(live(), 4, rejects(&[2, 4]), &["1-4", "dead 2,4", "wait"]);
    assert_eq!(machine.fates(Fate::Delivered), [1, 3]);
}

#[test]
fn batch_that_is_rejected_item_by_item_as_a_whole_is_no_evidence() {
    check(live(), 3, rejects(&[1, 2, 3]), &["1-3", "park"]);
}

#[test]
fn permanent_rejection_is_isolated_by_halving() {
    check(
        live(),
        4,
        refuses(&[3], Class::Permanent),
        &["1-4", "1-2", "3-4", "3", "dead 3", "4", "wait"],
    );
}

#[test]
fn earlier_acceptance_is_evidence_against_a_limited_number_of_events() {
    let mut machine = check(live(), 1, |_| Attempt::Accepted, &["1", "wait"]);
    for seq in 2..=100 {
        machine.resolution.add(events(seq..=seq));
    }
    machine.run(500, |_| refused(Class::Permanent));
    assert_eq!(machine.fates(Fate::Dead).len() as u32, MAX_ON_EARLIER);
    machine.run(500, |_| Attempt::Accepted);
    assert_eq!(machine.fates(Fate::Delivered).len() as u32, 100 - MAX_ON_EARLIER);
}

#[test]
fn first_event_is_dead_once_another_one_is_accepted() {
    let mut machine = check(live(), 1, refuses(&[1], Class::Permanent), &["1", "wait 1"]);
    assert!(machine.resolved.is_empty() && machine.resolution.held() == 1);
    machine.resolution.add(events(2..=3));
    let actions = machine.run(9, refuses(&[1], Class::Permanent));
    assert_eq!(actions, ["2", "1", "dead 1", "3", "wait"]);
}

#[test]
fn denied_event_is_set_aside_after_one_round_and_dead_after_three() {
    let bad = refuses(&[2], Class::Denied);
    let mut machine =
        check(live(), 3, &bad, &["1-3", "!1-2", "!1", "!2", "!3", "!2", "aside 2", "wait 20"]);
    assert_eq!(machine.fates(Fate::SetAside), [2]);
    for (seq, expected) in [(4, vec!["4", "!2", "wait 20"]), (5, vec!["5", "!2", "wait 20"])] {
        machine.resolution.add(events(seq..=seq));
        let mut actions = machine.run(1, &bad);
        machine.now += Duration::from_secs(20);
        actions.extend(machine.run(9, &bad));
        assert_eq!(actions, expected);
    }
    machine.resolution.add(events(6..=6));
    machine.run(1, &bad);
    machine.now += Duration::from_secs(20);
    assert_eq!(machine.run(9, &bad), ["!2", "dead 2", "wait"]);
    assert_eq!(machine.fates(Fate::Dead), [2]);
    assert!(machine.resolved.last().unwrap().is_aside);
}

#[test]
fn destination_that_denies_everything_is_parked_and_loses_nothing() {
    let mut machine = check(
        live(),
        8,
        |_| refused(Class::Denied),
        &["1-8", "!1-4", "!1-2", "!1", "!2", "park", "!1", "!3", "park", "!1", "!4", "park"],
    );
    assert!(machine.resolved.is_empty());
    // Once it accepts the first event, the refused ones follow together and in order.
    let actions = machine.run(9, |_| Attempt::Accepted);
    assert_eq!(actions, ["!1", "!2-4", "!5-8", "wait"]);
    assert_eq!(machine.fates(Fate::Delivered), (1..=8).collect::<Vec<_>>());
}

#[test]
fn refused_events_are_tried_alone_after_an_untried_one_was_accepted() {
    let mut machine = check(
        live(),
        3,
        refuses(&[1, 2], Class::Denied),
        &[
            "1-3", "!1-2", "!1", "!2", "park", "!1", "!3", "!1", "aside 1", "!2", "aside 2",
            "wait 20",
        ],
    );
    machine.now += Duration::from_secs(20);
    assert_eq!(machine.run(2, |_| Attempt::Accepted), ["!1", "!2"]);
    assert!(machine.resolved.iter().filter(|it| it.is_aside).count() == 2);
}

#[test]
fn sink_that_accepted_shortly_before_is_parked_after_eight_refusals() {
    let mut machine = check(live(), 1, |_| Attempt::Accepted, &["1", "wait"]);
    machine.resolution.add(events(2..=20));
    let actions = machine.run(40, |_| refused(Class::Denied));
    let until = actions.iter().position(|action| action == "park").unwrap();
    let alone = actions[..until].iter().filter(|action| !action.contains('-')).count();
    assert_eq!(alone, PARK_AFTER, "{actions:?}");
}

#[test]
fn unavailable_destination_gets_the_same_batch_after_a_pause() {
    let mut failures = 2;
    let answer = move |_: &[u64]| {
        failures -= 1;
        if failures >= 0 { unavailable() } else { Attempt::Accepted }
    };
    check(live(), 3, answer, &["1-3", "pause", "1-3", "pause", "1-3", "wait"]);
}

#[test]
fn requested_delay_is_passed_on() {
    let delay = Some(Duration::from_secs(90));
    let answer = |_: &[u64]| Attempt::Unavailable {
        accepted: Vec::new(),
        retry_after: delay,
        reason: "429".into(),
    };
    check(live(), 3, answer, &["1-3", "pause 90s"]);
}

#[test]
fn batch_that_fails_repeatedly_is_halved() {
    let answer = |seqs: &[u64]| {
        if seqs.contains(&1) { refused(Class::Failed) } else { Attempt::Accepted }
    };
    let expected = [
        "1-4", "pause", "!1-4", "pause", "!1-4", "pause", "!1-4", "!1-2", "!1", "pause", "!1",
        "pause",
    ];
    check(live(), 4, answer, &expected);
}

#[test]
fn refused_event_lets_the_next_one_go_first_after_some_attempts() {
    for (class, attempts) in [(Class::Failed, 4), (Class::Unavailable, 16)] {
        let bad = refuses(&[1], class);
        let mut machine = Machine::new(live());
        machine.resolution.add(events(1..=2));
        let actions = machine.run(99, &bad);
        let alone = actions.iter().filter(|action| action.trim_start_matches('!') == "1").count();
        assert_eq!(alone, attempts + 1, "{actions:?}");
        let end: Vec<_> = actions[actions.len() - 4..actions.len() - 1]
            .iter()
            .map(|action| action.trim_start_matches('!'))
            .collect();
        assert_eq!(end, ["2", "1", "aside 1"], "{actions:?}");
    }
}

#[test]
fn sixteen_failures_of_the_only_event_hold_nothing_else() {
    let mut machine = Machine::new(live());
    machine.resolution.add(events(1..=1));
    machine.run(80, |_| unavailable());
    machine.resolution.add(events(2..=2));
    let actions = machine.run(12, refuses(&[1], Class::Unavailable));
    assert!(actions.contains(&"2".to_owned()), "{actions:?}");
    assert_eq!(machine.fates(Fate::SetAside), [1]);
}

#[test]
fn unavailability_of_one_event_never_makes_it_dead() {
    let bad = refuses(&[1], Class::Unavailable);
    let mut machine = Machine::new(live());
    for seq in 1..=200 {
        machine.resolution.add(events(seq..=seq));
        machine.run(60, &bad);
        machine.now += Duration::from_secs(600);
    }
    assert!(machine.fates(Fate::Dead).is_empty());
    assert_eq!(machine.fates(Fate::SetAside), [1]);
    assert_eq!(machine.fates(Fate::Delivered).len(), 199);
}

#[test]
fn accepted_part_of_a_failed_delivery_is_not_repeated() {
    let mut first = true;
    let answer = move |_: &[u64]| {
        if std::mem::take(&mut first) {
            Attempt::Unavailable { accepted: vec![0, 2], retry_after: None, reason: "503".into() }
        } else {
            Attempt::Accepted
        }
    };
    let machine = check(live(), 4, answer, &["1-4", "pause", "2,4", "wait"]);
    assert_eq!(machine.fates(Fate::Delivered), [1, 3, 2, 4]);
}

#[test]
fn blocked_sink_is_parked_and_probed_with_one_event() {
    let mut blocked = 2;
    let answer = move |_: &[u64]| {
        blocked -= 1;
        if blocked >= 0 {
            Attempt::Blocked { reason: "disk full".into() }
        } else {
            Attempt::Accepted
        }
    };
    check(live(), 3, answer, &["1-3", "park", "1", "park", "1", "2-3", "wait"]);
}

#[test]
fn sink_with_its_own_position_never_skips_an_event() {
    let policy = Policy { may_skip: false, may_set_aside: false, ..live() };
    for class in [Class::Denied, Class::Permanent] {
        check(
            policy,
            4,
            refuses(&[2], class),
            &if class == Class::Denied {
                ["1-4", "!1-2", "!1", "!2", "park", "!2", "park", "!2"]
            } else {
                ["1-4", "1-2", "1", "2", "park", "2", "park", "2"]
            },
        );
    }
    check(policy, 2, refuses(&[1], Class::Failed), &["1-2", "pause", "!1-2", "pause"]);
    check(policy, 3, rejects(&[1, 2, 3]), &["1-3", "dead 1-3", "wait"]);
}

#[test]
fn everything_in_hand_is_given_up_after_the_operators_limit() {
    let retry =
        RetrySettings { give_up_after: Some(Duration::from_secs(60)), ..RetrySettings::default() };
    let policy = Policy { rules: Rules::new(&retry), ..live() };
    let answers: [fn(&[u64]) -> Attempt; 4] = [
        |_| unavailable(),
        |_| refused(Class::Denied),
        |_| refused(Class::Failed),
        |_| Attempt::Blocked { reason: "disk full".into() },
    ];
    for answer in answers {
        let mut machine = Machine::new(policy);
        machine.resolution.add(events(1..=4));
        let actions = machine.run(500, answer);
        assert_eq!(machine.fates(Fate::Dead), [1, 2, 3, 4], "{actions:?}");
        assert!(machine.now - machine.start >= Duration::from_secs(60));
    }
}

#[test]
fn dead_letters_that_can_not_be_written_are_written_again() {
    let mut machine = Machine::new(live());
    machine.resolution.add(events(1..=2));
    machine.run(1, rejects(&[2]));
    let Action::DeadLetter(dead) = machine.resolution.next(machine.now) else {
        panic!("the second event is rejected")
    };
    machine.resolution.unburied(dead.clone(), "disk full".into(), false);
    assert_eq!(machine.run(9, rejects(&[2])), ["pause", "dead 2", "wait"]);
    machine.resolution.unburied(dead, "full".into(), true);
    assert_eq!(machine.run(9, rejects(&[2])), ["park", "dead 2", "wait"]);
}

#[test]
fn known_faults_of_events_cost_no_pauses() {
    let mut machine = Machine::new(live());
    let is_bad = |seq: &u64| seq.is_multiple_of(100);
    let answer = |seqs: &[u64]| {
        if seqs.iter().any(is_bad) { refused(Class::Failed) } else { Attempt::Accepted }
    };
    let pauses = |actions: &[String]| actions.iter().filter(|it| *it == "pause").count();
    machine.resolution.add(events(1..=1_050));
    let first = machine.run(10_000, answer);
    // The destination may be at fault until it refuses one event and accepts others.
    assert!((1..=8).contains(&pauses(&first)), "{first:?}");
    assert_eq!(machine.fates(Fate::Delivered).len(), 1_040);
    assert_eq!(machine.fates(Fate::SetAside), (1..=10).map(|n| n * 100).collect::<Vec<_>>());

    machine.resolution.add(events(1_051..=2_050));
    let later = machine.run(10_000, answer);
    assert_eq!(pauses(&later), 0, "{later:?}");
    assert_eq!(machine.fates(Fate::Delivered).len(), 2_030);

    // An outage that begins now is still met with pauses.
    machine.resolution.add(events(2_051..=3_050));
    let outage = machine.run(100, |_| refused(Class::Failed));
    assert!(pauses(&outage) > 30, "{outage:?}");
}

#[test]
fn dead_letters_are_written_after_a_failed_write_and_a_failed_flush() {
    for parks in [false, true] {
        let mut machine = check(live(), 2, rejects(&[2]), &["1-2"]);
        let Action::DeadLetter(dead) = machine.resolution.next(machine.now) else {
            panic!("the second event is rejected")
        };
        machine.resolution.unburied(dead, "disk full".into(), parks);
        // The stream continues at its last flush.
        machine.resolution.reset(0);
        machine.resolution.add(events(1..=2));
        assert_eq!(machine.run(9, rejects(&[2])), ["1-2", "dead 2", "wait"], "{parks}");
    }
}

#[test]
fn long_run_of_rejected_events_is_passed_in_few_checks() {
    let mut machine = Machine::new(Policy { max_delivery: 1, ..live() });
    machine.resolution.add(events(1..=900));
    let answer = |seqs: &[u64]| {
        if (2..=899).contains(&seqs[0]) { refused(Class::Permanent) } else { Attempt::Accepted }
    };
    let actions = machine.run(10_000, answer);
    let checks = actions.iter().filter(|action| *action == "park").count();
    assert!((5..=20).contains(&checks), "{checks} checks");
    assert_eq!(machine.fates(Fate::Dead).len(), 898);
    assert_eq!(machine.fates(Fate::Delivered), [1, 900]);
}

#[test]
fn destination_that_rejects_everything_gets_few_requests_for_the_same_events() {
    let mut machine = Machine::new(live());
    machine.resolution.add(events(1..=20));
    let actions = machine.run(400, |_| refused(Class::Permanent));
    let checks = actions.iter().filter(|action| *action == "park").count();
    // The oldest event, and another one.
    assert!(checks >= 100, "{checks} checks among 400 actions");
    assert!(machine.fates(Fate::Dead).is_empty());
}
