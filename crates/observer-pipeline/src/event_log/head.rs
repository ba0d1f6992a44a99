//! Head of the journal: the sequence number of the last committed event.

use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::Notify;

/// Head that workers can wait on.
///
/// Waiting tasks wake in the order in which they began to wait. A `watch` channel would distribute
/// them over several lists at random, and a simulation could not be repeated.
#[derive(Debug, Default)]
pub(crate) struct Head {
    seq: AtomicU64,
    moved: Notify,
}

impl Head {
    pub(crate) fn get(&self) -> u64 {
        self.seq.load(Ordering::Acquire)
    }

    pub(crate) fn set(&self, seq: u64) {
        self.seq.store(seq, Ordering::Release);
        self.moved.notify_waiters();
    }

    /// Waits until the event of this sequence number is committed.
    ///
    /// Cancel safe.
    pub(crate) async fn reaches(&self, seq: u64) {
        loop {
            let mut moved = pin!(self.moved.notified());
            // Registered before the comparison, so that no change is missed.
            moved.as_mut().enable();
            if self.get() >= seq {
                return;
            }
            moved.await;
        }
    }
}
