//! Commits on their way from the journal to everyone who has to know: gathered, so that a whole group is told at once.

use std::sync::{Mutex, MutexGuard};

use observer_core::Event;
use observer_journal::Key;
use tokio::sync::oneshot;

use crate::ingest::Unavailable;

/// What became of one append.
pub(crate) struct Decided {
    pub(crate) key: Key,
    /// The event's sequence number, where it is committed.
    pub(crate) result: Result<u64, Unavailable>,
    pub(crate) event: Event,
    pub(crate) answer: oneshot::Sender<Result<(), Unavailable>>,
}

/// In the order of commits; those of one group of the journal.
#[derive(Default)]
pub(crate) struct Commits(Mutex<Vec<Decided>>);

impl Commits {
    pub(crate) fn push(&self, decided: Decided) {
        self.lock().push(decided);
    }

    pub(crate) fn take(&self) -> Vec<Decided> {
        std::mem::take(&mut *self.lock())
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Decided>> {
        self.0.lock().expect("nothing panics while it holds these commits")
    }
}
