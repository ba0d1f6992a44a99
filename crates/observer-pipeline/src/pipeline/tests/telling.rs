//! What people are told about a pipeline: its status, its log, and what is done at its end.

use std::cell::RefCell;
use std::sync::atomic::AtomicU64;

use async_trait::async_trait;
use observer_core::{Batch, EventSink};
use observer_journal::fs::{Fault, Faulty};
use observer_journal::{Options, Runner};

use super::*;
use crate::{IngestOptions, RejectReason, Requirements};

const HOUR: u64 = 3_600_000_000;

thread_local! {
    /// What was logged on this thread, where the whole pipeline of a test runs, if someone listens.
    static LOG: RefCell<Option<Vec<u8>>> = const { RefCell::new(None) };
}

struct Writer;

impl std::io::Write for Writer {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        LOG.with_borrow_mut(|log| log.as_mut().map_or(Ok(bytes.len()), |log| log.write(bytes)))
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Keep the log of this thread from now on. The subscriber is everyone's: whether there is one is
/// asked once for each line of code, and not by thread.
fn listen() {
    LOG.set(Some(Vec::new()));
    let subscriber = tracing_subscriber::fmt().with_ansi(false).with_writer(|| Writer).finish();
    let _ = tracing::subscriber::set_global_default(subscriber);
}

fn lines_with(text: &str) -> usize {
    LOG.with_borrow(|log| {
        String::from_utf8_lossy(log.as_deref().unwrap_or_default())
            .lines()
            .filter(|line| line.contains(text))
            .count()
    })
}

/// Takes its time to take a batch, and to flush.
struct Slow {
    sink: Arc<Scripted>,
    delivery: Duration,
    flush: Duration,
}

#[async_trait]
impl EventSink for Slow {
    async fn deliver(&self, batch: &Batch) -> Result<Receipt, SinkError> {
        let receipt = self.sink.deliver(batch).await;
        tokio::time::sleep(self.delivery).await;
        receipt
    }

    async fn check(&self) -> Result<(), SinkError> {
        self.sink.check().await
    }

    async fn flush(&self) -> Result<(), SinkError> {
        tokio::time::sleep(self.flush).await;
        self.sink.flush().await
    }

