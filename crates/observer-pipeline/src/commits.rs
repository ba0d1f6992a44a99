//! Commits on their way from the journal's thread to everyone who has to know.
//!
//! The journal's thread only queues what was decided, so that its next sync begins at once. A task takes whole groups from there and wakes those who
//! wait from within the runtime, which costs far less than to wake them from another thread.

use std::sync::{Mutex, MutexGuard};

use observer_core::Event;
use observer_journal::Key;
use tokio::sync::{Notify, oneshot};

use crate::ingest::Unavailable;

/// What became of one append.
pub(crate) struct Decided {
    pub(crate) key: Key,
    /// The event's sequence number, where it is committed.
    pub(crate) result: Result<u64, Unavailable>,
    pub(crate) event: Event,
    pub(crate) answer: oneshot::Sender<Result<(), Unavailable>>,
}

/// In the order of commits. It holds no more than what the journal was given, which the journal limits.
#[derive(Default)]
pub(crate) struct Commits {
    queue: Mutex<Queue>,
    arrived: Notify,
}

#[derive(Default)]
struct Queue {
    decided: Vec<Decided>,
    closed: bool,
}

impl Commits {
    pub(crate) fn push(&self, decided: Decided) {
        let mut queue = self.queue();
        let first = queue.decided.is_empty();
        queue.decided.push(decided);
        drop(queue);
        if first {
            self.arrived.notify_one();
        }
    }

    /// All that is decided and not told; `None` when it is closed and all is told.
    pub(crate) async fn next(&self) -> Option<Vec<Decided>> {
        loop {
            match self.take() {
                Some(decided) if decided.is_empty() => self.arrived.notified().await,
                decided => return decided,
            }
        }
    }

    fn take(&self) -> Option<Vec<Decided>> {
        let mut queue = self.queue();
        let decided = std::mem::take(&mut queue.decided);
        (!queue.closed || !decided.is_empty()).then_some(decided)
    }

    pub(crate) fn close(&self) {
        self.queue().closed = true;
        self.arrived.notify_one();
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().expect("nothing panics while it holds this queue")
    }
}
