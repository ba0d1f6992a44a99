//! A destination that refuses most events and accepts others.

use super::*;

/// Returns a destination that denies events at random, out of 100, with another answer to the same
/// event never.
fn denies_at_random(percent: u64) -> impl Fn(&[u64]) -> Attempt {
    move |seqs| {
        let is_bad = |seq: &u64| fastrand::Rng::with_seed(*seq).u64(..100) < percent;
        if seqs.iter().any(is_bad) { refused(Class::Denied) } else { Attempt::Accepted }
    }
}

#[test]
fn sink_whose_destination_denies_most_events_and_accepts_others_is_not_parked() {
    for (percent, most_pauses) in [(70, 0), (95, 60)] {
        let answer = denies_at_random(percent);
        let first_good = (1..).find(|seq| answer(&[*seq]) == Attempt::Accepted).unwrap();
        let mut machine = Machine::new(Policy { max_delivery: 1, ..live() });
        // A good event, a bad one and a good one.
        machine.resolution.add(vec![TestEvent(first_good, 1)]);
        machine.run(9, &answer);
        machine.resolution.add(events(first_good + 1..=first_good + 2_000));
        let actions = machine.run(100_000, &answer);
        let count = |text: &str| actions.iter().filter(|action| *action == text).count();
        // The first events in a row may be bad.
        assert!(count("park") <= 2, "{percent}: {actions:?}");
        assert!(count("slow") <= most_pauses, "{percent}: {} pauses", count("slow"));
        let accepted = machine.fates(Fate::Delivered).len();
        let good = (first_good..=first_good + 2_000)
            .filter(|seq| answer(&[*seq]) == Attempt::Accepted)
            .count();
        assert_eq!(accepted, good, "{percent}");
    }
}

#[test]
fn sink_that_is_slowed_down_is_parked_ten_minutes_after_the_last_acceptance() {
    let mut machine = Machine::new(Policy { max_delivery: 1, ..live() });
    machine.resolution.add(events(1..=3));
    let bad = refuses(&[2], Class::Denied);
    assert_eq!(machine.run(9, &bad), ["1", "2", "3", "!2", "aside 2", "wait 20"]);
    machine.resolution.add(events(4..=2_000));
    let accepted_at = machine.now;
    let mut numbers = Vec::new();
    let mut since_pause = 0;
    loop {
        match machine.step(|_| refused(Class::Denied)).as_str() {
            "slow" => {
                numbers.push(std::mem::take(&mut since_pause));
                machine.now += Duration::from_secs(14);
            }
            "park" => break,
            _ => since_pause += 1,
        }
    }
    assert_eq!((machine.now - accepted_at).as_secs(), 616);
    // The oldest event, and untried ones.
    assert_eq!(numbers[..6], [PARK_IF_MIXED, 2, 1 + 2, 1 + 4, 1 + 8, 1 + 8]);
    let actions = machine.run(300, |_| refused(Class::Denied));
    assert!(!actions.contains(&"slow".to_owned()), "{actions:?}");
    assert!(machine.fates(Fate::Dead).is_empty());
}

#[test]
fn oldest_event_of_a_slowed_sink_is_tried_once_after_each_pause() {
    let mut machine = Machine::new(Policy { max_delivery: 1, ..live() });
    machine.resolution.add(events(1..=3));
    machine.run(9, refuses(&[2], Class::Denied));
    machine.resolution.add(events(4..=100));
    // All are refused, until none is left that was not tried.
    machine.run(200, |_| refused(Class::Denied));
    for (answer, pause) in [(refused(Class::Denied), "slow"), (unavailable(), "pause")] {
        let mut actions = machine.run(40, |_| answer.clone());
        let first = actions.iter().position(|action| action == pause).unwrap();
        actions.drain(..first);
        let attempts: Vec<_> = actions.split(|action| action == pause).skip(1).collect();
        assert!(attempts.len() > 10, "{actions:?}");
        assert!(attempts.iter().rev().skip(1).all(|it| (1..=2).contains(&it.len())), "{actions:?}");
        let other = |action: &String| ["slow", "pause", "park"].contains(&action.as_str());
        assert!(!attempts.concat().iter().any(other), "{actions:?}");
    }
    assert!(machine.fates(Fate::Dead).is_empty());
}
