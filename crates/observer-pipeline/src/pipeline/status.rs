//! Composition of the status from the parts of a pipeline.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;

use observer_core::{Position, Timestamp};

use super::Pipeline;
use super::sinks::Running;
use crate::account::Checkpoint;
use crate::event_log::tail::Tail;
use crate::replay::state::{ReplayRecord, ReplayStatus, is_replay_reader};
use crate::status::{IngestStatus, SinkState, SinkStatus, Status};
use crate::worker::progress::Snapshot;

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
                name,
                detached_status(
                    Position { epoch: stored.epoch, seq: stored.seq },
                    checkpoint,
                    replay,
                ),
            );
        }
        let workers = inner.workers();
        let snapshots: Vec<_> = workers
            .iter()
            .map(|(name, running)| (name, running, running.progress.lock().clone()))
            .collect();
        // Read after the positions of the sinks, so that none is shown past the head.
        let journal = inner.journal.status();
        for (name, running, snapshot) in snapshots {
            sinks.insert(name.clone(), running.status(snapshot, &inner.tail, epoch, journal.head));
        }
        Status { journal, epoch, ingest, sinks, closed: inner.ingest.is_closed() }
    }
}

impl Running {
    fn status(&self, snapshot: Snapshot, tail: &Tail, epoch: u64, head: u64) -> SinkStatus {
        let pending = head.saturating_sub(snapshot.checkpoint.seq);
        let oldest = (pending > 0)
            .then(|| tail.received_at(snapshot.checkpoint.seq + 1).or(snapshot.oldest_in_batch))
            .flatten();
        SinkStatus {
            kind: self.kind.clone(),
            state: snapshot.state,
            required: self.required,
            position: Position { epoch, seq: snapshot.checkpoint.seq },
            account: snapshot.checkpoint.account,
            accepted: snapshot.checkpoint.accepted + pending,
            pending,
            oldest_pending: oldest.map(|at| Timestamp::now().duration_since(at).unsigned_abs()),
            retried: snapshot.retried,
            redelivered: snapshot.redelivered,
            replay: snapshot.replay.as_ref().map(ReplayRecord::status),
            last_error: snapshot.last_error,
            deliveries: self.progress.deliveries.snapshot(),
        }
    }
}

fn detached_status(
    position: Position,
    checkpoint: Checkpoint,
    replay: Option<ReplayStatus>,
) -> SinkStatus {
    SinkStatus {
        kind: String::new(),
        state: SinkState::Detached,
        required: false,
        position,
        account: checkpoint.account,
        accepted: checkpoint.accepted,
        pending: 0,
        oldest_pending: None,
        retried: 0,
        redelivered: 0,
        replay,
        last_error: None,
        deliveries: observer_journal::Durations::default().snapshot(),
    }
}
