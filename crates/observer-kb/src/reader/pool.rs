//! Threads that run queries.

use std::collections::VecDeque;
use std::sync::mpsc::{self, Sender};
use std::sync::{Arc, Mutex, MutexGuard};

use observer_core::query::QueryError;
use rusqlite::{Connection, InterruptHandle};
use tokio::sync::oneshot;

use super::copy::FileCopy;
use crate::error::KbError;
use crate::schema::{self, FileId};
use crate::settings::Settings;

/// Queries that run at the same time.
const THREADS: usize = 4;

/// Niceness of the threads, as in `nice(1)`.
#[cfg(target_os = "linux")]
const NICENESS: i32 = 10;

/// Connections that can't write, and their threads. They start with the first query.
pub(super) struct Pool {
    settings: Arc<Settings>,
    copy: Arc<FileCopy>,
    jobs: Arc<Mutex<Jobs>>,
}

/// Jobs that wait for a thread, and threads that wait for a job.
enum Jobs {
    /// No query came yet.
    Unstarted,
    Running {
        queue: VecDeque<Job>,
        /// Each receives one job. The last one is the next to get a job, since its connection has
        /// the pages of recent queries in its cache.
        idle: Vec<Sender<Job>>,
    },
    Closed,
}

type Job = Box<dyn FnOnce(&mut Reader) + Send>;

/// One thread's connection.
pub(super) struct Reader {
    settings: Arc<Settings>,
    copy: Arc<FileCopy>,
    conn: Option<Connection>,
    /// The file that the connection reads.
    file: Option<FileId>,
}

/// What stops a query whose caller is gone.
#[derive(Default)]
struct Stop {
    state: Mutex<StopState>,
}

#[derive(Default)]
struct StopState {
    is_stopped: bool,
    running: Option<InterruptHandle>,
}

impl Stop {
    fn lock(&self) -> MutexGuard<'_, StopState> {
        self.state.lock().expect("no thread panics while it holds the lock")
    }

    /// Returns whether the query may begin.
    fn begin(&self, conn: &Connection) -> bool {
        let mut state = self.lock();
        state.running = Some(conn.get_interrupt_handle());
        !state.is_stopped
    }

    fn end(&self) {
        self.lock().running = None;
    }
}

/// Stops the query when its caller drops it.
struct StopOnDrop(Arc<Stop>);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.is_stopped = true;
        if let Some(running) = &state.running {
            running.interrupt();
        }
    }
}

impl Pool {
    pub(super) fn new(settings: Arc<Settings>) -> Self {
        Self { settings, copy: Arc::default(), jobs: Arc::new(Mutex::new(Jobs::Unstarted)) }
    }

    /// Runs a query in a read transaction.
    pub(super) async fn query<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection, &Settings) -> Result<T, QueryError> + Send + 'static,
    ) -> Result<T, QueryError> {
        let (reply, answer) = oneshot::channel();
        let stop = Arc::new(Stop::default());
        let _stop_on_drop = StopOnDrop(Arc::clone(&stop));
        self.send(Box::new(move |reader| {
            let _ = reply.send(reader.run(&stop, work));
        }))?;
        answer.await.map_err(|_| QueryError::from(KbError::Closed))?
    }

    /// Runs work without waiting for it.
    pub(super) fn spawn(
        &self,
        work: impl FnOnce(&Connection, &Settings) -> Result<(), QueryError> + Send + 'static,
    ) -> Result<(), QueryError> {
        self.send(Box::new(move |reader| {
            let _ = reader.run(&Stop::default(), work);
        }))
    }

    fn send(&self, job: Job) -> Result<(), QueryError> {
        let mut jobs = lock(&self.jobs);
        if matches!(*jobs, Jobs::Unstarted) {
            self.start()?;
            *jobs = Jobs::Running { queue: VecDeque::new(), idle: Vec::new() };
        }
        let Jobs::Running { queue, idle } = &mut *jobs else {
            return Err(KbError::Closed.into());
        };
        match idle.pop() {
            // The receiver waits for it.
            Some(thread) => thread.send(job).map_err(|_| KbError::Closed.into()),
            None => {
                queue.push_back(job);
                Ok(())
            }
        }
    }

    /// Starts the threads. They wait for the lock of the jobs, which the caller holds.
    fn start(&self) -> Result<(), QueryError> {
        for number in 0..THREADS {
            let (settings, copy) = (Arc::clone(&self.settings), Arc::clone(&self.copy));
            let mut reader = Reader { settings, copy, conn: None, file: None };
            let jobs = Arc::clone(&self.jobs);
            std::thread::Builder::new()
                .name(format!("kb-reader-{number}"))
                .spawn(move || {
                    yield_to_others();
                    while let Some(job) = next(&jobs) {
                        job(&mut reader);
                    }
                })
                .map_err(|error| QueryError::Unavailable(error.into()))?;
        }
        Ok(())
    }
}

