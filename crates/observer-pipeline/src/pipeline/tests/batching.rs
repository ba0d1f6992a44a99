//! Batching, and the counts of ingest.

use super::*;

fn sent(number: u64, turns: u64) -> Submission {
    let line =
        format!(r#"{{"source":"job","id":"{number}","event_kind":"k","ok":true,"turns":{turns}}}"#);
    Submission::parse(line).unwrap()
}

fn changed(number: u64) -> Submission {
    sent(number, 7)
}

#[tokio::test(start_paused = true)]
async fn duplicates_with_another_body_are_counted() {
    let pipeline = over(&Memory::default()).start().await.unwrap();
    let counts = || {
        let counts = pipeline.status().ingest;
        (counts.duplicates(), counts.changed(), counts.remembered)
    };
    let event = |number| sent(number, 1);
    for number in [1, 2, 1, 2] {
        pipeline.ingest(event(number)).await.unwrap();
    }
    assert_eq!(counts(), (2, 0, 2));
    pipeline.ingest(changed(1)).await.unwrap();
    assert_eq!(counts(), (3, 1, 2));
    let results = pipeline.ingest_batch(vec![event(1), event(2), changed(2)]).await;
    let warnings = results.iter().map(|result| result.as_ref().unwrap().warnings.len());
    assert_eq!(warnings.collect::<Vec<_>>(), [0, 0, 1]);
    assert_eq!(counts(), (6, 2, 2));
    // The first one is pending when the others are looked up.
    pipeline.ingest_batch(vec![event(3), event(3), event(3), changed(3)]).await;
    assert_eq!(counts(), (9, 3, 3));
}

#[tokio::test]
async fn batches_are_accepted_by_a_journal_on_disk() {
    let dir = tempfile::tempdir().unwrap();
    let pipeline =
        Pipeline::builder().journal(crate::JournalOptions::new(dir.path())).start().await.unwrap();
    for round in 0..10 {
        let batch = (0..10).map(|number| event(round * 10 + number).into()).collect();
        let results = pipeline.ingest_batch(batch).await;
        assert!(
            results.iter().all(|result| result.as_ref().unwrap().status == AckStatus::Accepted)
        );
    }
    pipeline.shutdown(DEADLINE).await;
}

#[tokio::test(start_paused = true)]
async fn partial_batch_lingers_for_more_events() {
    let sink = Scripted::new();
    let spec = sink.spec_with("sink", r#"{"batch":{"linger":"10s","max_events":5}}"#);
    let pipeline = over(&Memory::default()).sink(spec).start().await.unwrap();
    until_status(&pipeline, "sink", |status| status.state == SinkState::Running).await;
    let started = Instant::now();
    ingest(&pipeline, 1..=2).await;
    tokio::time::sleep(Duration::from_secs(9)).await;
    ingest(&pipeline, 3..=4).await;
    assert_eq!(sink.until_accepted(4).await, range(1..=4));
    assert_eq!((sink.now().calls.len(), started.elapsed().as_secs()), (1, 10));
    let started = Instant::now();
    ingest(&pipeline, 5..=9).await;
    sink.until_accepted(9).await;
    assert!(
        started.elapsed() < Duration::from_secs(1),
        "a full batch does not linger: {:?}",
        started.elapsed()
    );
    let started = Instant::now();
    ingest(&pipeline, 10..=11).await;
    pipeline.shutdown(DEADLINE).await;
    assert_eq!(sink.now().accepted, range(1..=11));
    assert!(
        started.elapsed() < Duration::from_secs(1),
        "a batch does not linger during shutdown: {:?}",
        started.elapsed()
    );
}

#[tokio::test(start_paused = true)]
async fn batch_has_at_most_max_bytes_and_at_least_one_event() {
    let length = event(1).raw().len();
    for (max_bytes, expected) in [(length * 3 + 1, 3), (length * 2, 2), (1, 1)] {
        let sink = Scripted::new();
        let settings = format!(r#"{{"batch":{{"linger":"1s","max_bytes":"{max_bytes}B"}}}}"#);
        let pipeline =
            over(&Memory::default()).sink(sink.spec_with("sink", &settings)).start().await.unwrap();
        // Odd numbers have lines of equal length.
        for number in [1, 3, 5, 7, 9] {
            pipeline.ingest(event(number)).await.unwrap();
        }
        sink.until_accepted(5).await;
        assert_eq!(sink.now().calls[0].len(), expected, "{max_bytes} bytes");
        assert_eq!(sink.now().calls.concat(), range(1..=5));
    }
}

#[tokio::test(start_paused = true)]
async fn event_has_its_time_of_receipt() {
    let received = Arc::new(std::sync::Mutex::new(Vec::new()));
    let seen = received.clone();
    let sink = Scripted::new().responds(move |batch| {
        seen.lock()
            .unwrap()
            .extend(batch.events().iter().map(|envelope| envelope.received_at.as_microsecond()));
        Some(Ok(Receipt::accepted()))
    });
    let journal = options(&Memory::default()).clock(Arc::new(|| 1_700_000_000_123_456));
    let pipeline =
        Pipeline::builder().journal(journal).sink(sink.spec("sink")).start().await.unwrap();
    ingest(&pipeline, 1..=1).await;
    sink.until_accepted(1).await;
    assert_eq!(*received.lock().unwrap(), [1_700_000_000_123_456]);
}
