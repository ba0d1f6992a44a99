//! One sink's worker: reads, filters, gathers batches, has them delivered, flushes and commits.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use observer_core::{Batch, ErrorKind, EventSink, Filter, SinkError, Timestamp};
use observer_journal::{GapReason, Journal};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep, sleep_until, timeout};

use crate::account::{Account, Place};
use crate::backoff::Backoff;
use crate::blocking::Blocking;
use crate::dead_letters::{DeadLetter, DeadLetters};
use crate::feed::{Feed, Item};
use crate::head::Head;
use crate::replay::Order;
use crate::spec::Limits;
use crate::status::{Mishap, Progress, SinkState};
use crate::tail::Tail;
use crate::trouble::{Wake, reached};

/// Positions are committed this often.
const FLUSH_EVERY: Duration = Duration::from_secs(1);
/// While a batch gathers, it is looked at this often whether it is full.
const LOOK_EVERY: Duration = Duration::from_millis(25);
/// How long the last flush and `close` may take when the worker has to end.
const FAREWELL: Duration = Duration::from_secs(5);
/// A worker that lags rests for as long as a batch took, up to this, while events come in: producers wait for an answer, and a backlog is only a number.
const MAX_REST: Duration = Duration::from_millis(2);
/// A worker lets others have their turn after this many events that its sink doesn't get.
const MAX_SKIPPED: usize = 10_000;

/// How urgently a worker is to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Phase {
    Running,
    /// Deliver what is there, without waiting for more.
    Draining,
    /// Now.
    Stopping,
}

/// The worker has to end.
#[derive(Debug)]
pub(crate) struct Ended;

/// What a worker is made of.
pub(crate) struct Setup {
    pub(crate) name: String,
    pub(crate) sink: Arc<dyn EventSink>,
    pub(crate) filter: Filter,
    pub(crate) limits: Limits,
    pub(crate) blocking: Blocking,
    pub(crate) journal: Arc<Journal>,
    pub(crate) tail: Arc<Tail>,
    pub(crate) dead: Arc<Mutex<DeadLetters>>,
    pub(crate) progress: Arc<Progress>,
    /// Dead letters to send again.
    pub(crate) orders: mpsc::Receiver<Order>,
    /// Where the sink stands by the journal; `None` for a sink that is new here.
    pub(crate) stored: Option<Place>,
    /// Where it begins if it doesn't know better itself.
    pub(crate) start: u64,
    /// How far it was served before, since the journal was opened.
    pub(crate) served: u64,
    pub(crate) random: fastrand::Rng,
}

