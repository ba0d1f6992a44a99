//! World of one run: producers, the pipeline over its disk, and the destinations, with a new
//! runtime after each crash.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use observer_core::{SinkSettings, Uuid};
use observer_journal::fs::Faulty;
use observer_journal::{Clock, Options, Runner};
use tokio::runtime::Builder;
use tokio::time::{Instant, sleep};

use super::clock::WallClock;
use super::destination::{Destination, Kind};
use super::plan::Plan;
use super::scenario::{LAST, Scenario, Step, event, id, is_sent_once};
use crate::{Ack, IngestError, Pipeline, SinkSpec, StartError};

/// Sinks with their settings. All exist from the beginning, so `start` makes no difference.
pub(super) const SINKS: [(&str, Kind, &str); 3] = [
    ("archive", Kind::Archive, r#"{"start":"earliest","batch":{"max_events":8}}"#),
    (
        "webhook",
        Kind::Webhook,
        r#"{"start":"latest","batch":{"max_events":3},"filter":{"ok":true}}"#,
    ),
    ("strict", Kind::Strict, r#"{"start":"earliest","batch":{"max_events":8}}"#),
];
/// Time by which the effects of a fault are over.
const TIMEOUT: Duration = Duration::from_secs(600);

pub(super) struct RunReport {
    pub(super) operations: u64,
    /// Number of operations that failed.
    pub(super) faults: u64,
    /// Number of power cuts and kills.
    pub(super) cuts: u64,
    /// Number of events that expired before they were delivered.
    pub(super) expired: u64,
    /// Numbers of present and of missing events among the unacknowledged ones.
    pub(super) unacknowledged: (u64, u64),
    /// Observations of producers and sinks, in order.
    pub(super) transcript: Vec<String>,
}

pub(super) struct World<'a> {
    pub(super) scenario: &'a Scenario,
    pub(super) disk: Faulty,
    pub(super) destinations: BTreeMap<&'static str, Arc<Destination>>,
    pub(super) acked: BTreeSet<u64>,
    pub(super) sent: BTreeMap<Uuid, u64>,
    unacked: BTreeSet<u64>,
    /// Position of each sink that must be durable.
    durable: BTreeMap<&'static str, u64>,
    transcript: Arc<Mutex<Vec<String>>>,
    clock: Arc<WallClock>,
    next: u64,
    expired: u64,
    unacknowledged: (u64, u64),
}

/// Error of an operation that a power cut or a kill has interrupted.
pub(super) struct Crashed;

pub(super) fn run(scenario: &Scenario, plan: Plan) -> RunReport {
    let disk = Faulty::new(scenario.seed);
    plan.schedule(&disk);
    let transcript = Arc::<Mutex<Vec<String>>>::default();
    let destination =
        |(name, kind, _)| (name, Destination::new(kind, &disk, scenario.seed, transcript.clone()));
    let mut world = World {
        scenario,
        destinations: SINKS.map(destination).into(),
        disk: disk.clone(),
        acked: BTreeSet::new(),
        sent: BTreeMap::new(),
        unacked: BTreeSet::new(),
        durable: BTreeMap::new(),
        transcript: transcript.clone(),
        clock: Arc::new(WallClock::new()),
        next: LAST,
        expired: 0,
        unacknowledged: (0, 0),
    };
    let mut steps = VecDeque::from(scenario.steps.clone());
    let mut cuts = 0;
    loop {
        let completed = in_runtime(world.run_until_crash(&mut steps));
        if completed.is_ok() {
            break;
        }
        cuts += 1;
        disk.restart();
        transcript.lock().unwrap().push("crash".into());
        world.destinations.values().for_each(|destination| destination.crash());
    }
    let operations = disk.operations();
    in_runtime(world.restart_cleanly());
    let transcript = std::mem::take(&mut *transcript.lock().unwrap());
    RunReport {
        operations,
        faults: disk.fault_count(),
        cuts,
        expired: world.expired,
        unacknowledged: world.unacknowledged,
        transcript,
    }
}

/// Runs a future in a new runtime. All tasks end with the runtime.
pub(super) fn in_runtime<T>(future: impl Future<Output = T>) -> T {
    Builder::new_current_thread().enable_time().start_paused(true).build().unwrap().block_on(future)
}

impl World<'_> {
    async fn run_until_crash(&mut self, steps: &mut VecDeque<Step>) -> Result<(), Crashed> {
        let pipeline = self.open().await?;
        while let Some(step) = steps.pop_front() {
            self.perform(&pipeline, step).await?;
        }
        self.drain(&pipeline).await?;
        let status = pipeline.status();
        pipeline.shutdown(Duration::from_secs(60)).await;
        self.check_crash()?;
        let events = self.check(&status);
        let unacknowledged =
            self.sent.values().copied().filter(|number| !self.acked.contains(number));
        let (present, missing): (Vec<u64>, Vec<u64>) =
            unacknowledged.partition(|number| events.contains(number));
        self.unacknowledged = (present.len() as u64, missing.len() as u64);
        self.expired = status.sinks.values().map(|sink| sink.account.expired).sum();
        Ok(())
    }

    /// Checks that nothing is delivered again after a clean shutdown.
    async fn restart_cleanly(&mut self) {
        if self.disk.is_off() {
            // The crash was in the last operation.
            self.disk.restart();
        }
        self.disk.restart();
        let Ok(pipeline) = self.open().await else { panic!("the pipeline starts without faults") };
        let count = |world: &Self| {
            world
                .destinations
                .values()
                .map(|destination| destination.lock().kept.len())
                .collect::<Vec<_>>()
        };
        let before = count(self);
        let head = pipeline.status().journal.head;
        let positions: Vec<_> = SINKS.map(|(name, ..)| self.position(&pipeline, name)).into();
        sleep(Duration::from_secs(5)).await;
        if positions.iter().all(|seq| *seq == head) {
            assert_eq!(before, count(self), "a sink at the head gets events again");
        }
        pipeline.shutdown(Duration::from_secs(60)).await;
    }

    fn check_crash(&self) -> Result<(), Crashed> {
        if self.disk.is_off() { Err(Crashed) } else { Ok(()) }
    }

    fn record(&self, line: String) {
        self.transcript.lock().unwrap().push(line);
    }

    /// Starts the pipeline. A fault may make the first start fail, but not the second.
    async fn open(&mut self) -> Result<Pipeline, Crashed> {
        self.clock.begin();
        let pipeline = match self.start().await {
            Ok(pipeline) => pipeline,
            Err(error) => {
                self.check_crash()?;
                assert!(self.disk.fault_count() > 0, "the pipeline does not start: {error}");
                self.record(format!("start failed: {error}"));
                let again = self.start().await;
                self.check_crash()?;
                again.unwrap_or_else(|error| panic!("the pipeline does not start again: {error}"))
            }
        };
        self.check_crash()?;
        let recovery = pipeline.recovery();
        let is_complete = recovery.lost.is_empty() && recovery.quarantined.is_empty();
        assert!(is_complete && !recovery.new_epoch && !recovery.positions_lost, "{recovery:?}");
        for (name, destination) in &self.destinations {
            let position = self.position(&pipeline, name);
            let durable = self.durable.get(name).copied().unwrap_or(0);
            assert!(position >= durable, "{name} is at {position}, but {durable} must be durable");
            destination.begin(position, self.scenario.outage);
        }
        Ok(pipeline)
    }

    async fn start(&self) -> Result<Pipeline, StartError> {
        let scenario = self.scenario;
        let wall_clock = self.clock.clone();
        let clock: Clock = Arc::new(move || wall_clock.now());
        let journal = Options::new("j")
            .file_system(self.disk.clone())
            .runner(Runner::Caller)
            .clock(clock)
            .seed(scenario.seed)
            .segment_size(scenario.segment_size)
            .max_size(scenario.max_size)
            .retain(scenario.retain);
        let sinks = SINKS.map(|(name, _, settings)| {
            let settings = serde_json::from_str::<SinkSettings>(settings).unwrap();
            SinkSpec::new(name, self.destinations[name].clone()).settings(settings)
        });
        Pipeline::builder().journal(journal).seed(scenario.seed).sinks(sinks).start().await
    }

    fn position(&self, pipeline: &Pipeline, name: &str) -> u64 {
        pipeline.status().sinks[name].position.seq
    }

    async fn perform(&mut self, pipeline: &Pipeline, step: Step) -> Result<(), Crashed> {
        match step {
            Step::Single(number) => self.send(pipeline, &[number]).await?,
            Step::Batch(numbers) => self.send(pipeline, &numbers).await?,
            Step::Retry => self.retry(pipeline).await?,
            Step::Wait(pause) => {
                let before: Vec<_> =
                    SINKS.map(|(name, ..)| (name, self.position(pipeline, name))).into();
                sleep(pause).await;
                self.check_crash()?;
                // A flush takes up to a second, and so does storing. An archive may go back to its
                // last flush.
                if pause > Duration::from_millis(2_200) && self.disk.fault_count() == 0 {
                    self.durable.extend(before.into_iter().filter(|(name, _)| *name != "archive"));
                }
            }
        }
        Ok(())
    }

    async fn retry(&mut self, pipeline: &Pipeline) -> Result<(), Crashed> {
        let numbers: Vec<_> = self.unacked.iter().copied().collect();
        if numbers.is_empty() { Ok(()) } else { self.send(pipeline, &numbers).await }
    }

    async fn send(&mut self, pipeline: &Pipeline, numbers: &[u64]) -> Result<(), Crashed> {
        self.sent.extend(numbers.iter().map(|number| (id(*number), *number)));
        let retried =
            numbers.iter().filter(|number| !self.acked.contains(number) && !is_sent_once(**number));
        self.unacked.extend(retried);
        let results: Vec<Result<Ack, IngestError>> = match numbers {
            [number] => vec![pipeline.ingest(event(*number)).await],
            _ => {
                pipeline
                    .ingest_batch(numbers.iter().map(|number| event(*number).into()).collect())
                    .await
            }
        };
        // A crash loses the acknowledgement.
        self.check_crash()?;
        for (number, result) in numbers.iter().zip(results) {
            match result {
                Ok(ack) => {
                    assert_eq!(ack.id, id(*number), "event {number} has another id");
                    self.record(format!("{number} is {:?}", ack.status));
                    self.acked.insert(*number);
                    self.unacked.remove(number);
                }
                Err(error) => {
                    assert!(self.disk.fault_count() > 0, "event {number} is rejected: {error}");
                    self.record(format!("{number} is rejected: {error}"));
                }
            }
        }
        Ok(())
    }

    /// Sends the final events, and waits until every sink has every event.
    async fn drain(&mut self, pipeline: &Pipeline) -> Result<(), Crashed> {
        let deadline = Instant::now() + TIMEOUT;
        self.retry_all(pipeline, deadline).await?;
        // No poison events, so that an earlier one has a neighbour that is accepted.
        let last: Vec<_> = (self.next..)
            .filter(|number| super::scenario::poison(*number).is_none())
            .take(3)
            .collect();
        self.next = last[2] + 1;
        self.send(pipeline, &last).await?;
        self.retry_all(pipeline, deadline).await?;
        loop {
            let status = pipeline.status();
            if status.sinks.values().all(|sink| sink.pending == 0)
                && self.destinations.values().all(|destination| destination.is_flushed())
            {
                return Ok(());
            }
            assert!(Instant::now() < deadline, "{:#?}", status.sinks);
            sleep(Duration::from_millis(500)).await;
            self.check_crash()?;
        }
    }

    async fn retry_all(&mut self, pipeline: &Pipeline, deadline: Instant) -> Result<(), Crashed> {
        while !self.unacked.is_empty() {
            self.retry(pipeline).await?;
            assert!(Instant::now() < deadline, "{:?} are still rejected", self.unacked);
            sleep(Duration::from_secs(1)).await;
            self.check_crash()?;
        }
        Ok(())
    }
}
