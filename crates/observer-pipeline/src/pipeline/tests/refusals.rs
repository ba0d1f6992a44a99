//! What a worker does when its far side says no, later, or nothing.

use super::*;

#[tokio::test(start_paused = true)]
async fn a_transient_failure_is_tried_again_in_order_and_retry_after_is_honoured() {
    let mut failures = 2;
    let sink = Scripted::new().answers(move |_| {
        failures -= 1;
        let busy = || {
            SinkError::transient("429 Too Many Requests").with_retry_after(Duration::from_secs(90))
        };
        Some(if failures >= 0 { Err(busy()) } else { Ok(Receipt::accepted()) })
    });
    let pipeline = over(&Memory::default()).sink(sink.spec("sink")).start().await.unwrap();
    let begun = Instant::now();
    ingest(&pipeline, 1..=3).await;
    sink.until(|script| !script.calls.is_empty()).await;
    until_status(
        &pipeline,
        "sink",
        |status| matches!(&status.state, SinkState::Retrying(mishap) if mishap.reason == "429 Too Many Requests"),
    )
    .await;
    ingest(&pipeline, 4..=6).await;
    assert_eq!(sink.until_accepted(6).await, range(1..=6));
    assert!(begun.elapsed() >= Duration::from_secs(180), "{:?}", begun.elapsed());
    until_status(&pipeline, "sink", |status| status.state == SinkState::Running).await;
    assert_eq!(sink_status(&pipeline, "sink").retried, 2);
}

