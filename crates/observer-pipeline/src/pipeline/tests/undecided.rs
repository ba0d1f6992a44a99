//! Undecided events, and what an operator can do about a sink that is held.

use super::*;
use crate::Diversion;

/// Returns a sink that denies every batch with one of these events.
fn denies(bad: &'static [u64]) -> Arc<Scripted> {
    Scripted::new().responds(move |batch| {
        let is_bad = batch.events().iter().any(|envelope| bad.contains(&envelope.seq));
        Some(if is_bad {
            Err(SinkError::denied("403 Forbidden: union select"))
        } else {
            Ok(Receipt::accepted())
        })
    })
}

/// Returns the pipeline after a kill: a new one over a copy of the files.
async fn after_kill(memory: &Memory, sink: &Arc<Scripted>) -> Pipeline {
    let copy = Memory::default();
    for dir in ["j", "j/undecided"] {
        for name in memory.list(dir.as_ref()).unwrap() {
            let path = std::path::Path::new(dir).join(name);
            let file = memory.open(&path, OpenMode::Read).unwrap();
            let mut bytes = vec![0; usize::try_from(file.size().unwrap()).unwrap()];
            file.read_at(&mut bytes, 0).unwrap();
            copy.open(&path, OpenMode::Create).unwrap().write_at(&bytes, 0).unwrap();
        }
    }
    over(&copy).sink(sink.spec("sink")).start().await.unwrap()
}

#[tokio::test(start_paused = true)]
async fn undecided_event_survives_a_kill_and_is_delivered_once_it_is_accepted() {
    let memory = Memory::default();
    let sink = denies(&[3]);
    let pipeline = over(&memory).sink(sink.spec("sink")).start().await.unwrap();
    ingest(&pipeline, 1..=10).await;
    let is_aside = |status: &crate::SinkStatus| status.position.seq == 10;
    until_status(&pipeline, "sink", is_aside).await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    let status = sink_status(&pipeline, "sink");
    assert_eq!((status.pending, status.undecided), (1, 1));
    assert_eq!(account(&pipeline, "sink").0, Account { delivered: 9, ..Account::default() });

    let again = Scripted::new();
    let killed = after_kill(&memory, &again).await;
    assert_eq!(again.until_accepted(1).await, [3], "no other event is delivered again");
    until_status(&killed, "sink", |status| status.pending == 0).await;
    assert_eq!(account(&killed, "sink").0, Account { delivered: 10, ..Account::default() });
    killed.shutdown(DEADLINE).await;
    drop(killed);
    drop(pipeline);
}

#[tokio::test(start_paused = true)]
async fn failing_event_is_dead_although_the_observer_restarts_every_five_minutes() {
    let memory = Memory::default();
    let sink = Scripted::new().responds(|batch| {
        let is_bad = batch.events().iter().any(|envelope| envelope.seq == 3);
        let failed = || SinkError::new(observer_core::ErrorKind::Failed, "500");
        Some(if is_bad { Err(failed()) } else { Ok(Receipt::accepted()) })
    });
    let (mut number, mut runs) = (0, 0);
    let mut dead = 0;
    while dead == 0 {
        runs += 1;
        assert!(runs <= 8, "the event needs eight rounds over ten minutes");
        let pipeline = over(&memory).sink(sink.spec("sink")).start().await.unwrap();
        for _ in 0..30 {
            number += 1;
            ingest(&pipeline, number..=number).await;
            tokio::time::sleep(Duration::from_secs(10)).await;
        }
        dead = sink_status(&pipeline, "sink").account.dead;
        pipeline.shutdown(DEADLINE).await;
    }
    assert!(runs > 2, "{runs} runs are shorter than ten minutes");
}

#[tokio::test(start_paused = true)]
async fn denied_event_is_dead_after_three_rounds_over_a_minute_and_holds_no_other() {
    let memory = Memory::default();
    let sink = denies(&[3]);
    let pipeline = over(&memory).sink(sink.spec("sink")).start().await.unwrap();
    let started = Instant::now();
    let mut number = 0;
    while sink_status(&pipeline, "sink").account.dead == 0 {
        number += 1;
        ingest(&pipeline, number..=number).await;
        tokio::time::sleep(Duration::from_secs(1)).await;
        let pending = sink_status(&pipeline, "sink").pending;
        assert!(pending <= 2, "{pending} are pending");
        assert!(number < 200);
    }
    let elapsed = started.elapsed().as_secs();
    assert!((60..90).contains(&elapsed), "{elapsed} s");
    until_status(&pipeline, "sink", |status| status.pending == 0).await;
    assert_eq!(
        account(&pipeline, "sink").0,
        Account { delivered: number - 1, dead: 1, ..Account::default() }
    );
    let dead = dead_letters(&memory, &pipeline, "sink");
    assert_eq!(dead[0]["reason"], "403 Forbidden: union select");
    assert_eq!(sink_status(&pipeline, "sink").dead_letters, 1);
}

