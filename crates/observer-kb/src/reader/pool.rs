//! Threads that run queries.

use std::collections::VecDeque;
use std::error::Error;
use std::path::Path;
use std::sync::mpsc::{self, Sender};
use std::sync::{Arc, Mutex, MutexGuard};

use observer_core::query::QueryError;
use rusqlite::{Connection, InterruptHandle};
use tokio::sync::oneshot;

use super::copy::FileCopy;
use crate::error::KbError;
use crate::schema::{self, FileId};
use crate::settings::Settings;

/// Niceness of the threads of large queries, as in `nice(1)`.
#[cfg(target_os = "linux")]
const NICENESS: i32 = 10;

/// Size of the queries of a pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Size {
    /// Queries that take about a millisecond, whatever the file holds. They wait for no large one.
    Small,
    /// All others. They run at a low priority.
    Large,
}

impl Size {
    /// Returns the number of queries that run at the same time.
    fn threads(self) -> usize {
        match self {
            Self::Small => 2,
            Self::Large => 4,
        }
    }
}

/// Statement that is active until its second row is read.
const TWO_ROWS: &str = "SELECT 1 UNION ALL SELECT 2";

/// Connections that can't write, and their threads. They start with the first query.
pub(super) struct Pool {
    size: Size,
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
    /// Creates a pool. Pools of the same file share a copy of it.
    pub(super) fn new(size: Size, settings: Arc<Settings>, copy: Arc<FileCopy>) -> Self {
        Self { size, settings, copy, jobs: Arc::new(Mutex::new(Jobs::Unstarted)) }
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
        for number in 0..self.size.threads() {
            let (settings, copy) = (Arc::clone(&self.settings), Arc::clone(&self.copy));
            let mut reader = Reader { settings, copy, conn: None, file: None };
            let (size, jobs) = (self.size, Arc::clone(&self.jobs));
            std::thread::Builder::new()
                .name(format!("kb-reader-{number}"))
                .spawn(move || {
                    if size == Size::Large {
                        yield_to_others();
                    }
                    while let Some(job) = next(&jobs) {
                        job(&mut reader);
                    }
                })
                .map_err(|error| QueryError::unavailable("a thread can't be started", error))?;
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
        let done = transact(conn, stop, |conn| work(conn, &settings));
        if matches!(done, Err(QueryError::Unavailable { .. } | QueryError::Internal(_))) {
            self.conn = None;
        }
        done.map_err(|error| located(error, &settings.folder))
    }

    fn conn(&mut self) -> Result<&Connection, QueryError> {
        let file = FileId::of(&self.settings.folder).ok();
        if self.conn.is_none() || self.file != file {
            self.file = file;
            let folder = &self.settings.folder;
            let opened = self.copy.open(folder, schema::open_reader);
            self.conn = Some(opened.map_err(|error| error.at(folder))?);
        }
        Ok(self.conn.as_ref().expect("it was opened if there was none"))
    }
}

/// Runs a query in a read transaction, until it is stopped.
fn transact<T>(
    conn: &Connection,
    stop: &Stop,
    work: impl FnOnce(&Connection) -> Result<T, QueryError>,
) -> Result<T, QueryError> {
    let tx = conn.unchecked_transaction().map_err(KbError::from)?;
    // SQLite forgets an interrupt once no statement is active. With one that is active all the
    // time, an interrupt between two statements of the query stops the next one.
    let mut active = conn.prepare_cached(TWO_ROWS).map_err(KbError::from)?;
    let mut rows = active.query([]).map_err(KbError::from)?;
    rows.next().map_err(KbError::from)?;
    if !stop.begin(conn) {
        return Err(KbError::Closed.into());
    }
    let done = work(&tx);
    stop.end();
    done
}

/// Names the file in an error of a query.
fn located(error: QueryError, folder: &Path) -> QueryError {
    let at = |cause: Box<dyn Error + Send + Sync>| match cause.downcast::<KbError>() {
        Ok(error) => Box::from(error.at(folder)),
        Err(cause) => cause,
    };
    match error {
        QueryError::Unavailable { reason, source } => {
            QueryError::Unavailable { reason, source: at(source) }
        }
        QueryError::Internal(source) => QueryError::Internal(at(source)),
        error => error,
    }
}

#[cfg(test)]
mod tests {
    use observer_core::SinkContext;
    use rusqlite::ErrorCode;

    use super::*;
    use crate::config::KbConfig;

    fn pool() -> (Pool, tempfile::TempDir) {
        let folder = tempfile::tempdir().unwrap();
        let context = SinkContext::new("kb", folder.path());
        let settings = KbConfig::in_dir(folder.path().to_owned()).settings(&context).unwrap();
        schema::open_writer(&settings.folder).unwrap();
        (Pool::new(Size::Large, Arc::new(settings), Arc::default()), folder)
    }

    #[tokio::test]
    async fn dropped_query_of_many_short_statements_ends() {
        let (pool, _folder) = pool();
        let (started, has_started) = oneshot::channel();
        let (ended, has_ended) = oneshot::channel();
        let (resume, resumed) = mpsc::channel::<()>();
        let query = pool.query(move |conn, _| {
            let _ = started.send(());
            // No statement of the query is active when it is stopped.
            let _ = resumed.recv();
            let next = conn.query_row("SELECT 1", [], |row| row.get::<_, i64>(0));
            let _ = ended.send(next.map_err(KbError::from));
            Ok(())
        });
        tokio::select! {
            biased;
            _ = query => panic!("the query ended by itself"),
            _ = has_started => {}
        }
        resume.send(()).unwrap();
        let error = has_ended.await.unwrap().unwrap_err();
        assert_eq!(error.sqlite_code(), Some(ErrorCode::OperationInterrupted));
        // The connection serves the next query.
        pool.query(|conn, _| Ok(conn.query_row("SELECT 1", [], |_| Ok(())).is_ok())).await.unwrap();
    }

    #[tokio::test]
    async fn failure_of_a_query_names_the_file() {
        let (pool, folder) = pool();
        std::fs::write(folder.path().join(schema::FILE), [0x55; 8_192]).unwrap();
        let error = pool.query(|_, _| Ok(())).await.unwrap_err();
        let (text, error) = (observer_core::report(&error), error);
        assert!(text.contains(folder.path().to_str().unwrap()), "{text}");
        assert!(text.contains("observer kb rebuild"), "{text}");
        let QueryError::Unavailable { reason, .. } = error else { panic!("{text}") };
        assert!(reason.contains("not a database"), "{reason}");
    }

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn large_queries_run_at_a_low_priority() {
        use rustix::process::getpriority_process;
        use rustix::thread::gettid;

        let (large, _folder) = pool();
        let small = Pool::new(Size::Small, Arc::clone(&large.settings), Arc::clone(&large.copy));
        let own = getpriority_process(Some(gettid())).unwrap();
        for (pool, expected) in [(large, NICENESS.max(own)), (small, own)] {
            let niceness = pool.query(|_, _| Ok(getpriority_process(Some(gettid())))).await;
            assert_eq!(niceness.unwrap().unwrap(), expected, "{:?}", pool.size);
        }
    }
}
