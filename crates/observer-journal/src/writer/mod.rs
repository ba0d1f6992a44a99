//! Writer thread with its queue: commits all queued appends as one group, with one write and one
//! sync.

mod failures;
pub(crate) mod log;
mod restore;

use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread::JoinHandle;

use crate::error::AppendError;
use crate::lock::{lock, not_poisoned};
use crate::record::{Append, Group, OnCommit};
use crate::writer::log::Log;

/// Size of the queue in bytes above which further appends are rejected.
const MAX_QUEUED: usize = 32 << 20;
/// Size of a group in bytes at which no further append is added, which limits the time of a sync.
const MAX_GROUP: usize = 4 << 20;

/// Handle of the writer thread.
pub(crate) struct Writer<T> {
    queue: Arc<Queue<T>>,
    thread: JoinHandle<()>,
}

struct Queue<T> {
    state: Mutex<QueueState<T>>,
    /// Notified of the first append in an empty queue, and of closing.
    changed: Condvar,
}

struct QueueState<T> {
    appends: Vec<Append<T>>,
    /// Memory use of `appends`.
    bytes: usize,
    is_closed: bool,
}

impl<T> Queue<T> {
    fn new() -> Self {
        let state = QueueState { appends: Vec::new(), bytes: 0, is_closed: false };
        Self { state: Mutex::new(state), changed: Condvar::new() }
    }

    fn state(&self) -> MutexGuard<'_, QueueState<T>> {
        lock(&self.state)
    }
}

impl<T> Writer<T> {
    pub(crate) fn start(log: Arc<Mutex<Log>>, on_commit: OnCommit<T>) -> io::Result<Self>
    where
        T: Send + 'static,
    {
        let queue = Arc::new(Queue::new());
        let thread = std::thread::Builder::new().name("journal".into()).spawn({
            let queue = queue.clone();
            move || run(&queue, &log, &*on_commit)
        })?;
        Ok(Self { queue, thread })
    }

    /// Queues an append, or returns it with the reason for the rejection.
    pub(crate) fn append(&self, append: Append<T>) -> Result<(), (Append<T>, AppendError)> {
        let mut queue = self.queue.state();
        let error = if queue.is_closed {
            AppendError::Closed
        } else if queue.bytes > MAX_QUEUED {
            AppendError::Busy
        } else {
            queue.bytes += append.bytes();
            queue.appends.push(append);
            // The writer thread waits only while the queue is empty.
            if queue.appends.len() == 1 {
                drop(queue);
                self.queue.changed.notify_one();
            }
            return Ok(());
        };
        Err((append, error))
    }

    /// Commits all queued appends and ends the thread.
    pub(crate) fn stop(self) {
        self.queue.state().is_closed = true;
        self.queue.changed.notify_one();
        if self.thread.join().is_err() {
            tracing::error!("the writer thread of the journal panicked");
        }
    }
}

fn run<T>(queue: &Queue<T>, log: &Mutex<Log>, on_commit: &dyn Fn(Group<T>)) {
    while let Some(group) = take_group(queue) {
        lock(log).commit(group, on_commit);
    }
}

/// Returns the appends that were queued while the last group was committed, and waits for one if
/// there is none. Returns `None` when the queue is closed and empty. Waiting longer for more
/// appends did not improve throughput.
fn take_group<T>(queue: &Queue<T>) -> Option<Vec<Append<T>>> {
    let is_idle = |queue: &mut QueueState<T>| queue.appends.is_empty() && !queue.is_closed;
    let mut queue = not_poisoned(queue.changed.wait_while(queue.state(), is_idle));
    if queue.appends.is_empty() {
        return None;
    }
    let (mut count, mut bytes) = (0, 0);
    while count < queue.appends.len() && (count == 0 || bytes < MAX_GROUP) {
        bytes += queue.appends[count].bytes();
        count += 1;
    }
    queue.bytes -= bytes;
    if count == queue.appends.len() {
        return Some(std::mem::take(&mut queue.appends));
    }
    Some(queue.appends.drain(..count).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Record;

    #[test]
    fn group_takes_queued_appends_up_to_its_limit_and_at_least_one() {
        let append = |bytes| Append::new(vec![Record::new(1, [0; 16], vec![0; bytes])], ());
        let queue = Queue::new();
        for bytes in [10, 10, MAX_GROUP - 1000, 10, MAX_GROUP * 2, 10, 10] {
            let append = append(bytes);
            let mut state = queue.state();
            state.bytes += append.bytes();
            state.appends.push(append);
        }
        queue.state().is_closed = true;
        let groups: Vec<_> = std::iter::from_fn(|| {
            take_group(&queue).map(|group| (group.len(), queue.state().bytes))
        })
        .collect();
        // Bytes left in the queue: a record of 10 bytes counts 74.
        assert_eq!(groups, [(5, 2 * 74), (2, 0)]);

        let queue = Queue::new();
        for bytes in [MAX_GROUP * 2, 10, MAX_GROUP, 10] {
            queue.state().bytes += append(bytes).bytes();
            queue.state().appends.push(append(bytes));
        }
        let groups: Vec<_> = (0..3).map(|_| take_group(&queue).unwrap().len()).collect();
        assert_eq!((groups, queue.state().bytes), (vec![1, 2, 1], 0));
    }
}