#[tokio::test(start_paused = true)]
async fn expired_token_costs_no_event() {
    let memory = Memory::default();
    let is_valid = Arc::new(AtomicBool::new(true));
    let valid = is_valid.clone();
    let sink = Scripted::new().responds(move |_| {
        Some(if valid.load(Ordering::SeqCst) {
            Ok(Receipt::accepted())
        } else {
            Err(SinkError::denied("401 Unauthorized: token expired"))
        })
    });
    let pipeline = over(&memory).sink(sink.spec("sink")).start().await.unwrap();
    let second = async |number: u64| {
        ingest(&pipeline, number..=number).await;
        tokio::time::sleep(Duration::from_secs(1)).await;
    };
    for number in 1..=10 {
        second(number).await;
    }
    is_valid.store(false, Ordering::SeqCst);
    let before = sink.now().calls.len();
    for number in 11..=310 {
        second(number).await;
    }
    let status = sink_status(&pipeline, "sink");
    assert_eq!(parked_reason(&status), Some("401 Unauthorized: token expired"));
    assert!(status.retry_at.is_some(), "{status:?}");
    assert!(sink.now().calls.len() - before < 60, "{} attempts", sink.now().calls.len() - before);
    is_valid.store(true, Ordering::SeqCst);
    pipeline.wake_sink("sink").await.unwrap();
    assert_eq!(sink.until_accepted(310).await, range(1..=310), "in order");
    assert_eq!(account(&pipeline, "sink").0, Account { delivered: 310, ..Account::default() });
    assert!(memory.list(&pipeline.dead_letters_dir("sink")).unwrap().is_empty());
}

#[tokio::test(start_paused = true)]
async fn diverted_event_frees_a_sink_that_keeps_its_position() {
    let memory = Memory::default();
    let sink = denies(&[2]);
    let pipeline = over(&memory).start().await.unwrap();
    let epoch = pipeline.status().epoch;
    sink.now().position = Some(Position { epoch, seq: 0 });
    pipeline.add_sink(sink.spec("sink")).unwrap();
    ingest(&pipeline, 1..=4).await;
    until_status(&pipeline, "sink", |status| matches!(status.state, SinkState::Parked(_))).await;
    tokio::time::sleep(Duration::from_secs(600)).await;
    assert_eq!(account(&pipeline, "sink"), (Account { delivered: 1, ..Account::default() }, 3));
    let ids = pipeline.divert("sink", Diversion::Holding).await.unwrap();
    assert_eq!(ids.len(), 1);
    assert_eq!(sink.until_accepted(3).await, [1, 3, 4]);
    let dead = dead_letters(&memory, &pipeline, "sink");
    assert_eq!(dead[0]["envelope"]["seq"], 2);
    let reason = dead[0]["reason"].as_str().unwrap();
    assert!(reason.starts_with("diverted by an operator; the last response was: 403"), "{reason}");
}

#[tokio::test(start_paused = true)]
async fn undecided_event_can_be_diverted_by_its_id_and_several_from_the_head() {
    let memory = Memory::default();
    let sink = denies(&[2]);
    let pipeline = over(&memory).sink(sink.spec("sink")).start().await.unwrap();
    let acks = ingest(&pipeline, 1..=5).await;
    until_status(&pipeline, "sink", |status| status.position.seq == 5).await;
    let id = acks[1].id;
    assert!(pipeline.divert("sink", Diversion::Event(acks[0].id)).await.unwrap().is_empty());
    assert_eq!(pipeline.divert("sink", Diversion::Event(id)).await.unwrap(), [id]);
    assert_eq!(
        account(&pipeline, "sink"),
        (Account { delivered: 4, dead: 1, ..Account::default() }, 0)
    );
    let _ = sink.clone().responds(|_| Some(Err(SinkError::transient("503"))));
    let acks = ingest(&pipeline, 6..=9).await;
    until_status(&pipeline, "sink", |status| matches!(status.state, SinkState::Retrying(_))).await;
    let ids = pipeline.divert("sink", Diversion::Head(3)).await.unwrap();
    assert_eq!(ids, acks[..3].iter().map(|ack| ack.id).collect::<Vec<_>>());
    assert_eq!(account(&pipeline, "sink").1, 1);
}

