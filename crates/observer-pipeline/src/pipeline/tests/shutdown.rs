//! Shutdown: durability of deliveries and positions, and what is delivered again.

use std::sync::atomic::AtomicU64;

use observer_journal::fs::Faulty;
use observer_journal::{Options, Runner};

use super::*;
use crate::SinkSpec;

#[tokio::test(start_paused = true)]
async fn last_deliveries_are_flushed_before_their_position_is_committed() {
    for failing in [false, true] {
        let memory = Memory::default();
        let sink = Scripted::new().flushes(move || {
            if failing { Err(SinkError::transient("flush failed")) } else { Ok(()) }
        });
        let pipeline = over(&memory).sink(sink.spec("sink")).start().await.unwrap();
        ingest(&pipeline, 1..=3).await;
        sink.until_accepted(3).await;
        assert_eq!(sink.now().flushes, 0);
        pipeline.shutdown(DEADLINE).await;
        drop(pipeline);
        assert_eq!(sink.now().flushes, 1);

        let sink = Scripted::new();
        let pipeline = over(&memory).sink(sink.spec("sink")).start().await.unwrap();
        pipeline.shutdown(DEADLINE).await;
        assert_eq!(sink.now().accepted, if failing { range(1..=3) } else { vec![] });
    }
}

#[tokio::test(start_paused = true)]
async fn new_sink_without_deliveries_gets_all_events_after_a_restart() {
    for position in [None, Some(1)] {
        let memory = Memory::default();
        let pipeline = over(&memory).start().await.unwrap();
        ingest(&pipeline, 1..=2).await;
        pipeline.shutdown(DEADLINE).await;
        drop(pipeline);
        let pipeline = over(&memory).start().await.unwrap();
        let epoch = pipeline.status().epoch;
        let sink = Scripted::new().responds(|_| None);
        sink.now().position = position.map(|seq| Position { epoch, seq });
        pipeline.add_sink(sink.spec("sink")).unwrap();
        until_status(&pipeline, "sink", |status| status.state == SinkState::Running).await;
        ingest(&pipeline, 3..=5).await;
        pipeline.shutdown(Duration::ZERO).await;
        drop(pipeline);

        let sink = Scripted::new();
        sink.now().position = position.map(|seq| Position { epoch, seq });
        let pipeline = over(&memory).sink(sink.spec("sink")).start().await.unwrap();
        pipeline.shutdown(DEADLINE).await;
        assert_eq!(sink.now().accepted, range(position.unwrap_or(2) + 1..=5));
    }
}

#[tokio::test(start_paused = true)]
async fn new_sink_starts_at_its_own_position_after_a_restart() {
    let memory = Memory::default();
    let pipeline = over(&memory).start().await.unwrap();
    ingest(&pipeline, 1..=5).await;
    let epoch = pipeline.status().epoch;
    let sink = Scripted::new().positions(|| Err(SinkError::transient("unavailable")));
    pipeline.add_sink(sink.spec("sink")).unwrap();
    until_status(&pipeline, "sink", |status| status.last_error.is_some()).await;
    pipeline.shutdown(Duration::ZERO).await;
    drop(pipeline);

    let sink = Scripted::new();
    sink.now().position = Some(Position { epoch, seq: 3 });
    let pipeline = over(&memory).sink(sink.spec("sink")).start().await.unwrap();
    pipeline.shutdown(DEADLINE).await;
    assert_eq!(sink.now().accepted, [4, 5]);
}

