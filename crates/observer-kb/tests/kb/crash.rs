//! Sinks that end without a flush, and events that come again.

use observer_core::query::{EventStore, UsageBy};
use observer_core::{EventSink, Position};

use super::support::{Kb, events_request, outcome, with};

#[tokio::test]
async fn rows_and_position_agree_after_a_crash() {
    let mut kb = Kb::new();
    let first: Vec<_> = (0..10).map(|_| kb.envelope(&outcome("p", "m", false))).collect();
    kb.deliver(first).await;
    kb.reopen();
    assert_eq!(kb.sink.position().await.unwrap(), Some(Position { epoch: 1, seq: 10 }));
    // What was stored and not derived is derived by the next flush.
    kb.sink.flush().await.unwrap();
    assert_eq!(kb.problem("p").await.attempts, 10);
    kb.reopen();
    kb.sink.flush().await.unwrap();
    assert_eq!(kb.problem("p").await.attempts, 10);
}

#[tokio::test]
async fn events_that_come_again_count_once() {
    let mut kb = Kb::new();
    let events: Vec<String> = (0..20)
        .map(|number| with(&outcome("p", "m", true), &format!(r#""cost_usd":{number}"#)))
        .collect();
    kb.send(&events).await;
    // The same ids in another epoch, as after a restored journal; then with new ones.
    let again: Vec<_> = (1..=20)
        .map(|seq| super::support::envelope(seq, super::support::START, &events[0]))
        .collect();
    let batch = observer_core::Batch::new(2, again.into_iter().map(std::sync::Arc::new).collect());
    kb.sink.deliver(&batch).await.unwrap();
    kb.reopen();
    kb.sink.deliver(&batch).await.unwrap();
    kb.sink.flush().await.unwrap();
    assert_eq!(kb.sink.position().await.unwrap(), Some(Position { epoch: 2, seq: 20 }));
    let problem = kb.problem("p").await;
    assert_eq!((problem.attempts, problem.cost), (20, 190.0));
    assert_eq!(kb.usage(UsageBy::Model).await.total.attempts, 20);
    assert_eq!(kb.store.events(events_request(100)).await.unwrap().events.len(), 20);
}

#[tokio::test]
async fn ids_are_recognised_in_blocks_of_the_index() {
    let mut kb = Kb::new();
    let event = outcome("p", "m", true);
    let events: Vec<_> = (0..9_000).map(|_| kb.envelope(&event)).collect();
    kb.deliver(events).await;
    kb.reopen();
    let again: Vec<_> = [1, 4_000, 4_097, 8_191, 9_000]
        .map(|seq| super::support::envelope(seq, super::support::START, &event))
        .into_iter()
        .map(std::sync::Arc::new)
        .collect();
    kb.sink.deliver(&observer_core::Batch::new(2, again)).await.unwrap();
    kb.sink.flush().await.unwrap();
    assert_eq!(kb.store.status().await.unwrap().events, 9_000);
    // Figures of many events may follow later, but not after that.
    kb.sink.close().await.unwrap();
    assert_eq!(kb.problem("p").await.attempts, 9_000);
}

#[tokio::test]
async fn closed_sink_answers_no_more() {
    let mut kb = Kb::new();
    kb.send(&[outcome("p", "m", true)]).await;
    kb.sink.close().await.unwrap();
    let error = kb.sink.flush().await.unwrap_err();
    assert_eq!(error.report(), "the knowledge base is closed");
}
