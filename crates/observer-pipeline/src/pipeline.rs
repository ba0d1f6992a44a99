//! The pipeline as others see it.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use observer_core::{Position, Start, Submission, Timestamp};
use observer_journal::{Hold, Journal, Options, Recovery};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::account::Place;
use crate::blocking::Blocking;
use crate::dead_letters::DeadLetters;
use crate::ingest::{Ack, Ingest, IngestError, IngestOptions, Shared};
use crate::letters::Desk;
use crate::replay::Order;
use crate::spec::SinkSpec;
use crate::status::{IngestStatus, Progress, SinkState, SinkStatus, Status, Told};
use crate::tail::Tail;
use crate::worker::{Phase, Setup, Worker};

mod error;

pub use error::{AddSinkError, ForgetSinkError, StartError};

/// How often positions are made durable, and space is given back.
const MAINTAIN_EVERY: Duration = Duration::from_secs(1);
/// How long workers may take to end after they were told to do it now; each has to flush and to close.
const LAST_MOMENTS: Duration = Duration::from_secs(12);

/// Takes events in, makes them durable, and has every sink get them.
///
/// A handle: clones are the same pipeline. It ends with [`shutdown`](Self::shutdown); without that, what sinks had not flushed is delivered again next time.
#[derive(Clone)]
pub struct Pipeline {
    inner: Arc<Inner>,
}

struct Inner {
    blocking: Blocking,
    journal: Arc<Journal>,
    options: Options,
    tail: Arc<Tail>,
    ingest: Ingest,
    workers: Mutex<BTreeMap<String, Running>>,
    /// How far sinks were served that are not there any more.
    served: Mutex<BTreeMap<String, u64>>,
    /// The dead letters of each sink that there was: they have one owner, whether the sink runs or not.
    shelves: Mutex<BTreeMap<String, Arc<Mutex<DeadLetters>>>>,
    random: Mutex<fastrand::Rng>,
    recovery: Recovery,
    maintenance: Mutex<Option<JoinHandle<()>>>,
}

/// A worker and what it is known by.
struct Running {
    kind: String,
    required: bool,
    progress: Arc<Progress>,
    phase: watch::Sender<Phase>,
    orders: mpsc::Sender<Order>,
    max_events: usize,
    task: JoinHandle<()>,
}

/// How a pipeline is put together.
#[derive(Debug)]
#[must_use]
pub struct PipelineBuilder {
    journal: Options,
    ingest: IngestOptions,
    sinks: Vec<SinkSpec>,
    seed: Option<u64>,
}

impl PipelineBuilder {
    /// Where and how events are made durable.
    pub fn journal(self, journal: Options) -> Self {
        Self { journal, ..self }
    }

    /// How events are taken in.
    pub fn ingest(self, ingest: IngestOptions) -> Self {
        Self { ingest, ..self }
    }

    /// A sink that gets the events.
    pub fn sink(mut self, sink: SinkSpec) -> Self {
        self.sinks.push(sink);
        self
    }

    /// Sinks that get the events.
    pub fn sinks(mut self, sinks: impl IntoIterator<Item = SinkSpec>) -> Self {
        self.sinks.extend(sinks);
        self
    }

    /// Draw pauses from this seed, so that the same calls make the same pauses.
    pub fn seed(self, seed: u64) -> Self {
        Self { seed: Some(seed), ..self }
    }

    /// Open the journal, and start a worker for each sink. Has to be called within a tokio runtime.
    ///
    /// # Errors
    /// When the journal can't be opened, or a sink can't be added. A sink that can't be reached is no error: its events wait.
    pub async fn start(self) -> Result<Pipeline, StartError> {
        let Self { journal: options, ingest, sinks, seed } = self;
        let shared = Arc::new(Shared::new(ingest.dedup));
        let telling = shared.clone();
        let opened = options.clone().after_commit(move || telling.tell());
        let clock = options.time();
        let open = move || {
            let (journal, recovery) = Journal::open(opened)?;
            let journal = Arc::new(journal);
            let tail = shared.tail.clone();
            tail.begin_after(journal.head());
            let ingest = Ingest::open(journal.clone(), shared, ingest, clock).map_err(StartError::Keys)?;
            Ok::<_, StartError>((journal, recovery, tail, ingest))
        };
        let blocking = Blocking::new(options.written_by());
        let opened = blocking.run(open).await;
        let (journal, recovery, tail, ingest) = opened.expect("opening a journal doesn't panic")?;
        let inner = Arc::new(Inner {
            blocking,
            journal,
            options,
            tail,
            ingest,
            workers: Mutex::default(),
            served: Mutex::default(),
            shelves: Mutex::default(),
            random: Mutex::new(seed.map_or_else(fastrand::Rng::new, fastrand::Rng::with_seed)),
            recovery,
            maintenance: Mutex::default(),
        });
        let pipeline = Pipeline { inner };
        for sink in sinks {
            if let Err(error) = pipeline.add_sink(sink) {
                pipeline.shutdown(Duration::ZERO).await;
                return Err(error.into());
            }
        }
        *pipeline.inner.maintenance() = Some(tokio::spawn(maintain(blocking, pipeline.inner.journal.clone())));
        Ok(pipeline)
    }
}