#[tokio::test(start_paused = true)]
async fn sink_continues_at_the_later_of_both_positions() {
    for (own, expected) in [(3, range(6..=8)), (7, range(8..=8))] {
        let memory = Memory::default();
        let sink = Scripted::new();
        let pipeline = over(&memory).sink(sink.spec("sink")).start().await.unwrap();
        ingest(&pipeline, 1..=5).await;
        let epoch = pipeline.status().epoch;
        pipeline.shutdown(DEADLINE).await;
        drop(pipeline);
        let pipeline = over(&memory).start().await.unwrap();
        ingest(&pipeline, 6..=8).await;
        pipeline.shutdown(DEADLINE).await;
        drop(pipeline);

        let sink = Scripted::new();
        sink.now().position = Some(Position { epoch, seq: own });
        let pipeline = over(&memory).sink(sink.spec("sink")).start().await.unwrap();
        until_status(&pipeline, "sink", |status| status.pending == 0).await;
        assert_eq!(sink.now().accepted, expected, "own position {own}");
        assert_eq!(account(&pipeline, "sink").0, Account { delivered: 8, ..Account::default() });
    }
}

#[tokio::test(start_paused = true)]
async fn dead_letters_are_durable_before_the_position_passes_their_events() {
    for seed in 0..12 {
        let disk = Faulty::new(seed);
        let options = Options::new("j").file_system(disk.clone()).runner(Runner::Caller);
        let sink = Scripted::new().responds(|_| {
            Some(Ok(Receipt {
                rejected: vec![Rejected { index: 0, reason: "rejected".into() }],
                refused: None,
            }))
        });
        let pipeline = Pipeline::builder()
            .journal(options)
            .seed(1)
            .sink(sink.spec("sink"))
            .start()
            .await
            .unwrap();
        ingest(&pipeline, 1..=3).await;
        until_status(&pipeline, "sink", |status| status.pending == 0).await;
        pipeline.shutdown(DEADLINE).await;
        disk.cut_power();
        drop(pipeline);
        disk.restart();
        let files = disk.files();
        let dead_letters = files.iter().filter(|(path, _)| path.starts_with("j/dead-letters/sink"));
        let durable: Vec<u8> = dead_letters.flat_map(|(_, bytes)| bytes.clone()).collect();
        assert!(String::from_utf8_lossy(&durable).contains("\"seq\":1,"), "seed {seed}");

        // The shutdown alone has stored the position, since the pipeline was not dropped before the
        // power cut.
        let options = Options::new("j").file_system(disk).runner(Runner::Caller);
        let sink = Scripted::new();
        let pipeline = Pipeline::builder()
            .journal(options)
            .seed(1)
            .sink(sink.spec("sink"))
            .start()
            .await
            .unwrap();
        pipeline.shutdown(DEADLINE).await;
        assert_eq!(sink.now().accepted, [0; 0], "seed {seed}");
    }
}

#[tokio::test(start_paused = true)]
async fn failed_start_removes_no_events_that_a_sink_needs() {
    let memory = Memory::default();
    let ticks = Arc::new(AtomicU64::new(1));
    let options = || {
        let ticks = ticks.clone();
        let clock = move || ticks.fetch_add(1_000_000, Ordering::SeqCst);
        options(&memory).segment_size(4_096).retain(Duration::ZERO).clock(Arc::new(clock))
    };
    let start = |sinks: Vec<SinkSpec>| Pipeline::builder().journal(options()).sinks(sinks).start();
    let (sink, gate) = gated();
    let pipeline = start(vec![sink.spec("sink")]).await.unwrap();
    for number in 1..=20 {
        pipeline.ingest(large_event(number, 1_000)).await.unwrap();
    }
    assert!(pipeline.status().journal.segments > 2);
    pipeline.shutdown(Duration::ZERO).await;
    drop(pipeline);

    // The second sink can't be added, and the third one is the one that needs the events.
    let sinks = ["other", "not a name", "sink"].map(|name| sink.spec(name));
    assert!(start(sinks.into()).await.is_err());

    gate.store(true, Ordering::SeqCst);
    let pipeline = start(vec![sink.spec("sink")]).await.unwrap();
    assert_eq!(sink.until_accepted(20).await, range(1..=20));
    pipeline.shutdown(DEADLINE).await;
    assert_eq!(pipeline.status().sinks["sink"].account.expired, 0);
}
