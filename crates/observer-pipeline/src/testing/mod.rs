//! Scripted sink and helpers that many tests use, and the [`simulation`] of crashes.

mod simulation;

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use async_trait::async_trait;
use observer_core::{Batch, Event, EventSink, Position, Receipt, SinkError, SinkSettings};
use observer_journal::fs::Memory;
use observer_journal::{Options, Runner};
use tokio::sync::watch;

use crate::{Account, Ack, Pipeline, PipelineBuilder, SinkSpec, SinkState, SinkStatus};

/// Longest time that a test waits for something, on the paused clock.
const PATIENCE: Duration = Duration::from_secs(1_000 * 3_600);

type DeliverScript = Box<dyn FnMut(&Batch) -> Option<Result<Receipt, SinkError>> + Send>;
type CallScript = Box<dyn FnMut() -> Result<(), SinkError> + Send>;

/// Sink whose results a test sets, and which records its calls.
pub(crate) struct Scripted {
    script: Mutex<Script>,
    changed: watch::Sender<()>,
}

pub(crate) struct Script {
    /// Sequence numbers of each delivery.
    pub(crate) calls: Vec<Vec<u64>>,
    /// Sequence numbers of accepted events, in order.
    pub(crate) accepted: Vec<u64>,
    pub(crate) flushes: usize,
    pub(crate) checks: usize,
    /// Checks never return.
    pub(crate) check_hangs: bool,
    pub(crate) closed: bool,
    pub(crate) position: Option<Position>,
    deliver_result: DeliverScript,
    flush_result: CallScript,
    check_result: CallScript,
    position_result: CallScript,
}

impl Scripted {
    /// Creates a sink that accepts everything.
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            script: Mutex::new(Script {
                calls: Vec::new(),
                accepted: Vec::new(),
                flushes: 0,
                checks: 0,
                check_hangs: false,
                closed: false,
                position: None,
                deliver_result: Box::new(|_| Some(Ok(Receipt::accepted()))),
                flush_result: Box::new(|| Ok(())),
                check_result: Box::new(|| Ok(())),
                position_result: Box::new(|| Ok(())),
            }),
            changed: watch::Sender::new(()),
        })
    }

    /// Sets the result of deliveries; `None` never returns.
    pub(crate) fn responds(
        self: Arc<Self>,
        result: impl FnMut(&Batch) -> Option<Result<Receipt, SinkError>> + Send + 'static,
    ) -> Arc<Self> {
        self.now().deliver_result = Box::new(result);
        self
    }

    /// Sets the result of flushes.
    pub(crate) fn flushes(
        self: Arc<Self>,
        flush: impl FnMut() -> Result<(), SinkError> + Send + 'static,
    ) -> Arc<Self> {
        self.now().flush_result = Box::new(flush);
        self
    }

    /// Sets the result of checks.
    pub(crate) fn checks(
        self: Arc<Self>,
        check: impl FnMut() -> Result<(), SinkError> + Send + 'static,
    ) -> Arc<Self> {
        self.now().check_result = Box::new(check);
        self
    }

    /// Sets the result of calls for the position; after `Ok`, `Script::position` is returned.
    pub(crate) fn positions(
        self: Arc<Self>,
        position: impl FnMut() -> Result<(), SinkError> + Send + 'static,
    ) -> Arc<Self> {
        self.now().position_result = Box::new(position);
        self
    }

    pub(crate) fn now(&self) -> MutexGuard<'_, Script> {
        self.script.lock().unwrap()
    }

    /// Waits until the script fulfils a condition.
    pub(crate) async fn until(&self, condition: impl Fn(&Script) -> bool) {
        let mut changed = self.changed.subscribe();
        changed.mark_changed();
        let fulfilled = async {
            loop {
                changed.changed().await.unwrap();
                if condition(&self.now()) {
                    return;
                }
            }
        };
        let result = tokio::time::timeout(PATIENCE, fulfilled).await;
        assert!(result.is_ok(), "calls: {:?}", self.now().calls.last_chunk::<20>());
    }

    pub(crate) async fn until_accepted(&self, count: usize) -> Vec<u64> {
        self.until(|script| script.accepted.len() >= count).await;
        self.now().accepted.clone()
    }

    pub(crate) fn spec(self: &Arc<Self>, name: &str) -> SinkSpec {
        SinkSpec::new(name, self.clone())
    }

    /// Returns the specification with settings, in the notation of the configuration (as JSON).
    pub(crate) fn spec_with(self: &Arc<Self>, name: &str, settings: &str) -> SinkSpec {
        self.spec(name).settings(serde_json::from_str::<SinkSettings>(settings).unwrap())
    }
}