impl Pipeline {
    /// A pipeline in memory, without sinks, until it is told otherwise.
    pub fn builder() -> PipelineBuilder {
        let memory = Options::new("journal").file_system(observer_journal::fs::Memory::default()).max_size(256 << 20);
        PipelineBuilder { journal: memory, ingest: IngestOptions::default(), sinks: Vec::new(), seed: None }
    }

    /// Take an event in. The answer comes when it is as durable as the journal promises; sinks have no part in that.
    ///
    /// The future may be dropped: the commit runs on, and the same event is a duplicate then.
    ///
    /// # Errors
    /// When the event isn't taken; it is nowhere then, or it will be a duplicate.
    pub async fn ingest(&self, event: impl Into<Submission>) -> Result<Ack, IngestError> {
        self.inner.ingest.ingest(event.into(), None).await
    }

    /// Take an event in whose identity is this key.
    ///
    /// # Errors
    /// Those of [`ingest`](Self::ingest), and when the key came with another event before.
    pub async fn ingest_with_key(&self, event: impl Into<Submission>, key: &str) -> Result<Ack, IngestError> {
        self.inner.ingest.ingest(event.into(), Some(key)).await
    }

    /// Take events in, each judged by itself: those that are new are committed together, all or none. The results are in the order of the events.
    pub async fn ingest_batch(&self, events: Vec<Submission>) -> Vec<Result<Ack, IngestError>> {
        self.inner.ingest.ingest_batch(events).await
    }

    /// Count an event that was refused before it came here.
    pub fn count_rejected(&self, reason: &'static str) {
        self.inner.ingest.counters().reject(reason);
    }

    /// What was found when the journal was opened.
    #[must_use]
    pub fn recovery(&self) -> &Recovery {
        &self.inner.recovery
    }

    /// Let one more sink have the events, from its position on.
    ///
    /// # Errors
    /// When the name is taken or can't be one.
    pub fn add_sink(&self, spec: SinkSpec) -> Result<(), AddSinkError> {
        let inner = &self.inner;
        if !spec.has_good_name() {
            return Err(AddSinkError::BadName { name: spec.name });
        }
        let mut workers = inner.workers();
        // Looked at under the lock: the workers are taken out after this is set.
        if inner.ingest.is_closed() {
            return Err(AddSinkError::ShuttingDown);
        }
        if workers.contains_key(&spec.name) {
            return Err(AddSinkError::Taken { name: spec.name });
        }
        let hold = if spec.settings.required { Hold::Required } else { Hold::Optional };
        inner.journal.hold(&spec.name, hold);
        let stored = inner.journal.stored(&spec.name).map(|stored| Place::decode(stored.seq, &stored.state));
        // Without positions nobody knows what a sink has had: it gets again what is there.
        let earliest = spec.settings.start == Start::Earliest || inner.recovery.positions_lost;
        let start = if earliest { inner.journal.oldest() - 1 } else { inner.journal.head() };
        let place = stored.unwrap_or(Place::start(start));
        inner.journal.set_position(&spec.name, place.seq, place.encode().into());
        let progress = Arc::new(Progress::new(place));
        let served = inner.served().get(&spec.name).copied().unwrap_or(0);
        let (phase, phases) = watch::channel(Phase::Running);
        let (orders, to_replay) = mpsc::channel(1);
        let max_events = spec.limits().max_events;
        let worker = Worker::new(
            Setup {
                limits: spec.limits(),
                blocking: inner.blocking,
                name: spec.name.clone(),
                sink: spec.sink,
                filter: spec.settings.filter,
                journal: inner.journal.clone(),
                tail: inner.tail.clone(),
                dead: self.shelf(&spec.name),
                progress: progress.clone(),
                orders: to_replay,
                stored,
                start,
                served,
                random: inner.random().fork(),
            },
            phases,
        );
        let task = tokio::spawn(worker.run());
        let required = spec.settings.required;
        let running = Running { kind: spec.kind, required, progress, phase, orders, max_events, task };
        workers.insert(spec.name, running);
        Ok(())
    }

