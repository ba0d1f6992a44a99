//! Replays across restarts, kills and failed flushes, and the retention of their events.

use observer_core::EventSink;

use super::*;
use crate::JournalOptions;

#[tokio::test(start_paused = true)]
async fn replay_continues_after_a_restart() {
    let memory = Memory::default();
    let sink = Scripted::new();
    let settings = r#"{"batch":{"max_events":5}}"#;
    let pipeline = with_late_sink(&memory, &sink, 100, settings).await;
    pipeline.start_replay("sink", everything()).await.unwrap();
    sink.until_accepted(30).await;
    pipeline.shutdown(DEADLINE).await;
    let first = sink.now().accepted.clone();
    drop(pipeline);
    assert!((30..100).contains(&first.len()), "{first:?}");
    // The replay's reader is not listed as a sink, also while its sink is not running.
    let pipeline = over(&memory).start().await.unwrap();
    let sinks = pipeline.status().sinks;
    assert_eq!(sinks.keys().collect::<Vec<_>>(), ["sink"]);
    assert_eq!(replay(&pipeline, "sink").pending, 100 - first.len() as u64);
    ingest(&pipeline, 101..=110).await;
    let again = Scripted::new();
    pipeline.add_sink(again.spec_with("sink", settings)).unwrap();
    let done = until_done(&pipeline).await;
    assert_eq!((done.account.delivered, done.events), (100, 100));
    let second = again.until_accepted(110 - first.len()).await;
    assert_eq!(
        [first, below(&second, 100)].concat(),
        range(1..=100),
        "each event is delivered exactly once"
    );
    assert_eq!(above(&second, 100), range(101..=110));
    pipeline.shutdown(DEADLINE).await;
    drop(pipeline);
    let third = Scripted::new();
    let pipeline = over(&memory).sink(third.spec("sink")).start().await.unwrap();
    ingest(&pipeline, 111..=111).await;
    assert_eq!(third.until_accepted(1).await, [111], "a finished replay does not run again");
    assert_eq!(replay(&pipeline, "sink").state, ReplayState::Done);
}

