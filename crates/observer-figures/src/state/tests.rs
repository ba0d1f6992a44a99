use std::collections::BTreeSet;

use jiff::SignedDuration;
use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

/// Outcome with its day, in a text such as `1:F 3:P/b@2.0`: day, result, model and version. A day
/// before the previous one is a late arrival.
fn attempts(text: &str) -> Vec<Attempt<'_>> {
    text.split_whitespace()
        .enumerate()
        .map(|(index, item)| {
            let (at, rest) = item.split_once(':').unwrap();
            let (rest, version) = rest.split_once('@').map_or((rest, None), |(a, b)| (a, Some(b)));
            let (result, model) = rest.split_once('/').unwrap_or((rest, "a"));
            assert!(["P", "F"].contains(&result), "{item}");
            let attempt = Attempt::new(index as u64 + 1, day(at.parse().unwrap()), result == "P");
            attempt.model(model).version(version)
        })
        .collect()
}

fn day(days: f64) -> Timestamp {
    Timestamp::UNIX_EPOCH + SignedDuration::from_mins((days * 24.0 * 60.0).round() as i64)
}

fn days(at: Timestamp) -> f64 {
    at.as_second() as f64 / 86_400.0
}

/// State, day since when, and cause, at a day.
fn standing(text: &str, now: f64) -> (String, f64, u64) {
    let rules = Rules::default();
    let standing = Fold::of(&attempts(text), &rules).standing(day(now), &rules).unwrap();
    (standing.state.to_string(), days(standing.since), standing.cause)
}

#[test]
fn problem_without_attempts_has_no_state() {
    let rules = Rules::default();
    assert_eq!(Fold::of(&[], &rules).standing(day(0.0), &rules), None);
    assert_eq!(transitions(&[], day(0.0), &rules), []);
}

#[test]
fn states_follow_the_rules() {
    for (text, now, state, since, cause) in [
        // New and failing.
        ("0:F", 0.0, "new", 0.0, 1),
        ("0:F 1:F", 6.9, "new", 0.0, 1),
        ("0:P", 6.9, "new", 0.0, 1),
        ("0:F 1:F", 7.0, "failing", 7.0, 1),
        ("0:F 9:F", 9.0, "failing", 7.0, 1),
        ("0:P/a 1:F/b", 2.0, "new", 0.0, 1),
        ("0:P/a 1:F/b", 8.0, "failing", 7.0, 2),
        ("0:F/a 1:P/b 2:F/c", 3.0, "new", 2.0, 3),
        // Broken.
        ("0:F 1:F 2:F", 2.0, "broken", 2.0, 3),
        ("0:F/a 1:F/b 2:F/c 3:F", 50.0, "broken", 2.0, 3),
        // Fixed?
        ("0:F 1:F 2:P", 3.0, "fixed?", 2.0, 3),
        ("0:F 1:F 2:F 3:P 4:P", 5.0, "fixed?", 3.0, 4),
        ("0:F 30:P", 30.0, "fixed?", 30.0, 2),
        // Fixed by successes or by time.
        ("0:F 1:P 2:P 3:P", 3.0, "fixed", 3.0, 4),
        ("0:F 1:P 2:P 3:P 4:P", 50.0, "fixed", 3.0, 4),
        ("0:F 1:P", 8.0, "fixed", 8.0, 2),
        ("0:F 1:P 2:P 20:P", 20.0, "fixed", 8.0, 2),
        ("0:F 1:P 2:P 8:P", 8.0, "fixed", 8.0, 2),
        ("0:P", 7.0, "fixed", 7.0, 1),
        ("0:P 1:P 2:P", 2.0, "fixed", 2.0, 3),
        // Flaky: a failure after a success in one scope.
        ("0:P 1:F", 2.0, "flaky", 1.0, 2),
        ("0:F 1:P 2:F", 2.0, "flaky", 2.0, 3),
        ("0:F 1:P 2:F 3:P", 3.0, "flaky", 2.0, 3),
        ("0:F 1:P 2:F 3:P 4:F", 4.0, "flaky", 2.0, 3),
        ("0:F 1:P/a 2:F/b 3:F/a", 3.0, "flaky", 3.0, 4),
        ("0:P 1:F", 14.0, "failing", 14.0, 2),
        ("0:F 1:P 2:F 14:P", 14.0, "flaky", 2.0, 3),
        ("0:F 1:P 2:F 14:P", 15.0, "fixed?", 15.0, 4),
        ("0:F 1:P 2:F 3:P 4:P 5:P", 5.0, "fixed", 5.0, 6),
        ("0:F/a 1:P/b 2:F/a", 3.0, "new", 2.0, 3),
        ("0:F 1:P@1 2:F@2", 3.0, "new", 2.0, 3),
        // Regressed.
        ("0:F 1:P 2:P 3:P 4:F", 4.0, "regressed", 4.0, 5),
        ("0:F 1:P 9:F", 9.0, "regressed", 9.0, 3),
        ("0:P 1:P 2:P 3:F 4:F", 90.0, "regressed", 3.0, 4),
        ("0:P 1:P 2:P 3:F 4:F 5:P", 5.0, "fixed?", 5.0, 6),
        ("0:P 1:P 2:P 3:F 4:P 5:F", 5.0, "flaky", 5.0, 6),
        ("0:P 1:P 2:P 3:F 4:P 5:P 6:P 7:F", 7.0, "regressed", 7.0, 8),
        ("0:P/a 1:P/a 2:P/a 3:F/b", 3.0, "regressed", 3.0, 4),
    ] {
        assert_eq!(standing(text, now), (state.to_owned(), since, cause), "{text} at {now}");
    }
}

