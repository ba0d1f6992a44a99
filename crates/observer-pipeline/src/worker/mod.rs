//! One sink's worker: reads, filters, gathers batches, has them delivered, flushes and commits.

pub(crate) mod backoff;
mod batch;
pub(crate) mod command;
mod flush;
pub(crate) mod phase;
pub(crate) mod progress;
pub(crate) mod resolve;
pub(crate) mod retry;
pub(crate) mod stream;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use observer_core::{ErrorKind, EventSink, Filter, SinkError, Timestamp};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, sleep, sleep_until};
use tracing::Span;

use crate::account::Place;
use crate::dead_letters::store::DeadLetterStore;
use crate::error::Failure;
use crate::source::Source;
use crate::source::head::Head;
use crate::spec::Limits;
use crate::status::SinkState;
use crate::worker::backoff::Backoff;
use crate::worker::backoff::Wake;
use crate::worker::command::Order;
use crate::worker::phase::{Ended, Phase, reached};
use crate::worker::progress::Progress;
use crate::worker::stream::{Lane, Wanted};
use crate::worker::stream::{Lanes, Turn};

/// Positions are committed this often.
pub(crate) const FLUSH_EVERY: Duration = Duration::from_secs(1);
/// A worker that lags rests for as long as a batch took, up to this, while events come in:
/// producers wait for an answer, and a backlog is only a number.
const MAX_REST: Duration = Duration::from_millis(2);

/// What a worker is made of.
pub(crate) struct Setup {
    pub(crate) name: String,
    pub(crate) sink: Arc<dyn EventSink>,
    pub(crate) filter: Filter,
    pub(crate) limits: Limits,
    pub(crate) source: Source,
    pub(crate) dead: Arc<Mutex<DeadLetterStore>>,
    pub(crate) progress: Arc<Progress>,
    /// Dead letters to send again, and replays to begin.
    pub(crate) orders: mpsc::Receiver<Order>,
    /// Where the sink stands by the journal; `None` for a sink that is new here.
    pub(crate) stored: Option<Place>,
    /// Where it begins if it doesn't know better itself.
    pub(crate) start: u64,
    /// How far it was served before, since the journal was opened.
    pub(crate) served: u64,
    pub(crate) random: fastrand::Rng,
    /// Told after the last flush.
    pub(crate) flushed: oneshot::Sender<()>,
}

pub(crate) struct Worker {
    pub(crate) name: String,
    pub(crate) sink: Arc<dyn EventSink>,
    pub(crate) limits: Limits,
    pub(crate) source: Source,
    pub(crate) head: Arc<Head>,
    pub(crate) phase: watch::Receiver<Phase>,
    pub(crate) dead: Arc<Mutex<DeadLetterStore>>,
    pub(crate) progress: Arc<Progress>,
    pub(crate) orders: mpsc::Receiver<Order>,
    /// Why the sink can't be sent past events, if it can't.
    pub(crate) in_order_only: Option<&'static str>,
    stored: Option<Place>,
    start: u64,
    pub(crate) backoff: Backoff,
    pub(crate) checks: Backoff,
    pub(crate) random: fastrand::Rng,
    pub(crate) lanes: Lanes,
    pub(crate) last_flush: Instant,
    /// Events up to here the sink has already, by its own account.
    pub(crate) owned: u64,
    /// The last batch that was settled since the sink was flushed, for traces: the flush is a part
    /// of what it took.
    pub(crate) settled: Span,
    /// Told after the last flush.
    pub(crate) last_flush_ended: Option<oneshot::Sender<()>>,
}

impl Worker {
    pub(crate) fn new(setup: Setup, phase: watch::Receiver<Phase>) -> Self {
        let place = setup.stored.unwrap_or(Place::start(setup.start));
        let mut random = setup.random;
        let checks = observer_core::RetrySettings {
            initial: Duration::from_secs(1),
            max: setup.limits.retry.max.max(Duration::from_secs(1)),
            give_up_after: None,
        };
        setup.progress.lock().served = setup.served;
        let wanted = Wanted {
            filter: Some(setup.filter).filter(|filter| !filter.matches_all()).map(Arc::new),
            past: None,
        };
        Self {
            head: setup.source.tail.head(),
            lanes: Lanes::new(Lane::new(setup.source.clone(), wanted, place, u64::MAX)),
            backoff: Backoff::new(setup.limits.retry, random.fork()),
            checks: Backoff::new(checks, random.fork()),
            random,
            in_order_only: setup.sink.replay_refusal(),
            orders: setup.orders,
            name: setup.name,
            sink: setup.sink,
            limits: setup.limits,
            source: setup.source,
            phase,
            dead: setup.dead,
            progress: setup.progress,
            stored: setup.stored,
            start: setup.start,
            last_flush: Instant::now(),
            owned: 0,
            settled: Span::none(),
            last_flush_ended: Some(setup.flushed),
        }
    }

    /// Until it has to end.
    pub(crate) async fn run(mut self) {
        let guard = PanicGuard(self.progress.clone(), self.name.clone());
        if self.resume().await.is_ok() {
            while self.cycle().await.is_ok() {}
        }
        self.finish().await;
        drop(guard);
    }

