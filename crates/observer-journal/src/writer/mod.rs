//! The thread that commits: it takes what has gathered, writes once, syncs once, and answers all.

mod failures;
pub(crate) mod log;

use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread::JoinHandle;

use crate::error::AppendError;
use crate::record::{Append, Group, OnCommit};
use crate::writer::log::Log;

/// Past this many bytes that wait, more is refused.
const MAX_WAITING: usize = 32 << 20;
/// A group takes in no more after this many bytes, so that no single sync takes long.
const MAX_GROUP: usize = 4 << 20;

pub(crate) struct Writer<T> {
    queue: Arc<Queue<T>>,
    thread: JoinHandle<()>,
}

struct Queue<T> {
    waiting: Mutex<Waiting<T>>,
    arrived: Condvar,
}

struct Waiting<T> {
    appends: Vec<Append<T>>,
    bytes: usize,
    closed: bool,
}

impl<T> Queue<T> {
    fn new() -> Self {
        let waiting = Waiting { appends: Vec::new(), bytes: 0, closed: false };
        Self { waiting: Mutex::new(waiting), arrived: Condvar::new() }
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting<T>> {
        self.waiting.lock().expect("nothing panics while it holds the queue")
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

    /// Queues an append, or returns it with the reason why it is refused.
    pub(crate) fn append(&self, append: Append<T>) -> Result<(), (Append<T>, AppendError)> {
        let mut waiting = self.queue.waiting();
        let refused = if waiting.closed {
            AppendError::Closed
        } else if waiting.bytes > MAX_WAITING {
            AppendError::Busy
        } else {
            waiting.bytes += append.bytes();
            waiting.appends.push(append);
            // The thread only ever waits for the first one.
            if waiting.appends.len() == 1 {
                drop(waiting);
                self.queue.arrived.notify_one();
            }
            return Ok(());
        };
        Err((append, refused))
    }

    /// Commit what waits, and end.
    pub(crate) fn stop(self) {
        self.queue.waiting().closed = true;
        self.queue.arrived.notify_one();
        if self.thread.join().is_err() {
            tracing::error!("the journal's thread panicked");
        }
    }
}

fn run<T>(queue: &Queue<T>, log: &Mutex<Log>, on_commit: &dyn Fn(Group<T>)) {
    while let Some(group) = gather(queue) {
        log.lock().expect("nothing panics while it writes to the journal").commit(group, on_commit);
    }
}

/// What has gathered while the last group was committed; `None` at the end. To wait for more than
/// that was measured, and gained nothing.
fn gather<T>(queue: &Queue<T>) -> Option<Vec<Append<T>>> {
    let waiting = queue.waiting();
    let waiting =
        queue.arrived.wait_while(waiting, |waiting| waiting.appends.is_empty() && !waiting.closed);
    let mut waiting = waiting.expect("nothing panics while it holds the queue");
    if waiting.appends.is_empty() {
        return None;
    }
    let (mut count, mut bytes) = (0, 0);
    while count < waiting.appends.len() && (count == 0 || bytes < MAX_GROUP) {
        bytes += waiting.appends[count].bytes();
        count += 1;
    }
    waiting.bytes -= bytes;
    if count == waiting.appends.len() {
        return Some(std::mem::take(&mut waiting.appends));
    }
    Some(waiting.appends.drain(..count).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Record;

    #[test]
    fn a_group_takes_all_that_waits_up_to_its_bound_and_at_least_one() {
        let append = |bytes| Append::new(vec![Record::new(1, [0; 16], vec![0; bytes])], ());
        let queue = Queue::new();
        for bytes in [10, 10, MAX_GROUP - 1000, 10, MAX_GROUP * 2, 10, 10] {
            let append = append(bytes);
            let mut waiting = queue.waiting();
            waiting.bytes += append.bytes();
            waiting.appends.push(append);
        }
        queue.waiting().closed = true;
        let groups: Vec<_> =
            std::iter::from_fn(|| gather(&queue).map(|group| (group.len(), queue.waiting().bytes)))
                .collect();
        // What is left then: a record of 10 bytes counts 74.
        assert_eq!(groups, [(5, 2 * 74), (2, 0)]);

        let queue = Queue::new();
        for bytes in [MAX_GROUP * 2, 10, MAX_GROUP, 10] {
            queue.waiting().bytes += append(bytes).bytes();
            queue.waiting().appends.push(append(bytes));
        }
        let groups: Vec<_> = (0..3).map(|_| gather(&queue).unwrap().len()).collect();
        assert_eq!((groups, queue.waiting().bytes), (vec![1, 2, 1], 0));
    }
}
