//! The sink: a thread that owns the files, and the channel to it.

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use async_trait::async_trait;
use observer_core::{
    Adopted, Batch, BatchSettings, BuildError, EventSink, Position, Receipt, SinkConfig,
    SinkContext, SinkError, SinkPart,
};
use tokio::sync::{mpsc, oneshot};

use crate::access::Access;
use crate::check::check_folder;
use crate::clock::Now;
use crate::config::{FileConfig, Settings};
use crate::disk::RealDisk;
use crate::error::FileError;
use crate::ledger;
use crate::siblings::{Counts, FileSinks, Surroundings};
use crate::sync::lock;
use crate::writer::{LastReply, Writer, sidecar};

/// Sink that writes events to files as lines of JSON.
///
/// One thread executes all commands in order. If the future of a delivery is dropped, the thread
/// still completes that delivery before it begins the next command.
#[derive(Debug)]
pub struct FileSink {
    commands: mpsc::Sender<Command>,
    thread: Mutex<Option<JoinHandle<()>>>,
    /// True if the caller received the reply to the last delivery.
    reply_received: AtomicBool,
}

type ReplyTo<T> = oneshot::Sender<Result<T, FileError>>;

#[derive(Debug)]
enum Command {
    Deliver { batch: Batch, last_reply: LastReply, reply: ReplyTo<()> },
    Flush { reply: ReplyTo<()> },
    Position { reply: ReplyTo<Option<Position>> },
    Inspect { reply: ReplyTo<()> },
    VerifyState { reply: ReplyTo<()> },
    Adopt { reply: ReplyTo<Adopted> },
    Check { reply: ReplyTo<()> },
    Close { reply: ReplyTo<()> },
}

/// Capacity of the command channel. The pipeline makes one call at a time, but cancelled calls may
/// still wait in the channel.
const CAPACITY: usize = 4;

impl FileSink {
    /// Checks the configuration and starts the thread, which opens files with the first command.
    ///
    /// # Errors
    /// If a value is invalid or the thread can't be started; the error names the key.
    pub fn new(config: &FileConfig, context: &SinkContext) -> Result<Self, BuildError> {
        Self::new_among(config, context, &FileSinks::default())
    }

    /// Creates a sink like [`new`](Self::new), which shares folders with other sinks of the program
    /// and takes none of their files.
    ///
    /// # Errors
    /// As for [`new`](Self::new).
    pub fn new_among(
        config: &FileConfig,
        context: &SinkContext,
        sinks: &FileSinks,
    ) -> Result<Self, BuildError> {
        let settings = Arc::new(config.check()?);
        let (commands, receiver) = mpsc::channel(CAPACITY);
        let counts = Arc::default();
        sinks.add(context, &settings, &counts);
        let mut worker = Worker {
            settings,
            state_dir: context.state_dir.clone(),
            writer: None,
            name: context.name.clone(),
            sinks: sinks.clone(),
            counts,
        };
        let thread = std::thread::Builder::new()
            .name(format!("file-{}", context.name).replace('\0', ""))
            .spawn(move || worker.run(receiver))
            .map_err(|error| {
                BuildError::new("type", format!("needs a thread, which can't be started: {error}"))
            })?;
        Ok(Self {
            commands,
            thread: Mutex::new(Some(thread)),
            reply_received: AtomicBool::new(true),
        })
    }

    /// Sends a command to the thread and waits for the reply.
    ///
    /// # Cancel safety
    /// A call that is dropped before it has a slot in the channel sends no command. A later drop
    /// loses the reply only.
    async fn call<T>(&self, command: impl FnOnce(ReplyTo<T>) -> Command) -> Result<T, FileError> {
        let (reply, receiver) = oneshot::channel();
        // The slot is reserved before `command` runs, so that a command that was created is always
        // executed.
        let slot = self.commands.reserve().await.map_err(|_| self.disconnected())?;
        slot.send(command(reply));
        receiver.await.map_err(|_| self.disconnected())?
    }