#[tokio::test(start_paused = true)]
async fn a_sink_without_an_answer_is_asked_again_after_its_timeout() {
    let mut first = true;
    let sink = Scripted::new()
        .answers(move |_| (!std::mem::take(&mut first)).then(|| Ok(Receipt::accepted())));
    let spec = sink.spec_with("sink", r#"{"timeout":"3s"}"#);
    let pipeline = over(&Memory::default()).sink(spec).start().await.unwrap();
    ingest(&pipeline, 1..=1).await;
    assert_eq!(sink.until_accepted(1).await, [1]);
    assert_eq!(
        sink_status(&pipeline, "sink").last_error.unwrap().reason,
        "no answer within 3 s, see `timeout`"
    );
}

/// Refuses every batch that holds one of these events.
fn refuses(poison: &'static [u64]) -> Arc<Scripted> {
    Scripted::new().answers(move |batch| {
        let bad = batch.events().iter().any(|envelope| poison.contains(&envelope.seq));
        Some(if bad {
            Err(SinkError::permanent("400 Bad Request: no such field"))
        } else {
            Ok(Receipt::accepted())
        })
    })
}

#[tokio::test(start_paused = true)]
async fn poison_is_found_by_halving_and_costs_its_neighbours_nothing() {
    let memory = Memory::default();
    let sink = refuses(&[37, 38]);
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
    let letters = dead_letters(&memory, &pipeline, "sink");
    assert_eq!(letters.len(), 2);
    assert_eq!(letters[0]["reason"], "400 Bad Request: no such field");
    assert_eq!(letters[0]["envelope"]["seq"], 37);
    assert!(letters[0]["attempts"].as_u64().unwrap() > 3);
}

#[tokio::test(start_paused = true)]
async fn a_sink_that_refuses_everything_is_parked_and_loses_nothing() {
    let memory = Memory::default();
    let mended = Arc::new(AtomicBool::new(false));
    let sink = Scripted::new().answers({
        let mended = mended.clone();
        move |_| {
            Some(if mended.load(Ordering::SeqCst) {
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
    assert!(deliveries < 20, "{deliveries} deliveries before it was parked");
    tokio::time::sleep(Duration::from_secs(3600)).await;
    let status = sink_status(&pipeline, "sink");
    assert!(
        matches!(&status.state, SinkState::Parked(mishap) if mishap.reason == "nothing is accepted: 404 page of another site"),
        "{status:?}"
    );
    assert_eq!(account(&pipeline, "sink"), (Account::default(), 500));
    let deliveries = sink.now().calls.len();
    assert!(deliveries < 40_000, "{deliveries} deliveries in an hour");
    mended.store(true, Ordering::SeqCst);
    assert_eq!(sink.until_accepted(500).await, range(1..=500));
    until_status(&pipeline, "sink", |status| {
        status.pending == 0 && status.state == SinkState::Running
    })
    .await;
    assert!(memory.list(&pipeline.dead_letters_dir("sink")).unwrap().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_poison_event_alone_waits_for_a_neighbour() {
    let memory = Memory::default();
    let sink = refuses(&[1]);
    let pipeline = over(&memory).sink(sink.spec("sink")).start().await.unwrap();
    ingest(&pipeline, 1..=1).await;
    until_status(&pipeline, "sink", |status| matches!(status.state, SinkState::Parked(_))).await;
    tokio::time::sleep(Duration::from_secs(600)).await;
    assert_eq!(account(&pipeline, "sink"), (Account::default(), 1));
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
async fn a_long_run_of_poison_is_got_past_at_last() {
    let memory = Memory::default();
    let poison: &'static [u64] = Vec::from_iter(1..=50).leak();
    let sink = refuses(poison);
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
async fn a_blocked_sink_is_parked_checked_and_probed_with_one_event() {
    let open = Arc::new(AtomicBool::new(true));
    let denied = || SinkError::blocked("401 Unauthorized: token expired");
    let sink = Scripted::new()
        .answers({
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
    until_status(
        &pipeline,
        "sink",
        |status| matches!(&status.state, SinkState::Parked(mishap) if mishap.reason.contains("token expired")),
    )
    .await;
    tokio::time::sleep(Duration::from_secs(300)).await;
    assert_eq!(sink.now().calls.len(), 1, "a parked sink is checked, not tried");
    assert!(sink.now().checks > 5);
    open.store(true, Ordering::SeqCst);
    assert_eq!(sink.until_accepted(20).await, range(1..=20));
    assert_eq!(sink.now().calls[1], [1]);
}

#[tokio::test(start_paused = true)]
async fn a_sink_that_is_blocked_from_the_start_shows_it_before_the_first_event() {
    let sink = Scripted::new().checks(|| Err(SinkError::blocked("no such host")));
    let pipeline = over(&Memory::default()).sink(sink.spec("sink")).start().await.unwrap();
    until_status(
        &pipeline,
        "sink",
        |status| matches!(&status.state, SinkState::Parked(mishap) if mishap.reason == "no such host"),
    )
    .await;
}

#[tokio::test(start_paused = true)]
async fn giving_up_is_only_done_when_told() {
    let memory = Memory::default();
    let sink = Scripted::new().answers(|batch| {
        let is_early = batch.events()[0].seq <= 2;
        Some(if is_early { Err(SinkError::transient("503")) } else { Ok(Receipt::accepted()) })
    });
    let spec =
        sink.spec_with("sink", r#"{"batch":{"max_events":2},"retry":{"give_up_after":"60s"}}"#);
    let pipeline = over(&memory).sink(spec).start().await.unwrap();
    let begun = Instant::now();
    ingest(&pipeline, 1..=4).await;
    assert_eq!(sink.until_accepted(2).await, [3, 4]);
    assert!(begun.elapsed() >= Duration::from_secs(60));
    until_status(&pipeline, "sink", |status| status.pending == 0).await;
    assert_eq!(
        account(&pipeline, "sink").0,
        Account { delivered: 2, dead: 2, ..Account::default() }
    );
    assert_eq!(dead_letters(&memory, &pipeline, "sink")[0]["reason"], "given up: 503");
}

#[tokio::test(start_paused = true)]
async fn a_receipt_names_or_counts_what_was_refused() {
    let memory = Memory::default();
    let sink = Scripted::new().answers(|batch| {
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
async fn an_event_is_no_poison_where_all_others_are_refused_as_well() {
    let named = || Receipt {
        rejected: vec![Rejected { index: 0, reason: "too old".into() }],
        refused: None,
    };
    let counted = || Receipt {
        rejected: vec![],
        refused: Some(Refused { count: 1, reason: "quota".into() }),
    };
    for receipt in [named as fn() -> Receipt, counted] {
        let sink = Scripted::new().answers(move |batch| {
            let is_first = batch.events().iter().any(|envelope| envelope.seq == 1);
            Some(if is_first { Err(SinkError::permanent("400")) } else { Ok(receipt()) })
        });
        let pipeline = over(&Memory::default()).sink(sink.spec("sink")).start().await.unwrap();
        ingest(&pipeline, 1..=2).await;
        until_status(&pipeline, "sink", |status| matches!(status.state, SinkState::Parked(_)))
            .await;
        tokio::time::sleep(Duration::from_secs(60)).await;
        let status = sink_status(&pipeline, "sink");
        assert!(matches!(status.state, SinkState::Parked(_)), "{status:?}");
        assert_eq!((status.position.seq, status.pending), (0, 2));
    }
}

#[tokio::test(start_paused = true)]
async fn a_sink_that_can_not_say_where_it_stands_is_asked_until_it_can() {
    for (error, is_parked) in
        [(SinkError::transient as fn(&'static str) -> SinkError, false), (SinkError::blocked, true)]
    {
        let able = Arc::new(AtomicBool::new(false));
        let sink = Scripted::new().knows_its_position({
            let able = able.clone();
            move || if able.load(Ordering::SeqCst) { Ok(()) } else { Err(error("not now")) }
        });
        let pipeline = over(&Memory::default()).sink(sink.spec("sink")).start().await.unwrap();
        ingest(&pipeline, 1..=2).await;
        until_status(&pipeline, "sink", |status| status.last_error.is_some()).await;
        let state = sink_status(&pipeline, "sink").state;
        assert_eq!(matches!(state, SinkState::Parked(_)), is_parked, "{state:?}");
        assert_eq!(sink.now().calls.len(), 0);
        able.store(true, Ordering::SeqCst);
        assert_eq!(sink.until_accepted(2).await, [1, 2]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_check_that_fails_for_a_moment_parks_nothing() {
    let sink = Scripted::new().checks(|| Err(SinkError::transient("503")));
    let pipeline = over(&Memory::default()).sink(sink.spec("sink")).start().await.unwrap();
    until_status(&pipeline, "sink", |status| status.last_error.is_some()).await;
    assert!(matches!(sink_status(&pipeline, "sink").state, SinkState::Retrying(_)));
    ingest(&pipeline, 1..=1).await;
    assert_eq!(sink.until_accepted(1).await, [1]);
}
