//! Deletion of old events.

use std::time::Duration;

use observer_core::query::{EventStore, ModelsRequest, UsageBy};
use observer_core::{ErrorKind, EventSink};

use super::support::{DAY, Kb, START, events_request, outcome, problems_request, wait_until, with};

async fn events(kb: &Kb) -> u64 {
    kb.store.status().await.unwrap().events
}

#[tokio::test]
async fn events_are_deleted_by_age() {
    let mut kb = Kb::with(|mut config| {
        config.retain = Some(Duration::from_secs(10 * 86_400));
        config
    });
    kb.send(&[outcome("old", "m", false), outcome("both", "m", false)]).await;
    kb.at(START + 9 * DAY);
    kb.send(&[outcome("both", "m", true)]).await;
    kb.at(START + 11 * DAY);
    wait_until(&kb, async || events(&kb).await == 1).await;
    let left = kb.store.events(events_request(9)).await.unwrap().events;
    assert_eq!(left.len(), 1);
    assert_eq!(left[0].envelope.event.ok(), Some(true));
    let history = kb.problem("both").await.history.unwrap();
    assert_eq!(history.len(), 1, "the deleted attempt is not listed");
    assert_eq!(kb.usage(UsageBy::Day).await.total.attempts, 1);
}

#[tokio::test]
async fn oldest_events_give_way_when_the_file_is_full() {
    const MAX: u64 = 16 << 20;
    let mut kb = Kb::with(|mut config| {
        config.max_size = MAX;
        config
    });
    let filler = "x".repeat(4_000);
    for batch in 0..8_i64 {
        kb.at(START + batch * DAY);
        let event = |n| {
            let fields = format!(r#""extra":{{"log":"{filler}"}}"#);
            with(&outcome(&format!("p{batch}-{n}"), "m", false), &fields)
        };
        let events: Vec<String> = (0..1_000).map(event).collect();
        kb.send(&events).await;
    }
    wait_until(&kb, async || kb.store.status().await.unwrap().bytes <= MAX).await;
    let left = events(&kb).await;
    assert!((1_000..5_000).contains(&left), "{left}");
    let newest = kb.store.events(events_request(1)).await.unwrap();
    assert_eq!(newest.events[0].envelope.event.sig_hash(), Some("p7-999"));
    // Usage outlives the events.
    assert_eq!(kb.usage(UsageBy::Day).await.total.attempts, 8_000);
    stores_new_events_after_a_restart(&mut kb).await;
}

/// Restarts twice, and verifies that new events and corrections are stored and found.
async fn stores_new_events_after_a_restart(kb: &mut Kb) {
    for name in ["first", "second"] {
        kb.reopen();
        let ids = kb.send(&[outcome(name, "m", false)]).await;
        assert_eq!(kb.problem(name).await.attempts, 1, "{name}");
        let newest = kb.store.events(events_request(1)).await.unwrap();
        assert_eq!(newest.events[0].envelope.id, ids[0], "{name}");
        let verdict = with(&outcome(name, "m", true), &format!(r#""replaces":"{}""#, ids[0]));
        kb.send(&[verdict]).await;
        assert_eq!(kb.problem(name).await.solved, 1, "{name}");
    }
}

#[tokio::test]
async fn problems_disappear_with_their_last_event() {
    let mut kb = Kb::with(|mut config| {
        config.retain = Some(Duration::from_secs(10 * 86_400));
        config
    });
    let old: Vec<String> =
        (0..300).map(|n| outcome(&format!("old-{}", n % 100), "m", false)).collect();
    kb.send(&old).await;
    kb.at(START + 11 * DAY);
    kb.send(&[outcome("new", "m", false)]).await;
    wait_until(&kb, async || events(&kb).await == 1).await;
    let listed = kb.store.problems(problems_request(1_000)).await.unwrap().problems;
    let listed: Vec<&str> = listed.iter().map(|problem| problem.sig_hash.as_str()).collect();
    assert_eq!(listed, ["new"]);
    assert_eq!(kb.store.status().await.unwrap().problems, 1);
    let models = kb.store.models(ModelsRequest::default()).await.unwrap().models;
    assert_eq!((models.len(), models[0].problems), (1, 1));
    // A problem that comes again begins anew.
    kb.send(&[outcome("old-1", "m", true)]).await;
    assert_eq!(kb.problem("old-1").await.attempts, 1);
    stores_new_events_after_a_restart(&mut kb).await;
}

#[tokio::test]
async fn removed_file_is_reported_once_and_replaced() {
    let mut kb = Kb::new();
    kb.send(&[outcome("before", "m", false)]).await;
    assert_eq!(kb.problem("before").await.attempts, 1);
    std::fs::remove_file(kb.path()).unwrap();
    let event = kb.envelope(&outcome("after", "m", false));
    kb.deliver(vec![event]).await;
    let error = kb.sink.flush().await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Blocked);
    assert!(error.report().contains("was removed or replaced"), "{}", error.report());
    kb.sink.check().await.unwrap();
    // What was not flushed is delivered again.
    kb.send(&[outcome("after", "m", false)]).await;
    assert_eq!(kb.problem("after").await.attempts, 1);
    let listed = kb.store.problems(problems_request(10)).await.unwrap().problems;
    assert_eq!(listed.len(), 1, "the removed file is not read any more");
}