    async fn close(&self) -> Result<(), SinkError> {
        self.sink.close().await
    }
}

fn slow(sink: &Arc<Scripted>, delivery: u64, flush: u64) -> crate::SinkSpec {
    let [delivery, flush] = [delivery, flush].map(Duration::from_secs);
    crate::SinkSpec::new("slow", Arc::new(Slow { sink: sink.clone(), delivery, flush }))
}

#[tokio::test(start_paused = true)]
async fn a_status_says_what_a_sink_is_and_how_it_is_doing_in_one_word() {
    let (sink, gate) = gated();
    let pipeline =
        over(&Memory::default()).sink(sink.spec("sink").kind("http")).start().await.unwrap();
    let word = || sink_status(&pipeline, "sink").state.as_str();
    assert_eq!((sink_status(&pipeline, "sink").kind, word()), ("http".to_owned(), "starting"));
    until_status(&pipeline, "sink", |status| status.state == SinkState::Running).await;
    assert_eq!(word(), "running");
    ingest(&pipeline, 1..=1).await;
    sink.until(|script| !script.calls.is_empty()).await;
    until_status(&pipeline, "sink", |status| status.last_error.is_some()).await;
    assert_eq!(word(), "retrying");
    gate.store(true, Ordering::SeqCst);
    sink.until_accepted(1).await;
    pipeline.stop_sinks(["sink"], DEADLINE).await;
    assert_eq!(word(), "detached");
}

#[tokio::test(start_paused = true)]
async fn the_age_of_the_oldest_event_is_that_of_the_first_one_a_sink_is_not_past() {
    let received_at = Arc::new(AtomicU64::new(0));
    let clock = received_at.clone();
    let now = || u64::try_from(observer_core::Timestamp::now().as_microsecond()).unwrap();
    let sink = Scripted::new()
        .answers(|batch| (batch.events()[0].seq == 1).then(|| Ok(Receipt::accepted())));
    let spec = sink.spec_with("sink", r#"{"batch":{"max_events":1,"linger":"0s"},"timeout":"1h"}"#);
    let options = options(&Memory::default()).clock(Arc::new(move || clock.load(Ordering::SeqCst)));
    let pipeline = Pipeline::builder().journal(options).seed(1).sink(spec).start().await.unwrap();
    until_status(&pipeline, "sink", |status| status.state == SinkState::Running).await;
    let age = || sink_status(&pipeline, "sink").oldest_pending;
    assert_eq!(age(), None);
    received_at.store(now() - 5 * HOUR, Ordering::SeqCst);
    ingest(&pipeline, 1..=1).await;
    assert_eq!(age().unwrap().as_secs() / 3600, 5);
    sink.until_accepted(1).await;
    until_status(&pipeline, "sink", |status| status.pending == 0).await;
    assert_eq!(age(), None);
    for (number, hours) in [(2, 2), (3, 1)] {
        received_at.store(now() - hours * HOUR, Ordering::SeqCst);
        ingest(&pipeline, number..=number).await;
    }
    sink.until(|script| script.calls.len() == 2).await;
    assert_eq!(age().unwrap().as_secs() / 3600, 2);
}

#[tokio::test(start_paused = true)]
async fn what_was_refused_outside_is_counted_with_the_rest() {
    let pipeline = over(&Memory::default()).start().await.unwrap();
    pipeline.count_rejected(RejectReason::TooLarge);
    pipeline.count_rejected(RejectReason::TooLarge);
    assert_eq!(pipeline.status().ingest.rejected[&RejectReason::TooLarge], 2);
}

#[tokio::test(start_paused = true)]
async fn a_pipeline_says_what_its_journal_had_to_get_over() {
    let memory = Memory::default();
    let pipeline = over(&memory).start().await.unwrap();
    assert!(!pipeline.recovery().positions_lost);
    ingest(&pipeline, 1..=3).await;
    pipeline.shutdown(DEADLINE).await;
    drop(pipeline);
    memory.open("j/positions".as_ref(), OpenMode::Write).unwrap().truncate(1).unwrap();
    let pipeline = over(&memory).start().await.unwrap();
    assert!(pipeline.recovery().positions_lost);
}

#[tokio::test(start_paused = true)]
async fn how_events_are_taken_in_is_as_the_builder_was_told() {
    let bot = || Submission::parse(r#"{"source":"bot","event_kind":"ok","ok":true}"#).unwrap();
    let pipeline = over(&Memory::default()).start().await.unwrap();
    pipeline.ingest(bot()).await.unwrap_err();
    let ingest = IngestOptions { require: Requirements::none(), ..IngestOptions::default() };
    let pipeline = over(&Memory::default()).ingest(ingest).start().await.unwrap();
    pipeline.ingest(bot()).await.unwrap();
}

#[tokio::test]
async fn a_pipeline_that_is_told_nothing_has_room_for_many_events() {
    let pipeline = Pipeline::builder().start().await.unwrap();
    ingest(&pipeline, 1..=200).await;
    assert_eq!(pipeline.status().journal.oldest, 1);
}

#[tokio::test(start_paused = true)]
async fn batches_are_as_suits_the_sink_unless_the_operator_says_otherwise() {
    for (settings, expected) in [("{}", 2), (r#"{"batch":{"max_events":3}}"#, 3)] {
        let sink = Scripted::new();
        let suits = serde_json::from_str(r#"{"max_events":2,"linger":"1s"}"#).unwrap();
        let spec = sink.spec_with("sink", settings).batch(suits);
        let pipeline = over(&Memory::default()).sink(spec).start().await.unwrap();
        ingest(&pipeline, 1..=6).await;
        sink.until_accepted(6).await;
        assert!(sink.now().calls.iter().all(|call| call.len() == expected), "{settings}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_sink_that_is_stopped_may_take_its_time_until_the_deadline() {
    let sink = Scripted::new();
    let pipeline = over(&Memory::default()).sink(slow(&sink, 3, 0)).start().await.unwrap();
    ingest(&pipeline, 1..=1).await;
    sink.until_accepted(1).await;
    assert_eq!(pipeline.stop_sinks(["slow", "none"], DEADLINE).await, 1);
    assert_eq!(account(&pipeline, "slow").0, Account { delivered: 1, ..Account::default() });
}

#[tokio::test(start_paused = true)]
async fn a_sink_may_flush_and_close_after_the_deadline_but_not_for_ever() {
    for (flush, flushes) in [(3, 1), (60, 0)] {
        let sink = Scripted::new();
        let pipeline = over(&Memory::default()).sink(slow(&sink, 0, flush)).start().await.unwrap();
        ingest(&pipeline, 1..=1).await;
        sink.until_accepted(1).await;
        let begun = Instant::now();
        pipeline.shutdown(Duration::ZERO).await;
        let script = sink.now();
        assert_eq!((script.flushes, script.closed), (flushes, true), "{flush} s");
        assert!(begun.elapsed() <= Duration::from_secs(5), "{:?}", begun.elapsed());
    }
}

#[tokio::test(start_paused = true)]
async fn only_a_sink_that_is_gone_is_released() {
    let (sink, _) = gated();
    listen();
    let pipeline = Pipeline::builder()
        .journal(options(&Memory::default()).max_size(64 * 1024))
        .sink(sink.spec_with("archive", r#"{"required":true}"#))
        .start()
        .await
        .unwrap();
    pipeline.release_sink("archive");
    let mut number = 0;
    let full = loop {
        number += 1;
        match pipeline.ingest(event(number)).await {
            Ok(_) => assert!(number < 10_000, "the journal takes more than there is room for"),
            Err(error) => break error,
        }
    };
    assert!(full.to_string().contains("`archive` still needs"), "{full}");
    assert!(pipeline.remove_sink("archive", Duration::ZERO).await);
    assert_eq!(sink_status(&pipeline, "archive").state, SinkState::Detached);
    pipeline.ingest(event(number)).await.unwrap();
    assert!(!pipeline.remove_sink("archive", Duration::ZERO).await);
    assert_eq!(lines_with("did not end"), 0);
}

#[tokio::test(start_paused = true)]
async fn a_sink_that_fails_for_long_says_since_when_and_what_was_wrong_last() {
    let mut failures = 0;
    let sink = Scripted::new().answers(move |_| {
        failures += 1;
        Some(if failures < 4 {
            Err(SinkError::transient(format!("no {failures}")))
        } else {
            Ok(Receipt::accepted())
        })
    });
    listen();
    let pipeline = over(&Memory::default()).sink(sink.spec("sink")).start().await.unwrap();
    ingest(&pipeline, 1..=1).await;
    let mut since = None;
    for failure in 1..4 {
        let reason = format!("no {failure}");
        let is_so = |status: &crate::SinkStatus| matches!(&status.state, SinkState::Retrying(now) if now.reason == reason);
        until_status(&pipeline, "sink", is_so).await;
        let SinkState::Retrying(now) = sink_status(&pipeline, "sink").state else {
            panic!("it fails")
        };
        assert_eq!(*since.get_or_insert(now.at), now.at);
    }
    until_status(&pipeline, "sink", |status| status.state == SinkState::Running).await;
    assert_eq!(lines_with("WARN"), 1, "once, and not at every try");
    assert_eq!(lines_with("the sink takes events again"), 1);
}

#[tokio::test(start_paused = true)]
async fn a_parked_sink_stays_parked_until_it_has_taken_something() {
    let sink = Scripted::new().answers({
        let mut calls = 0;
        move |_| {
            calls += 1;
            Some(match calls {
                1 => Err(SinkError::blocked("401 Unauthorized")),
                2 | 3 => Err(SinkError::transient("503 Service Unavailable")),
                _ => Ok(Receipt::accepted()),
            })
        }
    });
    let pipeline = over(&Memory::default()).sink(sink.spec("sink")).start().await.unwrap();
    ingest(&pipeline, 1..=1).await;
    until_status(&pipeline, "sink", |status| matches!(status.state, SinkState::Parked(_))).await;
    until_status(&pipeline, "sink", |status| {
        assert!(matches!(status.state, SinkState::Parked(_)), "{status:?}");
        status.retried == 2
    })
    .await;
    until_status(&pipeline, "sink", |status| status.state == SinkState::Running).await;
}

#[tokio::test(start_paused = true)]
async fn an_event_that_was_refused_by_name_is_no_sign_that_the_others_are_good() {
    let memory = Memory::default();
    let sink = Scripted::new().answers(|batch| {
        let refused_alone = batch.len() == 1 && batch.events()[0].seq == 1;
        let rejected = vec![Rejected { index: 0, reason: "400".into() }];
        Some(if refused_alone {
            Ok(Receipt { rejected, refused: None })
        } else {
            Err(SinkError::permanent("404"))
        })
    });
    let pipeline = over(&memory).sink(sink.spec("sink")).start().await.unwrap();
    ingest(&pipeline, 1..=2).await;
    until_status(&pipeline, "sink", |status| matches!(status.state, SinkState::Parked(_))).await;
    let letters = dead_letters(&memory, &pipeline, "sink");
    assert_eq!(
        letters
            .iter()
            .map(|letter| letter["envelope"]["seq"].as_u64().unwrap())
            .collect::<Vec<_>>(),
        [1]
    );
}

#[tokio::test(start_paused = true)]
async fn a_sink_that_can_not_flush_is_parked_or_tried_again_as_its_error_says() {
    for (error, word) in
        [(SinkError::blocked("disk full"), "parked"), (SinkError::transient("later"), "retrying")]
    {
        let mut errors = Some(error);
        let sink = Scripted::new().flushes(move || errors.take().map_or(Ok(()), Err));
        let pipeline = over(&Memory::default()).sink(sink.spec("sink")).start().await.unwrap();
        ingest(&pipeline, 1..=3).await;
        sink.until(|script| script.flushes == 1).await;
        until_status(&pipeline, "sink", |status| status.last_error.is_some()).await;
        assert_eq!(sink_status(&pipeline, "sink").state.as_str(), word);
        sink.until(|script| script.flushes == 2).await;
        assert_eq!(sink.now().accepted, [range(1..=3), range(1..=3)].concat());
    }
}

#[tokio::test(start_paused = true)]
async fn a_sink_that_refused_an_event_has_not_taken_one() {
    let sink = Scripted::new().answers({
        let mut calls = 0;
        move |_| {
            calls += 1;
            let rejected = vec![Rejected { index: 0, reason: "400".into() }];
            match calls {
                1 => Some(Err(SinkError::blocked("401 Unauthorized"))),
                2 => Some(Ok(Receipt { rejected, refused: None })),
                _ => None,
            }
        }
    });
    let pipeline = over(&Memory::default()).sink(sink.spec("sink")).start().await.unwrap();
    ingest(&pipeline, 1..=2).await;
    sink.until(|script| script.calls.len() == 3).await;
    let status = sink_status(&pipeline, "sink");
    assert!(matches!(status.state, SinkState::Parked(_)) && status.account.dead == 1, "{status:?}");
}

#[tokio::test(start_paused = true)]
async fn a_sink_waits_for_a_full_batch_wherever_it_stands() {
    let sink = Scripted::new();
    let spec = sink.spec_with("sink", r#"{"batch":{"linger":"10s","max_events":10}}"#);
    let pipeline = over(&Memory::default()).sink(spec).start().await.unwrap();
    ingest(&pipeline, 1..=10).await;
    sink.until_accepted(10).await;
    until_status(&pipeline, "sink", |status| status.pending == 0).await;
    ingest(&pipeline, 11..=12).await;
    tokio::time::sleep(Duration::from_secs(5)).await;
    ingest(&pipeline, 13..=13).await;
    sink.until_accepted(13).await;
    assert_eq!(sink.now().calls, [range(1..=10), range(11..=13)]);
}

#[tokio::test(start_paused = true)]
async fn positions_that_can_not_be_stored_are_told_once_and_so_is_their_end() {
    let disk = Faulty::new(1);
    let options = Options::new("j").file_system(disk.clone()).runner(Runner::Caller);
    listen();
    let sink = Scripted::new();
    let pipeline =
        Pipeline::builder().journal(options).seed(1).sink(sink.spec("sink")).start().await.unwrap();
    tokio::time::sleep(Duration::from_secs(3)).await;
    ingest(&pipeline, 1..=1).await;
    let told = || ["positions can't be stored", "positions are stored again"].map(lines_with);
    assert_eq!(told(), [0, 0]);
    let operations = disk.operations();
    for operation in operations..operations + 1000 {
        disk.fail_at(operation, Fault::Error(std::io::ErrorKind::Other));
    }
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!((told(), sink.now().accepted.len()), ([1, 0], 1));
    disk.clear_faults();
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(told(), [1, 1]);
}