#[test]
fn late_failures_never_regress() {
    for (text, now, state, since, cause) in [
        // The same outcomes, on time and late.
        ("1:P 2:P 3:P 4:F 5:P", 5.0, "fixed?", 5.0, 5),
        ("1:P 2:P 3:P 5:P 4:F", 5.0, "flaky", 4.0, 5),
        // A late failure after which nothing came keeps the newest state.
        ("1:P 2:P 3:P 5:P 0:F", 5.0, "fixed", 3.0, 3),
        // The failure that was on time still regresses.
        ("1:P 2:P 3:P 5:F 4:F", 5.0, "regressed", 5.0, 4),
        ("1:P 2:P 3:P 9:F/b 4:F/b 5:F/b", 9.0, "regressed", 9.0, 4),
        // A success in between ends that.
        ("1:P 2:P 3:P 6:F 4:F 5:P", 6.0, "flaky", 4.0, 5),
        // A late success.
        ("1:P 2:P 4:F 3:P", 4.0, "regressed", 4.0, 3),
    ] {
        assert_eq!(standing(text, now), (state.to_owned(), since, cause), "{text} at {now}");
    }
}

#[test]
fn only_the_same_or_a_later_version_regresses() {
    for (text, now, state, since, cause) in [
        ("0:F@1 1:P@2 2:P@2 3:P@2 4:F@1", 4.0, "fixed", 3.0, 4),
        ("0:F@1 1:P@2 2:P@2 3:P@2 4:F@2", 4.0, "regressed", 4.0, 5),
        ("0:F@1 1:P@2 2:P@2 3:P@2 4:F@10", 4.0, "regressed", 4.0, 5),
        ("0:F@1 1:P@2 2:P@2 3:P@2 4:F", 4.0, "regressed", 4.0, 5),
        ("0:F@1 1:P 2:P 3:P 4:F@1", 4.0, "regressed", 4.0, 5),
        // The oldest version of the series counts.
        ("0:F@1 1:P@3 2:P@2 3:P@3 4:F@2", 4.0, "regressed", 4.0, 5),
        // Versions that are no numbers, by first appearance.
        ("0:F@old 1:P@new 2:P@new 3:P@new 4:F@old", 4.0, "fixed", 3.0, 4),
        ("0:F@old 1:P@new 2:P@new 3:P@new 4:F@other", 4.0, "regressed", 4.0, 5),
        // An older version doesn't end a series of successes either.
        ("0:F@1 1:P@2 2:F@1 3:P@2 4:P@2", 4.0, "fixed", 4.0, 5),
        ("0:F@1 1:P@2 2:F@1", 2.0, "fixed?", 1.0, 2),
    ] {
        assert_eq!(standing(text, now), (state.to_owned(), since, cause), "{text} at {now}");
    }
}

#[test]
fn corrected_outcome_keeps_its_place() {
    let rules = Rules::default();
    let mut attempts = attempts("0:F 1:P 2:P 3:P 5:F");
    let state = |attempts: &[Attempt<'_>]| {
        let standing = Fold::of(attempts, &rules).standing(day(5.0), &rules).unwrap();
        (standing.state, standing.solved)
    };
    assert_eq!(state(&attempts), (State::Regressed, 3));
    attempts[4].ok = true;
    assert_eq!(state(&attempts), (State::Fixed, 4));
    attempts[3].ok = false;
    assert_eq!(state(&attempts), (State::Flaky, 3));
}

