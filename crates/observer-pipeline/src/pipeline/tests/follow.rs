//! Following the journal from a position.

use std::path::Path;

use super::*;
use crate::{Followed, Follower, GapReason};

fn seq_of(item: Followed) -> u64 {
    match item {
        Followed::Event(envelope) => envelope.seq,
        gap @ Followed::Gap { .. } => panic!("{gap:?}"),
    }
}

async fn present(follower: &mut Follower) -> Vec<u64> {
    let mut seqs = Vec::new();
    while let Some(item) = follower.try_next().await.unwrap() {
        seqs.push(seq_of(item));
    }
    seqs
}

#[tokio::test(start_paused = true)]
async fn follower_returns_each_event_once_and_waits_at_the_head() {
    let pipeline = over(&Memory::default()).start().await.unwrap();
    ingest(&pipeline, 1..=3).await;
    let mut live = pipeline.follow_from_head();
    let second = Position { seq: 1, ..pipeline.head() };
    let mut resumed = pipeline.follow(second).unwrap();
    assert_eq!(pipeline.head().seq, 3);
    assert_eq!(present(&mut resumed).await, [2, 3]);
    assert!(live.try_next().await.unwrap().is_none());
    assert_eq!((live.next_seq(), resumed.next_seq()), (4, 4));
    let waiting = tokio::time::timeout(Duration::from_secs(1), live.next());
    assert!(waiting.await.is_err(), "there is no event yet");
    let next = tokio::spawn(async move { (seq_of(live.next().await.unwrap()), live) });
    tokio::task::yield_now().await;
    ingest(&pipeline, 4..=6).await;
    let (seq, mut live) = next.await.unwrap();
    assert_eq!(seq, 4);
    assert_eq!(present(&mut live).await, [5, 6]);
    assert_eq!(present(&mut resumed).await, [4, 5, 6]);
}

#[tokio::test(start_paused = true)]
async fn position_is_valid_after_a_restart_and_unknown_to_another_journal() {
    let memory = Memory::default();
    let pipeline = over(&memory).start().await.unwrap();
    ingest(&pipeline, 1..=3).await;
    let position = Position { seq: 2, ..pipeline.head() };
    pipeline.shutdown(DEADLINE).await;
    drop(pipeline);
    let restarted = over(&memory).start().await.unwrap();
    assert_eq!(present(&mut restarted.follow(position).unwrap()).await, [3]);
    let ahead = Position { seq: 4, ..position };
    assert_eq!(restarted.follow(ahead).unwrap_err().0, ahead);
    let other = Position { epoch: position.epoch + 1, ..position };
    assert_eq!(restarted.follow(other).unwrap_err().0, other);
}

#[tokio::test(start_paused = true)]
async fn lost_end_of_the_journal_is_a_gap() {
    let memory = Memory::default();
    let sink = Scripted::new();
    let pipeline = over(&memory).sink(sink.spec("sink")).start().await.unwrap();
    ingest(&pipeline, 1..=5).await;
    sink.until_accepted(5).await;
    let position = Position { seq: 3, ..pipeline.head() };
    pipeline.shutdown(DEADLINE).await;
    drop(pipeline);
    let dir = Path::new("j");
    for name in memory.list(dir).unwrap() {
        if Path::new(&name).extension().is_some_and(|it| it == "log") {
            memory.remove(&dir.join(name)).unwrap();
        }
    }
    let restarted = over(&memory).start().await.unwrap();
    let mut follower = restarted.follow(position).unwrap();
    let gap = follower.try_next().await.unwrap().unwrap();
    assert!(
        matches!(gap, Followed::Gap { first_seq: 4, last_seq: 5, reason: GapReason::Lost }),
        "{gap:?}"
    );
    assert_eq!(follower.next_seq(), 1, "sequence numbers count anew from the end");
    ingest(&restarted, 6..=7).await;
    assert_eq!(present(&mut follower).await, [1, 2]);
}

#[tokio::test(start_paused = true)]
async fn expired_events_are_a_gap() {
    let memory = Memory::default();
    let journal = options(&memory).segment_size(64 << 10).max_size(1 << 20);
    let pipeline = Pipeline::builder().journal(journal).seed(1).start().await.unwrap();
    let start = pipeline.head();
    for number in 1..=400 {
        pipeline.ingest(large_event(number, 64 << 10)).await.unwrap();
    }
    let mut follower = pipeline.follow(start).unwrap();
    let gap = follower.next().await.unwrap();
    let Followed::Gap { first_seq: 1, last_seq, reason: GapReason::Expired } = gap else {
        panic!("{gap:?}")
    };
    assert_eq!(follower.next_seq(), last_seq + 1);
    assert_eq!(present(&mut follower).await, range(last_seq + 1..=400));
}