    /// Let a sink have what is there, for up to `deadline`, and then no more. Its position stays. `false` when there is none of this name.
    pub async fn remove_sink(&self, name: &str, deadline: Duration) -> bool {
        let was_there = self.stop_sinks([name], deadline).await > 0;
        if was_there {
            self.release_sink(name);
        }
        was_there
    }

    /// Let sinks have what is there, for up to `deadline`, and then no more. What they have not had is kept for them until they are added again or
    /// [released](Self::release_sink). Says how many there were of these names.
    pub async fn stop_sinks<'a>(&self, names: impl IntoIterator<Item = &'a str>, deadline: Duration) -> usize {
        let stopping: Vec<_> = {
            let mut workers = self.inner.workers();
            names.into_iter().filter_map(|name| workers.remove_entry(name)).collect()
        };
        let progress: Vec<_> =
            stopping.iter().map(|(name, running)| (name.clone(), running.progress.clone())).collect();
        end(stopping, Instant::now() + deadline).await;
        let stopped = progress.len();
        self.inner.served().extend(progress.into_iter().map(|(name, progress)| (name, progress.lock().served)));
        stopped
    }

    /// Keep nothing more for a sink that was stopped, as if it had been removed.
    pub fn release_sink(&self, name: &str) {
        if !self.inner.workers().contains_key(name) {
            self.inner.journal.release(name);
        }
    }

    /// Forget where a sink stands that is not there any more. Should one of its name come again, it begins as a new one. Its dead letters stay
    /// in their folder.
    ///
    /// # Errors
    /// When it is there, or there never was one, or that can't be stored yet.
    pub async fn forget_sink(&self, name: &str) -> Result<(), ForgetSinkError> {
        {
            let workers = self.inner.workers();
            if workers.contains_key(name) {
                return Err(ForgetSinkError::Running { name: name.to_owned() });
            }
            if self.inner.journal.stored(name).is_none() {
                return Err(ForgetSinkError::Unknown { name: name.to_owned() });
            }
            self.inner.journal.forget(name);
        }
        tracing::info!(sink = name, "the position of the sink is forgotten");
        let journal = self.inner.journal.clone();
        let stored = self.inner.blocking.run(move || journal.maintain()).await;
        stored
            .map_err(io::Error::other)
            .and_then(|stored| stored.map_err(io::Error::other))
            .map_err(ForgetSinkError::Store)
    }

    /// Whether there is one of this name, or was.
    pub(crate) fn knows_sink(&self, name: &str) -> bool {
        self.inner.workers().contains_key(name) || self.inner.journal.stored(name).is_some()
    }

    pub(crate) fn blocking(&self) -> Blocking {
        self.inner.blocking
    }

    pub(crate) fn shelf(&self, sink: &str) -> Arc<Mutex<DeadLetters>> {
        let inner = &self.inner;
        let mut shelves = inner.shelves.lock().expect("nothing panics while it holds the shelves");
        let new = || DeadLetters::new(inner.options.fs(), self.dead_letters_dir(sink), inner.options.time());
        shelves.entry(sink.to_owned()).or_insert_with(|| Arc::new(Mutex::new(new()))).clone()
    }

    /// Where a running sink is handed what it is to send again.
    pub(crate) fn desk(&self, sink: &str) -> Option<Desk> {
        let workers = self.inner.workers();
        let running = workers.get(sink)?;
        Some(Desk { orders: running.orders.clone(), at_once: running.max_events })
    }

    /// Where a sink's dead letters are.
    #[must_use]
    pub fn dead_letters_dir(&self, sink: &str) -> PathBuf {
        self.inner.options.dir().join("dead-letters").join(sink)
    }

    /// What the pipeline is doing.
    #[must_use]
    pub fn status(&self) -> Status {
        let inner = &self.inner;
        let epoch = inner.journal.epoch();
        let counters = inner.ingest.counters();
        let ingest = IngestStatus {
            accepted: counters.accepted.load(Ordering::Relaxed),
            duplicates: counters.duplicates.load(Ordering::Relaxed),
            changed: counters.changed.load(Ordering::Relaxed),
            rejected: counters.rejected().clone(),
            remembered: inner.ingest.remembered(),
        };
        let mut sinks = BTreeMap::new();
        for (name, stored) in inner.journal.readers() {
            let place = Place::decode(stored.seq, &stored.state);
            sinks.insert(name, detached(Position { epoch: stored.epoch, seq: stored.seq }, place));
        }
        let workers = inner.workers();
        let told: Vec<_> =
            workers.iter().map(|(name, running)| (name, running, running.progress.lock().clone())).collect();
        // Later than where sinks stand, so that none is shown past it.
        let journal = inner.journal.status();
        for (name, running, told) in told {
            sinks.insert(name.clone(), running.status(told, &inner.tail, epoch, journal.head));
        }
        Status { journal, epoch, ingest, sinks, closed: inner.ingest.is_closed() }
    }

    /// Take no more events, let the sinks have what is there for up to `deadline`, and end. Nothing is lost by a deadline that is too
    /// short: what is left is delivered after the next start.
    pub async fn shutdown(&self, deadline: Duration) {
        let inner = &self.inner;
        inner.ingest.close();
        let workers = std::mem::take(&mut *inner.workers());
        end(workers.into_iter().collect(), Instant::now() + deadline).await;
        let maintenance = inner.maintenance().take();
        if let Some(maintenance) = maintenance {
            maintenance.abort();
            let _ = maintenance.await;
        }
        let journal = inner.journal.clone();
        let maintained = inner.blocking.run(move || journal.maintain()).await;
        if let Ok(Err(error)) = maintained {
            tracing::error!(
                error = observer_core::report(&error),
                "the last positions could not be stored; some events will be delivered again"
            );
        }
    }
}

