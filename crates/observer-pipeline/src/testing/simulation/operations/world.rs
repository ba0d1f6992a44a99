//! World of one run: the pipeline over its disk, the destinations, and the operators.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use observer_core::{Filter, SinkSettings, Timestamp, Uuid};
use observer_journal::fs::Faulty;
use observer_journal::{Clock, Options, Runner};
use tokio::time::{Instant, sleep, timeout};

use super::super::clock::{START, WallClock};
use super::super::scenario::{LAST, event, id};
use super::super::world::{Crashed, in_runtime};
use super::destination::{Destination, Transcript};
use super::script::{Mode, Operation, Pick, Script, Target};
use crate::{
    DeadLetterSelection, Diversion, Pipeline, ReplaySelection, ReplayState, SinkSpec, SinkState,
    SinkStatus, StartError, Status,
};

/// Longest time for which an operator waits for a command.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(20);
/// Time within which every event is resolved once all destinations are healthy.
const HEALING_TIME: Duration = Duration::from_secs(2 * 60 * 60);

/// Replay that was started. The pipeline has to complete it.
#[derive(Debug, Clone)]
pub(super) struct Replay {
    pub(super) selection: ReplaySelection,
    /// Position of the sink before the start.
    pub(super) last: u64,
    /// Time before the start.
    pub(super) begun_at: u64,
}

/// Commands to one sink, with what the pipeline has promised.
#[derive(Debug, Default)]
pub(super) struct Commands {
    /// Number of replays that may have begun.
    pub(super) replays: usize,
    /// Number of crashes in replays. A replay continues before the first event that it holds, and
    /// repeats the ones after it.
    pub(super) crashes_in_replays: usize,
    pub(super) promised: Vec<Replay>,
    pub(super) redeliveries: usize,
    /// Largest number of events that were diverted.
    pub(super) diversions: usize,
    /// Events whose dead letters were promised to be durable.
    pub(super) diverted: BTreeSet<Uuid>,
}

/// Situations that occurred.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Coverage {
    pub(super) undecided: u64,
    /// Crashes and restarts with undecided events.
    pub(super) restarts_with_undecided: u64,
    pub(super) parked: u64,
    pub(super) crashes: u64,
    pub(super) crashes_in_replays: u64,
    pub(super) replays: u64,
    pub(super) redelivered: u64,
    pub(super) diverted: u64,
    /// Dead letters by their reason: `named`, 422, 403 and 500.
    pub(super) dead: [u64; 4],
    pub(super) repeated: u64,
}

impl std::ops::AddAssign for Coverage {
    fn add_assign(&mut self, more: Self) {
        self.counts_mut().into_iter().zip(more.counts()).for_each(|(sum, more)| *sum += more);
    }
}

impl Coverage {
    fn counts_mut(&mut self) -> [&mut u64; 13] {
        let [named, permanent, denied, failed] = &mut self.dead;
        [
            &mut self.undecided,
            &mut self.restarts_with_undecided,
            &mut self.parked,
            &mut self.crashes,
            &mut self.crashes_in_replays,
            &mut self.replays,
            &mut self.redelivered,
            &mut self.diverted,
            &mut self.repeated,
            named,
            permanent,
            denied,
            failed,
        ]
    }

    fn counts(mut self) -> [u64; 13] {
        self.counts_mut().map(|count| *count)
    }

    /// Returns whether each situation occurred.
    pub(super) fn is_complete(self) -> bool {
        self.counts().into_iter().all(|count| count > 0)
    }
}

pub(super) struct World {
    pub(super) script: Arc<Script>,
    pub(super) disk: Faulty,
    pub(super) clock: Arc<WallClock>,
    pub(super) destinations: BTreeMap<Target, Arc<Destination>>,
    pub(super) commands: BTreeMap<Target, Commands>,
    pub(super) acked: BTreeSet<u64>,
    unacked: BTreeSet<u64>,
    pub(super) coverage: Coverage,
    transcript: Transcript,
    highest: u64,
    next: u64,
    /// Status before a crash.
    last_status: Option<Status>,
}

pub(super) fn run(seed: u64) -> (Coverage, Vec<String>) {
    let script = Arc::new(Script::draw(seed));
    let disk = Faulty::new(seed);
    let (clock, transcript) = (Arc::new(WallClock::new()), Transcript::default());
    let destination =
        |target| (target, Destination::new(target, &script, &disk, &clock, &transcript));
    let mut operations = VecDeque::from(script.operations.clone());
    let mut world = World {
        destinations: Target::ALL.map(destination).into(),
        commands: Target::ALL.map(|target| (target, Commands::default())).into(),
        script,
        disk,
        clock,
        acked: BTreeSet::new(),
        unacked: BTreeSet::new(),
        coverage: Coverage::default(),
        transcript,
        highest: 0,
        next: LAST,
        last_status: None,
    };
    while in_runtime(world.run_until_end(&mut operations)).is_err() {
        world.crash();
    }
    in_runtime(world.restart_cleanly());
    let transcript = std::mem::take(&mut *world.transcript.lock().unwrap());
    (world.coverage, transcript)
}

