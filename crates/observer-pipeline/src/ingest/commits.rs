//! Commits on their way from the journal to everyone who has to know: gathered, so that a whole
//! group is told at once.

use std::sync::{Mutex, MutexGuard};

use observer_journal::Commit;
use tokio::sync::oneshot;

use crate::error::Unavailable;
use crate::lock::lock;

/// Events that were committed together.
pub(crate) struct Decided {
    pub(crate) commit: Commit,
    pub(crate) answer: Answer,
}

/// Tells whoever waits for the events of one append.
pub(crate) type Answer = oneshot::Sender<Result<(), Unavailable>>;

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
        lock(&self.0)
    }
}
