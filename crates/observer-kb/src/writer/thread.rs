//! The thread of the writer, and the commands that it takes.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use observer_core::{Batch, Position};
use tokio::sync::oneshot;
use tracing::{debug, error};

use super::memory::Writer;
use super::upkeep::Upkeep;
use crate::error::KbError;
use crate::schema;
use crate::settings::Settings;

/// Events for which one step of upkeep is due.
const EVENTS_PER_STEP: usize = 400;
/// Steps of upkeep after one command.
const MOST_STEPS: usize = 24;
/// Pause of the upkeep once nothing is left to do.
const PAUSE: Duration = Duration::from_secs(1);

type Reply<T> = oneshot::Sender<Result<T, KbError>>;

enum Command {
    Store(Batch, Reply<()>),
    Flush(Reply<()>),
    Position(Reply<Option<Position>>),
    Check(Reply<()>),
    Close(Reply<()>),
}

/// Handle of the thread. It starts with the first command, and ends when the handle is dropped.
pub(crate) struct Thread {
    settings: Arc<Settings>,
    running: Mutex<Option<Running>>,
    stopped: Arc<AtomicBool>,
}

struct Running {
    commands: Sender<Command>,
    handle: JoinHandle<()>,
}

impl Thread {
    pub(crate) fn new(settings: Arc<Settings>) -> Self {
        Self { settings, running: Mutex::default(), stopped: Arc::default() }
    }

    /// Stores a batch.
    pub(crate) async fn store(&self, batch: Batch) -> Result<(), KbError> {
        self.call(|reply| Command::Store(batch, reply)).await
    }

    /// Derives figures, and makes all of it durable.
    pub(crate) async fn flush(&self) -> Result<(), KbError> {
        self.call(Command::Flush).await
    }

    /// Returns the position up to which events are stored.
    pub(crate) async fn position(&self) -> Result<Option<Position>, KbError> {
        self.call(Command::Position).await
    }

    /// Verifies that the file can be written.
    pub(crate) async fn check(&self) -> Result<(), KbError> {
        self.call(Command::Check).await
    }

    /// Closes the file, and ends the thread.
    pub(crate) async fn close(&self) -> Result<(), KbError> {
        let closed = self.call(Command::Close).await;
        self.stopped.store(true, Ordering::Release);
        closed
    }

    async fn call<T>(&self, command: impl FnOnce(Reply<T>) -> Command) -> Result<T, KbError> {
        let (reply, answer) = oneshot::channel();
        self.send(command(reply))?;
        let answer = answer.await.map_err(|_| KbError::Closed)?;
        answer.map_err(|error| error.at(&self.settings.folder))
    }

    fn send(&self, command: Command) -> Result<(), KbError> {
        if self.stopped.load(Ordering::Acquire) {
            return Err(KbError::Closed);
        }
        let mut running = self.running.lock().expect("no thread panics while it holds the lock");
        if running.is_none() {
            *running = Some(self.start()?);
        }
        let sent = running.as_ref().map(|running| running.commands.send(command));
        sent.and_then(Result::ok).ok_or(KbError::Closed)
    }

    fn start(&self) -> Result<Running, KbError> {
        let (commands, received) = mpsc::channel();
        let (settings, stopped) = (Arc::clone(&self.settings), Arc::clone(&self.stopped));
        let folder = settings.folder.clone();
        let handle = std::thread::Builder::new()
            .name("kb-writer".to_owned())
            .spawn(move || Work::new(settings, stopped).run(&received))
            .map_err(|source| KbError::Io { path: folder, source })?;
        Ok(Running { commands, handle })
    }
}

impl Drop for Thread {
    /// Ends the thread after the command in progress; commands that wait are dropped.
    fn drop(&mut self) {
        self.stopped.store(true, Ordering::Release);
        let running = self.running.get_mut().ok().and_then(Option::take);
        if let Some(Running { commands, handle }) = running {
            drop(commands);
            let _ = handle.join();
        }
    }
}