impl Drop for World {
    /// Prints what happened in a single run that failed.
    fn drop(&mut self) {
        if std::thread::panicking() && std::env::var("OBSERVER_SIM_RUN").is_ok() {
            let transcript = self.transcript.lock().unwrap_or_else(PoisonError::into_inner);
            eprintln!("{}", transcript.join("\n"));
        }
    }
}

impl World {
    fn crash(&mut self) {
        self.record("crash".into());
        self.disk.restart();
        self.destinations.values().for_each(|destination| destination.crash());
        self.coverage.crashes += 1;
        let Some(status) = self.last_status.take() else { return };
        for (target, commands) in &mut self.commands {
            commands.crashes_in_replays += usize::from(is_replaying(&status.sinks[target.name()]));
        }
        let sinks = status.sinks.values();
        self.coverage.restarts_with_undecided +=
            u64::from(sinks.clone().any(|sink| sink.undecided > 0));
        self.coverage.crashes_in_replays += u64::from(sinks.into_iter().any(is_replaying));
    }

    /// Runs the script, and then until all is resolved, unless there is a crash before.
    async fn run_until_end(&mut self, operations: &mut VecDeque<Operation>) -> Result<(), Crashed> {
        let pipeline = self.open().await?;
        while let Some(operation) = operations.pop_front() {
            self.record(format!("{operation:?}"));
            if let Operation::Restart = operation {
                let shutdown = pipeline.shutdown(Duration::from_secs(5));
                let _ = self.until_crash(timeout(Duration::from_secs(60), shutdown)).await?;
                // The next process has the page cache. What a sink didn't flush in time is lost.
                self.disk.kill();
            } else {
                self.perform(&pipeline, operation).await?;
            }
            self.observe(&pipeline);
            self.check_crash()?;
        }
        self.heal(&pipeline).await?;
        let status = pipeline.status();
        self.until_crash(pipeline.shutdown(Duration::from_secs(60))).await?;
        self.check(&status);
        self.last_status = Some(status);
        Ok(())
    }

    /// Checks that a clean restart changes nothing.
    async fn restart_cleanly(&mut self) {
        self.disk.clear_faults();
        let before = self.last_status.take().expect("the run has ended");
        let (dead, kept) = (self.all_dead_letters(), self.kept());
        let Ok(pipeline) = self.open().await else { panic!("the pipeline starts without faults") };
        sleep(Duration::from_secs(30)).await;
        let after = pipeline.status();
        assert_eq!(self.kept(), kept, "events are delivered again");
        assert_eq!(self.all_dead_letters(), dead);
        for (name, sink) in &before.sinks {
            assert_eq!(sink.account, after.sinks[name].account, "{name}");
            assert_eq!(sink.dead_letters, after.sinks[name].dead_letters, "{name}");
        }
        pipeline.shutdown(Duration::from_secs(60)).await;
    }

    fn kept(&self) -> Vec<usize> {
        let count = |destination: &Arc<Destination>| {
            destination.lock().history.accepted.values().map(Vec::len).sum()
        };
        self.destinations.values().map(count).collect()
    }

    pub(super) fn check_crash(&self) -> Result<(), Crashed> {
        if self.disk.is_off() { Err(Crashed) } else { Ok(()) }
    }

    /// Awaits an operation, and ends it when the observer crashes.
    async fn until_crash<T>(&self, operation: impl Future<Output = T>) -> Result<T, Crashed> {
        let mut operation = std::pin::pin!(operation);
        loop {
            let result = timeout(Duration::from_millis(500), &mut operation).await;
            self.check_crash()?;
            if let Ok(result) = result {
                return Ok(result);
            }
        }
    }

    fn record(&self, line: String) {
        self.transcript.lock().unwrap().push(format!("{} {line}", self.clock.now()));
    }

    async fn open(&mut self) -> Result<Pipeline, Crashed> {
        self.clock.begin();
        let pipeline = match self.start().await {
            Ok(pipeline) => pipeline,
            Err(error) => {
                self.check_crash()?;
                assert!(self.disk.fault_count() > 0, "the pipeline does not start: {error}");
                self.disk.clear_faults();
                self.start().await.unwrap_or_else(|error| panic!("no second start: {error}"))
            }
        };
        self.check_crash()?;
        let recovery = pipeline.recovery();
        assert!(recovery.lost.is_empty() && recovery.quarantined.is_empty(), "{recovery:?}");
        assert!(!recovery.new_epoch && !recovery.positions_lost, "{recovery:?}");
        // The workers have not begun, since nothing was awaited after the start.
        let epoch = pipeline.status().epoch;
        self.destinations.values().for_each(|destination| destination.begin(epoch));
        Ok(pipeline)
    }

