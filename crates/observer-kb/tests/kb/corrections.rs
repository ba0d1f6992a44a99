//! Corrections of outcomes.

use observer_core::query::UsageBy;

use super::support::{DAY, Kb, START, outcome, with};

#[tokio::test]
async fn correction_takes_the_place_of_the_original() {
    let mut kb = Kb::new();
    let ids = kb.send(&[with(&outcome("p", "m", true), r#""cost_usd":1.5,"id":"first""#)]).await;
    kb.at(START + DAY);
    kb.send(&[with(&outcome("p", "m", true), r#""cost_usd":2"#)]).await;
    kb.at(START + 2 * DAY);
    let verdict = format!(
        r#"{{"source":"bot","cycle_id":"v","event_kind":"wrong","ok":false,"replaces":"{}"}}"#,
        ids[0]
    );
    let corrected = kb.send(&[verdict]).await;

    let problem = kb.problem("p").await;
    assert_eq!((problem.attempts, problem.solved), (2, 1));
    assert!((problem.cost - 3.5).abs() < 1e-9, "the cost of the original stays");
    let history = problem.history.unwrap();
    let original = &history[1];
    assert_eq!((original.ok, original.kind.as_str()), (false, "wrong"));
    assert_eq!((original.event, original.corrects), (corrected[0], Some(ids[0])));
    assert_eq!(original.at.as_microsecond(), START);
    let usage = kb.usage(UsageBy::Day).await;
    assert_eq!(usage.rows.len(), 2, "the day of the correction has no attempt");
    assert_eq!((usage.rows[0].attempts, usage.rows[0].solved), (1, 0));
}

#[tokio::test]
async fn last_received_correction_wins_and_may_arrive_first() {
    let mut kb = Kb::new();
    let correction = |fields: &str| with(&outcome("p", "m", false), fields);
    kb.send(&[correction(r#""replaces":"run-7","cost_usd":3,"id":"v1""#)]).await;
    assert_eq!(kb.usage(UsageBy::Model).await.total.attempts, 0);
    // A correction of the correction arrives before the original, too.
    kb.send(&[with(&outcome("p", "m", true), r#""replaces":"v1","cost_usd":4"#)]).await;
    kb.send(&[with(&outcome("p", "m", false), r#""id":"run-7","cost_usd":1"#)]).await;

    let problem = kb.problem("p").await;
    assert_eq!((problem.attempts, problem.solved, problem.cost), (1, 1, 4.0));
    kb.send(&[correction(r#""replaces":"run-7","cost_usd":5"#)]).await;
    let problem = kb.problem("p").await;
    assert_eq!((problem.attempts, problem.solved, problem.cost), (1, 0, 5.0));
    let total = kb.usage(UsageBy::Model).await.total;
    assert_eq!((total.attempts, total.solved, total.cost), (1, 0, 5.0));
}

#[tokio::test]
async fn correction_of_another_source_or_of_a_phase_has_no_effect() {
    let mut kb = Kb::new();
    let ids = kb
        .send(&[
            outcome("p", "m", true),
            r#"{"source":"bot","cycle_id":"c","sig_hash":"p","event_kind":"started","id":"s"}"#
                .to_owned(),
        ])
        .await;
    kb.send(&[
        format!(r#"{{"source":"ci","event_kind":"wrong","ok":false,"replaces":"{}"}}"#, ids[0]),
        with(&outcome("p", "m", false), r#""replaces":"s""#),
        with(&outcome("p", "m", false), r#""replaces":"unknown""#),
    ])
    .await;
    let problem = kb.problem("p").await;
    assert_eq!((problem.attempts, problem.solved), (1, 1));
    assert_eq!(kb.usage(UsageBy::Source).await.total.attempts, 1);
}

#[tokio::test]
async fn correction_can_move_an_attempt_to_another_problem() {
    let mut kb = Kb::new();
    let ids = kb.send(&[outcome("a", "m", false), outcome("a", "m", true)]).await;
    kb.send(&[with(&outcome("b", "other", true), &format!(r#""replaces":"{}""#, ids[0]))]).await;
    let (a, b) = (kb.problem("a").await, kb.problem("b").await);
    assert_eq!((a.attempts, a.solved), (1, 1));
    assert_eq!((b.attempts, b.solved), (1, 1));
    assert_eq!(b.models[0].model.as_deref(), Some("other"));
}
