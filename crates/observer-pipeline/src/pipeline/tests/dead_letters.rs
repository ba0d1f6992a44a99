//! Dead letters, sent again and purged.

use std::collections::BTreeSet;

use observer_core::{Event, Timestamp, Uuid};

use super::*;
use crate::{DeadLetterError, DeadLetterSelection, ForgetSinkError, Redelivery};

/// Refuses these events by name until it is mended; what it took is remembered with its bytes.
struct Picky {
    sink: Arc<Scripted>,
    mended: Arc<AtomicBool>,
    bodies: Arc<std::sync::Mutex<Vec<String>>>,
}

fn picky(poison: &'static [u64]) -> Picky {
    let (mended, bodies) =
        (Arc::new(AtomicBool::new(false)), Arc::<std::sync::Mutex<Vec<String>>>::default());
    let sink = Scripted::new().answers({
        let (mended, bodies) = (mended.clone(), bodies.clone());
        move |batch| {
            let mut receipt = Receipt::accepted();
            for (index, envelope) in batch.events().iter().enumerate() {
                if poison.contains(&envelope.seq) && !mended.load(Ordering::SeqCst) {
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
    Picky { sink, mended, bodies }
}

/// A pipeline whose sink has refused some of the events from 1 on.
async fn with_letters(picky: &Picky, memory: &Memory, last: u64, settings: &str) -> Pipeline {
    let pipeline = over(memory).sink(picky.sink.spec_with("sink", settings)).start().await.unwrap();
    ingest(&pipeline, 1..=last).await;
    until_status(&pipeline, "sink", |status| status.pending == 0).await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    pipeline
}

async fn seqs(pipeline: &Pipeline) -> Vec<u64> {
    let page = pipeline.dead_letters("sink", 100, None).await.unwrap();
    assert_eq!(page.total, page.dead_letters.len());
    page.dead_letters.iter().map(|letter| letter.envelope.seq).collect()
}

async fn id(pipeline: &Pipeline, seq: u64) -> Uuid {
    let page = pipeline.dead_letters("sink", 100, None).await.unwrap();
    page.dead_letters.iter().find(|letter| letter.envelope.seq == seq).unwrap().envelope.id
}

#[tokio::test(start_paused = true)]
async fn letters_are_listed_by_pages_with_the_newest_event_first() {
    let picky = picky(&[2, 3, 5, 8, 9]);
    let pipeline = with_letters(&picky, &Memory::default(), 10, "{}").await;
    let (mut cursor, mut pages) = (None, Vec::new());
    loop {
        let page = pipeline.dead_letters("sink", 2, cursor).await.unwrap();
        assert_eq!(page.total, 5);
        pages.push(page.dead_letters.iter().map(|letter| letter.envelope.seq).collect::<Vec<_>>());
        match page.next {
            // As a client has it.
            Some(next) => cursor = Some(next.to_string().parse().unwrap()),
            None => break,
        }
    }
    assert_eq!(pages, [vec![9, 8], vec![5, 3], vec![2]]);
    let letter = pipeline.dead_letter("sink", id(&pipeline, 5).await).await.unwrap().unwrap();
    assert_eq!((&*letter.reason, letter.attempts), ("422 for 5", 1));
    assert_eq!(letter.envelope.event.cycle_id(), Some("c5"));
    assert_eq!(pipeline.dead_letter("sink", Uuid::nil()).await.unwrap(), None);
    for unknown in ["other", "../j", ""] {
        let answer = pipeline.dead_letters(unknown, 1, None).await;
        assert!(matches!(answer, Err(DeadLetterError::UnknownSink { .. })), "{unknown}");
    }
}

#[tokio::test(start_paused = true)]
async fn letters_go_to_their_sink_alone_in_order_and_are_gone_then() {
    let picky = picky(&[2, 3, 5]);
    let memory = Memory::default();
    let other = Scripted::new();
    let pipeline = with_letters(&picky, &memory, 6, r#"{"batch":{"max_events":2}}"#).await;
    pipeline.add_sink(other.spec("other")).unwrap();
    let (account, flushes) = (account(&pipeline, "sink"), picky.sink.now().flushes);
    picky.mended.store(true, Ordering::SeqCst);
    let replayed =
        pipeline.redeliver_dead_letters("sink", DeadLetterSelection::All, None).await.unwrap();
    assert_eq!(replayed, Redelivery { redelivered: 3, ..Redelivery::default() });
    assert_eq!(picky.sink.now().accepted, [1, 4, 6, 2, 3, 5]);
    assert!(picky.sink.now().flushes > flushes, "it was made durable before the letters went");
    assert_eq!(seqs(&pipeline).await, [0; 0]);
    let status = sink_status(&pipeline, "sink");
    assert_eq!((status.account, status.pending), account, "the account is of the journal's events");
    assert_eq!(status.redelivered, 3);
    // The position goes on from where it was.
    ingest(&pipeline, 7..=8).await;
    assert_eq!(picky.sink.until_accepted(8).await[6..], [7, 8]);
    assert_eq!(other.until_accepted(2).await, [7, 8]);
    pipeline.shutdown(DEADLINE).await;
    drop(pipeline);
    let again = Scripted::new();
    let pipeline = over(&memory).sink(again.spec("sink")).start().await.unwrap();
    ingest(&pipeline, 9..=9).await;
    assert_eq!(again.until_accepted(1).await, [9]);
}

#[tokio::test(start_paused = true)]
async fn new_events_have_their_turn_between_letters() {
    let picky = picky(&[1, 2, 3, 4, 5]);
    let pipeline =
        with_letters(&picky, &Memory::default(), 6, r#"{"batch":{"max_events":1}}"#).await;
    picky.mended.store(true, Ordering::SeqCst);
    let replay = pipeline.redeliver_dead_letters("sink", DeadLetterSelection::All, None);
    let new = async {
        picky.sink.until(|script| script.accepted.contains(&1)).await;
        ingest(&pipeline, 7..=7).await;
    };
    let (replayed, ()) = tokio::join!(replay, new);
    assert_eq!(replayed.unwrap().redelivered, 5);
    let accepted = picky.sink.until_accepted(7).await;
    let at = |seq| accepted.iter().position(|accepted| *accepted == seq).unwrap();
    assert!(at(7) < at(5), "{accepted:?}");
    assert_eq!(account(&pipeline, "sink").1, 0);
}

#[tokio::test(start_paused = true)]
async fn what_is_refused_again_stays_and_is_told() {
    let picky = picky(&[2, 3]);
    let pipeline = with_letters(&picky, &Memory::default(), 4, "{}").await;
    let (two, nobody) = (id(&pipeline, 2).await, Uuid::from_u128(7));
    let which = DeadLetterSelection::Ids([two, nobody].into());
    let replayed = pipeline.redeliver_dead_letters("sink", which, None).await.unwrap();
    assert_eq!(replayed.redelivered, 0);
    assert_eq!(replayed.rejected, [(two, "422 for 2".to_owned())]);
    assert_eq!((replayed.missing, replayed.stopped), (vec![nobody], None));
    assert_eq!(seqs(&pipeline).await, [3, 2]);
}

#[tokio::test(start_paused = true)]
async fn an_edited_event_goes_under_the_same_identity() {
    let picky = picky(&[2, 3]);
    let pipeline = with_letters(&picky, &Memory::default(), 4, "{}").await;
    picky.mended.store(true, Ordering::SeqCst);
    let edited =
        || Some(Event::parse(r#"{"source":"mended","event_kind":"k","ok":true}"#).unwrap());
    let all = pipeline.redeliver_dead_letters("sink", DeadLetterSelection::All, edited()).await;
    assert!(matches!(all, Err(DeadLetterError::EditNeedsOneId)), "{all:?}");
    let letter = pipeline.dead_letter("sink", id(&pipeline, 3).await).await.unwrap().unwrap();
    let which = DeadLetterSelection::Ids([letter.envelope.id].into());
    assert_eq!(
        pipeline.redeliver_dead_letters("sink", which, edited()).await.unwrap().redelivered,
        1
    );
    let body = picky.bodies.lock().unwrap().last().unwrap().clone();
    let original = letter.envelope.to_json();
    let (head, _) = original.split_once("\"event\":").unwrap();
    assert_eq!(
        body,
        format!(r#"{head}"event":{{"source":"mended","event_kind":"k","ok":true}}}}"#)
    );
    assert_eq!(seqs(&pipeline).await, [2]);
}

#[tokio::test(start_paused = true)]
async fn a_flush_that_fails_leaves_the_letters_where_they_are() {
    let picky = picky(&[2]);
    let flushing = Arc::new(AtomicBool::new(true));
    let works = flushing.clone();
    let _ = picky.sink.clone().flushes(move || {
        if works.load(Ordering::SeqCst) {
            Ok(())
        } else {
            Err(SinkError::transient("the disk says no"))
        }
    });
    let pipeline = with_letters(&picky, &Memory::default(), 3, "{}").await;
    picky.mended.store(true, Ordering::SeqCst);
    flushing.store(false, Ordering::SeqCst);
    let failed = pipeline.redeliver_dead_letters("sink", DeadLetterSelection::All, None).await;
    let reason = failed.unwrap_err().to_string();
    assert!(reason.contains("the disk says no"), "{reason}");
    assert_eq!(seqs(&pipeline).await, [2]);
    flushing.store(true, Ordering::SeqCst);
    until_replayed(&pipeline).await;
    assert_eq!(picky.sink.now().accepted, [1, 3, 2, 2], "twice rather than never");
    assert_eq!(seqs(&pipeline).await, [0; 0]);
}

/// Until the sink takes its letters.
async fn until_replayed(pipeline: &Pipeline) {
    while pipeline.redeliver_dead_letters("sink", DeadLetterSelection::All, None).await.is_err() {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_sink_that_takes_nothing_is_not_sent_anything_and_nobody_waits() {
    let picky = picky(&[2]);
    let pipeline = with_letters(&picky, &Memory::default(), 3, "{}").await;
    let calls = Arc::new(AtomicUsize::new(0));
    let counted = calls.clone();
    let _ = picky.sink.clone().answers(move |_| {
        counted.fetch_add(1, Ordering::SeqCst);
        Some(Err(SinkError::blocked("401 Unauthorized")))
    });
    let _ = picky.sink.clone().checks(|| Err(SinkError::blocked("401 Unauthorized")));
    ingest(&pipeline, 4..=4).await;
    until_status(&pipeline, "sink", |status| matches!(status.state, SinkState::Parked(_))).await;
    let before = calls.load(Ordering::SeqCst);
    let begun = Instant::now();
    let refused =
        pipeline.redeliver_dead_letters("sink", DeadLetterSelection::All, None).await.unwrap_err();
    assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
    let reason = refused.to_string();
    assert!(
        matches!(refused, DeadLetterError::Unavailable { .. })
            && reason.contains("401 Unauthorized"),
        "{reason}"
    );
    assert_eq!(calls.load(Ordering::SeqCst), before);
    assert_eq!(seqs(&pipeline).await, [2]);
}

#[tokio::test(start_paused = true)]
async fn when_all_is_refused_it_ends_after_a_bounded_number_of_deliveries() {
    let picky = picky(Vec::from_iter(1..=500).leak());
    let pipeline = with_letters(&picky, &Memory::default(), 501, "{}").await;
    let _ = picky.sink.clone().answers(|_| Some(Err(SinkError::permanent("400 Bad Request"))));
    let calls = picky.sink.now().calls.len();
    let replayed =
        pipeline.redeliver_dead_letters("sink", DeadLetterSelection::All, None).await.unwrap();
    assert!(replayed.stopped.unwrap().contains("nothing is accepted: 400 Bad Request"));
    assert!(
        picky.sink.now().calls.len() - calls <= 200,
        "{} deliveries",
        picky.sink.now().calls.len() - calls
    );
    assert_eq!(pipeline.dead_letters("sink", 1, None).await.unwrap().total, 500);
}

#[tokio::test(start_paused = true)]
async fn a_sink_that_keeps_its_position_says_why_it_takes_no_letters() {
    let picky = picky(&[2]);
    let memory = Memory::default();
    let pipeline = with_letters(&picky, &memory, 3, "{}").await;
    pipeline.shutdown(DEADLINE).await;
    picky.sink.now().position = Some(Position { epoch: pipeline.status().epoch, seq: 3 });
    drop(pipeline);
    let pipeline = over(&memory).sink(picky.sink.spec("sink")).start().await.unwrap();
    let refused =
        pipeline.redeliver_dead_letters("sink", DeadLetterSelection::All, None).await.unwrap_err();
    let reason = refused.to_string();
    assert!(
        matches!(refused, DeadLetterError::InOrderOnly { .. }) && reason.contains("position"),
        "{reason}"
    );
    assert_eq!(seqs(&pipeline).await, [2]);
}

#[tokio::test(start_paused = true)]
async fn letters_are_purged_by_id_by_age_or_all() {
    let picky = picky(&[1, 2, 3, 4, 5]);
    let memory = Memory::default();
    let pipeline = with_letters(&picky, &memory, 6, "{}").await;
    let one = DeadLetterSelection::Ids(BTreeSet::from([id(&pipeline, 3).await]));
    assert_eq!(pipeline.purge_dead_letters("sink", one.clone()).await.unwrap(), 1);
    assert_eq!(pipeline.purge_dead_letters("sink", one).await.unwrap(), 0);
    assert_eq!(seqs(&pipeline).await, [5, 4, 2, 1]);
    let long_ago = DeadLetterSelection::Before(Timestamp::UNIX_EPOCH);
    assert_eq!(pipeline.purge_dead_letters("sink", long_ago).await.unwrap(), 0);
    let letter = pipeline.dead_letter("sink", id(&pipeline, 5).await).await.unwrap().unwrap();
    assert_eq!(
        pipeline
            .purge_dead_letters("sink", DeadLetterSelection::Before(letter.dead_at))
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
    assert_eq!(
        account(&pipeline, "sink").0.dead,
        5,
        "they were refused, whatever became of them then"
    );
}

#[tokio::test(start_paused = true)]
async fn only_a_sink_that_is_not_there_is_forgotten() {
    let picky = picky(&[2]);
    let memory = Memory::default();
    let pipeline = with_letters(&picky, &memory, 3, "{}").await;
    let running = pipeline.forget_sink("sink").await;
    assert!(matches!(running, Err(ForgetSinkError::StillRunning { .. })), "{running:?}");
    assert!(pipeline.remove_sink("sink", DEADLINE).await);
    assert_eq!(seqs(&pipeline).await, [2], "they can be looked at without it");
    let replay = pipeline.redeliver_dead_letters("sink", DeadLetterSelection::All, None).await;
    assert!(matches!(replay, Err(DeadLetterError::SinkNotRunning { .. })), "{replay:?}");
    pipeline.forget_sink("sink").await.unwrap();
    assert!(pipeline.status().sinks.is_empty());
    let unknown = pipeline.forget_sink("sink").await;
    assert!(matches!(unknown, Err(ForgetSinkError::UnknownSink { .. })), "{unknown:?}");
    pipeline.shutdown(DEADLINE).await;
    drop(pipeline);
    let pipeline = over(&memory).start().await.unwrap();
    assert!(pipeline.status().sinks.is_empty(), "also after a restart");
}
