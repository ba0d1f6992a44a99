//! States of problems, by attempts in any order of arrival.

use observer_core::query::{EventStore, ProblemState, ProblemsRequest};

use super::support::{DAY, Kb, START, outcome, problems_request, time, with};

/// Attempt: days after the start, whether it succeeded, and its version.
type Step = (i64, bool, &'static str);

async fn state_after(steps: &[Step], now: i64) -> ProblemState {
    let mut kb = Kb::new();
    for &(day, ok, version) in steps {
        kb.at(START + 100 * DAY);
        let at = time(START + day * DAY);
        let version = format!(r#""timestamp":"{at}","labels":{{"version":"{version}"}}"#);
        kb.send(&[with(&outcome("p", "m", ok), &version)]).await;
    }
    kb.at(START + now * DAY);
    let problem = kb.problem("p").await;
    assert_eq!(problem.attempts, steps.len() as u64);
    let listed = kb.store.problems(problems_request(10)).await.unwrap().problems;
    assert_eq!((listed[0].state, listed[0].since), (problem.state, problem.since));
    let request = ProblemsRequest { states: vec![problem.state], ..problems_request(10) };
    assert_eq!(kb.store.problems(request).await.unwrap().problems, listed);
    let last = problem.transitions.unwrap().into_iter().next().unwrap();
    assert_eq!((last.state, last.at), (problem.state, problem.since));
    problem.state
}

#[tokio::test]
async fn states_follow_attempts_late_arrivals_and_versions() {
    use ProblemState::{Broken, Failing, Fixed, Flaky, MaybeFixed, New, Regressed};
    let (ok, failed) = (true, false);
    let cases: &[(&[Step], i64, ProblemState)] = &[
        (&[(0, failed, "1")], 1, New),
        (&[(0, failed, "1")], 8, Failing),
        (&[(0, failed, "1"), (1, failed, "1"), (2, failed, "1")], 3, Broken),
        (&[(0, failed, "1"), (1, ok, "1")], 2, MaybeFixed),
        (&[(0, failed, "1"), (1, ok, "1")], 9, Fixed),
        (&[(0, failed, "1"), (1, ok, "1"), (2, ok, "1"), (3, ok, "1")], 4, Fixed),
        (&[(0, failed, "1"), (1, ok, "1"), (12, failed, "1")], 13, Regressed),
        (&[(0, ok, "1"), (1, failed, "1")], 2, Flaky),
        // The failure of day 2 arrives last: it is no regression.
        (&[(0, failed, "1"), (1, ok, "1"), (12, ok, "1"), (2, failed, "1")], 13, Flaky),
        // A failure of an older version than the fix.
        (&[(0, failed, "1"), (1, ok, "2"), (12, failed, "1")], 13, Fixed),
        (&[(0, failed, "1"), (1, ok, "2"), (12, failed, "2")], 13, Regressed),
    ];
    for (steps, now, expected) in cases {
        assert_eq!(state_after(steps, *now).await, *expected, "{steps:?}");
    }
}

#[tokio::test]
async fn problems_are_listed_by_time_in_pages() {
    let mut kb = Kb::new();
    for number in 0..25 {
        kb.at(START + i64::from(number) * DAY);
        kb.send(&[outcome(&format!("p{number}"), "m", false)]).await;
    }
    let mut request = ProblemsRequest {
        sort: observer_core::query::ProblemSort::Recent,
        since: Some(time(START + 3 * DAY)),
        ..problems_request(10)
    };
    let mut found = Vec::new();
    loop {
        let page = kb.store.problems(request.clone()).await.unwrap();
        found.extend(page.problems.into_iter().map(|row| row.sig_hash));
        request.cursor = page.cursor;
        if request.cursor.is_none() {
            break;
        }
    }
    let expected: Vec<String> = (3..25).rev().map(|number| format!("p{number}")).collect();
    assert_eq!(found, expected);
}

#[tokio::test]
async fn changed_thresholds_apply_to_stored_attempts() {
    let mut kb = Kb::new();
    kb.send(&[outcome("p", "m", false), outcome("p", "m", false)]).await;
    kb.at(START + 30 * DAY);
    assert_eq!(kb.problem("p").await.state, ProblemState::Failing);
    kb.configure(|mut config| {
        config.states.broken_attempts = 2;
        config
    });
    assert_eq!(kb.problem("p").await.state, ProblemState::Broken);
}
