//! What a pipeline is doing, put together from its parts.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;

use observer_core::{Position, Timestamp};

use super::Pipeline;
use super::sinks::Running;
use crate::account::Place;
use crate::replay::state::{self, Kept, ReplayStatus};
use crate::source::tail::Tail;
use crate::status::{IngestStatus, SinkState, SinkStatus, Status};
use crate::worker::progress::Told;

impl Pipeline {
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
            rejected: counters.rejected.snapshot(),
            remembered: inner.ingest.remembered(),
        };
        let mut sinks = BTreeMap::new();
        for (name, stored) in
            inner.journal.positions().into_iter().filter(|(name, _)| !state::is_replay_reader(name))
        {
            let place = Place::decode(stored.seq, &stored.state);
            let replay = Kept::load(&inner.journal, &name).map(|kept| kept.shown());
            sinks.insert(
                name,
                detached(Position { epoch: stored.epoch, seq: stored.seq }, place, replay),
            );
        }
        let workers = inner.workers();
        let told: Vec<_> = workers
            .iter()
            .map(|(name, running)| (name, running, running.progress.lock().clone()))
            .collect();
        // Later than where sinks stand, so that none is shown past it.
        let journal = inner.journal.status();
        for (name, running, told) in told {
            sinks.insert(name.clone(), running.status(told, &inner.tail, epoch, journal.head));
        }
        Status { journal, epoch, ingest, sinks, closed: inner.ingest.is_closed() }
    }
}

impl Running {
    fn status(&self, told: Told, tail: &Tail, epoch: u64, head: u64) -> SinkStatus {
        let pending = head.saturating_sub(told.place.seq);
        let oldest = (pending > 0)
            .then(|| tail.received_at(told.place.seq + 1).or(told.oldest_in_hand))
            .flatten();
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
            redelivered: told.replayed,
            replay: told.replay.as_ref().map(Kept::shown),
            last_error: told.last_error,
            deliveries: self.progress.deliveries.snapshot(),
        }
    }
}

fn detached(position: Position, place: Place, replay: Option<ReplayStatus>) -> SinkStatus {
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
        redelivered: 0,
        replay,
        last_error: None,
        deliveries: observer_journal::Durations::default().snapshot(),
    }
}
