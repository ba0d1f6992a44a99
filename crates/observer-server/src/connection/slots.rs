//! Which connections are idle, so that one of them can make room for someone who has something to
//! say.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

/// A connection that was of use less than this long ago is likely to be of use again.
const IDLE: Duration = Duration::from_secs(1);
/// How many make room at once, so that not all have to be looked at for each newcomer.
const AT_ONCE: usize = 16;

const BUSY: u64 = 0;
const LEAVING: u64 = u64::MAX;

/// The connections there are.
#[derive(Debug)]
pub(crate) struct Places {
    begun: Instant,
    taken: Mutex<Taken>,
}

#[derive(Debug, Default)]
struct Taken {
    next: u64,
    places: HashMap<u64, Arc<State>>,
}

#[derive(Debug)]
struct State {
    /// [`BUSY`], [`LEAVING`], or since when it is idle, in milliseconds.
    since: AtomicU64,
    leave: Notify,
}

/// A connection's place, which is free again when this is dropped.
#[derive(Debug)]
pub(crate) struct Place {
    places: Arc<Places>,
    number: u64,
    state: Arc<State>,
}

/// A request that is worked on.
#[derive(Debug)]
pub(crate) struct Working {
    place: Arc<Place>,
}

impl Places {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self { begun: Instant::now(), taken: Mutex::default() })
    }

    /// For a connection that has not said anything yet.
    pub(crate) fn take(self: &Arc<Self>) -> Arc<Place> {
        let state = Arc::new(State { since: self.now().into(), leave: Notify::new() });
        let mut taken = self.taken();
        let number = taken.next;
        taken.next += 1;
        taken.places.insert(number, state.clone());
        drop(taken);
        Arc::new(Place { places: self.clone(), number, state })
    }

    /// Ask those that were idle for longest to leave. Whether there are any.
    pub(crate) fn make_room(&self) -> bool {
        let latest = self.now().saturating_sub(IDLE.as_millis() as u64);
        let mut idle: Vec<_> = {
            let taken = self.taken();
            let since = |state: &Arc<State>| (state.since.load(Ordering::Relaxed), state.clone());
            taken
                .places
                .values()
                .map(since)
                .filter(|(since, _)| *since != BUSY && *since <= latest)
                .collect()
        };
        if idle.len() > AT_ONCE {
            idle.select_nth_unstable_by_key(AT_ONCE, |(since, _)| *since);
            idle.truncate(AT_ONCE);
        }
        let asked = idle
            .iter()
            .filter(|(since, state)| state.exchange(*since, LEAVING))
            .map(|(_, state)| state.leave.notify_one());
        asked.count() > 0
    }

    /// Never [`BUSY`].
    fn now(&self) -> u64 {
        u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX / 2) + 1
    }

    fn taken(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().expect("nothing panics while it holds the places")
    }
}

impl State {
    fn exchange(&self, from: u64, to: u64) -> bool {
        self.since.compare_exchange(from, to, Ordering::AcqRel, Ordering::Relaxed).is_ok()
    }
}

impl Place {
    /// Until someone else needs it.
    pub(crate) async fn needed(&self) {
        self.state.leave.notified().await;
    }

    /// It is not idle any more; for a connection that is being given up, this takes for ever.
    pub(crate) async fn work(self: &Arc<Self>) -> Working {
        let since = self.state.since.load(Ordering::Relaxed);
        if since == LEAVING || !self.state.exchange(since, BUSY) {
            std::future::pending::<()>().await;
        }
        Working { place: self.clone() }
    }
}

impl Drop for Working {
    fn drop(&mut self) {
        self.place.state.since.store(self.place.places.now(), Ordering::Release);
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.places.taken().places.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn leaves(place: &Place) -> bool {
        tokio::time::timeout(Duration::from_millis(1), place.needed()).await.is_ok()
    }

    #[tokio::test(start_paused = true)]
    async fn those_that_were_idle_for_longest_make_room() {
        let places = Places::new();
        assert!(!places.make_room(), "there is no one");
        let busy = places.take();
        let working = busy.work().await;
        let mut old = Vec::new();
        for _ in 0..2 * AT_ONCE {
            old.push(places.take());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        tokio::time::sleep(IDLE).await;
        let new = places.take();
        drop(old[0].work().await);
        assert!(places.make_room());
        assert!(!leaves(&old[0]).await, "it was of use just now");
        for place in &old[1..=AT_ONCE] {
            assert!(leaves(place).await);
        }
        assert!(!leaves(&old[AT_ONCE + 1]).await && !leaves(&busy).await && !leaves(&new).await);
        drop(old);
        assert!(!places.make_room(), "who is busy or new stays");
        drop(working);
        assert_eq!(places.taken().places.len(), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn what_comes_while_it_leaves_is_not_begun() {
        let places = Places::new();
        let place = places.take();
        tokio::time::sleep(IDLE).await;
        assert!(places.make_room());
        assert!(tokio::time::timeout(IDLE, place.work()).await.is_err());
    }
}
