//! Slots of connections: which connections are idle, so that a new one can take the slot of one.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

/// Time without a request after which a connection counts as idle. A connection that was used more
/// recently is likely to be used again.
const IDLE: Duration = Duration::from_secs(1);
/// Number of slots that are reclaimed at once, so that not every new connection has to search all
/// slots.
const RECLAIMED_AT_ONCE: usize = 16;

const ACTIVE: u64 = 0;
const CLOSING: u64 = u64::MAX;

/// Slots of all open connections.
#[derive(Debug)]
pub(crate) struct Slots {
    started: Instant,
    taken: Mutex<Taken>,
}

#[derive(Debug, Default)]
struct Taken {
    next: u64,
    slots: HashMap<u64, Arc<SlotState>>,
}

#[derive(Debug)]
struct SlotState {
    /// [`ACTIVE`], [`CLOSING`], or the time since which the connection is idle, in milliseconds
    /// after [`Slots::started`].
    idle_since: AtomicU64,
    close: Notify,
}

/// Slot of a connection, which is free again when this is dropped.
#[derive(Debug)]
pub(crate) struct Slot {
    slots: Arc<Slots>,
    number: u64,
    state: Arc<SlotState>,
}

/// Request in progress on a connection. The connection is idle again when this is dropped.
#[derive(Debug)]
pub(crate) struct ActiveRequest {
    slot: Arc<Slot>,
}

impl Slots {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self { started: Instant::now(), taken: Mutex::default() })
    }

    /// Takes the slot of a new connection, which is idle until its first request.
    pub(crate) fn take(self: &Arc<Self>) -> Arc<Slot> {
        let state = Arc::new(SlotState { idle_since: self.now().into(), close: Notify::new() });
        let mut taken = self.taken();
        let number = taken.next;
        taken.next += 1;
        taken.slots.insert(number, state.clone());
        drop(taken);
        Arc::new(Slot { slots: self.clone(), number, state })
    }

    /// Makes the connections that have been idle for longest close. Returns whether there are any.
    pub(crate) fn reclaim_idle(&self) -> bool {
        let latest = self.now().saturating_sub(IDLE.as_millis() as u64);
        let mut idle: Vec<_> = {
            let taken = self.taken();
            let since =
                |state: &Arc<SlotState>| (state.idle_since.load(Ordering::Relaxed), state.clone());
            taken
                .slots
                .values()
                .map(since)
                .filter(|(since, _)| *since != ACTIVE && *since <= latest)
                .collect()
        };
        if idle.len() > RECLAIMED_AT_ONCE {
            idle.select_nth_unstable_by_key(RECLAIMED_AT_ONCE, |(since, _)| *since);
            idle.truncate(RECLAIMED_AT_ONCE);
        }
        let closing = idle
            .iter()
            .filter(|(since, state)| state.exchange(*since, CLOSING))
            .map(|(_, state)| state.close.notify_one());
        closing.count() > 0
    }

    /// Returns the time in milliseconds, which is never [`ACTIVE`].
    fn now(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX / 2) + 1
    }

    fn taken(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().expect("no thread panics while it holds this lock")
    }
}

impl SlotState {
    fn exchange(&self, from: u64, to: u64) -> bool {
        self.idle_since.compare_exchange(from, to, Ordering::AcqRel, Ordering::Relaxed).is_ok()
    }
}

impl Slot {
    /// Waits until the connection has to close for another one.
    pub(crate) async fn reclaimed(&self) {
        self.state.close.notified().await;
    }

    /// Marks the connection as active. On a connection that is closing this never returns, so that
    /// its request does not begin.
    pub(crate) async fn begin_request(self: &Arc<Self>) -> ActiveRequest {
        let since = self.state.idle_since.load(Ordering::Relaxed);
        if since == CLOSING || !self.state.exchange(since, ACTIVE) {
            std::future::pending::<()>().await;
        }
        ActiveRequest { slot: self.clone() }
    }
}

impl Drop for ActiveRequest {
    fn drop(&mut self) {
        self.slot.state.idle_since.store(self.slot.slots.now(), Ordering::Release);
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.slots.taken().slots.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn closes(slot: &Slot) -> bool {
        tokio::time::timeout(Duration::from_millis(1), slot.reclaimed()).await.is_ok()
    }

    #[tokio::test(start_paused = true)]
    async fn connections_that_are_idle_for_longest_are_reclaimed() {
        let slots = Slots::new();
        assert!(!slots.reclaim_idle(), "there is no connection");
        let active = slots.take();
        let request = active.begin_request().await;
        let mut old = Vec::new();
        for _ in 0..2 * RECLAIMED_AT_ONCE {
            old.push(slots.take());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        tokio::time::sleep(IDLE).await;
        let new = slots.take();
        drop(old[0].begin_request().await);
        assert!(slots.reclaim_idle());
        assert!(!closes(&old[0]).await, "the connection was used just now");
        for slot in &old[1..=RECLAIMED_AT_ONCE] {
            assert!(closes(slot).await);
        }
        let next = &old[RECLAIMED_AT_ONCE + 1];
        assert!(!closes(next).await && !closes(&active).await && !closes(&new).await);
        drop(old);
        assert!(!slots.reclaim_idle(), "active and new connections stay");
        drop(request);
        assert_eq!(slots.taken().slots.len(), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn request_on_a_closing_connection_does_not_begin() {
        let slots = Slots::new();
        let slot = slots.take();
        tokio::time::sleep(IDLE).await;
        assert!(slots.reclaim_idle());
        assert!(tokio::time::timeout(IDLE, slot.begin_request()).await.is_err());
    }
}
