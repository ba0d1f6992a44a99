//! Access to mutexes that are never poisoned.

use std::sync::{Condvar, Mutex, MutexGuard};
use std::time::Duration;

const NOT_POISONED: &str = "no thread panics while it holds a lock of this crate";

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().expect(NOT_POISONED)
}

pub(crate) fn wait<'a, T>(condition: &Condvar, guard: MutexGuard<'a, T>) -> MutexGuard<'a, T> {
    condition.wait(guard).expect(NOT_POISONED)
}

pub(crate) fn wait_for<'a, T>(
    condition: &Condvar,
    guard: MutexGuard<'a, T>,
    time: Duration,
) -> MutexGuard<'a, T> {
    condition.wait_timeout(guard, time).expect(NOT_POISONED).0
}
