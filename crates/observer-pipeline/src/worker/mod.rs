//! Worker of one sink.
//!
//! A worker reads the journal from the sink's position on. It filters, collects a [`batch`], and
//! delivers it until each of its events is resolved. After each second it makes the deliveries
//! durable and commits the position ([`flush`]). It consists of three parts:
//!
//! - [`delivery`] owns the sink, its timeout, its back-off and its reported state. It performs one
//!   [`attempt`] at a time.
//! - [`resolution`] decides what is delivered next, and what becomes of it.
//! - A [`stream`] is a pass over the journal: the live one, or a replay. The worker alternates
//!   between them.
//!
//! [`step`] performs the next action of a stream, and [`wait`] waits for events, for the back-off
//! or for a parked sink, and executes a [`command`] meanwhile. Parts of the worker are next to
//! their concepts: redelivery and diversion in [`dead_letters`](crate::dead_letters), and
//! `start_replay` in [`replay`](crate::replay).

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use observer_core::{EventSink, Filter, Timestamp};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, sleep};
use tracing::Span;

use crate::account::Checkpoint;
use crate::dead_letters::store::DeadLetterStore;
use crate::dead_letters::undecided::{AsideResult, UndecidedStore};
use crate::error::Failure;
use crate::event_log::EventLog;
use crate::event_log::head::Head;
use crate::spec::Limits;
use crate::status::SinkState;
use crate::worker::command::{Command, Commands};
use crate::worker::delivery::Delivery;
use crate::worker::phase::{Ended, Phase};
use crate::worker::progress::Progress;
use crate::worker::resolution::evidence::{Rules, StoredEvidence};
use crate::worker::resolution::{MAX_ASIDE, Policy};
use crate::worker::step::Flow;
use crate::worker::stream::{EventSelector, Stream, StreamKind, Streams};

pub(crate) mod attempt;
pub(crate) mod backoff;
mod batch;
pub(crate) mod command;
pub(crate) mod delivery;
mod flush;
mod outage;
pub(crate) mod phase;
pub(crate) mod progress;
mod refusals;
pub(crate) mod resolution;
mod resume;
pub(crate) mod step;
pub(crate) mod stream;
mod wait;

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
    pub(crate) undecided: Arc<Mutex<UndecidedStore>>,
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
    pub(crate) delivery: Delivery,
    pub(crate) limits: Limits,
    pub(crate) event_log: EventLog,
    pub(crate) head: Arc<Head>,
    pub(crate) phase: watch::Receiver<Phase>,
    pub(crate) dead_letters: Arc<Mutex<DeadLetterStore>>,
    /// True if the last events found no space among the dead letters.
    pub(crate) is_store_full: bool,
    pub(crate) undecided: Arc<Mutex<UndecidedStore>>,
    /// Decisions about undecided events since the last flush.
    pub(crate) aside_results: Vec<(u64, AsideResult)>,
    /// Evidence against undecided events that has grown since the last flush.
    pub(crate) aside_evidence: BTreeMap<u64, StoredEvidence>,
    pub(crate) progress: Arc<Progress>,
    pub(crate) commands: Commands,
    /// Reason for which the sink supports neither replays nor redelivery; `None` if it does.
    pub(crate) replay_rejection: Option<&'static str>,
    stored: Option<Checkpoint>,
    start: u64,
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
        setup.progress.lock().served = setup.served;
        let selector = EventSelector {
            filter: Some(setup.filter).filter(|filter| !filter.matches_all()).map(Arc::new),
            replay: None,
        };
        let policy = Policy {
            rules: Rules::new(&setup.limits.retry),
            may_skip: true,
            may_set_aside: true,
            max_delivery: setup.limits.max_delivery,
            max_aside: MAX_ASIDE,
        };
        let live = Stream::new(setup.event_log.clone(), selector, checkpoint, u64::MAX, policy);
        let replay_rejection = setup.sink.replay_rejection();
        let delivery = Delivery::new(
            setup.name,
            setup.sink,
            &setup.limits,
            setup.progress.clone(),
            phase.clone(),
            &mut random,
        );
        Self {
            delivery,
            head: setup.event_log.tail.head(),
            streams: Streams::new(live),
            random,
            replay_rejection,
            commands: Commands::new(setup.commands),
            limits: setup.limits,
            event_log: setup.event_log,
            phase,
            dead_letters: setup.dead_letters,
            is_store_full: false,
            undecided: setup.undecided,
            aside_results: Vec::new(),
            aside_evidence: BTreeMap::new(),
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
        let guard = PanicGuard(self.progress.clone(), self.delivery.name.clone());
        if self.resume().await.is_ok() {
            while self.run_once().await.is_ok() {}
        }
        self.finish().await;
        drop(guard);
    }

    /// Performs one action of the live stream, one attempt of the replay, and one command.
    async fn run_once(&mut self) -> Result<(), Ended> {
        let resolution = &self.streams.live.resolution;
        if resolution.is_idle()
            && !resolution.is_due(Instant::now())
            && matches!(self.streams.live.reader.peek().await, Ok(Some(_)))
        {
            self.linger().await?;
        }
        let (started, head) = (Instant::now(), self.event_log.journal.head());
        let flow = self.step(StreamKind::Live).await?;
        if let Flow::Idle(due) = flow {
            return self.wait_for_work(due).await;
        }
        let is_running = *self.phase.borrow() == Phase::Running;
        if flow == Flow::Attempted && is_running {
            if self.streams.live.reader.lags() && self.event_log.journal.head() > head {
                sleep(started.elapsed().min(MAX_REST)).await;
            }
            if self.replay_is_due() {
                self.replay_turn().await?;
            }
        }
        if self.last_flush.elapsed() >= FLUSH_EVERY {
            self.flush().await?;
        }
        if let Some(command) = self.commands.try_recv() {
            self.execute(command).await?;
        }
        Ok(())
    }

    async fn execute(&mut self, command: Command) -> Result<(), Ended> {
        match command {
            Command::Redeliver(command) => self.redeliver(command).await,
            Command::StartReplay(command) => self.start_replay(command).await,
            Command::Divert(command) => self.divert(command).await,
            Command::Wake(reply) => {
                self.wake(reply);
                Ok(())
            }
        }
    }

    /// Makes an attempt due at once, for an operator who knows that the destination is available.
    pub(crate) fn wake(&mut self, reply: oneshot::Sender<()>) {
        let now = Instant::now();
        self.delivery.reset_backoff();
        self.streams.iter_mut().for_each(|stream| stream.resolution.wake(now));
        if let Some(replay) = &mut self.streams.replay {
            replay.not_before = now;
        }
        // The caller may have been cancelled.
        let _ = reply.send(());
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
            let mut progress = self.0.lock();
            progress.state = SinkState::Parked(Failure { reason, at: Timestamp::now() });
            progress.retry_at = None;
        }
    }
}
