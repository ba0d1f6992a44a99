//! Wall clock of the simulation.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::runtime::Handle;
use tokio::time::Instant;

/// Time of the first start, in microseconds since 1970.
pub(super) const START: u64 = 1_700_000_000_000_000;

/// Wall clock, which continues across crashes.
pub(super) struct WallClock {
    now: AtomicU64,
    /// Start of the current runtime, and the time of the clock at it.
    runtime: Mutex<Option<(Instant, u64)>>,
}

impl WallClock {
    pub(super) fn new() -> Self {
        Self { now: AtomicU64::new(START), runtime: Mutex::default() }
    }

    /// Continues in a new runtime.
    pub(super) fn begin(&self) {
        *self.runtime.lock().unwrap() = Some((Instant::now(), self.now.load(Ordering::Relaxed)));
    }

    /// Returns the time in microseconds since 1970.
    pub(super) fn now(&self) -> u64 {
        // Files are closed after the runtime has ended; the clock stands still then.
        if let (Some((started, base)), Ok(_)) =
            (*self.runtime.lock().unwrap(), Handle::try_current())
        {
            self.now.store(
                base + u64::try_from(started.elapsed().as_micros()).unwrap(),
                Ordering::Relaxed,
            );
        }
        self.now.load(Ordering::Relaxed)
    }
}
