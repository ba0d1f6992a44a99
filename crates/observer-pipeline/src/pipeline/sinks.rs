//! The sinks of a pipeline: they come, stop, go and are forgotten while it runs.

use std::sync::Arc;
use std::time::Duration;

use observer_core::{Start, sink_name};
use observer_journal::Hold;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::{AddSinkError, ForgetSinkError, Pipeline};
use crate::account::Place;
use crate::replay::state::{self, Kept};
use crate::source::Source;
use crate::spec::SinkSpec;
use crate::worker::command::Order;
use crate::worker::phase::Phase;
use crate::worker::progress::Progress;
use crate::worker::{Setup, Worker};

/// How long workers may take to flush after they were told to do it now, and then to close.
const LAST_MOMENTS: Duration = Duration::from_secs(12);

/// A worker and what it is known by.
pub(super) struct Running {
    pub(super) kind: String,
    pub(super) required: bool,
    pub(super) progress: Arc<Progress>,
    pub(super) phase: watch::Sender<Phase>,
    pub(super) orders: mpsc::Sender<Order>,
    pub(super) max_events: usize,
    /// Resolves when it was flushed for the last time. The worker waits then, and closes the sink
    /// when it is told to.
    pub(super) flushed: oneshot::Receiver<()>,
    pub(super) task: JoinHandle<()>,
}

impl Pipeline {
    /// Let one more sink have the events, from its position on.
    ///
    /// # Errors
    /// When the name is taken or can't be one.
    pub fn add_sink(&self, spec: SinkSpec) -> Result<(), AddSinkError> {
        let inner = &self.inner;
        if !sink_name::is_valid(&spec.name) {
            return Err(AddSinkError::InvalidName { name: spec.name });
        }
        let mut workers = inner.workers();
        // Looked at under the lock: the workers are taken out after this is set.
        if inner.ingest.is_closed() {
            return Err(AddSinkError::ShuttingDown);
        }
        if workers.contains_key(&spec.name) {
            return Err(AddSinkError::NameTaken { name: spec.name });
        }
        let hold = if spec.settings.required { Hold::Required } else { Hold::Optional };
        inner.journal.hold(&spec.name, hold);
        let stored = inner
            .journal
            .position(&spec.name)
            .map(|stored| Place::decode(stored.seq, &stored.state));
        // Without positions nobody knows what a sink has had: it gets again what is there.
        let earliest = spec.settings.start == Start::Earliest || inner.recovery.positions_lost;
        let start = if earliest { inner.journal.oldest() - 1 } else { inner.journal.head() };
        let place = stored.unwrap_or(Place::start(start));
        inner.journal.set_position(&spec.name, place.seq, place.encode().into());
        let replay = Kept::load(&inner.journal, &spec.name);
        if replay.as_ref().is_some_and(Kept::is_running) {
            inner.journal.hold(&state::reader(&spec.name), Hold::Optional);
        }
        let progress = Arc::new(Progress::new(place, replay));
        let served = inner.served().get(&spec.name).copied().unwrap_or(0);
        let (phase, phases) = watch::channel(Phase::Running);
        let (orders, to_replay) = mpsc::channel(1);
        let (last_flush, flushed) = oneshot::channel();
        let max_events = spec.limits().max_events;
        let worker = Worker::new(
            Setup {
                limits: spec.limits(),
                name: spec.name.clone(),
                sink: spec.sink,
                filter: spec.settings.filter,
                source: Source {
                    blocking: inner.blocking,
                    journal: inner.journal.clone(),
                    tail: inner.tail.clone(),
                },
                dead: self.shelf(&spec.name),
                progress: progress.clone(),
                orders: to_replay,
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
        let running = Running {
            kind: spec.kind,
            required,
            progress,
            phase,
            orders,
            max_events,
            flushed,
            task,
        };
        workers.insert(spec.name, running);
        Ok(())
    }

    /// Let a sink have what is there, for up to `deadline`, and then no more. Its position stays.
    /// `false` when there is none of this name.
    pub async fn remove_sink(&self, name: &str, deadline: Duration) -> bool {
        let was_there = self.stop_sinks([name], deadline).await > 0;
        if was_there {
            self.release_sink(name);
        }
        was_there
    }

    /// Let sinks have what is there, for up to `deadline`, and then no more. What they have not had
    /// is kept for them until they are added again or [released](Self::release_sink). Says how many
    /// there were of these names.
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

    /// Keep nothing more for a sink that was stopped, as if it had been removed.
    pub fn release_sink(&self, name: &str) {
        if !self.inner.workers().contains_key(name) {
            self.inner.journal.release(name);
            self.inner.journal.release(&state::reader(name));
        }
    }

    /// Forget where a sink stands that is not there any more. Should one of its name come again, it
    /// begins as a new one. Its dead letters stay in their folder.
    ///
    /// # Errors
    /// When it is there, or there never was one, or that can't be stored yet.
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
            self.inner.journal.forget(&state::reader(name));
        }
        tracing::info!(sink = name, "the position of the sink is forgotten");
        self.store_positions().await.map_err(ForgetSinkError::Store)
    }
}

/// Let workers deliver and flush: at their leisure until `deadline`, and then now. Gives those that
/// did.
pub(super) async fn drain(
    workers: Vec<(String, Running)>,
    deadline: Instant,
) -> Vec<(String, Running)> {
    for (_, running) in &workers {
        running.phase.send_replace(Phase::Draining);
    }
    let (mut flushed, mut left) = (Vec::with_capacity(workers.len()), Vec::new());
    for (name, mut running) in workers {
        match tokio::time::timeout_at(deadline, &mut running.flushed).await {
            Ok(_) => flushed.push((name, running)),
            Err(_) => {
                running.phase.send_replace(Phase::Stopping);
                left.push((name, running));
            }
        }
    }
    let last = Instant::now() + LAST_MOMENTS;
    for (name, mut running) in left {
        match tokio::time::timeout_at(last, &mut running.flushed).await {
            Ok(_) => flushed.push((name, running)),
            Err(_) => abandon(&name, &running),
        }
    }
    flushed
}

/// Have the sinks of workers closed that have flushed them.
pub(super) async fn close(workers: Vec<(String, Running)>) {
    for (_, running) in &workers {
        running.phase.send_replace(Phase::Closing);
    }
    let last = Instant::now() + LAST_MOMENTS;
    for (name, mut running) in workers {
        if tokio::time::timeout_at(last, &mut running.task).await.is_err() {
            abandon(&name, &running);
        }
    }
}

fn abandon(name: &str, running: &Running) {
    tracing::error!(sink = name, "the sink did not end; it is abandoned");
    running.task.abort();
}