#[test]
fn thresholds_are_configurable() {
    let rules = Rules {
        new_for: DAY,
        broken_attempts: 2,
        flaky_within: DAY,
        fixed_successes: 1,
        fixed_after: DAY * 30,
        minimum_attempts: 3,
    };
    for (text, state) in [
        ("0:F 0:F", State::Broken),
        ("0:F 2:P", State::Fixed),
        ("0:F 2:P 5:F", State::Regressed),
        ("0:F", State::Failing),
    ] {
        let standing = Fold::of(&attempts(text), &rules).standing(day(5.0), &rules).unwrap();
        assert_eq!((standing.state, standing.below_minimum), (state, text.len() < 10), "{text}");
    }
}

#[test]
fn too_few_attempts_are_counted_instead_of_judged() {
    let rules = Rules::default();
    let label =
        |text| Fold::of(&attempts(text), &rules).standing(day(8.0), &rules).unwrap().label();
    assert_eq!((label("0:P"), label("0:P 1:P")), ("1 attempt".to_owned(), "fixed".to_owned()));
}

#[test]
fn transitions_tell_the_whole_course() {
    let text = "0:F 1:F 2:F 3:P 4:P 5:P 6:F 7:P 8:F 25:F 30:P";
    let history = transitions(&attempts(text), day(60.0), &Rules::default());
    let lines: Vec<_> = history
        .iter()
        .map(|change| format!("{} {} {}", days(change.at), change.state, change.cause))
        .collect();
    let expected = [
        "0 new 1",
        "2 broken 3",
        "3 fixed? 4",
        "5 fixed 6",
        "6 regressed 7",
        "7 fixed? 8",
        "8 flaky 9",
        "21 failing 9",
        "30 fixed? 11",
        "37 fixed 11",
    ];
    assert_eq!(lines, expected);
}

#[test]
fn earlier_attempt_is_refused() {
    let rules = Rules::default();
    let mut fold = Fold::of(&attempts("1:P 3:P"), &rules);
    let before = fold.clone();
    for attempt in [Attempt::new(9, day(2.0), false), Attempt::new(1, day(9.0), false)] {
        assert_eq!(fold.push(&attempt, &rules), Err(OutOfOrder { event: attempt.event }));
        assert_eq!(fold, before);
    }
}

#[test]
fn recent_attempts_and_counts_suffice() {
    let rules = Rules::default();
    let all = attempts("0:F 1:F 2:F 3:F 4:F 20:F 21:F");
    let past = Past { attempts: 5, solved: 0, first: (day(0.0), 1) };
    let standing = Fold::of_recent(past, &all[5..], &rules).standing(day(30.0), &rules).unwrap();
    assert_eq!((standing.state, standing.attempts, standing.cause), (State::Broken, 7, 6));
    let past = Past { solved: 1, ..past };
    let standing = Fold::of_recent(past, &all[5..], &rules).standing(day(30.0), &rules).unwrap();
    assert_eq!((standing.state, standing.since), (State::Failing, day(20.0)));
}

#[test]
fn stored_fold_of_other_rules_or_versions_is_refused() {
    let rules = Rules::default();
    let bytes = Fold::of(&attempts("0:F 1:P"), &rules).encode(rules.id());
    let others = Rules { fixed_successes: 4, ..rules };
    assert_eq!(Fold::decode(&bytes, others.id()), Err(FoldError::Rules));
    assert_eq!(Fold::decode(&[2], rules.id()), Err(FoldError::Version(2)));
    for end in 0..bytes.len() {
        assert_eq!(Fold::decode(&bytes[..end], rules.id()), Err(FoldError::Damaged), "{end}");
    }
    let more = [&bytes[..], &[0]].concat();
    assert_eq!(Fold::decode(&more, rules.id()), Err(FoldError::Damaged));
}

#[test]
fn encoding_of_a_fold_is_stable() {
    // Stored by knowledge bases: a change here needs a new version.
    let rules = Rules::default();
    let bytes = Fold::of(&attempts("0:F@1 1:P@2 2:F@2"), &rules).encode(rules.id());
    let digits: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    let expected = concat!(
        "0146f034221cc139780301000001808c1500030301808c15000300808c1500030000808c15000301",
        "808c150003809a9e010001a1bfde0319f37de580c60a0002fc9a01864cac63af15a001864caf63af",
    );
    assert_eq!(digits, expected);
}

#[test]
fn fold_of_many_scopes_stays_small() {
    let rules = Rules::default();
    let names: Vec<_> = (0..500).map(|n| format!("model-{n}")).collect();
    let attempts: Vec<_> = (0..500)
        .map(|n| {
            let attempt = Attempt::new(n, day(n as f64 / 100.0), n > 0);
            attempt.model(&names[n as usize]).version(Some(&names[n as usize]))
        })
        .collect();
    let length = Fold::of(&attempts, &rules).encode(rules.id()).len();
    assert!((500..2_048).contains(&length), "{length}");
}

