//! Dead letters: listing, redelivery and purging.

use std::collections::BTreeSet;

use observer_core::{Event, Timestamp, Uuid};

use super::*;
use crate::{DeadLetterError, DeadLetterSelection, ForgetSinkError, Redelivery};

/// Sink that rejects some events until it is repaired, and the bodies that it accepted.
struct Rejecting {
    sink: Arc<Scripted>,
    repaired: Arc<AtomicBool>,
    bodies: Arc<std::sync::Mutex<Vec<String>>>,
}

fn rejecting(poison: &'static [u64]) -> Rejecting {
    let (repaired, bodies) =
        (Arc::new(AtomicBool::new(false)), Arc::<std::sync::Mutex<Vec<String>>>::default());
    let sink = Scripted::new().responds({
        let (repaired, bodies) = (repaired.clone(), bodies.clone());
        move |batch| {
            let mut receipt = Receipt::accepted();
            for (index, envelope) in batch.events().iter().enumerate() {
                if poison.contains(&envelope.seq) && !repaired.load(Ordering::SeqCst) {
                    receipt
                        .rejected
                        .push(Rejected { index, reason: format!("422 for {}", envelope.seq) });
                } else {
                    bodies.lock().unwrap().push(envelope.to_json());
                }
            }
            Some(Ok(receipt))
        }
    });
    Rejecting { sink, repaired, bodies }
}

/// Returns a pipeline with the events from 1 to `last`, of which the sink has rejected some.
async fn with_dead_letters(
    rejecting: &Rejecting,
    memory: &Memory,
    last: u64,
    settings: &str,
) -> Pipeline {
    let pipeline =
        over(memory).sink(rejecting.sink.spec_with("sink", settings)).start().await.unwrap();
    ingest(&pipeline, 1..=last).await;
    until_status(&pipeline, "sink", |status| status.pending == 0).await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    pipeline
}

async fn seqs(pipeline: &Pipeline) -> Vec<u64> {
    let page = pipeline.dead_letters("sink", 100, None).await.unwrap();
    assert_eq!(page.total, page.dead_letters.len());
    page.dead_letters.iter().map(|found| found.envelope.seq).collect()
}

async fn id(pipeline: &Pipeline, seq: u64) -> Uuid {
    let page = pipeline.dead_letters("sink", 100, None).await.unwrap();
    page.dead_letters.iter().find(|found| found.envelope.seq == seq).unwrap().envelope.id
}

#[tokio::test(start_paused = true)]
async fn dead_letters_are_listed_in_pages_with_the_newest_event_first() {
    let rejecting = rejecting(&[2, 3, 5, 8, 9]);
    let pipeline = with_dead_letters(&rejecting, &Memory::default(), 10, "{}").await;
    let (mut cursor, mut pages) = (None, Vec::new());
    loop {
        let page = pipeline.dead_letters("sink", 2, cursor).await.unwrap();
        assert_eq!(page.total, 5);
        pages.push(page.dead_letters.iter().map(|found| found.envelope.seq).collect::<Vec<_>>());
        match page.next {
            // Through its text, as a client uses it.
            Some(next) => cursor = Some(next.to_string().parse().unwrap()),
            None => break,
        }
    }
    assert_eq!(pages, [vec![9, 8], vec![5, 3], vec![2]]);
    let dead_letter = pipeline.dead_letter("sink", id(&pipeline, 5).await).await.unwrap().unwrap();
    assert_eq!((&*dead_letter.reason, dead_letter.attempts), ("422 for 5", 1));
    assert_eq!(dead_letter.envelope.event.cycle_id(), Some("c5"));
    assert_eq!(pipeline.dead_letter("sink", Uuid::nil()).await.unwrap(), None);
    for unknown in ["other", "../j", ""] {
        let result = pipeline.dead_letters(unknown, 1, None).await;
        assert!(matches!(result, Err(DeadLetterError::UnknownSink { .. })), "{unknown}");
    }
}

