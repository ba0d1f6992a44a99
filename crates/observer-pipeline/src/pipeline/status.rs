//! Composition of the status from the parts of a pipeline.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use observer_core::{Position, Timestamp};

use super::Pipeline;
use super::sinks::Running;
use crate::account::Checkpoint;
use crate::event_log::tail::Tail;
use crate::lock::lock;
use crate::replay::state::{ReplayRecord, ReplayStatus, is_replay_reader};
use crate::status::{IngestStatus, SinkState, SinkStatus, Status};
use crate::worker::progress::{Progress, Snapshot};

impl Pipeline {
    /// Returns a snapshot of the pipeline, the journal and all sinks.
    #[must_use]
    pub fn status(&self) -> Status {
        let inner = &self.inner;
        let epoch = inner.journal.epoch();
        let counters = inner.ingest.counters();
        let ingest = IngestStatus {
            accepted: counters.accepted.load(Ordering::Relaxed),
            principals: counters.principals.snapshot(),
            rejected: counters.rejected.snapshot(),
            remembered: inner.ingest.remembered(),
        };
        let mut sinks = BTreeMap::new();
        for (name, stored) in
            inner.journal.positions().into_iter().filter(|(name, _)| !is_replay_reader(name))
        {
            let checkpoint = Checkpoint::decode(stored.seq, &stored.state);
            let replay = ReplayRecord::load(&inner.journal, &name).map(|record| record.status());
            sinks.insert(
                name.clone(),
                self.detached_status(
                    Position { epoch: stored.epoch, seq: stored.seq },
                    checkpoint,
                    replay,
                    &name,
                ),
            );
        }
        let stopped = lock(&inner.stopped);
        let workers = inner.workers();
        let snapshots: Vec<_> = workers
            .iter()
            .map(|(name, running)| (name, running, running.progress.lock().clone()))
            .collect();
        // Read after the positions of the sinks, so that none is shown past the head.
        let journal = inner.journal.status();
        let running = snapshots
            .into_iter()
            .map(|(name, running, snapshot)| (name, StoppedSink::new(running), snapshot));
        for (name, sink, snapshot) in running {
            let status = sink.status(snapshot, &inner.tail, epoch, journal.head);
            sinks.insert(name.clone(), status);
        }
        for (name, stopped) in &*stopped {
            let snapshot = stopped.progress.lock().clone();
            let status = stopped.status(snapshot, &inner.tail, epoch, journal.head);
            sinks.insert(name.clone(), status);
        }
        Status { journal, epoch, ingest, sinks, closed: inner.ingest.is_closed() }
    }
}

/// Sink of a worker, which may have ended.
pub(super) struct StoppedSink {
    kind: String,
    required: bool,
    progress: Arc<Progress>,
    dead_letters: Arc<AtomicU64>,
}

impl StoppedSink {
    pub(super) fn new(running: &Running) -> Self {
        Self {
            kind: running.kind.clone(),
            required: running.required,
            progress: running.progress.clone(),
            dead_letters: running.dead_letters.clone(),
        }
    }

    fn status(&self, snapshot: Snapshot, tail: &Tail, epoch: u64, head: u64) -> SinkStatus {
        let pending = snapshot.pending_at(head);
        let seq = snapshot.checkpoint.seq;
        let in_journal =
            (head > seq).then(|| tail.received_at(seq + 1).or(snapshot.oldest_in_batch)).flatten();
        let aside = snapshot.oldest_aside.filter(|_| snapshot.undecided() > 0);
        let oldest = in_journal.into_iter().chain(aside).min();
        let account = snapshot.account();
        SinkStatus {
            kind: self.kind.clone(),
            required: self.required,
            position: Position { epoch, seq },
            account,
            accepted: snapshot.checkpoint.accepted + head.saturating_sub(seq),
            pending,
            undecided: snapshot.undecided() + snapshot.held,
            oldest_pending: oldest.map(|at| Timestamp::now().duration_since(at).unsigned_abs()),
            retry_at: snapshot.retry_at,
            retried: snapshot.retried,
            redelivered: snapshot.redelivered,
            dead_letters: self.dead_letters.load(Ordering::Relaxed),
            delivered_bytes: snapshot.delivered_bytes,
            last_success: snapshot.last_success,
            replay: snapshot.replay.as_ref().map(ReplayRecord::status),
            last_error: snapshot.last_error,
            deliveries: self.progress.deliveries(),
            state: snapshot.state,
        }
    }
}

impl Pipeline {
    fn detached_status(
        &self,
        position: Position,
        checkpoint: Checkpoint,
        replay: Option<ReplayStatus>,
        name: &str,
    ) -> SinkStatus {
        let progress = Progress::new(checkpoint, None);
        let mut snapshot = progress.lock().clone();
        if checkpoint.set_aside > 0 {
            let store = self.undecided_store(name);
            let mut store = lock(&store);
            // If the file can't be read, its events count as pending.
            if store.load(checkpoint.seq).is_ok() {
                snapshot.aside = store.totals();
            }
        }
        let undecided = snapshot.undecided();
        SinkStatus {
            kind: String::new(),
            state: SinkState::Detached,
            required: false,
            position,
            account: snapshot.account(),
            accepted: checkpoint.accepted,
            pending: undecided,
            undecided,
            oldest_pending: None,
            retry_at: None,
            retried: 0,
            redelivered: 0,
            dead_letters: 0,
            delivered_bytes: 0,
            last_success: None,
            replay,
            last_error: None,
            deliveries: progress.deliveries(),
        }
    }
}
