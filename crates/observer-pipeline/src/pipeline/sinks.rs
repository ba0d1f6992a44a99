//! Sinks of a running pipeline: adding, stopping, removing and forgetting.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use observer_core::{EventSink, Filter, Start, sink_name};
use observer_journal::Hold;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::{AddSinkError, ForgetSinkError, Pipeline};
use crate::account::Checkpoint;
use crate::event_log::Journal;
use crate::lock::lock;
use crate::replay::state::{ReplayRecord, reader_name};
use crate::spec::SinkSpec;
use crate::worker::command::Command;
use crate::worker::phase::Phase;
use crate::worker::progress::Progress;
use crate::worker::{Setup, Worker};

/// Timeout of the last flush of all workers after the deadline, and of closing them.
const FINISH_TIMEOUT: Duration = Duration::from_secs(12);

/// Running sink: its worker with the channels to it.
pub(super) struct Running {
    pub(super) kind: String,
    pub(super) required: bool,
    pub(super) filter: Filter,
    pub(super) sink: Arc<dyn EventSink>,
    pub(super) progress: Arc<Progress>,
    /// Number of dead letters.
    pub(super) dead_letters: Arc<AtomicU64>,
    pub(super) phase: watch::Sender<Phase>,
    pub(super) commands: mpsc::Sender<Command>,
    pub(super) max_events: usize,
    /// Completed after the last flush. The worker then waits for [`Phase::Closing`].
    pub(super) flushed: oneshot::Receiver<()>,
    pub(super) task: JoinHandle<()>,
}

impl Pipeline {
    /// Adds a sink, which gets the events from its position on, as far as the journal retains them.
    ///
    /// # Errors
    /// If the name is taken or invalid, or the pipeline is shutting down.
    pub fn add_sink(&self, spec: SinkSpec) -> Result<(), AddSinkError> {
        let inner = &self.inner;
        if !sink_name::is_valid(&spec.name) {
            return Err(AddSinkError::InvalidName { name: spec.name });
        }
        let mut workers = inner.workers();
        // Checked under the lock, since a shutdown first closes ingest and then takes the workers.
        if inner.ingest.is_closed() {
            return Err(AddSinkError::ShuttingDown);
        }
        if workers.contains_key(&spec.name) {
            return Err(AddSinkError::NameTaken { name: spec.name });
        }
        workers.insert(spec.name.clone(), self.start_worker(spec));
        Ok(())
    }

    /// Starts the worker of a sink at its position in the journal.
    fn start_worker(&self, spec: SinkSpec) -> Running {
        let inner = &self.inner;
        let (stored, start) = self.starting_point(&spec);
        let checkpoint = stored.unwrap_or(Checkpoint::start(start));
        let replay = ReplayRecord::load(&inner.journal, &spec.name);
        let progress = Arc::new(Progress::new(checkpoint, replay));
        let served = inner.served().get(&spec.name).copied().unwrap_or(0);
        let (phase, phases) = watch::channel(Phase::Running);
        let (commands, received) = mpsc::channel(1);
        let (last_flush, flushed) = oneshot::channel();
        let max_events = spec.limits().max_events;
        let filter = spec.settings.filter.clone();
        let sink = spec.sink.clone();
        let dead_letters = self.dead_letter_store(&spec.name);
        let counter = lock(&dead_letters).counter();
        let undecided = self.undecided_store(&spec.name);
        lock(&undecided).set_fingerprint(spec.fingerprint.as_deref());
        let worker = Worker::new(
            Setup {
                limits: spec.limits(),
                name: spec.name.clone(),
                sink: spec.sink,
                filter: spec.settings.filter,
                event_log: self.event_log(),
                dead_letters,
                undecided,
                progress: progress.clone(),
                commands: received,
                stored,
                start,
                served,
                random: inner.random().fork(),
                flushed: last_flush,
            },
            phases,
        );
        let task = tokio::spawn(worker.run());
        let required = spec.settings.required;
        Running {
            kind: spec.kind,
            required,
            filter,
            sink,
            progress,
            dead_letters: counter,
            phase,
            commands,
            max_events,
            flushed,
            task,
        }
    }

    /// Returns the stored checkpoint of a sink and the position at which a new one starts, and
    /// makes the journal hold the events from there.
    fn starting_point(&self, spec: &SinkSpec) -> (Option<Checkpoint>, u64) {
        let inner = &self.inner;
        hold_events(&inner.journal, &spec.name, hold(spec));
        let stored = inner
            .journal
            .position(&spec.name)
            .map(|stored| Checkpoint::decode(stored.seq, &stored.state));
        // When the positions are lost, every sink gets all retained events again.
        let earliest = spec.settings.start == Start::Earliest || inner.recovery.positions_lost;
        let start = if earliest { inner.journal.oldest() - 1 } else { inner.journal.head() };
        let checkpoint = stored.unwrap_or(Checkpoint::start(start));
        inner.journal.set_position(&spec.name, checkpoint.seq, checkpoint.encode().into());
        (stored, start)
    }