#[tokio::test(start_paused = true)]
async fn woken_sink_does_not_wait_for_a_requested_delay() {
    let mut first = true;
    let sink = Scripted::new().responds(move |_| {
        let later = Duration::from_secs(10 * 365 * 86_400);
        let busy = || SinkError::transient("429").with_retry_after(later);
        Some(if std::mem::take(&mut first) { Err(busy()) } else { Ok(Receipt::accepted()) })
    });
    let pipeline = over(&Memory::default()).sink(sink.spec("sink")).start().await.unwrap();
    ingest(&pipeline, 1..=1).await;
    until_status(&pipeline, "sink", |status| status.retry_at.is_some()).await;
    let retry_at = sink_status(&pipeline, "sink").retry_at.unwrap();
    let wait = retry_at.duration_since(observer_core::Timestamp::now()).as_secs();
    assert!((86_000..=86_400).contains(&wait), "a day at most: {wait} s");
    let started = Instant::now();
    pipeline.wake_sink("sink").await.unwrap();
    assert_eq!(sink.until_accepted(1).await, [1]);
    assert!(started.elapsed() < Duration::from_secs(1));
    assert!(pipeline.wake_sink("none").await.is_err());
}

#[tokio::test(start_paused = true)]
async fn full_dead_letter_store_parks_the_sink_until_there_is_space() {
    let memory = Memory::default();
    let sink = Scripted::new().responds(|batch| {
        let bad = batch.events().iter().any(|envelope| envelope.seq % 2 == 0);
        Some(if bad { Err(SinkError::permanent("422")) } else { Ok(Receipt::accepted()) })
    });
    let spec = sink.spec_with("sink", r#"{"max_dead_letters":"4KiB","batch":{"max_events":10}}"#);
    let pipeline = over(&memory).sink(spec).start().await.unwrap();
    ingest(&pipeline, 1..=100).await;
    let is_full = |status: &crate::SinkStatus| {
        parked_reason(status).is_some_and(|reason| reason.contains("raise `max_dead_letters`"))
    };
    until_status(&pipeline, "sink", is_full).await;
    tokio::time::sleep(Duration::from_secs(600)).await;
    let stored = sink_status(&pipeline, "sink").dead_letters;
    assert!((5..30).contains(&stored), "{stored}");
    while account(&pipeline, "sink").1 > 0 {
        pipeline.purge_dead_letters("sink", crate::DeadLetterSelection::All).await.unwrap();
        tokio::time::sleep(Duration::from_millis(900)).await;
    }
    let expected = Account { delivered: 50, dead: 50, ..Account::default() };
    assert_eq!(account(&pipeline, "sink").0, expected);
}

#[tokio::test(start_paused = true)]
async fn full_dead_letter_store_is_emptied_by_redelivery() {
    let memory = Memory::default();
    let refuses = Arc::new(AtomicBool::new(true));
    let (refusing, sink) = (refuses.clone(), Scripted::new());
    let sink = sink.responds(move |batch| {
        let bad = batch.events().iter().any(|envelope| envelope.seq % 2 == 0);
        let is_refused = bad && refusing.load(Ordering::SeqCst);
        Some(if is_refused { Err(SinkError::permanent("422")) } else { Ok(Receipt::accepted()) })
    });
    let spec = sink.spec_with("sink", r#"{"max_dead_letters":"4KiB","batch":{"max_events":10}}"#);
    let pipeline = over(&memory).sink(spec).start().await.unwrap();
    ingest(&pipeline, 1..=100).await;
    let is_parked = |status: &crate::SinkStatus| parked_reason(status).is_some();
    until_status(&pipeline, "sink", is_parked).await;
    let redeliver =
        || pipeline.redeliver_dead_letters("sink", crate::DeadLetterSelection::All, None);
    let redelivery = redeliver().await.unwrap();
    assert_eq!(redelivery.redelivered, 0, "the destination still refuses them");
    until_status(&pipeline, "sink", is_parked).await;
    let stored = sink_status(&pipeline, "sink").dead_letters;
    refuses.store(false, Ordering::SeqCst);
    assert_eq!(redeliver().await.unwrap().redelivered, stored);
    until_status(&pipeline, "sink", |status| status.pending == 0).await;
    // The events that found no space were decided already.
    let late = sink_status(&pipeline, "sink").dead_letters;
    assert_eq!(redeliver().await.unwrap().redelivered, late);
    assert_eq!(sink_status(&pipeline, "sink").dead_letters, 0);
    assert!(late <= 10, "{late}");
}

#[tokio::test(start_paused = true)]
async fn rejection_outside_the_batch_delivers_nothing() {
    let sink = Scripted::new().responds(|_| {
        let rejected = vec![Rejected { index: 7, reason: "no".into() }];
        Some(Ok(Receipt { rejected, refused: None }))
    });
    let pipeline = over(&Memory::default()).sink(sink.spec("sink")).start().await.unwrap();
    ingest(&pipeline, 1..=2).await;
    until_status(&pipeline, "sink", |status| status.last_error.is_some()).await;
    let reason = sink_status(&pipeline, "sink").last_error.unwrap().reason;
    assert!(reason.contains("index 7 of 2 as rejected"), "{reason}");
    assert_eq!(account(&pipeline, "sink"), (Account::default(), 2));
}

#[tokio::test(start_paused = true)]
async fn status_after_a_shutdown_shows_what_is_left() {
    let (sink, _) = gated();
    let pipeline = over(&Memory::default()).sink(sink.spec("sink")).start().await.unwrap();
    ingest(&pipeline, 1..=7).await;
    pipeline.shutdown(Duration::ZERO).await;
    let status = sink_status(&pipeline, "sink");
    assert_eq!((status.pending, status.state.as_str()), (7, "stopped"));
}

#[tokio::test(start_paused = true)]
async fn diversion_waits_for_no_check_and_no_delivery_that_hangs() {
    let sink = Scripted::new().responds(|_| None);
    sink.now().check_hangs = true;
    let pipeline = over(&Memory::default()).sink(sink.spec("sink")).start().await.unwrap();
    let acks = ingest(&pipeline, 1..=4).await;
    sink.until(|script| script.checks == 1).await;
    let started = Instant::now();
    for ack in &acks[..3] {
        assert_eq!(pipeline.divert("sink", Diversion::Head(1)).await.unwrap(), [ack.id]);
    }
    assert!(started.elapsed() < Duration::from_secs(10), "{:?}", started.elapsed());
    assert!(!sink.now().calls.is_empty(), "the sink was in a delivery");
}

#[tokio::test(start_paused = true)]
async fn diversion_lets_a_slow_delivery_end() {
    let sink = Arc::new(Slow(Scripted::new()));
    let pipeline = over(&Memory::default())
        .sink(crate::SinkSpec::new("sink", sink.clone()))
        .start()
        .await
        .unwrap();
    ingest(&pipeline, 1..=1).await;
    sink.0.until(|script| !script.calls.is_empty()).await;
    assert!(pipeline.divert("sink", Diversion::Head(1)).await.unwrap().is_empty());
    assert_eq!(account(&pipeline, "sink").0.delivered, 1);
}

#[tokio::test(start_paused = true)]
async fn changed_sink_begins_without_evidence_against_its_undecided_events() {
    for (fingerprint, is_dead) in [("a", true), ("b", false)] {
        let memory = Memory::default();
        let sink = denies(&[2]);
        let settings = r#"{"retry":{"denied":{"rounds":3,"over":"30s"}}}"#;
        let spec = |fingerprint: &str| sink.spec_with("sink", settings).fingerprint(fingerprint);
        let pipeline = over(&memory).sink(spec("a")).start().await.unwrap();
        ingest(&pipeline, 1..=3).await;
        for number in 4..=8 {
            ingest(&pipeline, number..=number).await;
            tokio::time::sleep(Duration::from_secs(5)).await;
        }
        assert_eq!(sink_status(&pipeline, "sink").undecided, 1);
        pipeline.shutdown(DEADLINE).await;
        drop(pipeline);
        let pipeline = over(&memory).sink(spec(fingerprint)).start().await.unwrap();
        for number in 9..=13 {
            ingest(&pipeline, number..=number).await;
            tokio::time::sleep(Duration::from_secs(5)).await;
        }
        let dead = account(&pipeline, "sink").0.dead;
        assert_eq!(dead == 1, is_dead, "{fingerprint}: {:?}", sink_status(&pipeline, "sink"));
    }
}

/// Sink whose deliveries take a second.
struct Slow(Arc<Scripted>);

#[async_trait::async_trait]
impl observer_core::EventSink for Slow {
    async fn deliver(&self, batch: &observer_core::Batch) -> Result<Receipt, SinkError> {
        let receipt = self.0.deliver(batch).await;
        tokio::time::sleep(Duration::from_secs(1)).await;
        receipt
    }

    async fn flush(&self) -> Result<(), SinkError> {
        self.0.flush().await
    }

    async fn check(&self) -> Result<(), SinkError> {
        self.0.check().await
    }
}
