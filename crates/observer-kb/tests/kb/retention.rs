//! Deletion of old events.

use std::time::Duration;

use observer_core::query::{EventStore, UsageBy};

use super::support::{DAY, Kb, START, events_request, outcome, wait_until, with};

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
}