    /// Returns the reason for which the thread no longer replies.
    fn disconnected(&self) -> FileError {
        if lock(&self.thread).is_none() { FileError::Closed } else { FileError::Panicked }
    }
}

#[async_trait]
impl EventSink for FileSink {
    async fn deliver(&self, batch: &Batch) -> Result<Receipt, SinkError> {
        let delivered = self.call(|reply| {
            let last_reply = if self.reply_received.swap(false, Ordering::Relaxed) {
                LastReply::Received
            } else {
                LastReply::Lost
            };
            Command::Deliver { batch: batch.clone(), last_reply, reply }
        });
        let result = delivered.await;
        self.reply_received.store(true, Ordering::Relaxed);
        result?;
        Ok(Receipt::accepted())
    }

    async fn flush(&self) -> Result<(), SinkError> {
        Ok(self.call(|reply| Command::Flush { reply }).await?)
    }

    /// Flushes, and returns the durable position. The first command of a sink, which this usually
    /// is, opens its files and repairs them after a crash.
    async fn position(&self) -> Result<Option<Position>, SinkError> {
        Ok(self.call(|reply| Command::Position { reply }).await?)
    }

    async fn verify_state(&self) -> Result<(), SinkError> {
        Ok(self.call(|reply| Command::VerifyState { reply }).await?)
    }

    fn replay_rejection(&self) -> Option<&'static str> {
        Some(
            "its files hold each event once in journal order, and an older event would break that \
             order",
        )
    }

    async fn adopt(&self) -> Result<Option<Adopted>, SinkError> {
        Ok(Some(self.call(|reply| Command::Adopt { reply }).await?))
    }

    async fn check(&self) -> Result<(), SinkError> {
        Ok(self.call(|reply| Command::Check { reply }).await?)
    }

    async fn inspect(&self) -> Result<(), SinkError> {
        Ok(self.call(|reply| Command::Inspect { reply }).await?)
    }

    async fn close(&self) -> Result<(), SinkError> {
        let result = self.call(|reply| Command::Close { reply }).await;
        let thread = lock(&self.thread).take();
        let Some(thread) = thread else { return Ok(()) };
        let joined = tokio::task::spawn_blocking(|| thread.join()).await;
        if !matches!(joined, Ok(Ok(()))) {
            return Err(FileError::Panicked.into());
        }
        Ok(result?)
    }
}

impl SinkConfig for FileConfig {
    const TYPE: &'static str = "file";

    fn build(self, context: &SinkContext) -> Result<Vec<SinkPart>, BuildError> {
        self.build_among(context, &FileSinks::default())
    }
}

impl FileConfig {
    /// Builds the sink like [`SinkConfig::build`], and shares folders with other sinks of the
    /// program.
    ///
    /// # Errors
    /// If a value is invalid.
    pub fn build_among(
        self,
        context: &SinkContext,
        sinks: &FileSinks,
    ) -> Result<Vec<SinkPart>, BuildError> {
        // Short enough for an operator who posts an event and looks at the file. One write for each
        // commit of a busy journal would take processor time from the threads that respond to
        // producers.
        let batch = BatchSettings {
            max_events: NonZeroUsize::new(4096),
            max_bytes: Some(4 << 20),
            linger: Some(Duration::from_millis(100)),
        };
        let sink = FileSink::new_among(&self, context, sinks)?;
        Ok(vec![SinkPart::whole(Arc::new(sink)).with_batch(batch)])
    }
}

/// State of the thread.
struct Worker {
    settings: Arc<Settings>,
    state_dir: PathBuf,
    writer: Option<Writer>,
    name: String,
    sinks: FileSinks,
    counts: Arc<Counts>,
}

