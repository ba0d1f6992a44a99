//! A file that is written anew from events.

use std::fs;
use std::sync::Arc;

use observer_core::query::EventStore;
use observer_core::{Batch, Envelope, EventSink, Position, SinkContext};
use observer_kb::{KbConfig, KbSink, Rebuild, RebuildError};

use super::support::{Kb, START, envelope, events_request, outcome, with};

fn event(n: u64) -> String {
    with(&outcome("p", "m", n.is_multiple_of(2)), &format!(r#""cost_usd":{n}"#))
}

async fn kb_of_50() -> Kb {
    let mut kb = Kb::new();
    kb.send(&(1..=50).map(event).collect::<Vec<_>>()).await;
    kb
}

fn begin(kb: &Kb) -> Result<Rebuild, RebuildError> {
    let config = KbConfig::in_dir(kb.path().parent().unwrap());
    Rebuild::begin(config, &SinkContext::new("kb", "unused"))
}

fn batch_of(n: u64) -> Batch {
    Batch::new(1, vec![Arc::new(envelope(n, START, &event(n)))])
}

fn events(n: u64) -> impl Iterator<Item = Envelope> {
    (1..=n).map(|seq| envelope(seq, START, &event(seq)))
}

#[tokio::test]
async fn rebuilt_file_has_the_same_answers() {
    let mut kb = kb_of_50().await;
    let before = kb.problem("p").await;
    let page = kb.store.events(events_request(100)).await.unwrap();
    let position = Position { epoch: 1, seq: 50 };
    kb.sink.close().await.unwrap();
    kb.reopen();

    let mut rebuild = begin(&kb).unwrap();
    assert_eq!(rebuild.old_events(), Some(50));
    for event in events(50).chain(events(5)) {
        rebuild.add(event, Some(1)).unwrap();
    }
    assert_eq!(rebuild.stored().unwrap(), 50);
    rebuild.finish(Some(position)).unwrap();
    assert!(!kb.path().with_file_name("rebuild").exists());
    assert_eq!(kb.sink.position().await.unwrap(), Some(position));
    assert_eq!(kb.problem("p").await, before);
    assert_eq!(kb.store.events(events_request(100)).await.unwrap(), page);

    // What comes next is neither lost nor counted twice.
    let next: Vec<_> = events(52).skip(48).collect();
    kb.deliver(next).await;
    kb.sink_flush().await;
    assert_eq!(kb.problem("p").await.attempts, 52);
}

#[tokio::test]
async fn old_file_stays_until_the_new_one_is_complete() {
    let mut kb = kb_of_50().await;
    let before = kb.problem("p").await;
    kb.reopen();
    // The last flush is in the log of the file, and not in the file.
    let mut rebuild = begin(&kb).unwrap();
    for event in events(3) {
        rebuild.add(event, None).unwrap();
    }
    assert_eq!(rebuild.stored().unwrap(), 3);
    drop(rebuild);
    assert!(!kb.path().with_file_name("rebuild").exists());
    assert_eq!(kb.problem("p").await, before);

    // A process that was killed leaves its folder behind.
    kb.reopen();
    let left = kb.path().with_file_name("rebuild");
    fs::create_dir(&left).unwrap();
    fs::write(left.join("kb.sqlite"), "half a file").unwrap();
    begin(&kb).unwrap().finish(None).unwrap();
    assert!(!left.exists());
    assert_eq!(kb.store.status().await.unwrap().events, 0);
}

#[tokio::test]
async fn file_in_use_is_refused() {
    let mut kb = kb_of_50().await;
    let in_use = |kb: &Kb| begin(kb).unwrap_err().to_string();
    assert!(in_use(&kb).contains("kb.sqlite\" is in use; stop the program"), "{}", in_use(&kb));
    kb.reopen();
    let running = begin(&kb).unwrap();
    assert!(in_use(&kb).contains("kb.sqlite\" is in use"), "{}", in_use(&kb));
    // A sink that starts meanwhile waits for the end of the rebuild.
    let error = kb.sink.deliver(&batch_of(51)).await.unwrap_err();
    assert!(error.report().contains("is in use"), "{error}");
    drop(running);
    kb.send(&[event(51)]).await;
    assert_eq!(kb.problem("p").await.attempts, 51);
}

#[tokio::test]
async fn folder_has_one_writer() {
    let kb = kb_of_50().await;
    let config = KbConfig::in_dir(kb.path().parent().unwrap());
    let other = KbSink::new(config, &SinkContext::new("kb", "unused")).unwrap();
    // A check of the configuration beside a running observer changes nothing.
    other.check().await.unwrap();
    for error in
        [other.position().await.unwrap_err(), other.deliver(&batch_of(51)).await.unwrap_err()]
    {
        assert!(error.report().contains("kb.sqlite\" is in use"), "{error}");
    }
    assert_eq!(kb.problem("p").await.attempts, 50);
    kb.sink.close().await.unwrap();
    other.deliver(&batch_of(51)).await.unwrap();
    other.flush().await.unwrap();
    assert_eq!(kb.problem("p").await.attempts, 51);
}

#[tokio::test]
async fn damaged_file_is_replaced_and_another_one_refused() {
    let mut kb = kb_of_50().await;
    kb.sink.close().await.unwrap();
    kb.reopen();
    fs::write(kb.path(), "damaged ".repeat(1_000)).unwrap();
    let mut rebuild = begin(&kb).unwrap();
    assert_eq!(rebuild.old_events(), None);
    rebuild.add(envelope(1, START, &event(1)), None).unwrap();
    rebuild.finish(None).unwrap();
    assert_eq!(kb.problem("p").await.attempts, 1);

    kb.sink.close().await.unwrap();
    kb.reopen();
    let other = rusqlite::Connection::open(kb.path()).unwrap();
    other.pragma_update(None, "user_version", 99).unwrap();
    drop(other);
    let error = begin(&kb).unwrap_err().to_string();
    assert!(error.contains("has version 99 of the knowledge base"), "{error}");
}
