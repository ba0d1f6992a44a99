//! Access to mutexes that are never poisoned.

use std::sync::{Condvar, Mutex, MutexGuard};

const NOT_POISONED: &str = "no thread panics while it holds a lock of this crate";

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().expect(NOT_POISONED)
}

pub(crate) fn wait<'a, T>(condition: &Condvar, guard: MutexGuard<'a, T>) -> MutexGuard<'a, T> {
    condition.wait(guard).expect(NOT_POISONED)
}