impl std::fmt::Debug for Pipeline {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pipeline").field("journal", &self.inner.journal).finish_non_exhaustive()
    }
}

impl Inner {
    fn workers(&self) -> MutexGuard<'_, BTreeMap<String, Running>> {
        self.workers.lock().expect("nothing panics while it holds the workers")
    }

    fn served(&self) -> MutexGuard<'_, BTreeMap<String, u64>> {
        self.served.lock().expect("nothing panics while it holds these numbers")
    }

    fn random(&self) -> MutexGuard<'_, fastrand::Rng> {
        self.random.lock().expect("nothing panics while it draws a number")
    }

    fn maintenance(&self) -> MutexGuard<'_, Option<JoinHandle<()>>> {
        self.maintenance.lock().expect("nothing panics while it holds a task")
    }
}

impl Running {
    fn status(&self, told: Told, tail: &Tail, epoch: u64, head: u64) -> SinkStatus {
        let pending = head.saturating_sub(told.place.seq);
        let oldest = (pending > 0).then(|| tail.received_at(told.place.seq + 1).or(told.oldest_in_hand)).flatten();
        SinkStatus {
            kind: self.kind.clone(),
            state: told.state,
            required: self.required,
            position: Position { epoch, seq: told.place.seq },
            account: told.place.account,
            accepted: told.place.accepted + pending,
            pending,
            oldest_pending: oldest.map(|at| Timestamp::now().duration_since(at).unsigned_abs()),
            retried: told.retried,
            replayed: told.replayed,
            last_error: told.last_error,
            deliveries: self.progress.deliveries.snapshot(),
        }
    }
}

fn detached(position: Position, place: Place) -> SinkStatus {
    SinkStatus {
        kind: String::new(),
        state: SinkState::Detached,
        required: false,
        position,
        account: place.account,
        accepted: place.accepted,
        pending: 0,
        oldest_pending: None,
        retried: 0,
        replayed: 0,
        last_error: None,
        deliveries: observer_journal::Durations::default().snapshot(),
    }
}

/// Let workers end: at their leisure until `deadline`, and then now.
async fn end(workers: Vec<(String, Running)>, deadline: Instant) {
    for (_, running) in &workers {
        running.phase.send_replace(Phase::Draining);
    }
    let mut left = Vec::new();
    for (name, mut running) in workers {
        if tokio::time::timeout_at(deadline, &mut running.task).await.is_err() {
            running.phase.send_replace(Phase::Stopping);
            left.push((name, running));
        }
    }
    let last = Instant::now() + LAST_MOMENTS;
    for (name, mut running) in left {
        if tokio::time::timeout_at(last, &mut running.task).await.is_err() {
            tracing::error!(sink = name, "the sink did not end; it is abandoned");
            running.task.abort();
        }
    }
}

/// Store positions and give space back, once a second, for as long as the pipeline runs.
async fn maintain(blocking: Blocking, journal: Arc<Journal>) {
    let mut failing = false;
    let mut ticks = tokio::time::interval(MAINTAIN_EVERY);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let journal = journal.clone();
        let Ok(maintained) = blocking.run(move || journal.maintain()).await else { return };
        match maintained {
            Err(error) if !failing => {
                failing = true;
                tracing::error!(
                    error = observer_core::report(&error),
                    "positions can't be stored; this is tried again every second"
                );
            }
            Ok(()) if failing => {
                failing = false;
                tracing::info!("positions are stored again");
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests;
