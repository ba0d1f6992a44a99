//! Locking of the crate's mutexes.

use std::sync::{Mutex, MutexGuard};

/// Locks a mutex.
///
/// # Panics
/// If another thread panicked while it held the lock. No critical section of this crate panics.
pub(crate) fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().expect("no thread panics while it holds this lock")
}