impl Drop for Pool {
    /// Ends the threads, and removes the copy here, since the process may end before they do.
    fn drop(&mut self) {
        *lock(&self.jobs) = Jobs::Closed;
        self.copy.remove();
    }
}

/// Lowers the priority of this thread, where threads have one: a large query delays no event.
fn yield_to_others() {
    #[cfg(target_os = "linux")]
    {
        use rustix::{process::setpriority_process, thread::gettid};
        // Queries succeed with any priority.
        let _ = setpriority_process(Some(gettid()), NICENESS);
    }
}

/// Waits for the next job. Returns `None` when the pool is dropped.
fn next(jobs: &Mutex<Jobs>) -> Option<Job> {
    let received = match &mut *lock(jobs) {
        Jobs::Running { queue, idle } => {
            if let Some(job) = queue.pop_front() {
                return Some(job);
            }
            let (sender, received) = mpsc::channel();
            idle.push(sender);
            received
        }
        Jobs::Unstarted | Jobs::Closed => return None,
    };
    received.recv().ok()
}

fn lock(jobs: &Mutex<Jobs>) -> MutexGuard<'_, Jobs> {
    jobs.lock().expect("no thread panics while it holds the lock")
}

impl Reader {
    fn run<T>(
        &mut self,
        stop: &Stop,
        work: impl FnOnce(&Connection, &Settings) -> Result<T, QueryError>,
    ) -> Result<T, QueryError> {
        let settings = Arc::clone(&self.settings);
        let conn = self.conn()?;
        if !stop.begin(conn) {
            return Err(KbError::Closed.into());
        }
        let done = conn
            .unchecked_transaction()
            .map_err(|error| QueryError::from(KbError::from(error)))
            .and_then(|tx| work(&tx, &settings));
        stop.end();
        if matches!(done, Err(QueryError::Unavailable(_) | QueryError::Internal(_))) {
            self.conn = None;
        }
        done
    }

    fn conn(&mut self) -> Result<&Connection, QueryError> {
        let file = FileId::of(&self.settings.folder).ok();
        if self.conn.is_none() || self.file != file {
            self.file = file;
            self.conn = Some(self.copy.open(&self.settings.folder, schema::open_reader)?);
        }
        Ok(self.conn.as_ref().expect("it was opened if there was none"))
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use observer_core::SinkContext;
    use rustix::process::getpriority_process;
    use rustix::thread::gettid;

    use super::*;
    use crate::config::KbConfig;

    #[tokio::test]
    async fn queries_run_at_a_low_priority() {
        let folder = tempfile::tempdir().unwrap();
        let context = SinkContext::new("kb", folder.path());
        let settings = KbConfig::in_dir(folder.path().to_owned()).settings(&context).unwrap();
        schema::open_writer(&settings.folder).unwrap();
        let pool = Pool::new(Arc::new(settings));
        let niceness = pool.query(|_, _| Ok(getpriority_process(Some(gettid())))).await.unwrap();
        assert_eq!(niceness.unwrap(), NICENESS);
    }
}