pub(crate) struct Worker {
    pub(crate) name: String,
    pub(crate) sink: Arc<dyn EventSink>,
    /// `None` for a sink that gets everything.
    filter: Option<Filter>,
    pub(crate) limits: Limits,
    blocking: Blocking,
    pub(crate) journal: Arc<Journal>,
    tail: Arc<Tail>,
    pub(crate) head: Arc<Head>,
    pub(crate) phase: watch::Receiver<Phase>,
    pub(crate) dead: Arc<Mutex<DeadLetters>>,
    pub(crate) progress: Arc<Progress>,
    pub(crate) orders: mpsc::Receiver<Order>,
    /// Why the sink can't be sent its dead letters, if it can't.
    pub(crate) in_order_only: Option<&'static str>,
    stored: Option<Place>,
    start: u64,
    feed: Feed,
    pub(crate) backoff: Backoff,
    pub(crate) checks: Backoff,
    /// What is settled.
    place: Place,
    /// What was settled when the sink was flushed last: where it goes on after a flush that fails.
    flushed: Place,
    last_flush: Instant,
    /// Events up to here the sink has already, by its own account.
    owned: u64,
    /// What became of events in hand that can't be settled yet, since one before them is open.
    pub(crate) open: Account,
    /// Runs of events that the sink doesn't get, by the last of each.
    skipped: VecDeque<(u64, Account)>,
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
        Self {
            head: setup.tail.head(),
            feed: Feed::new(setup.blocking, setup.journal.clone(), setup.tail.clone(), place.seq),
            backoff: Backoff::new(setup.limits.retry, random.fork()),
            checks: Backoff::new(checks, random.fork()),
            in_order_only: setup.sink.refuses_replay(),
            orders: setup.orders,
            name: setup.name,
            sink: setup.sink,
            filter: Some(setup.filter).filter(|filter| !filter.is_open()),
            limits: setup.limits,
            blocking: setup.blocking,
            journal: setup.journal,
            tail: setup.tail,
            phase,
            dead: setup.dead,
            progress: setup.progress,
            stored: setup.stored,
            start: setup.start,
            place,
            flushed: place,
            last_flush: Instant::now(),
            owned: 0,
            open: Account::default(),
            skipped: VecDeque::new(),
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
                Err(error) if error.kind == ErrorKind::Blocked => self.park(error.report(), Wake::OnTimer).await?,
                Err(error) => self.pause(&error).await?,
            }
        };
        if owned.is_some() {
            self.in_order_only
                .get_or_insert("it keeps its position with its data, and takes no event from before that");
        }
        let served = self.progress.lock().served;
        let owned = match owned {
            Some(own) => {
                let journal = self.journal.clone();
                let resolved = self.blocking.run(move || journal.resolve(own.epoch, own.seq, served));
                resolved.await.map_err(|_| Ended)?
            }
            None => None,
        };
        // A sink that is new here and knows where it stands begins there. Where nothing is settled yet, it may never have been asked.
        let begin = match (self.stored, owned) {
            (Some(place), Some(owned)) if place.accepted == 0 && owned < place.seq => Place::start(owned),
            (Some(place), _) => place,
            (None, Some(owned)) => Place::start(owned),
            (None, None) => Place::start(self.start),
        };
        self.owned = owned.unwrap_or(0);
        self.place = begin;
        self.rewind();
        self.commit();
        let sink = self.sink.clone();
        match self.ask(sink.check(), Phase::Stopping).await? {
            Err(error) if error.kind == ErrorKind::Blocked => self.park(error.report(), Wake::OnTimer).await,
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

    /// One batch.
    async fn cycle(&mut self) -> Result<(), Ended> {
        self.wait().await?;
        self.linger().await;
        let (begun, head) = (Instant::now(), self.journal.head());
        let (batch, through) = self.gather(None).await?;
        match batch {
            Some(batch) => self.settle(batch, through).await?,
            None => self.advance(through),
        }
        if self.feed.lags() && self.journal.head() > head && *self.phase.borrow() == Phase::Running {
            sleep(begun.elapsed().min(MAX_REST)).await;
        }
        if self.last_flush.elapsed() >= FLUSH_EVERY {
            self.flush().await?;
        }
        if let Ok(order) = self.orders.try_recv() {
            self.replay(order).await?;
        }
        Ok(())
    }

    /// Until there is something to do.
    async fn wait(&mut self) -> Result<(), Ended> {
        loop {
            match self.feed.peek().await {
                Ok(Some(_)) => return Ok(()),
                Ok(None) => {}
                Err(error) => {
                    self.pause(&SinkError::transient(error)).await?;
                    continue;
                }
            }
            let next = self.place.seq + 1;
            let unflushed = self.place != self.flushed;
            let due = self.last_flush + FLUSH_EVERY;
            tokio::select! {
                biased;
                // First of all what is there, since a drain delivers it.
                () = self.head.reaches(next) => {}
                () = reached(&mut self.phase, Phase::Draining) => return Err(Ended),
                () = sleep_until(due), if unflushed => self.flush().await?,
                Some(order) = self.orders.recv() => self.replay(order).await?,
            }
        }
    }

    /// Give a batch that isn't full some time to fill up.
    async fn linger(&mut self) {
        let until = Instant::now() + self.limits.linger;
        loop {
            let pending = self.journal.head() - self.place.seq;
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() || pending >= self.limits.max_events as u64 {
                return;
            }
            tokio::select! {
                biased;
                () = reached(&mut self.phase, Phase::Draining) => return,
                () = sleep(left.min(LOOK_EVERY)) => {}
            }
        }
    }

    /// The next batch, after the events of `before`, and the last event that was looked at for it.
    pub(crate) async fn gather(&mut self, before: Option<&Batch>) -> Result<(Option<Batch>, u64), Ended> {
        let mut events = before.map(|batch| batch.events().to_vec()).unwrap_or_default();
        let had = events.len();
        let mut bytes = 0;
        let mut through = events.last().map_or(self.place.seq, |last| last.seq);
        let mut skipped = 0;
        while events.len() - had < self.limits.max_events && skipped < MAX_SKIPPED {
            let item = match self.feed.peek().await {
                Ok(item) => item,
                Err(error) => {
                    self.pause(&SinkError::transient(error)).await?;
                    continue;
                }
            };
            let became = match item {
                None => break,
                Some(Item::Gap { count, .. }) => Some(Account { expired: *count, ..Account::default() }),
                Some(Item::Event(envelope))
                    if self.filter.as_ref().is_some_and(|filter| !filter.matches(&envelope.event)) =>
                {
                    Some(Account { filtered: 1, ..Account::default() })
                }
                Some(Item::Event(envelope)) if envelope.seq <= self.owned => {
                    Some(Account { delivered: 1, ..Account::default() })
                }
                Some(Item::Event(envelope)) => {
                    let size = envelope.event.raw().len() as u64;
                    if events.len() > had && bytes + size > self.limits.max_bytes {
                        break;
                    }
                    bytes += size;
                    None
                }
            };
            let Some(item) = self.feed.take() else { break };
            through = item.last_seq();
            match (became, item) {
                (Some(became), item) => {
                    skipped += 1;
                    self.skip(&item, became);
                }
                (None, Item::Event(envelope)) => events.push(envelope),
                (None, Item::Gap { .. }) => unreachable!("a gap became expired above"),
            }
        }
        self.progress.lock().oldest_in_hand = events.first().map(|first| first.received_at);
        let batch = (!events.is_empty()).then(|| Batch::new(self.journal.epoch(), events));
        Ok((batch, through))
    }

    /// Take note of what the sink doesn't get.
    fn skip(&mut self, item: &Item, became: Account) {
        let last_seq = item.last_seq();
        if let Item::Gap { count, reason, .. } = item {
            let first_seq = last_seq + 1 - count;
            match reason {
                GapReason::Expired => tracing::error!(
                    sink = self.name,
                    first_seq,
                    last_seq,
                    "events expired before the sink had them: the journal is at its size limit"
                ),
                GapReason::Corrupt => {
                    tracing::error!(sink = self.name, first_seq, last_seq, "events can't be read from the journal");
                }
            }
        }
        match self.skipped.back_mut() {
            Some((last, account)) if *last + became.settled() == last_seq => {
                *last = last_seq;
                *account += became;
            }
            _ => self.skipped.push_back((last_seq, became)),
        }
    }

    /// Everything up to `seq` is settled.
    pub(crate) fn advance(&mut self, seq: u64) {
        let mut became = std::mem::take(&mut self.open);
        while let Some((last, account)) = self.skipped.front().copied().filter(|(last, _)| *last <= seq) {
            debug_assert!(last <= seq);
            became += account;
            self.skipped.pop_front();
        }
        self.place.advance(seq, became);
        let mut progress = self.progress.lock();
        progress.place = self.place;
        progress.served = progress.served.max(seq);
    }

    /// Put events aside for good, with the reason of each.
    pub(crate) async fn bury(&mut self, letters: Vec<DeadLetter>) -> Result<(), Ended> {
        if letters.is_empty() {
            return Ok(());
        }
        let count = letters.len() as u64;
        tracing::warn!(
            sink = self.name,
            count,
            first_seq = letters[0].envelope.seq,
            reason = letters[0].reason,
            "events were refused for good and are dead letters now"
        );
        let letters = Arc::new(letters);
        loop {
            let (dead, put) = (self.dead.clone(), letters.clone());
            match self.on_files(move || locked(&dead).put(&put)).await {
                Ok(()) => break,
                Err(error) => {
                    let error = SinkError::transient(format!("the dead letters can't be written: {error}"));
                    self.pause(&error).await?;
                }
            }
        }
        self.open.dead += count;
        Ok(())
    }

    /// Have the sink make durable what it has, and commit how far that is.
    async fn flush(&mut self) -> Result<(), Ended> {
        self.last_flush = Instant::now();
        if self.place == self.flushed {
            return Ok(());
        }
        match self.flush_all().await? {
            Ok(()) => Ok(()),
            Err(error) if error.kind == ErrorKind::Blocked => self.park(error.report(), Wake::OnTimer).await,
            Err(error) => self.pause(&error).await,
        }
    }

    /// The same whether anything was delivered or not, and go back to the last flush that worked where this one doesn't.
    pub(crate) async fn flush_all(&mut self) -> Result<Result<(), SinkError>, Ended> {
        self.last_flush = Instant::now();
        let sink = self.sink.clone();
        let dead = self.dead.clone();
        let flushed = match self.ask(sink.flush(), Phase::Stopping).await? {
            Ok(()) => self
                .on_files(move || locked(&dead).sync())
                .await
                .map_err(|error| SinkError::transient(format!("the dead letters can't be made durable: {error}"))),
            Err(error) => Err(error),
        };
        let Err(error) = flushed else {
            self.flushed = self.place;
            self.commit();
            return Ok(Ok(()));
        };
        // What was delivered since the last flush may be gone.
        self.place = self.flushed;
        self.rewind();
        Ok(Err(error))
    }

    /// Go on after `place`, with no batch in hand.
    fn rewind(&mut self) {
        self.flushed = self.place;
        self.feed = Feed::new(self.blocking, self.journal.clone(), self.tail.clone(), self.place.seq);
        self.progress.lock().place = self.place;
    }

    fn commit(&self) {
        self.journal.set_position(&self.name, self.flushed.seq, self.flushed.encode().into());
    }

    pub(crate) async fn on_files<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> io::Result<T> + Send + 'static,
    ) -> io::Result<T> {
        self.blocking.run(work).await?
    }

    async fn finish(&mut self) {
        let sink = self.sink.clone();
        if self.place != self.flushed {
            let dead = self.dead.clone();
            match timeout(FAREWELL, sink.flush()).await {
                Ok(Ok(())) => match self.on_files(move || locked(&dead).sync()).await {
                    Ok(()) => {
                        self.flushed = self.place;
                        self.commit();
                    }
                    Err(error) => {
                        tracing::warn!(sink = self.name, %error, "the last dead letters are not durable; their events will be delivered again");
                    }
                },
                Ok(Err(error)) => tracing::warn!(
                    sink = self.name,
                    reason = error.report(),
                    "the last flush failed; what was delivered since the one before will be delivered again"
                ),
                Err(_) => tracing::warn!(
                    sink = self.name,
                    "the last flush did not end; what was delivered since the one before will be delivered again"
                ),
            }
        }
        match timeout(FAREWELL, sink.close()).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                tracing::warn!(sink = self.name, reason = error.report(), "the sink did not close properly");
            }
            Err(_) => tracing::warn!(sink = self.name, "the sink did not close in time"),
        }
        self.progress.lock().state = SinkState::Stopped;
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
            self.0.lock().state = SinkState::Parked(Mishap { reason, at: Timestamp::now() });
        }
    }
}

pub(crate) fn locked(dead: &Mutex<DeadLetters>) -> std::sync::MutexGuard<'_, DeadLetters> {
    dead.lock().expect("nothing panics while it holds dead letters")
}
