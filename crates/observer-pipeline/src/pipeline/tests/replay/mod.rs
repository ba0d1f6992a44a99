//! Replays: order, selection, failures and cancellation.

use std::sync::atomic::AtomicU64;

use observer_core::{Filter, Timestamp};

use super::*;
use crate::{ReplayError, ReplaySelection, ReplayState, ReplayStatus};

mod durability;

fn everything() -> ReplaySelection {
    ReplaySelection { since: Timestamp::UNIX_EPOCH, until: None, filter: Filter::default() }
}

/// Returns the last replay of a sink, after a check of the sum of its account.
#[track_caller]
fn replay(pipeline: &Pipeline, sink: &str) -> ReplayStatus {
    let replay = sink_status(pipeline, sink).replay.expect("the sink has a replay");
    assert_eq!(replay.events, replay.account.resolved() + replay.pending, "{replay:?}");
    replay
}

async fn until_replay(
    pipeline: &Pipeline,
    condition: impl Fn(&ReplayStatus) -> bool,
) -> ReplayStatus {
    while !condition(&replay(pipeline, "sink")) {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    replay(pipeline, "sink")
}

async fn until_done(pipeline: &Pipeline) -> ReplayStatus {
    until_replay(pipeline, |replay| replay.state == ReplayState::Done).await
}

/// Returns a pipeline with the events from 1 to `last`, and a sink that was added after them.
async fn with_late_sink(
    memory: &Memory,
    sink: &Arc<Scripted>,
    last: u64,
    settings: &str,
) -> Pipeline {
    let pipeline = over(memory).start().await.unwrap();
    ingest(&pipeline, 1..=last).await;
    pipeline.add_sink(sink.spec_with("sink", settings)).unwrap();
    until_status(&pipeline, "sink", |status| status.state == SinkState::Running).await;
    pipeline
}

fn below(seqs: &[u64], bound: u64) -> Vec<u64> {
    seqs.iter().copied().filter(|seq| *seq <= bound).collect()
}

fn above(seqs: &[u64], bound: u64) -> Vec<u64> {
    seqs.iter().copied().filter(|seq| *seq > bound).collect()
}

#[tokio::test(start_paused = true)]
async fn late_sink_gets_replayed_and_live_events_each_in_order() {
    let sink = Scripted::new();
    let pipeline =
        with_late_sink(&Memory::default(), &sink, 100, r#"{"batch":{"max_events":7}}"#).await;
    let started = pipeline.start_replay("sink", everything()).await.unwrap();
    assert_eq!(
        (started.state, started.events, started.gone_before),
        (ReplayState::Running, 100, None)
    );
    sink.until_accepted(20).await;
    ingest(&pipeline, 101..=130).await;
    let done = until_done(&pipeline).await;
    assert_eq!((done.account, done.pending), (Account { delivered: 100, ..Account::default() }, 0));
    assert!(done.ended_at.is_some());
    let accepted = sink.until_accepted(130).await;
    assert_eq!(below(&accepted, 100), range(1..=100));
    assert_eq!(above(&accepted, 100), range(101..=130));
    let at = |seq| accepted.iter().position(|accepted| *accepted == seq).unwrap();
    assert!(at(101) < at(100), "live events do not wait for the replay: {accepted:?}");
    let calls = sink.now().calls.clone();
    assert!(calls.iter().all(|call| call.len() <= 7 && call.is_sorted()), "{calls:?}");
    until_status(&pipeline, "sink", |status| status.pending == 0).await;
    assert_eq!(account(&pipeline, "sink"), (Account { delivered: 30, ..Account::default() }, 0));
}

#[tokio::test(start_paused = true)]
async fn replay_continues_while_a_live_batch_lingers() {
    let sink = Scripted::new();
    let settings = r#"{"batch":{"max_events":2,"linger":"10s"}}"#;
    let pipeline = with_late_sink(&Memory::default(), &sink, 60, settings).await;
    pipeline.start_replay("sink", everything()).await.unwrap();
    let started = Instant::now();
    // Each delivery is followed by a new event, so the sink is never idle.
    let (mut number, mut calls) = (60, 0);
    while replay(&pipeline, "sink").pending > 0 {
        number += 1;
        ingest(&pipeline, number..=number).await;
        sink.until(|script| script.calls.len() > calls).await;
        calls = sink.now().calls.len();
        assert!(calls < 200, "{:?}", replay(&pipeline, "sink"));
    }
    assert_eq!(below(&sink.now().accepted, 60), range(1..=60));
    assert!(started.elapsed() < Duration::from_secs(60), "{:?}", started.elapsed());
}

#[tokio::test(start_paused = true)]
async fn replay_does_not_wait_for_a_live_backlog() {
    let sink = Scripted::new();
    let pipeline =
        with_late_sink(&Memory::default(), &sink, 60, r#"{"batch":{"max_events":2}}"#).await;
    pipeline.start_replay("sink", everything()).await.unwrap();
    let backlog =
        pipeline.ingest_batch((61..=460).map(|number| event(number).into()).collect()).await;
    assert!(backlog.iter().all(Result::is_ok));
    let accepted = sink.until_accepted(460).await;
    assert_eq!((below(&accepted, 60), above(&accepted, 60)), (range(1..=60), range(61..=460)));
    let at = |seq| accepted.iter().position(|accepted| *accepted == seq).unwrap();
    assert!(at(60) < at(200), "{accepted:?}");
}

#[tokio::test(start_paused = true)]
async fn replay_delivers_the_selection_within_the_sinks_filter() {
    let memory = Memory::default();
    let now = Arc::new(AtomicU64::new(0));
    let clock = now.clone();
    let options = options(&memory).clock(Arc::new(move || clock.load(Ordering::SeqCst)));
    let pipeline = crate::Pipeline::builder().journal(options).start().await.unwrap();
    for number in 1..=40 {
        now.store(number * 1_000_000, Ordering::SeqCst);
        ingest(&pipeline, number..=number).await;
    }
    let sink = Scripted::new();
    pipeline.add_sink(sink.spec_with("sink", r#"{"filter":{"ok":false}}"#)).unwrap();
    let time = |second| Timestamp::from_second(second).unwrap();
    let filter: Filter =
        serde_json::from_str(r#"{"cycle_id":["c11","c12","c14","c20","c29","c30"]}"#).unwrap();
    let selection = ReplaySelection { since: time(12), until: Some(time(30)), filter };
    pipeline.start_replay("sink", selection.clone()).await.unwrap();
    let done = until_done(&pipeline).await;
    // Odd numbers are successes; 11 is before the range, and 30 at its exclusive end.
    assert_eq!(sink.now().accepted, [12, 14, 20]);
    assert_eq!(done.account, Account { delivered: 3, filtered: 37, ..Account::default() });
    assert_eq!(done.selection, selection);
}

#[tokio::test(start_paused = true)]
async fn failing_event_holds_up_only_the_replay() {
    let repaired = Arc::new(AtomicBool::new(false));
    let is_repaired = repaired.clone();
    let sink = Scripted::new().responds(move |batch| {
        let fails = batch.events().iter().any(|envelope| envelope.seq == 5)
            && !is_repaired.load(Ordering::SeqCst);
        Some(if fails {
            Err(SinkError::transient("503 for five"))
        } else {
            Ok(Receipt::accepted())
        })
    });
    let pipeline =
        with_late_sink(&Memory::default(), &sink, 10, r#"{"batch":{"max_events":1}}"#).await;
    pipeline.start_replay("sink", everything()).await.unwrap();
    let failing = until_replay(&pipeline, |replay| replay.failure.is_some()).await;
    assert_eq!(failing.failure.unwrap().reason, "503 for five");
    let started = Instant::now();
    ingest(&pipeline, 11..=30).await;
    until_status(&pipeline, "sink", |status| status.pending == 0).await;
    assert!(started.elapsed() < Duration::from_secs(10), "{:?}", started.elapsed());
    tokio::time::sleep(Duration::from_secs(600)).await;
    let status = sink_status(&pipeline, "sink");
    assert_eq!(status.state, SinkState::Running);
    assert!((10..100).contains(&status.retried), "pauses grow: {} retries", status.retried);
    assert_eq!((replay(&pipeline, "sink").seq, replay(&pipeline, "sink").pending), (4, 6));
    repaired.store(true, Ordering::SeqCst);
    let done = until_done(&pipeline).await;
    assert_eq!((done.account.delivered, done.failure), (10, None));
    let mut replayed = below(&sink.now().accepted, 10);
    assert_eq!(replayed.last(), Some(&5), "the others do not wait for it: {replayed:?}");
    replayed.sort_unstable();
    assert_eq!(replayed, range(1..=10));
}

#[tokio::test(start_paused = true)]
async fn rejected_events_count_as_dead_in_the_account_of_the_replay() {
    let memory = Memory::default();
    let sink = Scripted::new().responds(|batch| {
        let bad = batch.events().iter().any(|envelope| envelope.seq % 10 == 3);
        Some(if bad { Err(SinkError::permanent("422")) } else { Ok(Receipt::accepted()) })
    });
    let pipeline = with_late_sink(&memory, &sink, 40, "{}").await;
    pipeline.start_replay("sink", everything()).await.unwrap();
    let done = until_done(&pipeline).await;
    assert_eq!(done.account, Account { delivered: 36, dead: 4, ..Account::default() });
    let dead = dead_letters(&memory, &pipeline, "sink");
    assert_eq!(
        dead.iter().map(|line| &line["envelope"]["seq"]).collect::<Vec<_>>(),
        [3, 13, 23, 33]
    );
    assert_eq!(account(&pipeline, "sink"), (Account::default(), 0));
}

#[tokio::test(start_paused = true)]
async fn replay_waits_while_everything_is_rejected_and_the_sink_continues() {
    let memory = Memory::default();
    let sink = Scripted::new().responds(|batch| {
        let bad = batch.events().iter().any(|envelope| envelope.seq <= 500);
        Some(if bad { Err(SinkError::permanent("422 too old")) } else { Ok(Receipt::accepted()) })
    });
    let pipeline = with_late_sink(&memory, &sink, 500, "{}").await;
    pipeline.start_replay("sink", everything()).await.unwrap();
    let failing = until_replay(&pipeline, |replay| replay.failure.is_some()).await;
    assert_eq!(failing.failure.unwrap().reason, "422 too old");
    tokio::time::sleep(Duration::from_secs(600)).await;
    assert_eq!(replay(&pipeline, "sink").state, ReplayState::Running);
    let calls = sink.now().calls.len();
    assert!(calls < 200, "{calls} deliveries");
    let dead = dead_letters(&memory, &pipeline, "sink").len();
    assert_eq!(dead, 0, "the destination may be at fault");
    let started = Instant::now();
    ingest(&pipeline, 501..=505).await;
    assert_eq!(sink.until_accepted(5).await, range(501..=505));
    assert!(started.elapsed() < Duration::from_secs(1), "{:?}", started.elapsed());
    assert_eq!(sink_status(&pipeline, "sink").state, SinkState::Running);
    // The acceptances of live events are evidence.
    for number in 506..1_000 {
        ingest(&pipeline, number..=number).await;
        tokio::time::sleep(Duration::from_secs(10)).await;
    }
    let done = until_done(&pipeline).await;
    assert_eq!(done.account, Account { dead: 500, ..Account::default() });
}

#[tokio::test(start_paused = true)]
async fn consecutive_poison_events_are_found_in_a_replay() {
    let sink = Scripted::new().responds(|batch| {
        let bad = batch.events().iter().any(|envelope| (5..=14).contains(&envelope.seq));
        Some(if bad { Err(SinkError::permanent("422")) } else { Ok(Receipt::accepted()) })
    });
    let pipeline =
        with_late_sink(&Memory::default(), &sink, 40, r#"{"batch":{"max_events":5}}"#).await;
    let from_five = ReplaySelection {
        filter: serde_json::from_str(r#"{"cycle_id":["c5","c6","c7","c30"]}"#).unwrap(),
        ..everything()
    };
    pipeline.start_replay("sink", from_five).await.unwrap();
    assert_eq!(until_done(&pipeline).await.account.dead, 3);
    pipeline.start_replay("sink", everything()).await.unwrap();
    let done = until_done(&pipeline).await;
    assert_eq!((done.account.delivered, done.account.dead), (30, 10));
}

/// Returns a copy of the files, as a process finds them after a kill.
fn after_kill(memory: &Memory) -> Memory {
    let copy = Memory::default();
    for dir in ["j", "j/dead-letters/sink"] {
        for name in memory.list(dir.as_ref()).unwrap() {
            let path = std::path::Path::new(dir).join(name);
            let file = memory.open(&path, OpenMode::Read).unwrap();
            let mut bytes = vec![0; usize::try_from(file.size().unwrap()).unwrap()];
            file.read_at(&mut bytes, 0).unwrap();
            copy.open(&path, OpenMode::Create).unwrap().write_at(&bytes, 0).unwrap();
        }
    }
    copy
}

#[tokio::test(start_paused = true)]
async fn one_replay_runs_at_a_time_and_can_be_cancelled_while_the_sink_is_parked() {
    let memory = Memory::default();
    let sink = Scripted::new().responds(|_| Some(Err(SinkError::blocked("401"))));
    let _ = sink.clone().checks(|| Err(SinkError::blocked("401")));
    let pipeline = over(&memory).start().await.unwrap();
    ingest(&pipeline, 1..=10).await;
    let _ = sink.clone().checks(|| Ok(()));
    pipeline.add_sink(sink.spec("sink")).unwrap();
    let none = pipeline.cancel_replay("sink").await;
    assert!(matches!(none, Err(ReplayError::NoReplay { .. })), "{none:?}");
    pipeline.start_replay("sink", everything()).await.unwrap();
    let _ = sink.clone().checks(|| Err(SinkError::blocked("401")));
    until_status(&pipeline, "sink", |status| matches!(status.state, SinkState::Parked(_))).await;
    let parked = pipeline.start_replay("sink", everything()).await.unwrap_err();
    assert!(
        matches!(&parked, ReplayError::Unavailable { reason } if reason.contains("401")),
        "{parked}"
    );
    assert_eq!(pipeline.cancel_replay("sink").await.unwrap().state, ReplayState::Cancelled);
    let copy = after_kill(&memory);
    let _ = sink.clone().checks(|| Ok(())).responds(|_| Some(Ok(Receipt::accepted())));
    until_status(&pipeline, "sink", |status| status.state == SinkState::Running).await;
    tokio::time::sleep(Duration::from_secs(100)).await;
    assert_eq!(sink.now().accepted.len(), 0);
    assert_eq!(replay(&pipeline, "sink").state, ReplayState::Cancelled);
    // The next replay can start, but no second one beside it.
    let (failing, calls) = (Arc::new(AtomicBool::new(true)), sink.now().calls.len());
    let is_failing = failing.clone();
    let _ = sink.clone().responds(move |_| {
        Some(if is_failing.load(Ordering::SeqCst) {
            Err(SinkError::transient("503"))
        } else {
            Ok(Receipt::accepted())
        })
    });
    pipeline.start_replay("sink", everything()).await.unwrap();
    sink.until(|script| script.calls.len() > calls).await;
    let busy = pipeline.start_replay("sink", everything()).await.unwrap_err().to_string();
    assert!(busy.contains("0 of 10 events done"), "{busy}");
    failing.store(false, Ordering::SeqCst);
    assert_eq!(until_done(&pipeline).await.account.delivered, 10);

    let again = Scripted::new();
    let pipeline = over(&copy).sink(again.spec("sink")).start().await.unwrap();
    until_status(&pipeline, "sink", |status| status.state == SinkState::Running).await;
    tokio::time::sleep(Duration::from_secs(100)).await;
    assert_eq!(again.now().accepted.len(), 0, "the replay stays cancelled");
}

#[tokio::test(start_paused = true)]
async fn replay_to_a_sink_with_its_own_position_fails_with_the_reason() {
    let memory = Memory::default();
    let sink = Scripted::new();
    let pipeline = with_late_sink(&memory, &sink, 10, "{}").await;
    let unknown = pipeline.start_replay("other", everything()).await;
    assert!(matches!(unknown, Err(ReplayError::UnknownSink { .. })), "{unknown:?}");
    assert!(pipeline.remove_sink("sink", DEADLINE).await);
    let removed = pipeline.start_replay("sink", everything()).await;
    assert!(matches!(removed, Err(ReplayError::SinkNotRunning { .. })), "{removed:?}");
    sink.now().position = Some(Position { epoch: pipeline.status().epoch, seq: 10 });
    pipeline.add_sink(sink.spec("sink")).unwrap();
    until_status(&pipeline, "sink", |status| status.state == SinkState::Running).await;
    let error = pipeline.start_replay("sink", everything()).await.unwrap_err();
    let reason = error.to_string();
    assert!(
        matches!(error, ReplayError::ReplayUnsupported { .. }) && reason.contains("position"),
        "{reason}"
    );
    assert_eq!(sink_status(&pipeline, "sink").replay, None);
    // The same holds while the sink is parked, since a later attempt would fail, too.
    let _ = sink
        .clone()
        .responds(|_| Some(Err(SinkError::blocked("401"))))
        .checks(|| Err(SinkError::blocked("401")));
    ingest(&pipeline, 11..=11).await;
    until_status(&pipeline, "sink", |status| matches!(status.state, SinkState::Parked(_))).await;
    let error = pipeline.start_replay("sink", everything()).await.unwrap_err();
    assert!(matches!(error, ReplayError::ReplayUnsupported { .. }), "{error}");
}

#[tokio::test(start_paused = true)]
async fn replay_stops_when_its_sink_keeps_its_own_position_after_a_restart() {
    let memory = Memory::default();
    let sink = Scripted::new().responds(|_| Some(Err(SinkError::transient("503"))));
    let pipeline = with_late_sink(&memory, &sink, 10, "{}").await;
    pipeline.start_replay("sink", everything()).await.unwrap();
    pipeline.shutdown(Duration::ZERO).await;
    let epoch = pipeline.status().epoch;
    drop(pipeline);
    let sink = Scripted::new();
    sink.now().position = Some(Position { epoch, seq: 10 });
    let pipeline = over(&memory).sink(sink.spec("sink")).start().await.unwrap();
    let stopped = until_replay(&pipeline, |replay| replay.state == ReplayState::Stopped).await;
    assert!(stopped.failure.unwrap().reason.contains("position"));
    assert_eq!(sink.now().calls.len(), 0);
}

#[tokio::test(start_paused = true)]
async fn forgetting_a_sink_forgets_its_replay() {
    let memory = Memory::default();
    let sink = Scripted::new().responds(|_| Some(Err(SinkError::transient("503"))));
    let pipeline = with_late_sink(&memory, &sink, 10, "{}").await;
    pipeline.start_replay("sink", everything()).await.unwrap();
    assert!(pipeline.remove_sink("sink", Duration::ZERO).await);
    assert_eq!(
        replay(&pipeline, "sink").state,
        ReplayState::Running,
        "the replay of a removed sink stays running"
    );
    pipeline.forget_sink("sink").await.unwrap();
    assert!(pipeline.status().sinks.is_empty());
    let again = Scripted::new();
    pipeline.add_sink(again.spec("sink")).unwrap();
    until_status(&pipeline, "sink", |status| status.state == SinkState::Running).await;
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert_eq!((sink_status(&pipeline, "sink").replay, again.now().calls.len()), (None, 0));
}
