//! Worker of one sink.
//!
//! A worker reads the journal from the sink's position on. It filters, collects a [`batch`],
//! delivers it until each of its events is resolved ([`resolve`]), and after each second makes the
//! deliveries durable and commits the position ([`flush`]). While the sink is unavailable it backs
//! off or parks ([`retry`]). Between two batches it executes a [`command`], or processes a batch of
//! a replay, which is a second [`stream`].
//!
//! Two parts of the worker are next to their concepts: `redeliver` in
//! [`dead_letters`](crate::dead_letters), and `start_replay` in [`replay`](crate::replay).

use std::sync::{Arc, Mutex};
use std::time::Duration;

use observer_core::{ErrorKind, EventSink, Filter, SinkError, Timestamp};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, sleep, sleep_until};
use tracing::Span;

use crate::account::Checkpoint;
use crate::dead_letters::store::DeadLetterStore;
use crate::error::Failure;
use crate::error::treatment;
use crate::event_log::EventLog;
use crate::event_log::head::Head;
use crate::spec::Limits;
use crate::status::SinkState;
use crate::worker::backoff::Backoff;
use crate::worker::command::Command;
use crate::worker::phase::{Ended, Phase, phase_reached};
use crate::worker::progress::Progress;
use crate::worker::retry::Wake;
use crate::worker::stream::{EventSelector, Stream, StreamKind, Streams};

pub(crate) mod backoff;
mod batch;
pub(crate) mod command;
mod flush;
pub(crate) mod phase;
pub(crate) mod progress;
pub(crate) mod resolve;
pub(crate) mod retry;
pub(crate) mod stream;

/// Interval of flushes, after which positions are committed.
pub(crate) const FLUSH_EVERY: Duration = Duration::from_secs(1);
/// Longest pause between two batches of a lagging worker.
///
/// While events come in, the worker pauses for as long as its last batch took, up to this: the
/// latency of ingest matters more than the size of a backlog.
const MAX_REST: Duration = Duration::from_millis(2);

/// Parts that a worker is made of.
pub(crate) struct Setup {
    pub(crate) name: String,
    pub(crate) sink: Arc<dyn EventSink>,
    pub(crate) filter: Filter,
    pub(crate) limits: Limits,
    pub(crate) event_log: EventLog,
    pub(crate) dead_letters: Arc<Mutex<DeadLetterStore>>,
    pub(crate) progress: Arc<Progress>,
    pub(crate) commands: mpsc::Receiver<Command>,
    /// Checkpoint in the journal; `None` for a new sink.
    pub(crate) stored: Option<Checkpoint>,
    /// Position at which a new sink starts, unless it keeps its own.
    pub(crate) start: u64,
    /// Last event that an earlier worker handed to the sink, since the journal was opened.
    pub(crate) served: u64,
    pub(crate) random: fastrand::Rng,
    /// Completed after the last flush.
    pub(crate) flushed: oneshot::Sender<()>,
}

pub(crate) struct Worker {
    pub(crate) name: String,
    pub(crate) sink: Arc<dyn EventSink>,
    pub(crate) limits: Limits,
    pub(crate) event_log: EventLog,
    pub(crate) head: Arc<Head>,
    pub(crate) phase: watch::Receiver<Phase>,
    pub(crate) dead_letters: Arc<Mutex<DeadLetterStore>>,
    pub(crate) progress: Arc<Progress>,
    pub(crate) commands: mpsc::Receiver<Command>,
    /// Reason for which the sink supports neither replays nor redelivery; `None` if it does.
    pub(crate) replay_rejection: Option<&'static str>,
    stored: Option<Checkpoint>,
    start: u64,
    pub(crate) backoff: Backoff,
    /// Intervals of the checks of a parked sink.
    pub(crate) check_backoff: Backoff,
    pub(crate) random: fastrand::Rng,
    pub(crate) streams: Streams,
    pub(crate) last_flush: Instant,
    /// Position that the sink keeps itself: it has all events up to there.
    pub(crate) sink_position: u64,
    /// Span of the last batch since the last flush, which becomes the parent of the next flush.
    pub(crate) last_batch: Span,
    /// Completed after the last flush.
    pub(crate) last_flush_done: Option<oneshot::Sender<()>>,
}

impl Worker {
    pub(crate) fn new(setup: Setup, phase: watch::Receiver<Phase>) -> Self {
        let checkpoint = setup.stored.unwrap_or(Checkpoint::start(setup.start));
        let mut random = setup.random;
        let check_retry = observer_core::RetrySettings {
            initial: Duration::from_secs(1),
            max: setup.limits.retry.max.max(Duration::from_secs(1)),
            give_up_after: None,
        };
        setup.progress.lock().served = setup.served;
        let selector = EventSelector {
            filter: Some(setup.filter).filter(|filter| !filter.matches_all()).map(Arc::new),
            replay: None,
        };
        let live = Stream::new(setup.event_log.clone(), selector, checkpoint, u64::MAX);
        Self {
            head: setup.event_log.tail.head(),
            streams: Streams::new(live),
            backoff: Backoff::new(setup.limits.retry, random.fork()),
            check_backoff: Backoff::new(check_retry, random.fork()),
            random,
            replay_rejection: setup.sink.replay_rejection(),
            commands: setup.commands,
            name: setup.name,
            sink: setup.sink,
            limits: setup.limits,
            event_log: setup.event_log,
            phase,
            dead_letters: setup.dead_letters,
            progress: setup.progress,
            stored: setup.stored,
            start: setup.start,
            last_flush: Instant::now(),
            sink_position: 0,
            last_batch: Span::none(),
            last_flush_done: Some(setup.flushed),
        }
    }