    async fn start(&self) -> Result<Pipeline, StartError> {
        let wall_clock = self.clock.clone();
        let clock: Clock = Arc::new(move || wall_clock.now());
        let journal = Options::new("j")
            .file_system(self.disk.clone())
            .runner(Runner::Caller)
            .clock(clock)
            .seed(self.script.seed)
            .segment_size(5_000)
            .max_size(4 << 20)
            .retain(self.script.retain());
        let sinks = self.destinations.iter().map(|(target, destination)| {
            SinkSpec::new(target.name(), destination.clone()).settings(self.settings(*target))
        });
        Pipeline::builder().journal(journal).seed(self.script.seed).sinks(sinks).start().await
    }

    fn settings(&self, target: Target) -> SinkSettings {
        let Script { failed, denied, max_events, .. } = &*self.script;
        let evidence = |(rounds, seconds): (u32, u64)| serde_json::json!({"rounds": rounds, "over": format!("{seconds}s")});
        let mut settings = serde_json::json!({
            "start": "earliest",
            "timeout": "4s",
            "batch": {"max_events": max_events},
            "retry": {"max": "5s", "failed": evidence(*failed), "denied": evidence(*denied)},
        });
        if target == Target::Archive {
            settings["filter"] = serde_json::json!({"ok": true});
        }
        serde_json::from_value(settings).unwrap()
    }

    /// Checks what holds at any time.
    fn observe(&mut self, pipeline: &Pipeline) {
        let status = pipeline.status();
        for (name, sink) in &status.sinks {
            assert_eq!(sink.accepted, sink.account.resolved() + sink.pending, "{name}: {sink:?}");
            self.coverage.undecided += sink.undecided;
            self.coverage.parked += u64::from(matches!(sink.state, SinkState::Parked(_)));
        }
        self.last_status = Some(status);
    }

    async fn perform(&mut self, pipeline: &Pipeline, operation: Operation) -> Result<(), Crashed> {
        match operation {
            Operation::Send(numbers) => {
                self.highest = self.highest.max(numbers.last().copied().unwrap_or(0));
                self.send(pipeline, &numbers).await?;
            }
            Operation::Wait(pause) => self.until_crash(sleep(pause)).await?,
            Operation::Set(target, mode) => self.destinations[&target].lock().mode = mode,
            Operation::Mend(target) => {
                self.destinations[&target].lock().mended_below = self.highest + 1;
            }
            Operation::Replay { target, since, until, only_ok } => {
                self.replay(pipeline, target, since, until, only_ok).await?;
            }
            Operation::CancelReplay(target) => {
                // It may end in either way.
                self.commands_of(target).promised.clear();
                let _ = self.until_crash(pipeline.cancel_replay(target.name())).await?;
            }
            Operation::Redeliver(target, number) => {
                self.redeliver(pipeline, target, number).await?;
            }
            Operation::Divert(target, pick) => self.divert(pipeline, target, pick).await?,
            Operation::Wake(target) => {
                let wake = timeout(COMMAND_TIMEOUT, pipeline.wake_sink(target.name()));
                let _ = self.until_crash(wake).await?;
            }
            Operation::Restart => {}
            Operation::Crash { is_kill: true } => self.disk.kill(),
            Operation::Crash { is_kill: false } => self.disk.cut_power(),
            Operation::FailLater(after, fault) => {
                self.disk.fail_at(self.disk.operations() + after, fault);
            }
        }
        Ok(())
    }

    pub(super) fn commands_of(&mut self, target: Target) -> &mut Commands {
        self.commands.get_mut(&target).expect("every sink has its commands")
    }

    async fn send(&mut self, pipeline: &Pipeline, numbers: &[u64]) -> Result<(), Crashed> {
        let events = numbers.iter().map(|number| event(*number).into()).collect();
        self.unacked.extend(numbers.iter().copied());
        // A crash loses the acknowledgement.
        let results = self.until_crash(pipeline.ingest_batch(events)).await?;
        for (number, result) in numbers.iter().zip(results) {
            match result {
                Ok(_) => {
                    self.acked.insert(*number);
                    self.unacked.remove(number);
                }
                Err(error) => {
                    assert!(self.disk.fault_count() > 0, "event {number} is rejected: {error}");
                }
            }
        }
        Ok(())
    }