#[tokio::test(start_paused = true)]
async fn redelivered_dead_letters_reach_their_sink_alone_and_are_removed() {
    let rejecting = rejecting(&[2, 3, 5]);
    let memory = Memory::default();
    let other = Scripted::new();
    let pipeline = with_dead_letters(&rejecting, &memory, 6, r#"{"batch":{"max_events":2}}"#).await;
    pipeline.add_sink(other.spec("other")).unwrap();
    let (account, flushes) = (account(&pipeline, "sink"), rejecting.sink.now().flushes);
    rejecting.repaired.store(true, Ordering::SeqCst);
    let redelivery =
        pipeline.redeliver_dead_letters("sink", DeadLetterSelection::All, None).await.unwrap();
    assert_eq!(redelivery, Redelivery { redelivered: 3, ..Redelivery::default() });
    assert_eq!(rejecting.sink.now().accepted, [1, 4, 6, 2, 3, 5]);
    assert!(
        rejecting.sink.now().flushes > flushes,
        "the sink is flushed before the dead letters are removed"
    );
    assert_eq!(seqs(&pipeline).await, [0; 0]);
    let status = sink_status(&pipeline, "sink");
    assert_eq!((status.account, status.pending), account, "redelivery does not change the account");
    assert_eq!(status.redelivered, 3);
    // The position continues from where it was.
    ingest(&pipeline, 7..=8).await;
    assert_eq!(rejecting.sink.until_accepted(8).await[6..], [7, 8]);
    assert_eq!(other.until_accepted(2).await, [7, 8]);
    pipeline.shutdown(DEADLINE).await;
    drop(pipeline);
    let again = Scripted::new();
    let pipeline = over(&memory).sink(again.spec("sink")).start().await.unwrap();
    ingest(&pipeline, 9..=9).await;
    assert_eq!(again.until_accepted(1).await, [9]);
}

#[tokio::test(start_paused = true)]
async fn new_events_are_delivered_during_a_redelivery() {
    let rejecting = rejecting(&[1, 2, 3, 4, 5]);
    let pipeline =
        with_dead_letters(&rejecting, &Memory::default(), 6, r#"{"batch":{"max_events":1}}"#).await;
    rejecting.repaired.store(true, Ordering::SeqCst);
    let redelivery = pipeline.redeliver_dead_letters("sink", DeadLetterSelection::All, None);
    let new = async {
        rejecting.sink.until(|script| script.accepted.contains(&1)).await;
        ingest(&pipeline, 7..=7).await;
    };
    let (redelivery, ()) = tokio::join!(redelivery, new);
    assert_eq!(redelivery.unwrap().redelivered, 5);
    let accepted = rejecting.sink.until_accepted(7).await;
    let at = |seq| accepted.iter().position(|accepted| *accepted == seq).unwrap();
    assert!(at(7) < at(5), "{accepted:?}");
    assert_eq!(account(&pipeline, "sink").1, 0);
}

#[tokio::test(start_paused = true)]
async fn dead_letter_that_is_rejected_again_stays_and_is_reported() {
    let rejecting = rejecting(&[2, 3]);
    let pipeline = with_dead_letters(&rejecting, &Memory::default(), 4, "{}").await;
    let (two, unknown) = (id(&pipeline, 2).await, Uuid::from_u128(7));
    let selection = DeadLetterSelection::Ids([two, unknown].into());
    let redelivery = pipeline.redeliver_dead_letters("sink", selection, None).await.unwrap();
    assert_eq!(redelivery.redelivered, 0);
    assert_eq!(redelivery.rejected, [(two, "422 for 2".to_owned())]);
    assert_eq!((redelivery.missing, redelivery.stopped), (vec![unknown], None));
    assert_eq!(seqs(&pipeline).await, [3, 2]);
}

#[tokio::test(start_paused = true)]
async fn edited_event_is_delivered_under_the_same_identity() {
    let rejecting = rejecting(&[2, 3]);
    let pipeline = with_dead_letters(&rejecting, &Memory::default(), 4, "{}").await;
    rejecting.repaired.store(true, Ordering::SeqCst);
    let edited =
        || Some(Event::parse(r#"{"source":"repaired","event_kind":"k","ok":true}"#).unwrap());
    let all = pipeline.redeliver_dead_letters("sink", DeadLetterSelection::All, edited()).await;
    assert!(matches!(all, Err(DeadLetterError::EditNeedsOneId)), "{all:?}");
    let dead_letter = pipeline.dead_letter("sink", id(&pipeline, 3).await).await.unwrap().unwrap();
    let selection = DeadLetterSelection::Ids([dead_letter.envelope.id].into());
    assert_eq!(
        pipeline.redeliver_dead_letters("sink", selection, edited()).await.unwrap().redelivered,
        1
    );
    let body = rejecting.bodies.lock().unwrap().last().unwrap().clone();
    let original = dead_letter.envelope.to_json();
    let (head, _) = original.split_once("\"event\":").unwrap();
    assert_eq!(
        body,
        format!(r#"{head}"event":{{"source":"repaired","event_kind":"k","ok":true}}}}"#)
    );
    assert_eq!(seqs(&pipeline).await, [2]);
}

#[tokio::test(start_paused = true)]
async fn failed_flush_keeps_the_dead_letters() {
    let rejecting = rejecting(&[2]);
    let flushing = Arc::new(AtomicBool::new(true));
    let flushes = flushing.clone();
    let _ = rejecting.sink.clone().flushes(move || {
        if flushes.load(Ordering::SeqCst) {
            Ok(())
        } else {
            Err(SinkError::transient("disk error"))
        }
    });
    let pipeline = with_dead_letters(&rejecting, &Memory::default(), 3, "{}").await;
    rejecting.repaired.store(true, Ordering::SeqCst);
    flushing.store(false, Ordering::SeqCst);
    let failed = pipeline.redeliver_dead_letters("sink", DeadLetterSelection::All, None).await;
    let reason = failed.unwrap_err().to_string();
    assert!(reason.contains("disk error"), "{reason}");
    assert_eq!(seqs(&pipeline).await, [2]);
    flushing.store(true, Ordering::SeqCst);
    until_redelivered(&pipeline).await;
    assert_eq!(
        rejecting.sink.now().accepted,
        [1, 3, 2, 2],
        "the event is delivered twice rather than lost"
    );
    assert_eq!(seqs(&pipeline).await, [0; 0]);
}

/// Repeats the redelivery until it succeeds.
async fn until_redelivered(pipeline: &Pipeline) {
    while pipeline.redeliver_dead_letters("sink", DeadLetterSelection::All, None).await.is_err() {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn redelivery_to_a_parked_sink_fails_at_once() {
    let rejecting = rejecting(&[2]);
    let pipeline = with_dead_letters(&rejecting, &Memory::default(), 3, "{}").await;
    let calls = Arc::new(AtomicUsize::new(0));
    let counted = calls.clone();
    let _ = rejecting.sink.clone().responds(move |_| {
        counted.fetch_add(1, Ordering::SeqCst);
        Some(Err(SinkError::blocked("401 Unauthorized")))
    });
    let _ = rejecting.sink.clone().checks(|| Err(SinkError::blocked("401 Unauthorized")));
    ingest(&pipeline, 4..=4).await;
    until_status(&pipeline, "sink", |status| matches!(status.state, SinkState::Parked(_))).await;
    let before = calls.load(Ordering::SeqCst);
    let started = Instant::now();
    let error =
        pipeline.redeliver_dead_letters("sink", DeadLetterSelection::All, None).await.unwrap_err();
    assert!(started.elapsed() < Duration::from_secs(1), "{:?}", started.elapsed());
    let reason = error.to_string();
    assert!(
        matches!(error, DeadLetterError::Unavailable { .. }) && reason.contains("401 Unauthorized"),
        "{reason}"
    );
    assert_eq!(calls.load(Ordering::SeqCst), before);
    assert_eq!(seqs(&pipeline).await, [2]);
}

#[tokio::test(start_paused = true)]
async fn redelivery_stops_after_a_bounded_number_of_rejections() {
    let rejecting = rejecting(Vec::from_iter(1..=500).leak());
    let pipeline = with_dead_letters(&rejecting, &Memory::default(), 501, "{}").await;
    let _ = rejecting.sink.clone().responds(|_| Some(Err(SinkError::permanent("400 Bad Request"))));
    let calls = rejecting.sink.now().calls.len();
    let redelivery =
        pipeline.redeliver_dead_letters("sink", DeadLetterSelection::All, None).await.unwrap();
    assert!(redelivery.stopped.unwrap().contains("nothing is accepted: 400 Bad Request"));
    assert!(
        rejecting.sink.now().calls.len() - calls <= 200,
        "{} deliveries",
        rejecting.sink.now().calls.len() - calls
    );
    assert_eq!(pipeline.dead_letters("sink", 1, None).await.unwrap().total, 500);
}

#[tokio::test(start_paused = true)]
async fn redelivery_to_a_sink_with_its_own_position_fails_with_the_reason() {
    let rejecting = rejecting(&[2]);
    let memory = Memory::default();
    let pipeline = with_dead_letters(&rejecting, &memory, 3, "{}").await;
    pipeline.shutdown(DEADLINE).await;
    rejecting.sink.now().position = Some(Position { epoch: pipeline.status().epoch, seq: 3 });
    drop(pipeline);
    let pipeline = over(&memory).sink(rejecting.sink.spec("sink")).start().await.unwrap();
    let error =
        pipeline.redeliver_dead_letters("sink", DeadLetterSelection::All, None).await.unwrap_err();
    let reason = error.to_string();
    assert!(
        matches!(error, DeadLetterError::ReplayUnsupported { .. }) && reason.contains("position"),
        "{reason}"
    );
    assert_eq!(seqs(&pipeline).await, [2]);
}

#[tokio::test(start_paused = true)]
async fn dead_letters_are_purged_by_id_by_time_or_all() {
    let rejecting = rejecting(&[1, 2, 3, 4, 5]);
    let memory = Memory::default();
    let pipeline = with_dead_letters(&rejecting, &memory, 6, "{}").await;
    let one = DeadLetterSelection::Ids(BTreeSet::from([id(&pipeline, 3).await]));
    assert_eq!(pipeline.purge_dead_letters("sink", one.clone()).await.unwrap(), 1);
    assert_eq!(pipeline.purge_dead_letters("sink", one).await.unwrap(), 0);
    assert_eq!(seqs(&pipeline).await, [5, 4, 2, 1]);
    let long_ago = DeadLetterSelection::Before(Timestamp::UNIX_EPOCH);
    assert_eq!(pipeline.purge_dead_letters("sink", long_ago).await.unwrap(), 0);
    let dead_letter = pipeline.dead_letter("sink", id(&pipeline, 5).await).await.unwrap().unwrap();
    assert_eq!(
        pipeline
            .purge_dead_letters("sink", DeadLetterSelection::Before(dead_letter.dead_at))
            .await
            .unwrap(),
        0
    );
    assert_eq!(
        pipeline
            .purge_dead_letters("sink", DeadLetterSelection::Before(Timestamp::MAX))
            .await
            .unwrap(),
        4
    );
    ingest(&pipeline, 7..=8).await;
    until_status(&pipeline, "sink", |status| status.pending == 0).await;
    assert_eq!(pipeline.purge_dead_letters("sink", DeadLetterSelection::All).await.unwrap(), 0);
    assert_eq!(account(&pipeline, "sink").0.dead, 5, "purging does not change the account");
}

#[tokio::test(start_paused = true)]
async fn only_a_removed_sink_can_be_forgotten() {
    let rejecting = rejecting(&[2]);
    let memory = Memory::default();
    let pipeline = with_dead_letters(&rejecting, &memory, 3, "{}").await;
    let running = pipeline.forget_sink("sink").await;
    assert!(matches!(running, Err(ForgetSinkError::StillRunning { .. })), "{running:?}");
    assert!(pipeline.remove_sink("sink", DEADLINE).await);
    assert_eq!(seqs(&pipeline).await, [2], "dead letters of a removed sink can be listed");
    let redelivery = pipeline.redeliver_dead_letters("sink", DeadLetterSelection::All, None).await;
    assert!(matches!(redelivery, Err(DeadLetterError::SinkNotRunning { .. })), "{redelivery:?}");
    pipeline.forget_sink("sink").await.unwrap();
    assert!(pipeline.status().sinks.is_empty());
    let unknown = pipeline.forget_sink("sink").await;
    assert!(matches!(unknown, Err(ForgetSinkError::UnknownSink { .. })), "{unknown:?}");
    pipeline.shutdown(DEADLINE).await;
    drop(pipeline);
    let pipeline = over(&memory).start().await.unwrap();
    assert!(pipeline.status().sinks.is_empty(), "the sink stays forgotten after a restart");
}

#[tokio::test(start_paused = true)]
async fn refused_dead_letter_does_not_stop_the_others() {
    for (error, status) in
        [(SinkError::denied as fn(&'static str) -> SinkError, "403"), (SinkError::failed, "500")]
    {
        let rejecting = rejecting(&[1, 2, 3, 4, 5]);
        let pipeline = with_dead_letters(&rejecting, &Memory::default(), 6, "{}").await;
        let two = id(&pipeline, 2).await;
        let _ = rejecting.sink.clone().responds(move |batch| {
            let is_bad = batch.events().iter().any(|envelope| envelope.seq == 2);
            Some(if is_bad { Err(error(status)) } else { Ok(Receipt::accepted()) })
        });
        let redelivery =
            pipeline.redeliver_dead_letters("sink", DeadLetterSelection::All, None).await.unwrap();
        let expected = Redelivery {
            redelivered: 4,
            rejected: vec![(two, status.to_owned())],
            ..Redelivery::default()
        };
        assert_eq!(redelivery, expected);
        assert_eq!(seqs(&pipeline).await, [2]);
    }
}

#[tokio::test(start_paused = true)]
async fn redelivery_keeps_what_was_accepted_before_a_refusal() {
    let rejecting = rejecting(&[1, 2, 3]);
    let pipeline = with_dead_letters(&rejecting, &Memory::default(), 4, "{}").await;
    let _ = rejecting.sink.clone().responds(|batch| {
        let bad = batch.events().iter().position(|envelope| envelope.seq == 2);
        let refused = |bad: usize| SinkError::denied("403").with_accepted(0..bad);
        Some(bad.map_or(Ok(Receipt::accepted()), |bad| Err(refused(bad))))
    });
    let redelivery =
        pipeline.redeliver_dead_letters("sink", DeadLetterSelection::All, None).await.unwrap();
    assert_eq!((redelivery.redelivered, redelivery.rejected.len()), (2, 1));
    assert_eq!(seqs(&pipeline).await, [2]);
}

#[tokio::test(start_paused = true)]
async fn redelivery_stops_soon_at_an_expired_token() {
    let rejecting = rejecting(Vec::from_iter(1..=100).leak());
    let settings = r#"{"batch":{"max_events":1}}"#;
    let pipeline = with_dead_letters(&rejecting, &Memory::default(), 101, settings).await;
    let _ = rejecting.sink.clone().responds(|_| Some(Err(SinkError::denied("401"))));
    let calls = rejecting.sink.now().calls.len();
    let redelivery =
        pipeline.redeliver_dead_letters("sink", DeadLetterSelection::All, None).await.unwrap();
    assert!(redelivery.stopped.is_some(), "{redelivery:?}");
    let calls = rejecting.sink.now().calls.len() - calls;
    assert!(calls <= 8, "{calls} deliveries");
}
