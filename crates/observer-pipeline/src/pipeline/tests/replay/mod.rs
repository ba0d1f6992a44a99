//! Replays: the past comes to a sink, in order, and nothing else suffers.

use std::sync::atomic::AtomicU64;

use observer_core::{Filter, Timestamp};

use super::*;
use crate::{ReplayError, ReplaySelection, ReplayState, ReplayStatus};

mod kept;

fn all() -> ReplaySelection {
    ReplaySelection { since: Timestamp::UNIX_EPOCH, until: None, filter: Filter::default() }
}

/// The last replay of a sink, whose account has to close.
#[track_caller]
fn replay(pipeline: &Pipeline, sink: &str) -> ReplayStatus {
    let replay = sink_status(pipeline, sink).replay.expect("there was one");
    assert_eq!(replay.events, replay.account.settled() + replay.pending, "{replay:?}");
    replay
}

async fn until_replay(pipeline: &Pipeline, what: impl Fn(&ReplayStatus) -> bool) -> ReplayStatus {
    while !what(&replay(pipeline, "sink")) {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    replay(pipeline, "sink")
}

async fn until_done(pipeline: &Pipeline) -> ReplayStatus {
    until_replay(pipeline, |replay| replay.state == ReplayState::Done).await
}

/// A pipeline with events from 1 on, and a sink that was added after them.
async fn with_past(memory: &Memory, sink: &Arc<Scripted>, last: u64, settings: &str) -> Pipeline {
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
async fn a_sink_that_was_added_later_gets_the_past_in_order_and_what_is_new_beside_it() {
    let sink = Scripted::new();
    let pipeline = with_past(&Memory::default(), &sink, 100, r#"{"batch":{"max_events":7}}"#).await;
    let begun = pipeline.start_replay("sink", all()).await.unwrap();
    assert_eq!((begun.state, begun.events, begun.gone_before), (ReplayState::Running, 100, None));
    sink.until_accepted(20).await;
    ingest(&pipeline, 101..=130).await;
    let done = until_done(&pipeline).await;
    assert_eq!((done.account, done.pending), (Account { delivered: 100, ..Account::default() }, 0));
    assert!(done.ended_at.is_some());
    let accepted = sink.until_accepted(130).await;
    assert_eq!(below(&accepted, 100), range(1..=100));
    assert_eq!(above(&accepted, 100), range(101..=130));
    let at = |seq| accepted.iter().position(|accepted| *accepted == seq).unwrap();
    assert!(at(101) < at(100), "what is new does not wait for the past: {accepted:?}");
    let calls = sink.now().calls.clone();
    assert!(calls.iter().all(|call| call.len() <= 7 && call.is_sorted()), "{calls:?}");
    until_status(&pipeline, "sink", |status| status.pending == 0).await;
    assert_eq!(account(&pipeline, "sink"), (Account { delivered: 30, ..Account::default() }, 0));
}

#[tokio::test(start_paused = true)]
async fn the_past_goes_on_while_a_batch_of_new_events_waits_until_it_is_full() {
    let sink = Scripted::new();
    let settings = r#"{"batch":{"max_events":2,"linger":"10s"}}"#;
    let pipeline = with_past(&Memory::default(), &sink, 60, settings).await;
    pipeline.start_replay("sink", all()).await.unwrap();
    let begun = Instant::now();
    // One more with each delivery: the sink is never idle.
    let (mut number, mut calls) = (60, 0);
    while replay(&pipeline, "sink").pending > 0 {
        number += 1;
        ingest(&pipeline, number..=number).await;
        sink.until(|script| script.calls.len() > calls).await;
        calls = sink.now().calls.len();
        assert!(calls < 200, "{:?}", replay(&pipeline, "sink"));
    }
    assert_eq!(below(&sink.now().accepted, 60), range(1..=60));
    assert!(begun.elapsed() < Duration::from_secs(60), "{:?}", begun.elapsed());
}

#[tokio::test(start_paused = true)]
async fn the_past_does_not_wait_for_a_backlog_of_new_events() {
    let sink = Scripted::new();
    let pipeline = with_past(&Memory::default(), &sink, 60, r#"{"batch":{"max_events":2}}"#).await;
    pipeline.start_replay("sink", all()).await.unwrap();
    let backlog =
        pipeline.ingest_batch((61..=460).map(|number| event(number).into()).collect()).await;
    assert!(backlog.iter().all(Result::is_ok));
    let accepted = sink.until_accepted(460).await;
    assert_eq!((below(&accepted, 60), above(&accepted, 60)), (range(1..=60), range(61..=460)));
    let at = |seq| accepted.iter().position(|accepted| *accepted == seq).unwrap();
    assert!(at(60) < at(200), "{accepted:?}");
}

#[tokio::test(start_paused = true)]
async fn only_what_was_asked_for_comes_and_the_sinks_own_filter_holds() {
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
    let past = ReplaySelection { since: time(12), until: Some(time(30)), filter };
    pipeline.start_replay("sink", past.clone()).await.unwrap();
    let done = until_done(&pipeline).await;
    // Odd numbers are successes, 11 came before and 30 at the end of the time.
    assert_eq!(sink.now().accepted, [12, 14, 20]);
    assert_eq!(done.account, Account { delivered: 3, filtered: 37, ..Account::default() });
    assert_eq!(done.selection, past);
}

#[tokio::test(start_paused = true)]
async fn an_old_event_that_fails_holds_up_the_replay_and_nothing_else() {
    let mended = Arc::new(AtomicBool::new(false));
    let works = mended.clone();
    let sink = Scripted::new().answers(move |batch| {
        let fails = batch.events().iter().any(|envelope| envelope.seq == 5)
            && !works.load(Ordering::SeqCst);
        Some(if fails {
            Err(SinkError::transient("503 for five"))
        } else {
            Ok(Receipt::accepted())
        })
    });
    let pipeline = with_past(&Memory::default(), &sink, 10, r#"{"batch":{"max_events":1}}"#).await;
    pipeline.start_replay("sink", all()).await.unwrap();
    let held_up = until_replay(&pipeline, |replay| replay.failure.is_some()).await;
    assert_eq!(held_up.failure.unwrap().reason, "503 for five");
    let begun = Instant::now();
    ingest(&pipeline, 11..=30).await;
    until_status(&pipeline, "sink", |status| status.pending == 0).await;
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    tokio::time::sleep(Duration::from_secs(600)).await;
    let status = sink_status(&pipeline, "sink");
    assert_eq!(status.state, SinkState::Running);
    assert!((10..100).contains(&status.retried), "with pauses that grow: {}", status.retried);
    assert_eq!((replay(&pipeline, "sink").seq, replay(&pipeline, "sink").pending), (4, 6));
    mended.store(true, Ordering::SeqCst);
    let done = until_done(&pipeline).await;
    assert_eq!((done.account.delivered, done.failure), (10, None));
    assert_eq!(below(&sink.now().accepted, 10), range(1..=10));
}

#[tokio::test(start_paused = true)]
async fn what_is_refused_of_the_past_becomes_dead_letters_of_the_replays_account() {
    let memory = Memory::default();
    let sink = Scripted::new().answers(|batch| {
        let bad = batch.events().iter().any(|envelope| envelope.seq % 10 == 3);
        Some(if bad { Err(SinkError::permanent("422")) } else { Ok(Receipt::accepted()) })
    });
    let pipeline = with_past(&memory, &sink, 40, "{}").await;
    pipeline.start_replay("sink", all()).await.unwrap();
    let done = until_done(&pipeline).await;
    assert_eq!(done.account, Account { delivered: 36, dead: 4, ..Account::default() });
    let letters = dead_letters(&memory, &pipeline, "sink");
    assert_eq!(
        letters.iter().map(|letter| &letter["envelope"]["seq"]).collect::<Vec<_>>(),
        [3, 13, 23, 33]
    );
    assert_eq!(account(&pipeline, "sink"), (Account::default(), 0));
}

#[tokio::test(start_paused = true)]
async fn when_all_of_the_past_is_refused_the_replay_stops_and_the_sink_goes_on() {
    let memory = Memory::default();
    let sink = Scripted::new().answers(|batch| {
        let bad = batch.events().iter().any(|envelope| envelope.seq <= 500);
        Some(if bad { Err(SinkError::permanent("422 too old")) } else { Ok(Receipt::accepted()) })
    });
    let pipeline = with_past(&memory, &sink, 500, "{}").await;
    pipeline.start_replay("sink", all()).await.unwrap();
    let stopped = until_replay(&pipeline, |replay| replay.state != ReplayState::Running).await;
    assert_eq!(
        (stopped.state, stopped.account, stopped.pending),
        (ReplayState::Stopped, Account::default(), 500)
    );
    assert_eq!(stopped.failure.unwrap().reason, "nothing is accepted: 422 too old");
    let calls = sink.now().calls.len();
    assert!(calls < 500, "{calls} deliveries");
    assert_eq!(dead_letters(&memory, &pipeline, "sink").len(), 0, "it may be the sink's fault");
    ingest(&pipeline, 501..=505).await;
    assert_eq!(sink.until_accepted(5).await, range(501..=505));
    // A single event has no neighbours either.
    let one =
        ReplaySelection { filter: serde_json::from_str(r#"{"cycle_id":"c7"}"#).unwrap(), ..all() };
    pipeline.start_replay("sink", one).await.unwrap();
    until_replay(&pipeline, |replay| replay.state == ReplayState::Stopped).await;
    assert_eq!(sink_status(&pipeline, "sink").state, SinkState::Running);
}

#[tokio::test(start_paused = true)]
async fn a_poison_event_is_found_among_the_past_even_if_many_stand_together() {
    let sink = Scripted::new().answers(|batch| {
        let bad = batch.events().iter().any(|envelope| (5..=14).contains(&envelope.seq));
        Some(if bad { Err(SinkError::permanent("422")) } else { Ok(Receipt::accepted()) })
    });
    let pipeline = with_past(&Memory::default(), &sink, 40, r#"{"batch":{"max_events":5}}"#).await;
    let from_five = ReplaySelection {
        filter: serde_json::from_str(r#"{"cycle_id":["c5","c6","c7","c30"]}"#).unwrap(),
        ..all()
    };
    pipeline.start_replay("sink", from_five).await.unwrap();
    assert_eq!(until_done(&pipeline).await.account.dead, 3);
    pipeline.start_replay("sink", all()).await.unwrap();
    let done = until_done(&pipeline).await;
    assert_eq!((done.account.delivered, done.account.dead), (30, 10));
}

/// The files as they are, for a process that finds them after this one was killed.
fn killed(memory: &Memory) -> Memory {
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
async fn there_is_one_replay_at_a_time_and_it_can_be_ended_whatever_its_sink_does() {
    let memory = Memory::default();
    let sink = Scripted::new().answers(|_| Some(Err(SinkError::blocked("401"))));
    let _ = sink.clone().checks(|| Err(SinkError::blocked("401")));
    let pipeline = over(&memory).start().await.unwrap();
    ingest(&pipeline, 1..=10).await;
    let _ = sink.clone().checks(|| Ok(()));
    pipeline.add_sink(sink.spec("sink")).unwrap();
    let none = pipeline.cancel_replay("sink").await;
    assert!(matches!(none, Err(ReplayError::NoReplay { .. })), "{none:?}");
    pipeline.start_replay("sink", all()).await.unwrap();
    let _ = sink.clone().checks(|| Err(SinkError::blocked("401")));
    until_status(&pipeline, "sink", |status| matches!(status.state, SinkState::Parked(_))).await;
    let parked = pipeline.start_replay("sink", all()).await.unwrap_err();
    assert!(
        matches!(&parked, ReplayError::Unavailable { reason } if reason.contains("401")),
        "{parked}"
    );
    assert_eq!(pipeline.cancel_replay("sink").await.unwrap().state, ReplayState::Cancelled);
    let copy = killed(&memory);
    let _ = sink.clone().checks(|| Ok(())).answers(|_| Some(Ok(Receipt::accepted())));
    until_status(&pipeline, "sink", |status| status.state == SinkState::Running).await;
    tokio::time::sleep(Duration::from_secs(100)).await;
    assert_eq!(sink.now().accepted.len(), 0);
    assert_eq!(replay(&pipeline, "sink").state, ReplayState::Cancelled);
    // The next one can begin, and no other beside it.
    let (hang, calls) = (Arc::new(AtomicBool::new(true)), sink.now().calls.len());
    let hangs = hang.clone();
    let _ = sink.clone().answers(move |_| {
        Some(if hangs.load(Ordering::SeqCst) {
            Err(SinkError::transient("503"))
        } else {
            Ok(Receipt::accepted())
        })
    });
    pipeline.start_replay("sink", all()).await.unwrap();
    sink.until(|script| script.calls.len() > calls).await;
    let busy = pipeline.start_replay("sink", all()).await.unwrap_err().to_string();
    assert!(busy.contains("past 0 of 10 events"), "{busy}");
    hang.store(false, Ordering::SeqCst);
    assert_eq!(until_done(&pipeline).await.account.delivered, 10);

    let again = Scripted::new();
    let pipeline = over(&copy).sink(again.spec("sink")).start().await.unwrap();
    until_status(&pipeline, "sink", |status| status.state == SinkState::Running).await;
    tokio::time::sleep(Duration::from_secs(100)).await;
    assert_eq!(again.now().accepted.len(), 0, "it stays ended");
}

#[tokio::test(start_paused = true)]
async fn sinks_that_can_not_take_the_past_say_why() {
    let memory = Memory::default();
    let sink = Scripted::new();
    let pipeline = with_past(&memory, &sink, 10, "{}").await;
    let nobody = pipeline.start_replay("other", all()).await;
    assert!(matches!(nobody, Err(ReplayError::UnknownSink { .. })), "{nobody:?}");
    assert!(pipeline.remove_sink("sink", DEADLINE).await);
    let gone = pipeline.start_replay("sink", all()).await;
    assert!(matches!(gone, Err(ReplayError::SinkNotRunning { .. })), "{gone:?}");
    sink.now().position = Some(Position { epoch: pipeline.status().epoch, seq: 10 });
    pipeline.add_sink(sink.spec("sink")).unwrap();
    until_status(&pipeline, "sink", |status| status.state == SinkState::Running).await;
    let refused = pipeline.start_replay("sink", all()).await.unwrap_err();
    let reason = refused.to_string();
    assert!(
        matches!(refused, ReplayError::InOrderOnly { .. }) && reason.contains("position"),
        "{reason}"
    );
    assert_eq!(sink_status(&pipeline, "sink").replay, None);
    // The same while it is parked: to come back later would be no use.
    let _ = sink
        .clone()
        .answers(|_| Some(Err(SinkError::blocked("401"))))
        .checks(|| Err(SinkError::blocked("401")));
    ingest(&pipeline, 11..=11).await;
    until_status(&pipeline, "sink", |status| matches!(status.state, SinkState::Parked(_))).await;
    let refused = pipeline.start_replay("sink", all()).await.unwrap_err();
    assert!(matches!(refused, ReplayError::InOrderOnly { .. }), "{refused}");
}

#[tokio::test(start_paused = true)]
async fn a_replay_of_a_sink_that_keeps_its_position_by_now_stops_with_the_reason() {
    let memory = Memory::default();
    let sink = Scripted::new().answers(|_| Some(Err(SinkError::transient("503"))));
    let pipeline = with_past(&memory, &sink, 10, "{}").await;
    pipeline.start_replay("sink", all()).await.unwrap();
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
async fn a_sink_that_is_forgotten_takes_its_replay_along() {
    let memory = Memory::default();
    let sink = Scripted::new().answers(|_| Some(Err(SinkError::transient("503"))));
    let pipeline = with_past(&memory, &sink, 10, "{}").await;
    pipeline.start_replay("sink", all()).await.unwrap();
    assert!(pipeline.remove_sink("sink", Duration::ZERO).await);
    assert_eq!(replay(&pipeline, "sink").state, ReplayState::Running, "it would go on");
    pipeline.forget_sink("sink").await.unwrap();
    assert!(pipeline.status().sinks.is_empty());
    let again = Scripted::new();
    pipeline.add_sink(again.spec("sink")).unwrap();
    until_status(&pipeline, "sink", |status| status.state == SinkState::Running).await;
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert_eq!((sink_status(&pipeline, "sink").replay, again.now().calls.len()), (None, 0));
}
