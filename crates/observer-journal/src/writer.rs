//! The thread that commits: it takes what has gathered, writes once, syncs once, and answers all.

use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread::JoinHandle;

use crate::Append;
use crate::error::AppendError;
use crate::log::Log;

/// Past this many bytes that wait, more is refused.
const MAX_WAITING: usize = 32 << 20;
/// A group takes in no more after this many bytes, so that no single sync takes long.
const MAX_GROUP: usize = 4 << 20;

#[derive(Debug)]
pub(crate) struct Writer {
    queue: Arc<Queue>,
    thread: JoinHandle<()>,
}

#[derive(Debug, Default)]
struct Queue {
    waiting: Mutex<Waiting>,
    arrived: Condvar,
}

#[derive(Debug, Default)]
struct Waiting {
    appends: Vec<Append>,
    bytes: usize,
    closed: bool,
}

impl Queue {
    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().expect("nothing panics while it holds the queue")
    }
}

impl Writer {
    pub(crate) fn start(log: Arc<Mutex<Log>>) -> io::Result<Self> {
        let queue = Arc::new(Queue::default());
        let thread = std::thread::Builder::new().name("journal".into()).spawn({
            let queue = queue.clone();
            move || run(&queue, &log)
        })?;
        Ok(Self { queue, thread })
    }

    pub(crate) fn append(&self, append: Append) {
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
            return;
        };
        drop(waiting);
        (append.done)(Err(refused));
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

fn run(queue: &Queue, log: &Mutex<Log>) {
    while let Some(group) = gather(queue) {
        log.lock().expect("nothing panics while it writes to the journal").commit(group);
    }
}

/// What has gathered while the last group was committed; `None` at the end. To wait for more than that was measured, and gained nothing.
fn gather(queue: &Queue) -> Option<Vec<Append>> {
    let waiting = queue.waiting();
    let waiting = queue.arrived.wait_while(waiting, |waiting| waiting.appends.is_empty() && !waiting.closed);
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