    async fn replay(
        &mut self,
        pipeline: &Pipeline,
        target: Target,
        since: f64,
        until: Option<f64>,
        only_ok: bool,
    ) -> Result<(), Crashed> {
        let now = self.clock.now();
        let at = |part: f64| {
            let micros = START + ((now - START) as f64 * part) as u64;
            Timestamp::from_microsecond(i64::try_from(micros).unwrap()).unwrap()
        };
        let filter = if only_ok { r#"{"ok":true}"# } else { "{}" };
        let selection = ReplaySelection {
            since: at(since),
            until: until.map(at),
            filter: serde_json::from_str::<Filter>(filter).unwrap(),
        };
        let last = pipeline.status().sinks[target.name()].position.seq;
        self.commands_of(target).replays += 1;
        let start = pipeline.start_replay(target.name(), selection.clone());
        let started = self.until_crash(timeout(COMMAND_TIMEOUT, start)).await?;
        if let Ok(Ok(_)) = started {
            assert_ne!(target, Target::Ledger, "a sink with a position can't replay");
            self.coverage.replays += 1;
            let replay = Replay { selection, last, begun_at: now };
            self.commands_of(target).promised.push(replay);
        }
        Ok(())
    }

    async fn redeliver(
        &mut self,
        pipeline: &Pipeline,
        target: Target,
        number: Option<u64>,
    ) -> Result<(), Crashed> {
        let selection = number.map_or(DeadLetterSelection::All, |number| {
            DeadLetterSelection::Ids(BTreeSet::from([id(number)]))
        });
        self.commands_of(target).redeliveries += 1;
        let redeliver = pipeline.redeliver_dead_letters(target.name(), selection, None);
        let report = self.until_crash(timeout(COMMAND_TIMEOUT, redeliver)).await?;
        if let Ok(Ok(report)) = report {
            let is_empty = report.redelivered == 0;
            assert!(target != Target::Ledger || is_empty, "{report:?}");
            self.coverage.redelivered += report.redelivered;
        }
        Ok(())
    }

    async fn divert(
        &mut self,
        pipeline: &Pipeline,
        target: Target,
        pick: Pick,
    ) -> Result<(), Crashed> {
        let (diversion, count) = match pick {
            Pick::Holding => (Diversion::Holding, 1),
            Pick::Head(count) => (Diversion::Head(count), count),
            Pick::Event(number) => (Diversion::Event(id(number)), 1),
        };
        self.commands_of(target).diversions += count;
        let divert = pipeline.divert(target.name(), diversion);
        let diverted = self.until_crash(timeout(COMMAND_TIMEOUT, divert)).await?;
        if let Ok(Ok(ids)) = diverted {
            assert!(ids.len() <= count, "{ids:?}");
            self.coverage.diverted += ids.len() as u64;
            self.commands_of(target).diverted.extend(ids);
        }
        Ok(())
    }

    /// Repairs the destinations, and waits until each event is resolved, while others are accepted.
    async fn heal(&mut self, pipeline: &Pipeline) -> Result<(), Crashed> {
        self.record("heal".into());
        for destination in self.destinations.values() {
            destination.lock().mode = Mode::Healthy;
        }
        let deadline = Instant::now() + HEALING_TIME;
        let mut is_last = false;
        loop {
            let mut numbers = vec![self.next];
            self.next += 1;
            numbers.extend(self.unacked.iter().copied());
            self.send(pipeline, &numbers).await?;
            for _ in 0..5 {
                sleep(Duration::from_secs(1)).await;
                self.check_crash()?;
            }
            self.observe(pipeline);
            let status = pipeline.status();
            let is_resolved = status.sinks.values().all(|sink| sink.pending == 0)
                && !status.sinks.values().any(is_replaying)
                && self.destinations.values().all(|destination| destination.is_flushed());
            let is_acked = self.unacked.is_empty();
            if std::mem::replace(&mut is_last, is_resolved && is_acked) && is_last {
                // Positions are stored by now.
                return Ok(());
            }
            let states = || {
                status
                    .sinks
                    .iter()
                    .map(|(name, sink)| (name, sink.pending, &sink.state, &sink.replay))
            };
            assert!(Instant::now() < deadline, "{:?}", states().collect::<Vec<_>>());
            self.divert_what_holds_the_ledger(pipeline, &status).await?;
        }
    }

    /// Diverts a bad event that holds the sink with a position, as its operator has to.
    async fn divert_what_holds_the_ledger(
        &mut self,
        pipeline: &Pipeline,
        status: &Status,
    ) -> Result<(), Crashed> {
        let state = &status.sinks[Target::Ledger.name()].state;
        let (SinkState::Parked(failure) | SinkState::Retrying(failure)) = state else {
            return Ok(());
        };
        let number = failure.reason.split_once(": event ").map(|(_, number)| number.parse());
        match number {
            Some(Ok(number)) => self.divert(pipeline, Target::Ledger, Pick::Event(number)).await,
            _ => Ok(()),
        }
    }
}

fn is_replaying(sink: &SinkStatus) -> bool {
    sink.replay.as_ref().is_some_and(|replay| replay.state == ReplayState::Running)
}