#[tokio::test(start_paused = true)]
async fn replay_repeats_only_events_since_the_last_commit_after_a_kill() {
    let memory = Memory::default();
    // One event per 100 ms of the paused clock.
    let sink = Scripted::new();
    let slow = Arc::new(Slow(sink.clone()));
    let pipeline = over(&memory).start().await.unwrap();
    ingest(&pipeline, 1..=100).await;
    let settings = serde_json::from_str(r#"{"batch":{"max_events":1}}"#).unwrap();
    pipeline.add_sink(crate::SinkSpec::new("sink", slow).settings(settings)).unwrap();
    pipeline.start_replay("sink", everything()).await.unwrap();
    let copies: Vec<_> = {
        let mut copies = vec![(0, after_kill(&memory))];
        while sink.now().accepted.len() < 90 {
            tokio::time::sleep(Duration::from_millis(730)).await;
            copies.push((sink.now().accepted.len() as u64, after_kill(&memory)));
        }
        copies
    };
    assert!(copies.len() > 8);
    for (had, copy) in copies {
        let again = Scripted::new();
        let pipeline = over(&copy).sink(again.spec("sink")).start().await.unwrap();
        let done = until_done(&pipeline).await;
        assert_eq!((done.account.delivered, done.events), (100, 100));
        let first = again.now().accepted[0];
        assert_eq!(again.now().accepted, range(first..=100));
        assert!(
            first <= had + 1 && first + 25 > had,
            "the sink had {had} events, and gets them from {first} on"
        );
    }
}

/// Sink whose deliveries take 100 ms.
struct Slow(Arc<Scripted>);

#[async_trait::async_trait]
impl EventSink for Slow {
    async fn deliver(&self, batch: &observer_core::Batch) -> Result<Receipt, SinkError> {
        tokio::time::sleep(Duration::from_millis(100)).await;
        self.0.deliver(batch).await
    }

    async fn flush(&self) -> Result<(), SinkError> {
        self.0.flush().await
    }

    async fn check(&self) -> Result<(), SinkError> {
        Ok(())
    }
}

#[tokio::test(start_paused = true)]
async fn failed_flush_repeats_the_replay_since_the_last_one() {
    let flushing = Arc::new(AtomicBool::new(true));
    let flushes = flushing.clone();
    let sink = Scripted::new().flushes(move || {
        if flushes.load(Ordering::SeqCst) {
            Ok(())
        } else {
            Err(SinkError::transient("disk error"))
        }
    });
    let pipeline = with_late_sink(&Memory::default(), &sink, 20, "{}").await;
    flushing.store(false, Ordering::SeqCst);
    pipeline.start_replay("sink", everything()).await.unwrap();
    sink.until_accepted(40).await;
    assert_eq!(replay(&pipeline, "sink").state, ReplayState::Running);
    flushing.store(true, Ordering::SeqCst);
    let done = until_done(&pipeline).await;
    assert_eq!(done.account.delivered, 20, "each event counts once");
    assert!(sink.now().accepted.len() >= 40, "events are delivered twice rather than lost");
}

#[tokio::test(start_paused = true)]
async fn journal_retains_the_events_of_a_running_replay() {
    let memory = Memory::default();
    let now = Arc::new(AtomicU64::new(1_000_000));
    let clock = now.clone();
    let hour = Duration::from_secs(3600);
    let journal = |memory: &Memory| -> JournalOptions {
        let clock = clock.clone();
        options(memory)
            .segment_size(4096)
            .retain(hour)
            .clock(Arc::new(move || clock.load(Ordering::SeqCst)))
    };
    let pipeline = crate::Pipeline::builder().journal(journal(&memory)).start().await.unwrap();
    ingest(&pipeline, 1..=300).await;
    let (sink, gate) = gated();
    pipeline.add_sink(sink.spec("sink")).unwrap();
    pipeline.start_replay("sink", everything()).await.unwrap();
    now.store(7_200_000_000, Ordering::SeqCst);
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(pipeline.status().journal.oldest, 1);
    // The events are retained while the pipeline is down, too.
    pipeline.shutdown(Duration::ZERO).await;
    drop(pipeline);
    let pipeline = crate::Pipeline::builder()
        .journal(journal(&memory))
        .sink(sink.spec("sink"))
        .start()
        .await
        .unwrap();
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(pipeline.status().journal.oldest, 1);
    gate.store(true, Ordering::SeqCst);
    assert_eq!(until_done(&pipeline).await.account.delivered, 300);
    tokio::time::sleep(Duration::from_secs(5)).await;
    let oldest = pipeline.status().journal.oldest;
    assert!(oldest > 200, "the journal frees the events after the replay; the oldest is {oldest}");
    // The next replay reports that they have expired.
    let short = pipeline.start_replay("sink", everything()).await.unwrap();
    assert_eq!((short.events, short.gone_before.is_some()), (301 - oldest, true));
}

#[tokio::test(start_paused = true)]
async fn replay_counts_events_that_expired_at_the_size_limit() {
    let memory = Memory::default();
    let pipeline = crate::Pipeline::builder()
        .journal(options(&memory).max_size(64 * 1024))
        .start()
        .await
        .unwrap();
    ingest(&pipeline, 1..=100).await;
    let (sink, gate) = gated();
    pipeline.add_sink(sink.spec("sink")).unwrap();
    pipeline.start_replay("sink", everything()).await.unwrap();
    pipeline.stop_sinks(["sink"], Duration::ZERO).await;
    // Far more than fits into the journal and into the tail cache.
    for number in 101..=400 {
        pipeline.ingest(large_event(number, 40_000)).await.unwrap();
    }
    gate.store(true, Ordering::SeqCst);
    pipeline.add_sink(sink.spec("sink")).unwrap();
    let done = until_done(&pipeline).await;
    assert!(done.account.expired > 0 && done.account.resolved() == 100, "{:?}", done.account);
}
