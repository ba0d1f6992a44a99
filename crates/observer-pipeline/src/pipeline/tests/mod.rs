use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use observer_core::{Position, Receipt, Refused, Rejected, SinkError, Submission};
use observer_journal::fs::{FileSystem, Memory, OpenMode};
use tokio::time::Instant;

use crate::testing::{
    Scripted, account, event, ingest, large_event, options, over, parked_reason, retrying_reason,
    sink_status, until_status,
};
use crate::{
    Account, AckStatus, AppendError, IngestError, Pipeline, RejectReason, SinkState, Unavailable,
};

mod batching;
mod dead_letters;
mod follow;
mod identities;
mod outage;
mod rejections;
mod replay;
mod reporting;
mod shutdown;
mod undecided;

const DEADLINE: Duration = Duration::from_secs(10);

fn range(seqs: std::ops::RangeInclusive<u64>) -> Vec<u64> {
    seqs.collect()
}

fn dead_letters(memory: &Memory, pipeline: &Pipeline, sink: &str) -> Vec<serde_json::Value> {
    let dir = pipeline.dead_letters_dir(sink);
    let mut names = memory.list(&dir).unwrap();
    names.sort();
    let mut dead_letters = Vec::new();
    for name in names {
        let file = memory.open(&dir.join(name), OpenMode::Read).unwrap();
        let mut bytes = vec![0; usize::try_from(file.size().unwrap()).unwrap()];
        file.read_at(&mut bytes, 0).unwrap();
        dead_letters.extend(
            bytes
                .split(|byte| *byte == b'\n')
                .filter(|line| !line.is_empty())
                .map(|line| serde_json::from_slice(line).unwrap()),
        );
    }
    dead_letters
}

/// Returns a sink that fails until its gate is open.
fn gated() -> (Arc<Scripted>, Arc<AtomicBool>) {
    let gate = Arc::new(AtomicBool::new(false));
    let opened = gate.clone();
    let sink = Scripted::new().responds(move |_| {
        let open = opened.load(Ordering::SeqCst);
        Some(if open { Ok(Receipt::accepted()) } else { Err(SinkError::transient("closed")) })
    });
    (sink, gate)
}