    /// Runs until the phase of the worker ends it.
    pub(crate) async fn run(mut self) {
        let guard = PanicGuard(self.progress.clone(), self.name.clone());
        if self.resume().await.is_ok() {
            while self.run_once().await.is_ok() {}
        }
        self.finish().await;
        drop(guard);
    }

    /// Determines the position to continue at: the later one of the journal's and the sink's own.
    async fn resume(&mut self) -> Result<(), Ended> {
        let own = loop {
            let sink = self.sink.clone();
            match self.call(sink.position(), Phase::Stopping).await? {
                Ok(position) => break position,
                Err(error) if treatment(error.kind) == ErrorKind::Blocked => {
                    self.park(error.report(), Wake::OnTimer).await?;
                }
                Err(error) => self.back_off(&error).await?,
            }
        };
        if own.is_some() {
            self.replay_rejection.get_or_insert(
                "it keeps its position with its data, and can't accept earlier events",
            );
        }
        let served = self.progress.lock().served;
        let own = match own {
            Some(own) => {
                let journal = self.event_log.journal.clone();
                let resolved = self
                    .event_log
                    .blocking
                    .run(move || journal.translate(own.epoch, own.seq, served));
                resolved.await.map_err(|_| Ended)?
            }
            None => None,
        };
        // A new sink that keeps its own position starts there. Its checkpoint may have been stored
        // before the sink could report its position; then no event is resolved yet.
        let checkpoint = match (self.stored, own) {
            (Some(stored), Some(own)) if stored.accepted == 0 && own < stored.seq => {
                Checkpoint::start(own)
            }
            (Some(stored), _) => stored,
            (None, Some(own)) => Checkpoint::start(own),
            (None, None) => Checkpoint::start(self.start),
        };
        self.sink_position = own.unwrap_or(0);
        self.streams.live.restart_at(checkpoint);
        self.progress.lock().checkpoint = checkpoint;
        self.resume_replay();
        self.set_positions();
        let sink = self.sink.clone();
        match self.call(sink.check(), Phase::Stopping).await? {
            Err(error) if treatment(error.kind) == ErrorKind::Blocked => {
                self.park(error.report(), Wake::OnTimer).await
            }
            Err(error) => {
                self.mark_retrying(&error.report());
                Ok(())
            }
            Ok(()) => {
                self.progress.lock().state = SinkState::Running;
                Ok(())
            }
        }
    }

    /// Processes one batch of live events, one of the replay, and one command.
    async fn run_once(&mut self) -> Result<(), Ended> {
        self.wait_for_work().await?;
        self.linger().await?;
        let (started, head) = (Instant::now(), self.event_log.journal.head());
        self.process_batch().await?;
        let is_running = *self.phase.borrow() == Phase::Running;
        if self.streams.live.reader.lags() && self.event_log.journal.head() > head && is_running {
            sleep(started.elapsed().min(MAX_REST)).await;
        }
        if self.replay_is_due() && is_running {
            self.replay_turn().await?;
        }
        if self.last_flush.elapsed() >= FLUSH_EVERY {
            self.flush().await?;
        }
        if let Ok(command) = self.commands.try_recv() {
            self.execute(command).await?;
        }
        Ok(())
    }

    /// Processes the next batch of the active stream.
    pub(crate) async fn process_batch(&mut self) -> Result<(), Ended> {
        let (batch, through) = self.next_batch(None).await?;
        match batch {
            Some(batch) => self.resolve(batch, through).await,
            None => {
                self.advance(through);
                Ok(())
            }
        }
    }

    /// Waits for a live event. Meanwhile it flushes, executes commands and processes the replay.
    async fn wait_for_work(&mut self) -> Result<(), Ended> {
        loop {
            match self.streams.live.reader.peek().await {
                Ok(Some(_)) => return Ok(()),
                Ok(None) => {}
                Err(error) => {
                    self.back_off(&SinkError::transient(error)).await?;
                    continue;
                }
            }
            let next = self.streams.live.checkpoint.seq + 1;
            let unflushed = !self.streams.are_flushed();
            let flush_at = self.last_flush + FLUSH_EVERY;
            let replay_at = self.replay_due_at();
            tokio::select! {
                biased;
                // New events come first, since draining delivers them.
                () = self.head.reaches(next) => {}
                () = phase_reached(&mut self.phase, Phase::Draining) => return Err(Ended),
                () = sleep_until(flush_at), if unflushed => self.flush().await?,
                Some(command) = self.commands.recv() => self.execute(command).await?,
                () = sleep_until(replay_at.unwrap_or(flush_at)), if replay_at.is_some() => {
                    self.replay_turn().await?;
                }
            }
        }
    }

    async fn execute(&mut self, command: Command) -> Result<(), Ended> {
        match command {
            Command::Redeliver(command) => self.redeliver(command).await,
            Command::StartReplay(command) => self.start_replay(command).await,
        }
    }

    /// Moves the checkpoint of the active stream to `seq`: all events up to it are resolved.
    pub(crate) fn advance(&mut self, seq: u64) {
        let stream = self.streams.active_stream();
        stream.advance(seq);
        let checkpoint = stream.checkpoint;
        let mut progress = self.progress.lock();
        match (self.streams.active, &mut progress.replay) {
            (StreamKind::Replay, Some(replay)) => replay.checkpoint = checkpoint,
            _ => {
                progress.checkpoint = checkpoint;
                progress.served = progress.served.max(seq);
            }
        }
    }
}

/// Reports the sink as parked when its code panics, since that ends the worker.
struct PanicGuard(Arc<Progress>, String);

impl Drop for PanicGuard {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let reason = "the sink panicked; it receives no events until the observer is restarted"
                .to_owned();
            tracing::error!(sink = self.1, reason, "the sink is parked");
            self.0.lock().state = SinkState::Parked(Failure { reason, at: Timestamp::now() });
        }
    }
}
