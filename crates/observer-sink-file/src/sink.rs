//! The sink: its thread and its mailbox.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use observer_core::{
    Batch, BatchSettings, BuildError, EventSink, Position, Receipt, SinkConfig, SinkContext,
    SinkError, SinkPart,
};
use tokio::sync::{mpsc, oneshot};

use crate::check::check_folder;
use crate::config::{FileConfig, Settings};
use crate::disk::RealDisk;
use crate::error::FileError;
use crate::writer::{LastAnswer, Writer};

/// Events as lines of JSON in files.
///
/// All work on files is done by one thread, one command after the other: a delivery whose future
/// was dropped is brought to its end there, before the next one begins.
#[derive(Debug)]
pub struct FileSink {
    mailbox: mpsc::Sender<Command>,
    thread: Mutex<Option<JoinHandle<()>>>,
    /// Whether the caller of the last delivery was there to hear the answer.
    heard: AtomicBool,
}

type Answer<T> = oneshot::Sender<Result<T, FileError>>;

#[derive(Debug)]
enum Command {
    Deliver { batch: Batch, last_answer: LastAnswer, answer: Answer<()> },
    Flush { answer: Answer<()> },
    Position { answer: Answer<Option<Position>> },
    Check { answer: Answer<()> },
    Close { answer: Answer<()> },
}

/// The pipeline makes one call at a time; what is cancelled may still be waiting.
const MAILBOX: usize = 4;

impl FileSink {
    /// Check the configuration and start the thread. Files are first touched when they are asked
    /// for.
    ///
    /// # Errors
    /// What in the configuration can't be.
    pub fn new(config: &FileConfig, context: &SinkContext) -> Result<Self, BuildError> {
        let settings = Arc::new(config.check()?);
        let (mailbox, commands) = mpsc::channel(MAILBOX);
        let mut worker = Worker { settings, state_dir: context.state_dir.clone(), writer: None };
        let thread = std::thread::Builder::new()
            .name(format!("file-{}", context.name).replace('\0', ""))
            .spawn(move || worker.run(commands))
            .map_err(|error| {
                BuildError::new("type", format!("needs a thread, and none can be started: {error}"))
            })?;
        Ok(Self { mailbox, thread: Mutex::new(Some(thread)), heard: AtomicBool::new(true) })
    }

    async fn ask<T>(&self, command: impl FnOnce(Answer<T>) -> Command) -> Result<T, FileError> {
        let (answer, answered) = oneshot::channel();
        // The slot comes first, so that a command is either never made or surely carried out.
        let slot = self.mailbox.reserve().await.map_err(|_| self.gone())?;
        slot.send(command(answer));
        answered.await.map_err(|_| self.gone())?
    }

    fn gone(&self) -> FileError {
        let is_closed =
            self.thread.lock().expect("no one panics while holding this lock").is_none();
        if is_closed { FileError::Closed } else { FileError::Ended }
    }
}

#[async_trait]
impl EventSink for FileSink {
    async fn deliver(&self, batch: &Batch) -> Result<Receipt, SinkError> {
        let delivered = self.ask(|answer| {
            let last_answer = if self.heard.swap(false, Ordering::Relaxed) {
                LastAnswer::Heard
            } else {
                LastAnswer::Lost
            };
            Command::Deliver { batch: batch.clone(), last_answer, answer }
        });
        let outcome = delivered.await;
        self.heard.store(true, Ordering::Relaxed);
        outcome?;
        Ok(Receipt::accepted())
    }

    async fn flush(&self) -> Result<(), SinkError> {
        Ok(self.ask(|answer| Command::Flush { answer }).await?)
    }

    /// What it tells is durable. The first call opens the sink's files and mends them.
    async fn position(&self) -> Result<Option<Position>, SinkError> {
        Ok(self.ask(|answer| Command::Position { answer }).await?)
    }

    fn replay_refusal(&self) -> Option<&'static str> {
        Some(
            "its files are in the order of the journal with each event once, and an older one would break that",
        )
    }

    async fn check(&self) -> Result<(), SinkError> {
        Ok(self.ask(|answer| Command::Check { answer }).await?)
    }

    async fn close(&self) -> Result<(), SinkError> {
        let outcome = self.ask(|answer| Command::Close { answer }).await;
        let thread = self.thread.lock().expect("no one panics while holding this lock").take();
        let Some(thread) = thread else { return Ok(()) };
        let joined = tokio::task::spawn_blocking(|| thread.join()).await;
        if !matches!(joined, Ok(Ok(()))) {
            return Err(FileError::Ended.into());
        }
        Ok(outcome?)
    }
}

impl SinkConfig for FileConfig {
    const TYPE: &'static str = "file";

    fn build(self, context: &SinkContext) -> Result<Vec<SinkPart>, BuildError> {
        // Short enough for an operator who posts an event and looks at the file. One write for each
        // commit of a busy journal would take processor time from the threads that answer
        // producers.
        let batch = BatchSettings {
            max_events: NonZeroUsize::new(4096),
            max_bytes: Some(4 << 20),
            linger: Some(Duration::from_millis(100)),
        };
        let sink = FileSink::new(&self, context)?;
        Ok(vec![SinkPart::whole(Arc::new(sink)).with_batch(batch)])
    }
}

struct Worker {
    settings: Arc<Settings>,
    state_dir: PathBuf,
    writer: Option<Writer>,
}

impl Worker {
    fn run(&mut self, mut commands: mpsc::Receiver<Command>) {
        while let Some(command) = commands.blocking_recv() {
            // Whoever asked may be gone by now; the writer learns of that with the next delivery.
            match command {
                Command::Deliver { batch, last_answer, answer } => {
                    let is_new = self.writer.is_none();
                    let delivered = self.writer().and_then(|writer| {
                        // A sink that was dropped before it began may have had a successor since,
                        // which has written these.
                        if is_new && commands.is_closed() {
                            Ok(())
                        } else {
                            writer.deliver(&batch, last_answer)
                        }
                    });
                    let _ = answer.send(delivered);
                }
                Command::Flush { answer } => {
                    let _ = answer.send(self.flush());
                }
                Command::Position { answer } => {
                    let _ = answer.send(self.position());
                }
                Command::Check { answer } => {
                    let _ = answer.send(self.check());
                }
                Command::Close { answer } => {
                    let outcome = self.flush();
                    self.writer = None;
                    let _ = answer.send(outcome);
                    return;
                }
            }
        }
        if let Err(error) = self.flush() {
            tracing::warn!(%error, "the last flush failed");
        }
    }

    /// Opened when it is first needed, and tried again while that fails.
    fn writer(&mut self) -> Result<&mut Writer, FileError> {
        if self.writer.is_none() {
            let settings = Arc::clone(&self.settings);
            self.writer = Some(Writer::open(
                settings,
                &self.state_dir,
                Arc::new(RealDisk),
                SystemTime::now(),
            )?);
        }
        Ok(self.writer.as_mut().expect("it was opened above"))
    }

    fn position(&mut self) -> Result<Option<Position>, FileError> {
        let writer = self.writer()?;
        writer.flush(SystemTime::now())?;
        Ok(writer.position())
    }

    fn flush(&mut self) -> Result<(), FileError> {
        self.writer.as_mut().map_or(Ok(()), |writer| writer.flush(SystemTime::now()))
    }

    fn check(&self) -> Result<(), FileError> {
        check_folder(self.settings.template.base(), &RealDisk)?;
        match &self.writer {
            // It has set space aside there.
            Some(writer) => writer.check(),
            None => check_folder(&self.state_dir, &RealDisk),
        }
    }
}

#[cfg(test)]
mod tests;