/// State of the thread.
struct Work {
    settings: Arc<Settings>,
    stopped: Arc<AtomicBool>,
    writer: Option<Writer>,
    upkeep: Upkeep,
    /// Steps of upkeep that are due.
    debt: usize,
}

impl Work {
    fn new(settings: Arc<Settings>, stopped: Arc<AtomicBool>) -> Self {
        Self { settings, stopped, writer: None, upkeep: Upkeep::default(), debt: 0 }
    }

    fn run(mut self, commands: &Receiver<Command>) {
        let mut next = Instant::now() + PAUSE;
        loop {
            match commands.recv_timeout(next.saturating_duration_since(Instant::now())) {
                Ok(_) if self.stopped.load(Ordering::Acquire) => return,
                Ok(Command::Close(reply)) => {
                    let closed = self.close();
                    let _ = reply.send(closed);
                    return;
                }
                Ok(command) => self.handle(command),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            // Commands in quick succession must not keep off the upkeep.
            let is_due = Instant::now() >= next;
            let steps = self.debt.min(MOST_STEPS).max(usize::from(is_due));
            self.debt = self.debt.saturating_sub(steps);
            if steps > 0 {
                let is_left = self.keep_up(steps);
                next = Instant::now() + if is_left { Duration::ZERO } else { PAUSE };
            }
        }
    }

    fn handle(&mut self, command: Command) {
        match command {
            Command::Store(batch, reply) => {
                let derived = self.writer().and_then(|writer| writer.store(&batch));
                let _ = reply.send(self.charge(derived));
            }
            Command::Flush(reply) => {
                let derived = self.flush();
                let _ = reply.send(self.charge(derived));
            }
            Command::Position(reply) => {
                let position = self.writer().map(|writer| writer.position());
                let _ = reply.send(position);
            }
            Command::Check(reply) => {
                let checked = self.check();
                let _ = reply.send(checked);
            }
            Command::Close(_) => {}
        }
    }

    /// Flushes. If the file is no longer in its place, the next command opens the one that is.
    fn flush(&mut self) -> Result<usize, KbError> {
        let writer = self.writer()?;
        if let Err(error) = writer.check_place() {
            error!(error = observer_core::report(&error), "the knowledge base was removed");
            self.writer = None;
            return Err(error);
        }
        writer.flush()
    }

    /// Adds the steps that are due after the derivation from a number of events.
    fn charge(&mut self, derived: Result<usize, KbError>) -> Result<(), KbError> {
        derived.map(|events| self.debt += events / EVENTS_PER_STEP)
    }

    fn writer(&mut self) -> Result<&mut Writer, KbError> {
        if self.writer.is_none() {
            self.writer = Some(Writer::open(Arc::clone(&self.settings))?);
        }
        Ok(self.writer.as_mut().expect("it was opened if there was none"))
    }

    /// Opens the file if it isn't open, or was removed. If another observer writes to it, this only
    /// verifies that it can be read.
    fn check(&mut self) -> Result<(), KbError> {
        if self.writer.as_ref().is_some_and(|writer| writer.check_place().is_err()) {
            self.writer = None;
        }
        match self.writer() {
            Ok(writer) => writer.check(),
            Err(KbError::InUse { .. }) => schema::open_reader(&self.settings.folder).map(drop),
            Err(error) => Err(error),
        }
    }

    fn close(&mut self) -> Result<(), KbError> {
        match self.writer.take() {
            Some(writer) => writer.close(),
            None => Ok(()),
        }
    }

    /// Does some steps of upkeep. Returns whether more is left to do.
    fn keep_up(&mut self, steps: usize) -> bool {
        let Some(writer) = &mut self.writer else { return false };
        for _ in 0..steps {
            match self.upkeep.step(writer) {
                Ok(true) => {}
                Ok(false) => return false,
                Err(error) => {
                    error!(
                        error = observer_core::report(&error),
                        "upkeep of the knowledge base failed"
                    );
                    return false;
                }
            }
        }
        debug!(steps, "upkeep of the knowledge base");
        steps > 0
    }
}
