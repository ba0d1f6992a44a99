//! The thread that commits: it takes what has gathered, writes once, syncs once, and answers all.

use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::Append;
use crate::error::AppendError;
use crate::log::Log;

/// Past this many bytes that wait, more is refused.
const MAX_WAITING: usize = 64 << 20;
/// A group takes in no more after this many bytes, so that no single sync takes long.
const MAX_GROUP: usize = 16 << 20;

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
            drop(waiting);
            self.queue.arrived.notify_one();
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
    let mut last_count = 0;
    let mut last_commit = Duration::ZERO;
    loop {
        let Some(group) = gather(queue, last_count, last_commit / 4) else { return };
        last_count = group.len();
        let begun = Instant::now();
        log.lock().expect("nothing panics while it writes to the journal").commit(group);
        last_commit = begun.elapsed();
    }
}

/// What has gathered. Those who were answered last are likely to be back soon, so it waits `patience` for as many as there were.
fn gather(queue: &Queue, expected: usize, patience: Duration) -> Option<Vec<Append>> {
    let unblocked = "nothing panics while it holds the queue";
    let waiting = queue.waiting();
    let waiting = queue.arrived.wait_while(waiting, |waiting| waiting.appends.is_empty() && !waiting.closed);
    let (mut waiting, _) = queue
        .arrived
        .wait_timeout_while(waiting.expect(unblocked), patience, |waiting| {
            waiting.appends.len() < expected && waiting.bytes < MAX_GROUP && !waiting.closed
        })
        .expect(unblocked);
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
