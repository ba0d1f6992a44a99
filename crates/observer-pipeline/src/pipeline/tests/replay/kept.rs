//! Replays through restarts, kills and flushes that fail, and what the journal keeps for them.

use observer_core::EventSink;

use super::*;
use crate::JournalOptions;

#[tokio::test(start_paused = true)]
async fn a_replay_goes_on_after_a_restart_where_it_was() {
    let memory = Memory::default();
    let sink = Scripted::new();
    let settings = r#"{"batch":{"max_events":5}}"#;
    let pipeline = with_past(&memory, &sink, 100, settings).await;
    pipeline.start_replay("sink", all()).await.unwrap();
    sink.until_accepted(30).await;
    pipeline.shutdown(DEADLINE).await;
    let first = sink.now().accepted.clone();
    drop(pipeline);
    assert!((30..100).contains(&first.len()), "{first:?}");
    // It is no sink, and the sink is not there yet.
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
        "none is missing, and none comes twice"
    );
    assert_eq!(above(&second, 100), range(101..=110));
    pipeline.shutdown(DEADLINE).await;
    drop(pipeline);
    let third = Scripted::new();
    let pipeline = over(&memory).sink(third.spec("sink")).start().await.unwrap();
    ingest(&pipeline, 111..=111).await;
    assert_eq!(third.until_accepted(1).await, [111], "what is done is not done again");
    assert_eq!(replay(&pipeline, "sink").state, ReplayState::Done);
}

#[tokio::test(start_paused = true)]
async fn after_a_kill_no_more_comes_again_than_since_the_last_commit() {
    let memory = Memory::default();
    // One event each 100 ms of the paused clock.
    let sink = Scripted::new();
    let slow = Arc::new(Slow(sink.clone()));
    let pipeline = over(&memory).start().await.unwrap();
    ingest(&pipeline, 1..=100).await;
    let settings = serde_json::from_str(r#"{"batch":{"max_events":1}}"#).unwrap();
    pipeline.add_sink(crate::SinkSpec::new("sink", slow).settings(settings)).unwrap();
    pipeline.start_replay("sink", all()).await.unwrap();
    let copies: Vec<_> = {
        let mut copies = vec![(0, killed(&memory))];
        while sink.now().accepted.len() < 90 {
            tokio::time::sleep(Duration::from_millis(730)).await;
            copies.push((sink.now().accepted.len() as u64, killed(&memory)));
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
            "it had {had} and gets those from {first} on"
        );
    }
}

/// Takes its time.
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
async fn a_flush_that_fails_brings_the_past_again_since_the_one_before() {
    let flushing = Arc::new(AtomicBool::new(true));
    let works = flushing.clone();
    let sink = Scripted::new().flushes(move || {
        if works.load(Ordering::SeqCst) {
            Ok(())
        } else {
            Err(SinkError::transient("the disk says no"))
        }
    });
    let pipeline = with_past(&Memory::default(), &sink, 20, "{}").await;
    flushing.store(false, Ordering::SeqCst);
    pipeline.start_replay("sink", all()).await.unwrap();
    sink.until_accepted(40).await;
    assert_eq!(replay(&pipeline, "sink").state, ReplayState::Running);
    flushing.store(true, Ordering::SeqCst);
    let done = until_done(&pipeline).await;
    assert_eq!(done.account.delivered, 20, "each counts once");
    assert!(sink.now().accepted.len() >= 40, "twice rather than never");
}

#[tokio::test(start_paused = true)]
async fn the_journal_keeps_what_a_replay_needs() {
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
    pipeline.start_replay("sink", all()).await.unwrap();
    now.store(7_200_000_000, Ordering::SeqCst);
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(pipeline.status().journal.oldest, 1);
    // Also while there is nobody to go on with it.
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
    assert!(oldest > 200, "{oldest}: it gives them back in the end");
    // And now they are gone, which the next one says.
    let short = pipeline.start_replay("sink", all()).await.unwrap();
    assert_eq!((short.events, short.gone_before.is_some()), (301 - oldest, true));
}

#[tokio::test(start_paused = true)]
async fn what_has_to_make_room_is_missing_from_a_replay_and_counted() {
    let memory = Memory::default();
    let pipeline = crate::Pipeline::builder()
        .journal(options(&memory).max_size(64 * 1024))
        .start()
        .await
        .unwrap();
    ingest(&pipeline, 1..=100).await;
    let (sink, gate) = gated();
    pipeline.add_sink(sink.spec("sink")).unwrap();
    pipeline.start_replay("sink", all()).await.unwrap();
    // Far more than fits, and than is kept in memory for those who keep up.
    let filler = "x".repeat(40_000);
    for number in 101..=400 {
        let json = format!(
            r#"{{"source":"job","cycle_id":"{number}","event_kind":"k","ok":true,"extra":{{"f":"{filler}"}}}}"#
        );
        pipeline.ingest(Submission::parse(json).unwrap()).await.unwrap();
    }
    gate.store(true, Ordering::SeqCst);
    let done = until_done(&pipeline).await;
    assert!(done.account.expired > 0 && done.account.settled() == 100, "{:?}", done.account);
}