#[async_trait]
impl EventSink for Scripted {
    async fn deliver(&self, batch: &Batch) -> Result<Receipt, SinkError> {
        let seqs: Vec<_> = batch.events().iter().map(|envelope| envelope.seq).collect();
        let result = {
            let mut script = self.now();
            script.calls.push(seqs.clone());
            let result = (script.deliver_result)(batch);
            if let Some(Ok(receipt)) = &result {
                let rejected = |at| receipt.rejected.iter().any(|rejected| rejected.index == at);
                let accepted =
                    seqs.iter().enumerate().filter(|(at, _)| !rejected(*at)).map(|(_, seq)| *seq);
                script.accepted.extend(accepted);
            }
            result
        };
        self.changed.send_replace(());
        match result {
            Some(result) => result,
            None => std::future::pending().await,
        }
    }

    async fn flush(&self) -> Result<(), SinkError> {
        let result = {
            let mut script = self.now();
            script.flushes += 1;
            (script.flush_result)()
        };
        self.changed.send_replace(());
        result
    }

    async fn position(&self) -> Result<Option<Position>, SinkError> {
        let mut script = self.now();
        (script.position_result)()?;
        Ok(script.position)
    }

    async fn check(&self) -> Result<(), SinkError> {
        let result = {
            let mut script = self.now();
            script.checks += 1;
            (!script.check_hangs).then(|| (script.check_result)())
        };
        self.changed.send_replace(());
        match result {
            Some(result) => result,
            None => std::future::pending().await,
        }
    }

    async fn close(&self) -> Result<(), SinkError> {
        self.now().closed = true;
        Ok(())
    }
}

/// Returns the builder of a pipeline over these files. Each ingest is committed synchronously.
pub(crate) fn over(memory: &Memory) -> PipelineBuilder {
    Pipeline::builder().journal(options(memory)).seed(1)
}

pub(crate) fn options(memory: &Memory) -> Options {
    Options::new("j").file_system(memory.clone()).runner(Runner::Caller)
}

/// Returns an event of cycle `number`. Odd numbers are successes.
pub(crate) fn event(number: u64) -> Event {
    let ok = !number.is_multiple_of(2);
    Event::parse(format!(r#"{{"source":"job","cycle_id":"c{number}","event_kind":"k","ok":{ok}}}"#))
        .unwrap()
}

/// Returns an event of cycle `number` with text of this length in `extra`.
pub(crate) fn large_event(number: u64, length: usize) -> Event {
    let text = "x".repeat(length);
    let head = r#""source":"job","event_kind":"k","ok":true"#;
    Event::parse(format!(r#"{{{head},"cycle_id":"{number}","extra":{{"f":"{text}"}}}}"#)).unwrap()
}

pub(crate) async fn ingest(
    pipeline: &Pipeline,
    numbers: std::ops::RangeInclusive<u64>,
) -> Vec<Ack> {
    let mut acks = Vec::new();
    for number in numbers {
        acks.push(pipeline.ingest(event(number)).await.unwrap());
    }
    acks
}

pub(crate) fn sink_status(pipeline: &Pipeline, name: &str) -> SinkStatus {
    pipeline.status().sinks[name].clone()
}

/// Returns the reason for which a sink is parked.
pub(crate) fn parked_reason(status: &SinkStatus) -> Option<&str> {
    match &status.state {
        SinkState::Parked(failure) => Some(&failure.reason),
        _ => None,
    }
}

/// Returns the reason for which a sink is retrying.
pub(crate) fn retrying_reason(status: &SinkStatus) -> Option<&str> {
    match &status.state {
        SinkState::Retrying(failure) => Some(&failure.reason),
        _ => None,
    }
}

/// Returns the account and the pending events of a sink, after a check of their sum.
#[track_caller]
pub(crate) fn account(pipeline: &Pipeline, name: &str) -> (Account, u64) {
    let status = sink_status(pipeline, name);
    assert_eq!(status.accepted, status.account.resolved() + status.pending, "{status:?}");
    (status.account, status.pending)
}

/// Waits until the status of a sink fulfils a condition.
pub(crate) async fn until_status(
    pipeline: &Pipeline,
    name: &str,
    condition: impl Fn(&SinkStatus) -> bool,
) {
    let deadline = tokio::time::Instant::now() + PATIENCE / 1_000;
    // The clock is paused: it jumps to the next timer.
    while !condition(&sink_status(pipeline, name)) {
        assert!(
            tokio::time::Instant::now() < deadline,
            "the condition is not fulfilled: {:?}",
            sink_status(pipeline, name)
        );
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
