//! Locking of the crate's mutexes.

use std::sync::{LockResult, Mutex, MutexGuard};

/// Locks a mutex.
///
/// # Panics
/// If another thread panicked while it held the lock. No critical section of this crate panics.
pub(crate) fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    not_poisoned(mutex.lock())
}

/// Returns the guard of a lock that was acquired, also of one that a condition variable acquired.
///
/// # Panics
/// As [`lock`].
pub(crate) fn not_poisoned<T>(result: LockResult<T>) -> T {
    result.expect("no thread panics while it holds this lock")
}
