//! The last committed event, and those who wait for the next one.

use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::Notify;

/// Wakes those who wait in the order they came, where a `watch` channel has them wait in several
/// lists by chance.
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

    /// Until the event of this sequence number is committed.
    pub(crate) async fn reaches(&self, seq: u64) {
        loop {
            let mut moved = pin!(self.moved.notified());
            // Before the look, so that nothing comes in between.
            moved.as_mut().enable();
            if self.get() >= seq {
                return;
            }
            moved.await;
        }
    }
}