/// Attempts over some weeks by two models and three versions, in the order of arrival.
fn courses(length: usize) -> impl Strategy<Value = Vec<(u32, bool, bool, u8)>> {
    vec((0..1_200_u32, any::<bool>(), any::<bool>(), 0..4_u8), 1..length)
}

fn course(raw: &[(u32, bool, bool, u8)]) -> Vec<Attempt<'static>> {
    raw.iter()
        .enumerate()
        .map(|(index, &(hour, ok, model, version))| {
            let at = day(f64::from(hour) / 24.0);
            let version = [None, Some("1.2"), Some("1.10"), Some("main")][usize::from(version)];
            let model = if model { "a" } else { "b" };
            Attempt::new(index as u64, at, ok).model(model).version(version)
        })
        .collect()
}

proptest! {
    #[test]
    fn fold_does_not_depend_on_the_order_of_the_list(raw in courses(40), seed: u64) {
        let rules = Rules::default();
        let attempts = course(&raw);
        let mut shuffled = attempts.clone();
        shuffled.sort_by_key(|attempt| (attempt.event ^ seed).wrapping_mul(0x9e37_79b9_7f4a_7c15));
        prop_assert_eq!(Fold::of(&shuffled, &rules), Fold::of(&attempts, &rules));
    }

    /// Arrival matters through late failures after `fixed` alone: without any such, every order of
    /// arrival gives the same states.
    #[test]
    fn arrival_order_changes_nothing_but_regressions(raw in courses(9), now in 0..2_000_u32) {
        let rules = Rules::default();
        let arrived = course(&raw);
        let mut timely = arrived.clone();
        timely.sort_by_key(Attempt::order);
        let events: Vec<u64> = timely.iter().map(|attempt| attempt.event).collect();
        for (index, attempt) in timely.iter_mut().enumerate() {
            attempt.event = index as u64;
        }
        let now = day(50.0 + f64::from(now) / 24.0);
        let expected = transitions(&timely, now, &rules);
        prop_assume!(expected.iter().all(|change| change.state != State::Regressed));
        let actual: Vec<_> = transitions(&arrived, now, &rules);
        let renamed: Vec<_> = expected
            .iter()
            .map(|change| Transition { cause: events[change.cause as usize], ..*change })
            .collect();
        prop_assert_eq!(actual, renamed);
    }

    #[test]
    fn regression_is_never_caused_by_a_late_attempt(raw in courses(40)) {
        let attempts = course(&raw);
        let late: BTreeSet<u64> = attempts
            .iter()
            .filter(|a| attempts.iter().any(|b| b.event < a.event && b.at > a.at))
            .map(|attempt| attempt.event)
            .collect();
        let history = transitions(&attempts, day(60.0), &Rules::default());
        for change in history.iter().filter(|change| change.state == State::Regressed) {
            prop_assert!(!late.contains(&change.cause));
        }
    }

    #[test]
    fn pushed_and_stored_fold_equals_the_whole(raw in courses(40)) {
        let rules = Rules::default();
        let mut attempts = course(&raw);
        attempts.sort_by_key(Attempt::order);
        attempts.iter_mut().zip(0..).for_each(|(attempt, event)| attempt.event = event);
        let mut fold = Fold::default();
        for attempt in &attempts {
            fold.push(attempt, &rules).unwrap();
            fold = Fold::decode(&fold.encode(rules.id()), rules.id()).unwrap();
        }
        prop_assert_eq!(fold, Fold::of(&attempts, &rules));
    }

    #[test]
    fn last_transition_is_the_standing(raw in courses(40), more in 0..1_000_u32) {
        let rules = Rules::default();
        let attempts = course(&raw);
        let now = day(50.0 + f64::from(more) / 24.0);
        let standing = Fold::of(&attempts, &rules).standing(now, &rules).unwrap();
        let history = transitions(&attempts, now, &rules);
        let last = history.last().unwrap();
        let expected = (standing.state, standing.since, standing.cause);
        prop_assert_eq!((last.state, last.at, last.cause), expected);
        prop_assert!(history.windows(2).all(|pair| pair[0].at <= pair[1].at));
        prop_assert!(history.windows(2).all(|pair| pair[0].state != pair[1].state));
    }

    #[test]
    fn foreign_bytes_never_panic(bytes in vec(any::<u8>(), 0..120)) {
        let rules = Rules::default();
        let prefix = Fold::default().encode(rules.id());
        let bytes = [&prefix[..9], &bytes].concat();
        if let Ok(fold) = Fold::decode(&bytes, rules.id()) {
            let _ = fold.standing(day(5.0), &rules);
        }
    }
}