    /// Find out where to go on: at the later of what was committed and what the sink knows itself.
    async fn resume(&mut self) -> Result<(), Ended> {
        let owned = loop {
            let sink = self.sink.clone();
            match self.ask(sink.position(), Phase::Stopping).await? {
                Ok(position) => break position,
                Err(error) if error.kind == ErrorKind::Blocked => {
                    self.park(error.report(), Wake::OnTimer).await?;
                }
                Err(error) => self.pause(&error).await?,
            }
        };
        if owned.is_some() {
            self.in_order_only.get_or_insert(
                "it keeps its position with its data, and takes no event from before that",
            );
        }
        let served = self.progress.lock().served;
        let owned = match owned {
            Some(own) => {
                let journal = self.source.journal.clone();
                let resolved =
                    self.source.blocking.run(move || journal.resolve(own.epoch, own.seq, served));
                resolved.await.map_err(|_| Ended)?
            }
            None => None,
        };
        // A sink that is new here and knows where it stands begins there. Where nothing is settled
        // yet, it may never have been asked.
        let begin = match (self.stored, owned) {
            (Some(place), Some(owned)) if place.accepted == 0 && owned < place.seq => {
                Place::start(owned)
            }
            (Some(place), _) => place,
            (None, Some(owned)) => Place::start(owned),
            (None, None) => Place::start(self.start),
        };
        self.owned = owned.unwrap_or(0);
        self.lanes.present.begin(begin);
        self.progress.lock().place = begin;
        self.resume_past();
        self.commit();
        let sink = self.sink.clone();
        match self.ask(sink.check(), Phase::Stopping).await? {
            Err(error) if error.kind == ErrorKind::Blocked => {
                self.park(error.report(), Wake::OnTimer).await
            }
            Err(error) => {
                self.mishap(&error.report());
                Ok(())
            }
            Ok(()) => {
                self.progress.lock().state = SinkState::Running;
                Ok(())
            }
        }
    }

    /// One batch of what is new, and one of the past.
    async fn cycle(&mut self) -> Result<(), Ended> {
        self.wait().await?;
        self.linger().await?;
        let (begun, head) = (Instant::now(), self.source.journal.head());
        self.batch().await?;
        let is_running = *self.phase.borrow() == Phase::Running;
        if self.lanes.present.feed.lags() && self.source.journal.head() > head && is_running {
            sleep(begun.elapsed().min(MAX_REST)).await;
        }
        if self.has_past() && is_running {
            self.past_turn().await?;
        }
        if self.last_flush.elapsed() >= FLUSH_EVERY {
            self.flush().await?;
        }
        if let Ok(order) = self.orders.try_recv() {
            self.follow(order).await?;
        }
        Ok(())
    }

    /// The next batch of the lane whose turn it is.
    pub(crate) async fn batch(&mut self) -> Result<(), Ended> {
        let (batch, through) = self.gather(None).await?;
        match batch {
            Some(batch) => self.settle(batch, through).await,
            None => {
                self.advance(through);
                Ok(())
            }
        }
    }

    /// Until there is something new to do. The past has its turns meanwhile.
    async fn wait(&mut self) -> Result<(), Ended> {
        loop {
            match self.lanes.present.feed.peek().await {
                Ok(Some(_)) => return Ok(()),
                Ok(None) => {}
                Err(error) => {
                    self.pause(&SinkError::transient(error)).await?;
                    continue;
                }
            }
            let next = self.lanes.present.place.seq + 1;
            let unflushed = !self.lanes.are_flushed();
            let due = self.last_flush + FLUSH_EVERY;
            let past = self.past_is_due();
            tokio::select! {
                biased;
                // First of all what is there, since a drain delivers it.
                () = self.head.reaches(next) => {}
                () = reached(&mut self.phase, Phase::Draining) => return Err(Ended),
                () = sleep_until(due), if unflushed => self.flush().await?,
                Some(order) = self.orders.recv() => self.follow(order).await?,
                () = sleep_until(past.unwrap_or(due)), if past.is_some() => self.past_turn().await?,
            }
        }
    }

    async fn follow(&mut self, order: Order) -> Result<(), Ended> {
        match order {
            Order::Redeliver(order) => self.resend(order).await,
            Order::Past(order) => self.begin_past(order).await,
        }
    }

    /// Everything up to `seq` is settled, in the lane whose turn it is.
    pub(crate) fn advance(&mut self, seq: u64) {
        let lane = self.lanes.current();
        lane.advance(seq);
        let place = lane.place;
        let mut progress = self.progress.lock();
        match (self.lanes.turn, &mut progress.replay) {
            (Turn::Past, Some(replay)) => replay.place = place,
            _ => {
                progress.place = place;
                progress.served = progress.served.max(seq);
            }
        }
    }
}

/// Tells when a sink's code panicked, since its worker is gone then.
struct PanicGuard(Arc<Progress>, String);

impl Drop for PanicGuard {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let reason =
                "the sink's code panicked; it gets nothing more until the observer is started again".to_owned();
            tracing::error!(sink = self.1, reason, "the sink is parked");
            self.0.lock().state = SinkState::Parked(Failure { reason, at: Timestamp::now() });
        }
    }
}
