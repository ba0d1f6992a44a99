//! A sink that does as it is told, and short ways to say what tests say often.

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use async_trait::async_trait;
use observer_core::{Batch, Event, EventSink, Position, Receipt, SinkError, SinkSettings};
use observer_journal::fs::Memory;
use observer_journal::{Options, Runner};
use tokio::sync::watch;

use crate::{Account, Ack, Pipeline, PipelineBuilder, SinkSpec, SinkStatus};

type Answer = Box<dyn FnMut(&Batch) -> Option<Result<Receipt, SinkError>> + Send>;
type Says = Box<dyn FnMut() -> Result<(), SinkError> + Send>;

/// A sink whose answers a test decides, and which remembers what it was asked.
pub(crate) struct Scripted {
    script: Mutex<Script>,
    changed: watch::Sender<()>,
}

pub(crate) struct Script {
    /// The sequence numbers of each delivery.
    pub(crate) calls: Vec<Vec<u64>>,
    /// Those that were accepted, in order.
    pub(crate) accepted: Vec<u64>,
    pub(crate) flushes: usize,
    pub(crate) checks: usize,
    pub(crate) closed: bool,
    pub(crate) position: Option<Position>,
    answer: Answer,
    flush: Says,
    check: Says,
    says_position: Says,
}

impl Scripted {
    /// Takes everything.
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            script: Mutex::new(Script {
                calls: Vec::new(),
                accepted: Vec::new(),
                flushes: 0,
                checks: 0,
                closed: false,
                position: None,
                answer: Box::new(|_| Some(Ok(Receipt::accepted()))),
                flush: Box::new(|| Ok(())),
                check: Box::new(|| Ok(())),
                says_position: Box::new(|| Ok(())),
            }),
            changed: watch::Sender::new(()),
        })
    }

    /// Answer deliveries like this; `None` is no answer, ever.
    pub(crate) fn answers(
        self: Arc<Self>,
        answer: impl FnMut(&Batch) -> Option<Result<Receipt, SinkError>> + Send + 'static,
    ) -> Arc<Self> {
        self.now().answer = Box::new(answer);
        self
    }

    pub(crate) fn flushes(
        self: Arc<Self>,
        flush: impl FnMut() -> Result<(), SinkError> + Send + 'static,
    ) -> Arc<Self> {
        self.now().flush = Box::new(flush);
        self
    }

    pub(crate) fn checks(
        self: Arc<Self>,
        check: impl FnMut() -> Result<(), SinkError> + Send + 'static,
    ) -> Arc<Self> {
        self.now().check = Box::new(check);
        self
    }

    /// Whether it can say its position.
    pub(crate) fn knows_its_position(
        self: Arc<Self>,
        knows: impl FnMut() -> Result<(), SinkError> + Send + 'static,
    ) -> Arc<Self> {
        self.now().says_position = Box::new(knows);
        self
    }

    pub(crate) fn now(&self) -> MutexGuard<'_, Script> {
        self.script.lock().unwrap()
    }

    /// Until something is so.
    pub(crate) async fn until(&self, what: impl Fn(&Script) -> bool) {
        let mut changed = self.changed.subscribe();
        changed.mark_changed();
        loop {
            changed.changed().await.unwrap();
            if what(&self.now()) {
                return;
            }
        }
    }

    pub(crate) async fn until_accepted(&self, count: usize) -> Vec<u64> {
        self.until(|script| script.accepted.len() >= count).await;
        self.now().accepted.clone()
    }

    pub(crate) fn spec(self: &Arc<Self>, name: &str) -> SinkSpec {
        SinkSpec::new(name, self.clone())
    }

    /// As a sink with settings, in the notation of a configuration.
    pub(crate) fn spec_with(self: &Arc<Self>, name: &str, settings: &str) -> SinkSpec {
        self.spec(name).settings(serde_json::from_str::<SinkSettings>(settings).unwrap())
    }
}

#[async_trait]
impl EventSink for Scripted {
    async fn deliver(&self, batch: &Batch) -> Result<Receipt, SinkError> {
        let seqs: Vec<_> = batch.events().iter().map(|envelope| envelope.seq).collect();
        let answer = {
            let mut script = self.now();
            script.calls.push(seqs.clone());
            let answer = (script.answer)(batch);
            if let Some(Ok(receipt)) = &answer {
                let rejected = |at| receipt.rejected.iter().any(|rejected| rejected.index == at);
                let taken =
                    seqs.iter().enumerate().filter(|(at, _)| !rejected(*at)).map(|(_, seq)| *seq);
                script.accepted.extend(taken);
            }
            answer
        };
        self.changed.send_replace(());
        match answer {
            Some(answer) => answer,
            None => std::future::pending().await,
        }
    }

    async fn flush(&self) -> Result<(), SinkError> {
        let result = {
            let mut script = self.now();
            script.flushes += 1;
            (script.flush)()
        };
        self.changed.send_replace(());
        result
    }

    async fn position(&self) -> Result<Option<Position>, SinkError> {
        let mut script = self.now();
        (script.says_position)()?;
        Ok(script.position)
    }

    async fn check(&self) -> Result<(), SinkError> {
        let result = {
            let mut script = self.now();
            script.checks += 1;
            (script.check)()
        };
        self.changed.send_replace(());
        result
    }

    async fn close(&self) -> Result<(), SinkError> {
        self.now().closed = true;
        Ok(())
    }
}

/// A pipeline over these files, in which an ingest is committed when it returns.
pub(crate) fn over(memory: &Memory) -> PipelineBuilder {
    Pipeline::builder().journal(options(memory)).seed(1)
}

pub(crate) fn options(memory: &Memory) -> Options {
    Options::new("j").file_system(memory.clone()).runner(Runner::Caller)
}

/// An event of cycle `number`.
pub(crate) fn event(number: u64) -> Event {
    let ok = !number.is_multiple_of(2);
    Event::parse(format!(r#"{{"source":"job","cycle_id":"c{number}","event_kind":"k","ok":{ok}}}"#))
        .unwrap()
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

/// The account of a sink, which has to close.
#[track_caller]
pub(crate) fn account(pipeline: &Pipeline, name: &str) -> (Account, u64) {
    let status = sink_status(pipeline, name);
    assert_eq!(status.accepted, status.account.settled() + status.pending, "{status:?}");
    (status.account, status.pending)
}

/// Until the status of a sink is so.
pub(crate) async fn until_status(
    pipeline: &Pipeline,
    name: &str,
    what: impl Fn(&SinkStatus) -> bool,
) {
    // The clock of these tests is paused: it jumps to the next thing that is to happen.
    while !what(&sink_status(pipeline, name)) {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
