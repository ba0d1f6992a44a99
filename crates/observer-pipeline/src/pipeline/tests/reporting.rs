//! Status and log of a pipeline, and the end of its sinks.

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
    /// Log of this thread, on which the whole pipeline of a test runs; `None` if it is not
    /// captured.
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

/// Captures the log of this thread from now on. The subscriber is global, since `tracing` caches
/// the interest in a call site for all threads.
fn capture_log() {
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

/// Sink whose deliveries and flushes take some time.
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
async fn status_has_the_type_and_the_state_of_a_sink() {
    let (sink, gate) = gated();
    let pipeline =
        over(&Memory::default()).sink(sink.spec("sink").kind("http")).start().await.unwrap();
    let state = || sink_status(&pipeline, "sink").state.as_str();
    assert_eq!((sink_status(&pipeline, "sink").kind, state()), ("http".to_owned(), "starting"));
    until_status(&pipeline, "sink", |status| status.state == SinkState::Running).await;
    assert_eq!(state(), "running");
    ingest(&pipeline, 1..=1).await;
    sink.until(|script| !script.calls.is_empty()).await;
    until_status(&pipeline, "sink", |status| status.last_error.is_some()).await;
    assert_eq!(state(), "retrying");
    gate.store(true, Ordering::SeqCst);
    sink.until_accepted(1).await;
    pipeline.stop_sinks(["sink"], DEADLINE).await;
    assert_eq!(state(), "detached");
}

#[tokio::test(start_paused = true)]
async fn oldest_pending_is_the_age_of_the_first_event_after_the_position() {
    let received_at = Arc::new(AtomicU64::new(0));
    let clock = received_at.clone();
    let now = || u64::try_from(observer_core::Timestamp::now().as_microsecond()).unwrap();
    let sink = Scripted::new()
        .responds(|batch| (batch.events()[0].seq == 1).then(|| Ok(Receipt::accepted())));
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
async fn rejections_before_the_pipeline_are_counted() {
    let pipeline = over(&Memory::default()).start().await.unwrap();
    pipeline.count_rejected(RejectReason::TooLarge);
    pipeline.count_rejected(RejectReason::TooLarge);
    assert_eq!(pipeline.status().ingest.rejected[&RejectReason::TooLarge], 2);
}

#[tokio::test(start_paused = true)]
async fn recovery_reports_lost_positions() {
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
async fn builder_sets_the_options_of_ingest() {
    let bot = || Submission::parse(r#"{"source":"bot","event_kind":"ok","ok":true}"#).unwrap();
    let pipeline = over(&Memory::default()).start().await.unwrap();
    pipeline.ingest(bot()).await.unwrap_err();
    let ingest = IngestOptions { require: Requirements::none(), ..IngestOptions::default() };
    let pipeline = over(&Memory::default()).ingest(ingest).start().await.unwrap();
    pipeline.ingest(bot()).await.unwrap();
}

#[tokio::test]
async fn default_journal_retains_many_events() {
    let pipeline = Pipeline::builder().start().await.unwrap();
    ingest(&pipeline, 1..=200).await;
    assert_eq!(pipeline.status().journal.oldest, 1);
}

#[tokio::test(start_paused = true)]
async fn operator_settings_override_the_batch_limits_of_the_sink() {
    for (settings, expected) in [("{}", 2), (r#"{"batch":{"max_events":3}}"#, 3)] {
        let sink = Scripted::new();
        let limits = serde_json::from_str(r#"{"max_events":2,"linger":"1s"}"#).unwrap();
        let spec = sink.spec_with("sink", settings).batch(limits);
        let pipeline = over(&Memory::default()).sink(spec).start().await.unwrap();
        ingest(&pipeline, 1..=6).await;
        sink.until_accepted(6).await;
        assert!(sink.now().calls.iter().all(|call| call.len() == expected), "{settings}");
    }
}

#[tokio::test(start_paused = true)]
async fn stopped_sink_can_finish_its_delivery_until_the_deadline() {
    let sink = Scripted::new();
    let pipeline = over(&Memory::default()).sink(slow(&sink, 3, 0)).start().await.unwrap();
    ingest(&pipeline, 1..=1).await;
    sink.until_accepted(1).await;
    assert_eq!(pipeline.stop_sinks(["slow", "none"], DEADLINE).await, 1);
    assert_eq!(account(&pipeline, "slow").0, Account { delivered: 1, ..Account::default() });
}

#[tokio::test(start_paused = true)]
async fn flush_after_the_deadline_is_limited_in_time() {
    for (flush, flushes) in [(3, 1), (60, 0)] {
        let sink = Scripted::new();
        let pipeline = over(&Memory::default()).sink(slow(&sink, 0, flush)).start().await.unwrap();
        ingest(&pipeline, 1..=1).await;
        sink.until_accepted(1).await;
        let started = Instant::now();
        pipeline.shutdown(Duration::ZERO).await;
        let script = sink.now();
        assert_eq!((script.flushes, script.closed), (flushes, true), "{flush} s");
        assert!(started.elapsed() <= Duration::from_secs(5), "{:?}", started.elapsed());
    }
}

#[tokio::test(start_paused = true)]
async fn only_a_stopped_sink_is_released() {
    let (sink, _) = gated();
    capture_log();
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
            Ok(_) => assert!(number < 10_000, "the journal exceeds its size limit"),
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
async fn retrying_sink_reports_the_first_time_and_the_last_reason() {
    const FAILURES: u32 = 12;
    let mut failures = 0;
    let sink = Scripted::new().responds(move |_| {
        failures += 1;
        Some(if failures < FAILURES {
            Err(SinkError::transient(format!("no {failures}")))
        } else {
            Ok(Receipt::accepted())
        })
    });
    capture_log();
    let pipeline = over(&Memory::default()).sink(sink.spec("sink")).start().await.unwrap();
    ingest(&pipeline, 1..=1).await;
    let mut since = None;
    for failure in 1..FAILURES {
        let reason = format!("no {failure}");
        let has_reason =
            |status: &crate::SinkStatus| retrying_reason(status) == Some(reason.as_str());
        until_status(&pipeline, "sink", has_reason).await;
        let SinkState::Retrying(now) = sink_status(&pipeline, "sink").state else {
            panic!("the sink is retrying")
        };
        assert_eq!(*since.get_or_insert(now.at), now.at);
    }
    until_status(&pipeline, "sink", |status| status.state == SinkState::Running).await;
    assert_eq!(lines_with("WARN"), 1, "the failure is logged once");
    assert_eq!(lines_with("the sink accepts events again"), 1);
}

#[tokio::test(start_paused = true)]
async fn short_failures_among_acceptances_have_no_log_line() {
    let mut calls = 0;
    let sink = Scripted::new().responds(move |_| {
        calls += 1;
        // Three of four attempts fail.
        Some(if calls % 4 > 0 {
            Err(SinkError::transient("503 Service Unavailable"))
        } else {
            Ok(Receipt::accepted())
        })
    });
    capture_log();
    let pipeline = over(&Memory::default()).sink(sink.spec("sink")).start().await.unwrap();
    for number in 1..=50 {
        ingest(&pipeline, number..=number).await;
        sink.until_accepted(usize::try_from(number).unwrap()).await;
    }
    assert_eq!(sink_status(&pipeline, "sink").retried, 150);
    assert_eq!((lines_with("WARN"), lines_with("the sink accepts events again")), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn sink_whose_destination_refuses_most_events_is_not_parked_and_has_few_log_lines() {
    let memory = Memory::default();
    let is_mended = Arc::new(AtomicBool::new(false));
    let is_bad = |seq: u64| fastrand::Rng::with_seed(seq).u64(..100) < 70;
    let sink = Scripted::new().responds({
        let is_mended = is_mended.clone();
        move |batch| {
            let is_refused = !is_mended.load(Ordering::SeqCst)
                && batch.events().iter().any(|envelope| envelope.seq > 2 && is_bad(envelope.seq));
            Some(if is_refused {
                Err(SinkError::denied("403 Forbidden"))
            } else {
                Ok(Receipt::accepted())
            })
        }
    });
    capture_log();
    let pipeline = over(&memory).sink(sink.spec("sink")).start().await.unwrap();
    let mut number = 0;
    let mut second = async |count: u64| {
        ingest(&pipeline, number + 1..=number + count).await;
        number += count;
        tokio::time::sleep(Duration::from_secs(1)).await;
        let status = sink_status(&pipeline, "sink");
        assert!(!matches!(status.state, SinkState::Parked(_)), "{status:?}");
        status
    };
    second(2).await;
    for _ in 0..1_500 {
        let status = second(5).await;
        // The undecided events of the last minute, of which seven in ten are bad.
        assert!(status.pending <= 260, "{} are pending", status.pending);
        assert_eq!(status.state, SinkState::Running);
    }
    is_mended.store(true, Ordering::SeqCst);
    for _ in 0..700 {
        second(1).await;
    }
    let status = sink_status(&pipeline, "sink");
    assert_eq!(status.pending, 0);
    assert!(status.account.dead > 4_500, "{}", status.account.dead);
    let begins = lines_with("the destination refuses many events and accepts others");
    let goes_on = lines_with("the destination still refuses many events and accepts others");
    let ends = lines_with("the destination refuses no more events");
    assert_eq!((begins, goes_on, ends), (1, 4, 1));
    assert_eq!(lines_with("accepts events again") + lines_with("parked"), 0);
}

#[tokio::test(start_paused = true)]
async fn parked_sink_stays_parked_until_it_accepts_an_event() {
    let sink = Scripted::new().responds({
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
async fn rejection_in_a_receipt_is_no_acceptance() {
    let memory = Memory::default();
    let sink = Scripted::new().responds(|batch| {
        let is_alone = batch.len() == 1 && batch.events()[0].seq == 1;
        let rejected = vec![Rejected { index: 0, reason: "400".into() }];
        Some(if is_alone {
            Ok(Receipt { rejected, refused: None })
        } else {
            Err(SinkError::permanent("404"))
        })
    });
    let pipeline = over(&memory).sink(sink.spec("sink")).start().await.unwrap();
    ingest(&pipeline, 1..=2).await;
    until_status(&pipeline, "sink", |status| matches!(status.state, SinkState::Parked(_))).await;
    tokio::time::sleep(Duration::from_secs(600)).await;
    assert_eq!(account(&pipeline, "sink"), (Account::default(), 2));
    assert!(dead_letters(&memory, &pipeline, "sink").is_empty());
}

#[tokio::test(start_paused = true)]
async fn failed_flush_parks_or_retries_by_the_kind_of_error() {
    for (error, state) in [
        (SinkError::blocked("disk full"), "parked"),
        (SinkError::transient("temporary failure"), "retrying"),
    ] {
        let mut errors = Some(error);
        let sink = Scripted::new().flushes(move || errors.take().map_or(Ok(()), Err));
        let pipeline = over(&Memory::default()).sink(sink.spec("sink")).start().await.unwrap();
        ingest(&pipeline, 1..=3).await;
        sink.until(|script| script.flushes == 1).await;
        until_status(&pipeline, "sink", |status| status.last_error.is_some()).await;
        assert_eq!(sink_status(&pipeline, "sink").state.as_str(), state);
        sink.until(|script| script.flushes == 2).await;
        assert_eq!(sink.now().accepted, [range(1..=3), range(1..=3)].concat());
    }
}

#[tokio::test(start_paused = true)]
async fn parked_sink_stays_parked_after_a_rejection() {
    let sink = Scripted::new().responds({
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
    assert!(matches!(status.state, SinkState::Parked(_)) && status.undecided == 1, "{status:?}");
}

#[tokio::test(start_paused = true)]
async fn linger_counts_pending_events_after_the_position() {
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
async fn failure_to_store_positions_and_its_end_are_logged_once() {
    let disk = Faulty::new(1);
    let options = Options::new("j").file_system(disk.clone()).runner(Runner::Caller);
    capture_log();
    let sink = Scripted::new();
    let pipeline =
        Pipeline::builder().journal(options).seed(1).sink(sink.spec("sink")).start().await.unwrap();
    tokio::time::sleep(Duration::from_secs(3)).await;
    ingest(&pipeline, 1..=1).await;
    let counts = || ["positions can't be stored", "positions are stored again"].map(lines_with);
    assert_eq!(counts(), [0, 0]);
    let operations = disk.operations();
    for operation in operations..operations + 1000 {
        disk.fail_at(operation, Fault::Error(std::io::ErrorKind::Other));
    }
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!((counts(), sink.now().accepted.len()), ([1, 0], 1));
    disk.clear_faults();
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(counts(), [1, 1]);
}

/// Sink that is parked, and whose deliveries and checks take some time.
struct SlowlyParked;

#[async_trait]
impl EventSink for SlowlyParked {
    async fn deliver(&self, _: &Batch) -> Result<Receipt, SinkError> {
        tokio::time::sleep(Duration::from_secs(3)).await;
        Err(SinkError::blocked("401 Unauthorized"))
    }

    async fn check(&self) -> Result<(), SinkError> {
        tokio::time::sleep(Duration::from_secs(2)).await;
        Err(SinkError::blocked("401 Unauthorized"))
    }

    async fn flush(&self) -> Result<(), SinkError> {
        Ok(())
    }
}

#[tokio::test(start_paused = true)]
async fn parked_sink_always_has_a_time_of_its_next_attempt() {
    let spec = crate::SinkSpec::new("sink", Arc::new(SlowlyParked));
    let pipeline = over(&Memory::default()).sink(spec).start().await.unwrap();
    ingest(&pipeline, 1..=1).await;
    until_status(&pipeline, "sink", |status| parked_reason(status).is_some()).await;
    for sample in 0..600 {
        let status = sink_status(&pipeline, "sink");
        assert!(parked_reason(&status).is_some() && status.retry_at.is_some(), "{sample}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}
