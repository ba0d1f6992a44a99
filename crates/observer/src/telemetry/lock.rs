//! Mutexes of the telemetry.

use std::sync::{Mutex, MutexGuard};

/// Locks a mutex whose critical sections don't panic.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().expect("no critical section panics")
}