#[tokio::test(start_paused = true)]
async fn every_sink_gets_its_events_in_order() {
    let (all, failures) = (Scripted::new(), Scripted::new());
    let pipeline = over(&Memory::default())
        .sink(all.spec_with("all", r#"{"batch":{"max_events":7}}"#))
        .sink(failures.spec_with("failures", r#"{"filter":{"ok":false}}"#))
        .start()
        .await
        .unwrap();
    ingest(&pipeline, 1..=100).await;
    pipeline.shutdown(DEADLINE).await;
    assert_eq!(all.now().accepted, range(1..=100));
    assert!(all.now().calls.iter().all(|call| call.len() <= 7));
    assert_eq!(failures.now().accepted, (1..=100).filter(|seq| seq % 2 == 0).collect::<Vec<_>>());
    assert!(all.now().closed && failures.now().closed);
}

#[tokio::test(start_paused = true)]
async fn waiting_worker_delivers_the_last_event_before_it_ends() {
    let sink = Scripted::new();
    let pipeline = over(&Memory::default()).sink(sink.spec("sink")).start().await.unwrap();
    until_status(&pipeline, "sink", |status| status.state == SinkState::Running).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    // The worker is woken for the commit and for the shutdown at the same time.
    ingest(&pipeline, 1..=1).await;
    pipeline.shutdown(DEADLINE).await;
    assert_eq!(sink.now().accepted, [1]);
}

#[tokio::test(start_paused = true)]
async fn hanging_sink_affects_neither_producers_nor_other_sinks() {
    let (hung, healthy) = (Scripted::new().responds(|_| None), Scripted::new());
    let pipeline = over(&Memory::default())
        .sink(hung.spec("hung"))
        .sink(healthy.spec("healthy"))
        .start()
        .await
        .unwrap();
    for ack in ingest(&pipeline, 1..=50).await {
        assert_eq!(ack.status, AckStatus::Accepted);
    }
    assert_eq!(healthy.until_accepted(50).await, range(1..=50));
    hung.until(|script| !script.calls.is_empty()).await;
    assert_eq!(account(&pipeline, "hung"), (Account::default(), 50));
    let started = Instant::now();
    pipeline.shutdown(DEADLINE).await;
    assert!(started.elapsed() < DEADLINE + Duration::from_secs(1), "{:?}", started.elapsed());
}

#[tokio::test(start_paused = true)]
async fn repeated_event_is_a_duplicate_even_after_a_restart() {
    let memory = Memory::default();
    let pipeline = over(&memory).start().await.unwrap();
    let first = pipeline.ingest(event(1)).await.unwrap();
    let again = pipeline.ingest(event(1)).await.unwrap();
    assert_eq!((again.status, again.id), (AckStatus::Duplicate, first.id));
    pipeline.shutdown(DEADLINE).await;
    drop(pipeline);

    let sink = Scripted::new();
    let pipeline = over(&memory)
        .sink(sink.spec_with("sink", r#"{"start":"earliest"}"#))
        .start()
        .await
        .unwrap();
    let third = pipeline.ingest(event(1)).await.unwrap();
    assert_eq!((third.status, third.id), (AckStatus::Duplicate, first.id));
    let other = br#"{"source":"job","cycle_id":"c1","event_kind":"k","ok":false,"turns":1}"#;
    let second = pipeline.ingest(Submission::parse(&other[..]).unwrap()).await.unwrap();
    assert_eq!(second.status, AckStatus::Accepted, "another attempt in the same cycle is an event");
    let counts = pipeline.status().ingest;
    assert_eq!(
        (counts.accepted, counts.duplicates(), counts.changed(), counts.remembered),
        (1, 1, 0, 2)
    );
    pipeline.shutdown(DEADLINE).await;
    assert_eq!(sink.now().accepted, [1, 2]);
}

#[tokio::test]
async fn concurrent_repeats_are_one_event_and_one_duplicate() {
    let dir = tempfile::tempdir().unwrap();
    let pipeline =
        Pipeline::builder().journal(crate::JournalOptions::new(dir.path())).start().await.unwrap();
    for number in 0..200 {
        let (a, b) = tokio::join!(pipeline.ingest(event(number)), pipeline.ingest(event(number)));
        assert_eq!(
            (a.unwrap().status, b.unwrap().status),
            (AckStatus::Accepted, AckStatus::Duplicate)
        );
    }
    assert_eq!(pipeline.status().journal.head, 200);
    pipeline.shutdown(DEADLINE).await;
}

#[tokio::test(start_paused = true)]
async fn batch_is_checked_by_event_and_committed_as_a_whole() {
    let memory = Memory::default();
    let sink = Scripted::new();
    let pipeline = over(&memory).sink(sink.spec("sink")).start().await.unwrap();
    pipeline.ingest(event(1)).await.unwrap();
    let incomplete = Submission::parse(r#"{"source":"bot","event_kind":"ok","ok":true}"#).unwrap();
    let batch =
        vec![event(1).into(), event(2).into(), incomplete, event(3).into(), event(2).into()];
    let results = pipeline.ingest_batch(batch).await;
    let statuses: Vec<_> =
        results.iter().map(|result| result.as_ref().ok().map(|ack| ack.status)).collect();
    let (new, known) = (Some(AckStatus::Accepted), Some(AckStatus::Duplicate));
    assert_eq!(statuses, [known, new, None, new, known]);
    assert!(matches!(results[2], Err(IngestError::Missing(_))));
    let counts = pipeline.status().ingest;
    assert_eq!(
        (counts.accepted, counts.duplicates(), counts.rejected[&RejectReason::MissingField]),
        (3, 2, 1)
    );
    assert_eq!(sink.until_accepted(3).await, range(1..=3));
    assert!(pipeline.ingest_batch(Vec::new()).await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn batch_that_the_journal_rejects_can_be_retried() {
    let memory = Memory::default();
    let (sink, gate) = gated();
    let pipeline = crate::Pipeline::builder()
        .journal(options(&memory).max_size(64 * 1024))
        .sink(sink.spec_with("archive", r#"{"required":true,"retry":{"max":"1s"}}"#))
        .start()
        .await
        .unwrap();
    let batch = |from: u64| {
        (from..from + 50).map(|number| event(number).into()).collect::<Vec<Submission>>()
    };
    let mut from = 0;
    let rejected = loop {
        let results = pipeline.ingest_batch(batch(from)).await;
        if results.iter().any(Result::is_err) {
            break results;
        }
        from += 50;
    };
    assert!(
        rejected.iter().all(|result| matches!(result, Err(IngestError::Unavailable(_)))),
        "the batch is rejected as a whole"
    );
    let head = pipeline.status().journal.head;
    assert_eq!(head, from);
    let (a, b) =
        tokio::join!(pipeline.ingest_batch(batch(from)), pipeline.ingest_batch(batch(from)));
    assert!(a.iter().chain(&b).all(Result::is_err), "both of two concurrent batches are rejected");
    gate.store(true, Ordering::SeqCst);
    let mut tries = 0;
    while pipeline.ingest_batch(batch(from)).await.iter().any(Result::is_err) {
        tries += 1;
        assert!(tries < 100, "ingest does not recover");
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    assert_eq!(pipeline.status().journal.head, from + 50);
}

#[tokio::test]
async fn event_of_a_cancelled_request_is_delivered() {
    let dir = tempfile::tempdir().unwrap();
    let sink = Scripted::new();
    let journal = crate::JournalOptions::new(dir.path());
    let pipeline =
        Pipeline::builder().journal(journal).sink(sink.spec("sink")).start().await.unwrap();
    // Repeated until a request is pending after its first poll, since the writer thread may be
    // faster.
    let mut last = 0;
    loop {
        last += 1;
        let mut abandoned = Box::pin(pipeline.ingest(event(last)));
        if is_pending(abandoned.as_mut()).await {
            break;
        }
    }
    let count = usize::try_from(last).unwrap();
    assert_eq!(sink.until_accepted(count).await, range(1..=last));
    assert_eq!(pipeline.ingest(event(last)).await.unwrap().status, AckStatus::Duplicate);
    pipeline.shutdown(DEADLINE).await;
}

/// Polls a future once, and returns whether it is pending.
async fn is_pending<F: Future + Unpin>(mut future: F) -> bool {
    std::future::poll_fn(|context| {
        std::task::Poll::Ready(std::pin::Pin::new(&mut future).poll(context).is_pending())
    })
    .await
}

#[tokio::test(start_paused = true)]
async fn idempotency_key_is_valid_for_one_body() {
    let pipeline = over(&Memory::default()).start().await.unwrap();
    let first = pipeline.ingest_with_key(event(1), "k").await.unwrap();
    assert_eq!(pipeline.ingest_with_key(event(1), "k").await.unwrap().id, first.id);
    assert!(matches!(pipeline.ingest_with_key(event(2), "k").await, Err(IngestError::KeyReused)));
    assert!(matches!(
        pipeline.ingest_with_key(event(2), "l").await.unwrap().status,
        AckStatus::Accepted
    ));
    let counts = pipeline.status().ingest;
    assert_eq!((counts.rejected[&RejectReason::KeyReused], counts.changed()), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn nothing_is_delivered_again_after_a_clean_shutdown() {
    let memory = Memory::default();
    let first = Scripted::new();
    let pipeline = over(&memory).sink(first.spec("sink")).start().await.unwrap();
    ingest(&pipeline, 1..=10).await;
    pipeline.shutdown(DEADLINE).await;
    drop(pipeline);
    assert_eq!(first.now().accepted, range(1..=10));

    let second = Scripted::new();
    let pipeline = over(&memory).sink(second.spec("sink")).start().await.unwrap();
    ingest(&pipeline, 11..=15).await;
    assert_eq!(second.until_accepted(5).await, range(11..=15));
    until_status(&pipeline, "sink", |status| status.pending == 0).await;
    assert_eq!(account(&pipeline, "sink"), (Account { delivered: 15, ..Account::default() }, 0));
}

#[tokio::test(start_paused = true)]
async fn only_unflushed_events_are_delivered_again() {
    let memory = Memory::default();
    let flushing = Arc::new(AtomicBool::new(true));
    let sink = Scripted::new().flushes({
        let flushing = flushing.clone();
        move || {
            if flushing.load(Ordering::SeqCst) {
                Ok(())
            } else {
                Err(SinkError::transient("flush failed"))
            }
        }
    });
    let pipeline = over(&memory).sink(sink.spec("sink")).start().await.unwrap();
    ingest(&pipeline, 1..=5).await;
    sink.until(|script| script.flushes > 0).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    flushing.store(false, Ordering::SeqCst);
    ingest(&pipeline, 6..=8).await;
    sink.until_accepted(8).await;
    pipeline.shutdown(Duration::ZERO).await;
    drop(pipeline);

    let sink = Scripted::new();
    let pipeline = over(&memory).sink(sink.spec("sink")).start().await.unwrap();
    assert_eq!(sink.until_accepted(3).await, range(6..=8));
    assert_eq!(account(&pipeline, "sink").0.delivered, 8);
}

#[tokio::test(start_paused = true)]
async fn failed_flush_repeats_all_deliveries_since_the_last_one() {
    let mut fail = 2;
    let sink = Scripted::new().flushes(move || {
        fail -= 1;
        if fail == 0 { Err(SinkError::transient("disk error")) } else { Ok(()) }
    });
    let pipeline = over(&Memory::default()).sink(sink.spec("sink")).start().await.unwrap();
    ingest(&pipeline, 1..=2).await;
    sink.until(|script| script.flushes == 1).await;
    ingest(&pipeline, 3..=4).await;
    sink.until(|script| script.flushes == 3).await;
    assert_eq!(sink.now().accepted, [1, 2, 3, 4, 3, 4]);
    assert_eq!(account(&pipeline, "sink").0.delivered, 4);
}

#[tokio::test(start_paused = true)]
async fn sink_is_flushed_at_most_once_a_second() {
    let sink = Scripted::new();
    let spec = sink.spec_with("sink", r#"{"batch":{"linger":"0s"}}"#);
    let pipeline = over(&Memory::default()).sink(spec).start().await.unwrap();
    let started = Instant::now();
    for number in 0..100 {
        pipeline.ingest(event(number)).await.unwrap();
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let flushes = sink.now().flushes;
    assert!((8..=11).contains(&flushes), "{flushes} in {:?}", started.elapsed());
}

#[tokio::test(start_paused = true)]
async fn events_before_the_sinks_own_position_count_as_delivered() {
    let memory = Memory::default();
    let pipeline = over(&memory).start().await.unwrap();
    ingest(&pipeline, 1..=10).await;
    let epoch = pipeline.status().epoch;
    pipeline.shutdown(DEADLINE).await;
    drop(pipeline);

    let sink = Scripted::new();
    let pipeline = over(&memory)
        .sink(sink.spec_with("sink", r#"{"start":"earliest"}"#))
        .start()
        .await
        .unwrap();
    sink.until_accepted(10).await;
    // The sink's own position is ahead of the stored one, as after a kill between flush and commit.
    pipeline.shutdown(DEADLINE).await;
    assert_ingest_is_closed(&pipeline).await;
    drop(pipeline);

    let pipeline = over(&memory).start().await.unwrap();
    ingest(&pipeline, 11..=20).await;
    pipeline.shutdown(DEADLINE).await;
    drop(pipeline);
    let sink = Scripted::new();
    sink.now().position = Some(Position { epoch, seq: 15 });
    let pipeline = over(&memory)
        .sink(sink.spec_with("sink", r#"{"filter":{"ok":false}}"#))
        .start()
        .await
        .unwrap();
    assert_eq!(sink.until_accepted(3).await, [16, 18, 20]);
    until_status(&pipeline, "sink", |status| status.pending == 0).await;
    let expected = Account { delivered: 10 + 2 + 3, filtered: 5, ..Account::default() };
    assert_eq!(account(&pipeline, "sink").0, expected);
}

async fn assert_ingest_is_closed(pipeline: &Pipeline) {
    let error = pipeline.ingest(event(99)).await.unwrap_err();
    assert!(matches!(error, IngestError::Unavailable(Unavailable::ShuttingDown)));
}

#[tokio::test(start_paused = true)]
async fn sinks_can_be_added_and_removed_during_ingest() {
    let memory = Memory::default();
    let pipeline = over(&memory).start().await.unwrap();
    ingest(&pipeline, 1..=5).await;
    let (late, early) = (Scripted::new(), Scripted::new());
    pipeline.add_sink(late.spec("late")).unwrap();
    pipeline.add_sink(early.spec_with("early", r#"{"start":"earliest"}"#)).unwrap();
    assert!(pipeline.add_sink(late.spec("late")).is_err());
    assert!(pipeline.add_sink(late.spec("../late")).is_err());
    ingest(&pipeline, 6..=10).await;
    assert_eq!(late.until_accepted(5).await, range(6..=10));
    assert_eq!(early.until_accepted(10).await, range(1..=10));
    assert!(pipeline.remove_sink("late", DEADLINE).await);
    assert!(!pipeline.remove_sink("late", DEADLINE).await);
    assert_eq!(sink_status(&pipeline, "late").state, SinkState::Detached);
    ingest(&pipeline, 11..=12).await;
    let again = Scripted::new();
    pipeline.add_sink(again.spec("late")).unwrap();
    assert_eq!(again.until_accepted(2).await, [11, 12], "the sink continues at its position");
}

#[tokio::test(start_paused = true)]
async fn lagging_worker_reads_from_the_journal() {
    let (sink, gate) = gated();
    let pipeline = over(&Memory::default()).sink(sink.spec("sink")).start().await.unwrap();
    for number in 0..200 {
        pipeline.ingest(large_event(number, 100_000)).await.unwrap();
    }
    gate.store(true, Ordering::SeqCst);
    assert_eq!(sink.until_accepted(200).await, range(1..=200));
    assert!(sink.now().calls.iter().all(|call| call.len() <= 42), "a batch has at most 4 MiB");
}

#[tokio::test(start_paused = true)]
async fn events_that_expire_before_an_optional_sink_has_them_are_counted() {
    let memory = Memory::default();
    let gate = Arc::new(AtomicBool::new(false));
    let sink = Scripted::new().responds({
        let gate = gate.clone();
        move |_| gate.load(Ordering::SeqCst).then(|| Ok(Receipt::accepted()))
    });
    let pipeline = crate::Pipeline::builder()
        .journal(options(&memory).max_size(64 * 1024))
        .sink(sink.spec_with("sink", r#"{"batch":{"max_events":1}}"#))
        .start()
        .await
        .unwrap();
    ingest(&pipeline, 1..=1).await;
    sink.until(|script| !script.calls.is_empty()).await;
    // Far more than fits into the journal and into the tail cache.
    for number in 2..=400 {
        pipeline.ingest(large_event(number, 40_000)).await.unwrap();
    }
    gate.store(true, Ordering::SeqCst);
    until_status(&pipeline, "sink", |status| status.pending == 0).await;
    let (account, _) = account(&pipeline, "sink");
    assert!(account.expired > 100, "{account:?}");
    assert_eq!(account.delivered + account.expired, 400);
    assert!(pipeline.status().journal.bytes <= 64 * 1024 + 41_000);
}

#[tokio::test(start_paused = true)]
async fn events_are_rejected_rather_than_lost_for_a_required_sink() {
    let memory = Memory::default();
    let (sink, gate) = gated();
    let pipeline = crate::Pipeline::builder()
        .journal(options(&memory).max_size(64 * 1024))
        .sink(sink.spec_with("archive", r#"{"required":true,"retry":{"max":"1s"}}"#))
        .start()
        .await
        .unwrap();
    let mut number = 0;
    let error = loop {
        number += 1;
        if let Err(error) = pipeline.ingest(event(number)).await {
            break error;
        }
    };
    let IngestError::Unavailable(Unavailable::Journal(AppendError::Full { holder, .. })) = &error
    else {
        panic!("{error}")
    };
    assert_eq!(holder, "archive");
    gate.store(true, Ordering::SeqCst);
    sink.until_accepted(usize::try_from(number).unwrap() - 1).await;
    let mut tries = 0;
    while pipeline.ingest(event(number)).await.is_err() {
        tries += 1;
        assert!(tries < 100, "ingest does not recover");
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    assert_eq!(account(&pipeline, "archive").0.expired, 0);
}

#[tokio::test(start_paused = true)]
async fn panicking_sink_is_parked_and_others_continue() {
    let (broken, healthy) = (Scripted::new().responds(|_| panic!("on purpose")), Scripted::new());
    let pipeline = over(&Memory::default())
        .sink(broken.spec("broken"))
        .sink(healthy.spec("healthy"))
        .start()
        .await
        .unwrap();
    ingest(&pipeline, 1..=3).await;
    assert_eq!(healthy.until_accepted(3).await, range(1..=3));
    until_status(&pipeline, "broken", |status| {
        parked_reason(status).is_some_and(|reason| reason.contains("panicked"))
    })
    .await;
    pipeline.shutdown(DEADLINE).await;
}

#[tokio::test(start_paused = true)]
async fn draining_worker_tries_a_failing_sink_once_more() {
    let tries = Arc::new(AtomicUsize::new(0));
    let sink = Scripted::new().responds({
        let tries = tries.clone();
        move |_| {
            tries.fetch_add(1, Ordering::SeqCst);
            Some(Err(SinkError::transient("down").with_retry_after(Duration::from_secs(3600))))
        }
    });
    let pipeline = over(&Memory::default()).sink(sink.spec("sink")).start().await.unwrap();
    ingest(&pipeline, 1..=1).await;
    until_status(&pipeline, "sink", |status| matches!(status.state, SinkState::Retrying(_))).await;
    let started = Instant::now();
    pipeline.shutdown(DEADLINE).await;
    assert_eq!(tries.load(Ordering::SeqCst), 2);
    assert!(started.elapsed() < Duration::from_secs(1), "{:?}", started.elapsed());
}