impl Worker {
    fn run(&mut self, mut commands: mpsc::Receiver<Command>) {
        while let Some(command) = commands.blocking_recv() {
            // The caller may have dropped its receiver. The next delivery reports that to the
            // writer as `LastReply::Lost`.
            match command {
                Command::Deliver { batch, last_reply, reply } => {
                    let (is_new, now) = (self.writer.is_none(), self.now());
                    let delivered = self.writer().and_then(|writer| {
                        // If the sink was dropped before this thread opened its files, a successor
                        // may already have written this batch.
                        if is_new && commands.is_closed() {
                            Ok(())
                        } else {
                            writer.advance(now);
                            writer.deliver(&batch, last_reply)
                        }
                    });
                    let _ = reply.send(delivered);
                }
                Command::Flush { reply } => {
                    let _ = reply.send(self.flush());
                }
                Command::Position { reply } => {
                    let _ = reply.send(self.position());
                }
                Command::Inspect { reply } => {
                    let _ = reply.send(self.inspect());
                }
                Command::VerifyState { reply } => {
                    let _ = reply.send(verify_state(&self.state_dir));
                }
                Command::Adopt { reply } => {
                    let now = self.now();
                    let _ = reply.send(self.writer().and_then(|writer| writer.adopt(now)));
                }
                Command::Check { reply } => {
                    let _ = reply.send(self.check());
                }
                Command::Close { reply } => {
                    let result = self.flush();
                    self.record_clock();
                    self.writer = None;
                    let _ = reply.send(result);
                    return;
                }
            }
        }
        if let Err(error) = self.flush() {
            tracing::warn!(%error, "final flush failed");
        }
        self.record_clock();
    }

    fn record_clock(&mut self) {
        if let Some(writer) = &mut self.writer {
            writer.record_clock();
        }
    }

    fn now(&self) -> Now {
        Now::read(self.sinks.clock())
    }

    /// Returns the writer, which is opened on first use. A failed attempt is repeated with the next
    /// command.
    fn writer(&mut self) -> Result<&mut Writer, FileError> {
        if self.writer.is_none() {
            let settings = Arc::clone(&self.settings);
            self.writer = Some(Writer::open(
                settings,
                &self.state_dir,
                Arc::new(RealDisk),
                self.now(),
                Surroundings {
                    sinks: self.sinks.clone(),
                    name: self.name.clone(),
                    counts: Arc::clone(&self.counts),
                },
            )?);
        }
        Ok(self.writer.as_mut().expect("it was opened above"))
    }

    fn position(&mut self) -> Result<Option<Position>, FileError> {
        self.writer()?;
        let now = self.now();
        let writer = self.writer()?;
        writer.flush(now)?;
        Ok(writer.position())
    }

    fn flush(&mut self) -> Result<(), FileError> {
        let now = self.now();
        self.writer.as_mut().map_or(Ok(()), |writer| writer.flush(now))
    }

    /// Checks the folders without changing anything.
    fn inspect(&self) -> Result<(), FileError> {
        for folder in [self.settings.template.base(), &self.state_dir] {
            observer_core::verify_writable(folder).map_err(|error| FileError::Io {
                action: error.action,
                path: error.path,
                source: error.source,
            })?;
        }
        Ok(())
    }

    fn check(&mut self) -> Result<(), FileError> {
        check_folder(self.settings.template.base(), &self.settings.access, &RealDisk)?;
        match &mut self.writer {
            // An open writer has reserved space in the state folder.
            Some(writer) => writer.check(),
            None => check_folder(&self.state_dir, &Access::PRIVATE, &RealDisk),
        }
    }
}

/// Returns an error if a later version wrote a file in a state folder. Other errors are those of
/// the first command that needs the file.
fn verify_state(state_dir: &Path) -> Result<(), FileError> {
    for checked in [sidecar::load(state_dir).map(drop), ledger::verify_version(state_dir)] {
        if let Err(error @ FileError::Newer { .. }) = checked {
            return Err(error);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
