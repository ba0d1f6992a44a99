//! Reactions of a worker to rejections, transient errors and timeouts.

use super::*;

#[tokio::test(start_paused = true)]
async fn transient_failure_is_retried_in_order_after_retry_after() {
    let mut failures = 2;
    let sink = Scripted::new().responds(move |_| {
        failures -= 1;
        let busy = || {
            SinkError::transient("429 Too Many Requests").with_retry_after(Duration::from_secs(90))
        };
        Some(if failures >= 0 { Err(busy()) } else { Ok(Receipt::accepted()) })
    });
    let pipeline = over(&Memory::default()).sink(sink.spec("sink")).start().await.unwrap();
    let started = Instant::now();
    ingest(&pipeline, 1..=3).await;
    sink.until(|script| !script.calls.is_empty()).await;
    until_status(&pipeline, "sink", |status| {
        retrying_reason(status) == Some("429 Too Many Requests")
    })
    .await;
    ingest(&pipeline, 4..=6).await;
    assert_eq!(sink.until_accepted(6).await, range(1..=6));
    assert!(started.elapsed() >= Duration::from_secs(180), "{:?}", started.elapsed());
    until_status(&pipeline, "sink", |status| status.state == SinkState::Running).await;
    assert_eq!(sink_status(&pipeline, "sink").retried, 2);
}

