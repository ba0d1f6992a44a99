//! One run: producers, the pipeline over its disk, and the far sides, through as many lives as
//! there are power cuts.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use observer_core::{SinkSettings, Uuid};
use observer_journal::fs::Faulty;
use observer_journal::{Clock, Options, Runner};
use tokio::runtime::{Builder, Handle};
use tokio::time::{Instant, sleep};

use super::far_side::{FarSide, Kind};
use super::plan::Plan;
use super::scenario::{LAST, Scenario, Step, event, id, is_sent_once};
use crate::{Ack, IngestError, Pipeline, SinkSpec, StartError};

/// Each sink with its settings. From the first life on they are there, so it is all the same where
/// they start.
pub(super) const SINKS: [(&str, Kind, &str); 3] = [
    ("archive", Kind::Archive, r#"{"start":"earliest","batch":{"max_events":8}}"#),
    (
        "webhook",
        Kind::Webhook,
        r#"{"start":"latest","batch":{"max_events":3},"filter":{"ok":true}}"#,
    ),
    ("picky", Kind::Picky, r#"{"start":"earliest","batch":{"max_events":8}}"#),
];
/// Whatever went wrong is over by then.
const PATIENCE: Duration = Duration::from_secs(600);

pub(super) struct Outcome {
    pub(super) operations: u64,
    /// How many operations went wrong.
    pub(super) faults: u64,
    pub(super) cuts: u64,
    /// How many events expired before a sink had them.
    pub(super) expired: u64,
    /// How many events are there, and how many are not, of those whose producers never heard that
    /// they were taken.
    pub(super) unheard: (u64, u64),
    /// What producers and sinks saw, in order.
    pub(super) transcript: Vec<String>,
}

pub(super) struct World<'a> {
    pub(super) scenario: &'a Scenario,
    pub(super) disk: Faulty,
    pub(super) sides: BTreeMap<&'static str, Arc<FarSide>>,
    pub(super) acked: BTreeSet<u64>,
    pub(super) sent: BTreeMap<Uuid, u64>,
    unacked: BTreeSet<u64>,
    /// Where each sink was sure to stand durably.
    settled: BTreeMap<&'static str, u64>,
    transcript: Arc<Mutex<Vec<String>>>,
    time: Arc<Time>,
    next: u64,
    expired: u64,
    unheard: (u64, u64),
}

/// The clock on the wall, which goes on from one life to the next.
#[derive(Default)]
struct Time {
    now: AtomicU64,
    life: Mutex<Option<(Instant, u64)>>,
}

impl Time {
    fn begin(&self) {
        *self.life.lock().unwrap() = Some((Instant::now(), self.now.load(Ordering::Relaxed)));
    }

    fn now(&self) -> u64 {
        // Files are closed after the runtime has ended.
        if let (Some((begun, base)), Ok(_)) = (*self.life.lock().unwrap(), Handle::try_current()) {
            self.now.store(
                base + u64::try_from(begun.elapsed().as_micros()).unwrap(),
                Ordering::Relaxed,
            );
        }
        self.now.load(Ordering::Relaxed)
    }
}

/// The power went, or the process.
struct Dark;

pub(super) fn run(scenario: &Scenario, plan: Plan) -> Outcome {
    let disk = Faulty::new(scenario.seed);
    plan.arrange(&disk);
    let transcript = Arc::<Mutex<Vec<String>>>::default();
    let side =
        |(name, kind, _)| (name, FarSide::new(kind, &disk, scenario.seed, transcript.clone()));
    let mut world = World {
        scenario,
        sides: SINKS.map(side).into(),
        disk: disk.clone(),
        acked: BTreeSet::new(),
        sent: BTreeMap::new(),
        unacked: BTreeSet::new(),
        settled: BTreeMap::new(),
        transcript: transcript.clone(),
        time: Arc::new(Time { now: AtomicU64::new(1_700_000_000_000_000), life: Mutex::default() }),
        next: LAST,
        expired: 0,
        unheard: (0, 0),
    };
    let mut steps = VecDeque::from(scenario.steps.clone());
    let mut cuts = 0;
    loop {
        let lived = in_life(world.live(&mut steps));
        if lived.is_ok() {
            break;
        }
        cuts += 1;
        disk.restart();
        transcript.lock().unwrap().push("all was dark".into());
        world.sides.values().for_each(|side| side.crash());
    }
    let operations = disk.operations();
    in_life(world.come_back());
    let transcript = std::mem::take(&mut *transcript.lock().unwrap());
    Outcome {
        operations,
        faults: disk.fault_count(),
        cuts,
        expired: world.expired,
        unheard: world.unheard,
        transcript,
    }
}

/// In a runtime of its own, whose end is the end of all that runs in it.
fn in_life<T>(life: impl Future<Output = T>) -> T {
    Builder::new_current_thread().enable_time().start_paused(true).build().unwrap().block_on(life)
}

impl World<'_> {
    async fn live(&mut self, steps: &mut VecDeque<Step>) -> Result<(), Dark> {
        let pipeline = self.open().await?;
        while let Some(step) = steps.pop_front() {
            self.perform(&pipeline, step).await?;
        }
        self.drain(&pipeline).await?;
        let status = pipeline.status();
        pipeline.shutdown(Duration::from_secs(60)).await;
        self.light()?;
        let there = self.check(&status);
        let unheard = self.sent.values().copied().filter(|number| !self.acked.contains(number));
        let (there, gone): (Vec<u64>, Vec<u64>) =
            unheard.partition(|number| there.contains(number));
        self.unheard = (there.len() as u64, gone.len() as u64);
        self.expired = status.sinks.values().map(|sink| sink.account.expired).sum();
        Ok(())
    }

    /// After a clean end there is nothing to come again.
    async fn come_back(&mut self) {
        if self.disk.is_off() {
            // Killed at the very end.
            self.disk.restart();
        }
        self.disk.restart();
        let Ok(pipeline) = self.open().await else { panic!("there are no more faults") };
        let count = |world: &Self| {
            world.sides.values().map(|side| side.lock().kept.len()).collect::<Vec<_>>()
        };
        let before = count(self);
        let head = pipeline.status().journal.head;
        let stand: Vec<_> = SINKS.map(|(name, ..)| self.position(&pipeline, name)).into();
        sleep(Duration::from_secs(5)).await;
        if stand.iter().all(|seq| *seq == head) {
            assert_eq!(before, count(self), "a sink gets something again that has everything");
        }
        pipeline.shutdown(Duration::from_secs(60)).await;
    }

    fn light(&self) -> Result<(), Dark> {
        if self.disk.is_off() { Err(Dark) } else { Ok(()) }
    }

    fn tell(&self, what: String) {
        self.transcript.lock().unwrap().push(what);
    }

    /// A fault may keep it from opening, but not twice.
    async fn open(&mut self) -> Result<Pipeline, Dark> {
        self.time.begin();
        let pipeline = match self.start().await {
            Ok(pipeline) => pipeline,
            Err(error) => {
                self.light()?;
                assert!(self.disk.fault_count() > 0, "it doesn't open: {error}");
                self.tell(format!("doesn't open: {error}"));
                let again = self.start().await;
                self.light()?;
                again.unwrap_or_else(|error| panic!("it doesn't open again: {error}"))
            }
        };
        self.light()?;
        let recovery = pipeline.recovery();
        let whole = recovery.lost.is_empty() && recovery.quarantined.is_empty();
        assert!(whole && !recovery.new_epoch && !recovery.positions_lost, "{recovery:?}");
        for (name, side) in &self.sides {
            let position = self.position(&pipeline, name);
            let settled = self.settled.get(name).copied().unwrap_or(0);
            assert!(position >= settled, "{name} is at {position}, and was at {settled} for long");
            side.begin(position, self.scenario.outage);
        }
        Ok(pipeline)
    }

    async fn start(&self) -> Result<Pipeline, StartError> {
        let scenario = self.scenario;
        let time = self.time.clone();
        let clock: Clock = Arc::new(move || time.now());
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
            SinkSpec::new(name, self.sides[name].clone()).settings(settings)
        });
        Pipeline::builder().journal(journal).seed(scenario.seed).sinks(sinks).start().await
    }

    fn position(&self, pipeline: &Pipeline, name: &str) -> u64 {
        pipeline.status().sinks[name].position.seq
    }

    async fn perform(&mut self, pipeline: &Pipeline, step: Step) -> Result<(), Dark> {
        match step {
            Step::Single(number) => self.send(pipeline, &[number]).await?,
            Step::Batch(numbers) => self.send(pipeline, &numbers).await?,
            Step::Retry => self.retry(pipeline).await?,
            Step::Wait(pause) => {
                let before: Vec<_> =
                    SINKS.map(|(name, ..)| (name, self.position(pipeline, name))).into();
                sleep(pause).await;
                self.light()?;
                // A second to flush, and one to store; an archive that can't be flushed goes back.
                if pause > Duration::from_millis(2_200) && self.disk.fault_count() == 0 {
                    self.settled.extend(before.into_iter().filter(|(name, _)| *name != "archive"));
                }
            }
        }
        Ok(())
    }

    async fn retry(&mut self, pipeline: &Pipeline) -> Result<(), Dark> {
        let numbers: Vec<_> = self.unacked.iter().copied().collect();
        if numbers.is_empty() { Ok(()) } else { self.send(pipeline, &numbers).await }
    }

    async fn send(&mut self, pipeline: &Pipeline, numbers: &[u64]) -> Result<(), Dark> {
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
        // Nobody hears an answer that comes after that.
        self.light()?;
        for (number, result) in numbers.iter().zip(results) {
            match result {
                Ok(ack) => {
                    assert_eq!(ack.id, id(*number), "event {number} has another id");
                    self.tell(format!("{number} is {:?}", ack.status));
                    self.acked.insert(*number);
                    self.unacked.remove(number);
                }
                Err(error) => {
                    assert!(self.disk.fault_count() > 0, "event {number} is refused: {error}");
                    self.tell(format!("{number} is refused: {error}"));
                }
            }
        }
        Ok(())
    }

    /// Until everything is taken, and every sink has had it.
    async fn drain(&mut self, pipeline: &Pipeline) -> Result<(), Dark> {
        let patience = Instant::now() + PATIENCE;
        self.retry_all(pipeline, patience).await?;
        // Good ones, so that a bad one doesn't stand alone.
        let last: Vec<_> = (self.next..)
            .filter(|number| super::scenario::poison(*number).is_none())
            .take(3)
            .collect();
        self.next = last[2] + 1;
        self.send(pipeline, &last).await?;
        self.retry_all(pipeline, patience).await?;
        loop {
            let status = pipeline.status();
            if status.sinks.values().all(|sink| sink.pending == 0)
                && self.sides.values().all(|side| side.is_flushed())
            {
                return Ok(());
            }
            assert!(Instant::now() < patience, "{:#?}", status.sinks);
            sleep(Duration::from_millis(500)).await;
            self.light()?;
        }
    }

    async fn retry_all(&mut self, pipeline: &Pipeline, patience: Instant) -> Result<(), Dark> {
        while !self.unacked.is_empty() {
            self.retry(pipeline).await?;
            assert!(Instant::now() < patience, "{:?} are still refused", self.unacked);
            sleep(Duration::from_secs(1)).await;
            self.light()?;
        }
        Ok(())
    }
}