    /// Removes a sink after it got its pending events, for which it has up to `deadline`. Its
    /// position stays. Returns `false` when there is no sink of this name.
    pub async fn remove_sink(&self, name: &str, deadline: Duration) -> bool {
        let existed = self.stop_sinks([name], deadline).await > 0;
        if existed {
            self.release_sink(name);
        }
        existed
    }

    /// Stops sinks after they got their pending events, for which they have up to `deadline`.
    ///
    /// The journal holds the remaining events until the sinks are added again or
    /// [released](Self::release_sink). Returns the number of sinks that were stopped.
    pub async fn stop_sinks<'a>(
        &self,
        names: impl IntoIterator<Item = &'a str>,
        deadline: Duration,
    ) -> usize {
        let stopping: Vec<_> = {
            let mut workers = self.inner.workers();
            names.into_iter().filter_map(|name| workers.remove_entry(name)).collect()
        };
        let progress: Vec<_> = stopping
            .iter()
            .map(|(name, running)| (name.clone(), running.progress.clone()))
            .collect();
        close(drain(stopping, Instant::now() + deadline).await).await;
        let stopped = progress.len();
        self.inner
            .served()
            .extend(progress.into_iter().map(|(name, progress)| (name, progress.lock().served)));
        stopped
    }

    /// Releases the events that the journal holds for a stopped sink, as if it had been removed.
    pub fn release_sink(&self, name: &str) {
        if !self.inner.workers().contains_key(name) {
            self.inner.journal.release(name);
            self.inner.journal.release(&reader_name(name));
        }
    }

    /// Forgets the position of a removed sink. A later sink of this name starts as a new one. The
    /// dead letters stay in their folder.
    ///
    /// # Errors
    /// If the sink is running or unknown, or the change can't be stored yet.
    pub async fn forget_sink(&self, name: &str) -> Result<(), ForgetSinkError> {
        {
            let workers = self.inner.workers();
            if workers.contains_key(name) {
                return Err(ForgetSinkError::StillRunning { name: name.to_owned() });
            }
            if self.inner.journal.position(name).is_none() {
                return Err(ForgetSinkError::UnknownSink { name: name.to_owned() });
            }
            self.inner.journal.forget(name);
            self.inner.journal.forget(&reader_name(name));
        }
        tracing::info!(sink = name, "the position of the sink was forgotten");
        let undecided = self.undecided_store(name);
        let cleared = self.inner.blocking.run(move || lock(&undecided).clear()).await;
        cleared.map_err(std::io::Error::other).flatten().map_err(ForgetSinkError::Store)?;
        self.store_positions().await.map_err(ForgetSinkError::Store)
    }
}

/// Returns what happens to events of a sink at the size limit of the journal.
pub(super) fn hold(spec: &SinkSpec) -> Hold {
    if spec.settings.required { Hold::Required } else { Hold::Optional }
}

/// Makes the journal hold the events that a sink and its replay have not received yet.
pub(super) fn hold_events(journal: &Journal, sink: &str, hold: Hold) {
    journal.hold(sink, hold);
    if ReplayRecord::load(journal, sink).as_ref().is_some_and(ReplayRecord::is_running) {
        journal.hold(&reader_name(sink), Hold::Optional);
    }
}

/// Drains workers until `deadline`, and then stops them. Returns those that ended their last
/// flush.
pub(super) async fn drain(
    workers: Vec<(String, Running)>,
    deadline: Instant,
) -> Vec<(String, Running)> {
    for (_, running) in &workers {
        running.phase.send_replace(Phase::Draining);
    }
    let (mut flushed, mut unfinished) = (Vec::with_capacity(workers.len()), Vec::new());
    for (name, mut running) in workers {
        match tokio::time::timeout_at(deadline, &mut running.flushed).await {
            Ok(_) => flushed.push((name, running)),
            Err(_) => {
                running.phase.send_replace(Phase::Stopping);
                unfinished.push((name, running));
            }
        }
    }
    let last = Instant::now() + FINISH_TIMEOUT;
    for (name, mut running) in unfinished {
        match tokio::time::timeout_at(last, &mut running.flushed).await {
            Ok(_) => flushed.push((name, running)),
            Err(_) => abandon(&name, &running),
        }
    }
    flushed
}

/// Closes the sinks of workers that have flushed.
pub(super) async fn close(workers: Vec<(String, Running)>) {
    for (_, running) in &workers {
        running.phase.send_replace(Phase::Closing);
    }
    let last = Instant::now() + FINISH_TIMEOUT;
    for (name, mut running) in workers {
        if tokio::time::timeout_at(last, &mut running.task).await.is_err() {
            abandon(&name, &running);
        }
    }
}

fn abandon(name: &str, running: &Running) {
    tracing::error!(sink = name, "the sink did not end; its worker is aborted");
    running.task.abort();
}