#[tokio::test(start_paused = true)]
async fn delivery_is_retried_after_a_timeout() {
    let mut first = true;
    let sink = Scripted::new()
        .responds(move |_| (!std::mem::take(&mut first)).then(|| Ok(Receipt::accepted())));
    let spec = sink.spec_with("sink", r#"{"timeout":"3s"}"#);
    let pipeline = over(&Memory::default()).sink(spec).start().await.unwrap();
    ingest(&pipeline, 1..=1).await;
    assert_eq!(sink.until_accepted(1).await, [1]);
    assert_eq!(
        sink_status(&pipeline, "sink").last_error.unwrap().reason,
        "no response within 3s; see `timeout`"
    );
}

/// Returns a sink that rejects every batch with one of these events.
fn rejects(poison: &'static [u64]) -> Arc<Scripted> {
    Scripted::new().responds(move |batch| {
        let bad = batch.events().iter().any(|envelope| poison.contains(&envelope.seq));
        Some(if bad {
            Err(SinkError::permanent("400 Bad Request: no such field"))
        } else {
            Ok(Receipt::accepted())
        })
    })
}

#[tokio::test(start_paused = true)]
async fn poison_events_are_found_by_halving_the_batch() {
    let memory = Memory::default();
    let sink = rejects(&[37, 38]);
    let pipeline = over(&memory).sink(sink.spec("sink")).start().await.unwrap();
    ingest(&pipeline, 1..=100).await;
    let accepted = sink.until_accepted(98).await;
    assert_eq!(accepted, (1..=100).filter(|seq| ![37, 38].contains(seq)).collect::<Vec<_>>());
    until_status(&pipeline, "sink", |status| status.pending == 0).await;
    assert!(sink.now().calls.len() <= 2 * 2 * 7, "{} deliveries", sink.now().calls.len());
    assert_eq!(
        account(&pipeline, "sink").0,
        Account { delivered: 98, dead: 2, ..Account::default() }
    );
    let dead = dead_letters(&memory, &pipeline, "sink");
    assert_eq!(dead.len(), 2);
    assert_eq!(dead[0]["reason"], "400 Bad Request: no such field");
    assert_eq!(dead[0]["envelope"]["seq"], 37);
    assert!(dead[0]["attempts"].as_u64().unwrap() > 3);
}

#[tokio::test(start_paused = true)]
async fn sink_that_rejects_everything_is_parked_and_loses_no_event() {
    let memory = Memory::default();
    let repaired = Arc::new(AtomicBool::new(false));
    let sink = Scripted::new().responds({
        let repaired = repaired.clone();
        move |_| {
            Some(if repaired.load(Ordering::SeqCst) {
                Ok(Receipt::accepted())
            } else {
                Err(SinkError::permanent("404 page of another site"))
            })
        }
    });
    let pipeline = over(&memory)
        .sink(sink.spec_with("sink", r#"{"batch":{"max_events":64}}"#))
        .start()
        .await
        .unwrap();
    ingest(&pipeline, 1..=500).await;
    until_status(&pipeline, "sink", |status| matches!(status.state, SinkState::Parked(_))).await;
    let deliveries = sink.now().calls.len();
    assert!(deliveries < 20, "{deliveries} deliveries before the sink was parked");
    tokio::time::sleep(Duration::from_secs(3600)).await;
    let status = sink_status(&pipeline, "sink");
    assert!(parked_reason(&status) == Some("404 page of another site"), "{status:?}");
    assert_eq!(account(&pipeline, "sink"), (Account::default(), 500));
    let deliveries = sink.now().calls.len();
    assert!(deliveries < 40_000, "{deliveries} deliveries in an hour");
    repaired.store(true, Ordering::SeqCst);
    assert_eq!(sink.until_accepted(500).await, range(1..=500));
    until_status(&pipeline, "sink", |status| {
        status.pending == 0 && status.state == SinkState::Running
    })
    .await;
    assert!(memory.list(&pipeline.dead_letters_dir("sink")).unwrap().is_empty());
}

#[tokio::test(start_paused = true)]
async fn single_poison_event_waits_for_another_event() {
    let memory = Memory::default();
    let sink = rejects(&[1]);
    let pipeline = over(&memory).sink(sink.spec("sink")).start().await.unwrap();
    ingest(&pipeline, 1..=1).await;
    until_status(&pipeline, "sink", |status| matches!(status.state, SinkState::Retrying(_))).await;
    tokio::time::sleep(Duration::from_secs(600)).await;
    assert_eq!(account(&pipeline, "sink"), (Account::default(), 1));
    assert_eq!(sink_status(&pipeline, "sink").undecided, 1);
    ingest(&pipeline, 2..=2).await;
    assert_eq!(sink.until_accepted(1).await, [2]);
    until_status(&pipeline, "sink", |status| status.pending == 0).await;
    assert_eq!(
        account(&pipeline, "sink").0,
        Account { delivered: 1, dead: 1, ..Account::default() }
    );
    assert_eq!(dead_letters(&memory, &pipeline, "sink")[0]["envelope"]["seq"], 1);
}

#[tokio::test(start_paused = true)]
async fn many_consecutive_poison_events_become_dead_letters() {
    let memory = Memory::default();
    let poison: &'static [u64] = Vec::from_iter(1..=50).leak();
    let sink = rejects(poison);
    let pipeline = over(&memory)
        .sink(sink.spec_with("sink", r#"{"batch":{"max_events":16}}"#))
        .start()
        .await
        .unwrap();
    ingest(&pipeline, 1..=60).await;
    assert_eq!(sink.until_accepted(10).await, range(51..=60));
    until_status(&pipeline, "sink", |status| status.pending == 0).await;
    assert_eq!(
        account(&pipeline, "sink").0,
        Account { delivered: 10, dead: 50, ..Account::default() }
    );
}

#[tokio::test(start_paused = true)]
async fn blocked_sink_is_parked_checked_and_probed_with_one_event() {
    let open = Arc::new(AtomicBool::new(true));
    let denied = || SinkError::blocked("401 Unauthorized: token expired");
    let sink = Scripted::new()
        .responds({
            let open = open.clone();
            move |_| {
                Some(if open.load(Ordering::SeqCst) {
                    Ok(Receipt::accepted())
                } else {
                    Err(denied())
                })
            }
        })
        .checks({
            let open = open.clone();
            move || if open.load(Ordering::SeqCst) { Ok(()) } else { Err(denied()) }
        });
    let pipeline = over(&Memory::default()).sink(sink.spec("sink")).start().await.unwrap();
    until_status(&pipeline, "sink", |status| status.state == SinkState::Running).await;
    open.store(false, Ordering::SeqCst);
    ingest(&pipeline, 1..=20).await;
    until_status(&pipeline, "sink", |status| {
        parked_reason(status).is_some_and(|reason| reason.contains("token expired"))
    })
    .await;
    tokio::time::sleep(Duration::from_secs(300)).await;
    assert_eq!(sink.now().calls.len(), 1, "a parked sink is checked and gets no delivery");
    assert!(sink.now().checks > 5);
    open.store(true, Ordering::SeqCst);
    assert_eq!(sink.until_accepted(20).await, range(1..=20));
    assert_eq!(sink.now().calls[1], [1]);
}

#[tokio::test(start_paused = true)]
async fn sink_blocked_at_the_start_is_parked_before_the_first_event() {
    let sink = Scripted::new().checks(|| Err(SinkError::blocked("no such host")));
    let pipeline = over(&Memory::default()).sink(sink.spec("sink")).start().await.unwrap();
    until_status(&pipeline, "sink", |status| parked_reason(status) == Some("no such host")).await;
}

#[tokio::test(start_paused = true)]
async fn failing_batch_becomes_dead_letters_after_give_up_after() {
    let memory = Memory::default();
    let sink = Scripted::new().responds(|batch| {
        let is_early = batch.events()[0].seq <= 2;
        Some(if is_early { Err(SinkError::transient("503")) } else { Ok(Receipt::accepted()) })
    });
    let spec =
        sink.spec_with("sink", r#"{"batch":{"max_events":2},"retry":{"give_up_after":"60s"}}"#);
    let pipeline = over(&memory).sink(spec).start().await.unwrap();
    let started = Instant::now();
    ingest(&pipeline, 1..=4).await;
    assert_eq!(sink.until_accepted(2).await, [3, 4]);
    assert!(started.elapsed() >= Duration::from_secs(60));
    until_status(&pipeline, "sink", |status| status.pending == 0).await;
    assert_eq!(
        account(&pipeline, "sink").0,
        Account { delivered: 2, dead: 2, ..Account::default() }
    );
    assert_eq!(dead_letters(&memory, &pipeline, "sink")[0]["reason"], "given up: 503");
}

#[tokio::test(start_paused = true)]
async fn receipt_names_or_counts_rejected_events() {
    let memory = Memory::default();
    let sink = Scripted::new().responds(|batch| {
        let rejected = vec![Rejected { index: 1, reason: "too old".into() }];
        let refused = (batch.len() > 3).then(|| Refused { count: 2, reason: "quota".into() });
        Some(Ok(Receipt { rejected, refused }))
    });
    let pipeline = over(&memory).sink(sink.spec("sink")).start().await.unwrap();
    ingest(&pipeline, 1..=5).await;
    until_status(&pipeline, "sink", |status| status.pending == 0).await;
    assert_eq!(
        account(&pipeline, "sink").0,
        Account { delivered: 2, dead: 1, refused: 2, ..Account::default() }
    );
    assert_eq!(dead_letters(&memory, &pipeline, "sink")[0]["envelope"]["seq"], 2);
}

#[tokio::test(start_paused = true)]
async fn event_is_not_poison_while_all_others_are_rejected() {
    let named = || Receipt {
        rejected: vec![Rejected { index: 0, reason: "too old".into() }],
        refused: None,
    };
    let counted = || Receipt {
        rejected: vec![],
        refused: Some(Refused { count: 1, reason: "quota".into() }),
    };
    for receipt in [named as fn() -> Receipt, counted] {
        let sink = Scripted::new().responds(move |batch| {
            let is_first = batch.events().iter().any(|envelope| envelope.seq == 1);
            Some(if is_first { Err(SinkError::permanent("400")) } else { Ok(receipt()) })
        });
        let pipeline = over(&Memory::default()).sink(sink.spec("sink")).start().await.unwrap();
        ingest(&pipeline, 1..=2).await;
        let is_failing = |status: &crate::SinkStatus| {
            matches!(status.state, SinkState::Parked(_) | SinkState::Retrying(_))
        };
        until_status(&pipeline, "sink", is_failing).await;
        tokio::time::sleep(Duration::from_secs(60)).await;
        let status = sink_status(&pipeline, "sink");
        assert!(is_failing(&status), "{status:?}");
        assert_eq!((status.position.seq, status.pending), (0, 2));
    }
}

#[tokio::test(start_paused = true)]
async fn call_for_the_position_is_repeated_until_it_succeeds() {
    for (error, is_parked) in
        [(SinkError::transient as fn(&'static str) -> SinkError, false), (SinkError::blocked, true)]
    {
        let available = Arc::new(AtomicBool::new(false));
        let sink = Scripted::new().positions({
            let available = available.clone();
            move || {
                if available.load(Ordering::SeqCst) { Ok(()) } else { Err(error("unavailable")) }
            }
        });
        let pipeline = over(&Memory::default()).sink(sink.spec("sink")).start().await.unwrap();
        ingest(&pipeline, 1..=2).await;
        until_status(&pipeline, "sink", |status| status.last_error.is_some()).await;
        let state = sink_status(&pipeline, "sink").state;
        assert_eq!(matches!(state, SinkState::Parked(_)), is_parked, "{state:?}");
        assert_eq!(sink.now().calls.len(), 0);
        available.store(true, Ordering::SeqCst);
        assert_eq!(sink.until_accepted(2).await, [1, 2]);
    }
}

#[tokio::test(start_paused = true)]
async fn transient_check_failure_does_not_park_the_sink() {
    let sink = Scripted::new().checks(|| Err(SinkError::transient("503")));
    let pipeline = over(&Memory::default()).sink(sink.spec("sink")).start().await.unwrap();
    until_status(&pipeline, "sink", |status| status.last_error.is_some()).await;
    assert!(matches!(sink_status(&pipeline, "sink").state, SinkState::Retrying(_)));
    ingest(&pipeline, 1..=1).await;
    assert_eq!(sink.until_accepted(1).await, [1]);
}
