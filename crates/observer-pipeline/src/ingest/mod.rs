//! The way in: from a submission to an answer that is true.

pub mod identity;
mod keys;
pub(crate) mod reject;
pub(crate) mod require;
pub(crate) mod window;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use observer_core::{Submission, Uuid};
use observer_journal::{Append, Clock, Durability, Group, Record};
use tokio::sync::oneshot;
use tokio::time::Instant;
use tracing::Instrument;

use crate::error::Unavailable;
use crate::ingest::identity::{Identity, Origin};
use crate::ingest::reject::{RejectCounters, RejectReason};
use crate::ingest::require::{MissingFields, Requirements};
use crate::ingest::window::{DedupWindow, Known, Window};
use crate::journal::{Answer, Journal};
use crate::lock::lock;
use crate::record::envelope;
use crate::source::tail::Tail;
use crate::spans;

/// How events are taken in.
#[derive(Debug, Clone)]
pub struct IngestOptions {
    /// How long an event that comes again is known.
    pub dedup: DedupWindow,
    /// Which fields a source must have.
    pub require: Requirements,
    /// How long an ingest waits for the journal before it is told to come back. The event may be
    /// committed all the same; then its retry is a duplicate.
    pub timeout: Duration,
}

impl Default for IngestOptions {
    /// A timeout of 2.5 s: below the 3 s after which a producer may give up.
    fn default() -> Self {
        Self {
            dedup: DedupWindow::default(),
            require: Requirements::default(),
            timeout: Duration::from_millis(2500),
        }
    }
}

/// An event is taken care of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ack {
    /// The event's id; of a duplicate, the first one's.
    pub id: Uuid,
    /// Whether it was new.
    pub status: AckStatus,
    /// What that promises.
    pub durability: Durability,
}

/// Whether an event was new.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AckStatus {
    /// It is in the journal now.
    Accepted,
    /// It was there before.
    Duplicate,
}

/// Why an event was not taken.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum IngestError {
    /// Its source has to say more.
    #[error(transparent)]
    Missing(#[from] MissingFields),
    /// The idempotency key was used for another body.
    #[error("this idempotency key came with another body before; a key stands for one event alone")]
    KeyReused,
    /// Not now. The same event may be offered again.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
}

/// What came in since the start.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) accepted: AtomicU64,
    pub(crate) duplicates: AtomicU64,
    pub(crate) changed: AtomicU64,
    pub(crate) rejected: RejectCounters,
}

/// Takes events in.
pub(crate) struct Ingest {
    journal: Arc<Journal>,
    shared: Arc<Shared>,
    require: Requirements,
    timeout: Duration,
    clock: Clock,
    closed: AtomicBool,
}

/// An event that may come in. Of the event itself only its bytes go on: what sinks ask of it is
/// read again where they do, which costs less than to carry it along.
struct Judged {
    identity: Identity,
    record: Record,
}

/// An event that was looked up: its identity, its checksum, and what is known of it.
type Claimed = (Identity, u32, Known);

/// What a commit looks at, after its producer may have hung up.
pub(crate) struct Shared {
    pub(crate) tail: Arc<Tail>,
    window: Mutex<Window>,
    counters: Counters,
}

impl Ingest {
    /// Remember what the journal knows of the window.
    pub(crate) fn open(
        journal: Arc<Journal>,
        shared: Arc<Shared>,
        options: IngestOptions,
        clock: Clock,
    ) -> std::io::Result<Self> {
        let since = clock().saturating_sub(options.dedup.micros);
        for (_, key) in journal.recent_keys(options.dedup.max_keys, since)? {
            shared.window().remember(key);
        }
        Ok(Self {
            journal,
            shared,
            require: options.require,
            timeout: options.timeout,
            clock,
            closed: AtomicBool::new(false),
        })
    }

    pub(crate) fn counters(&self) -> &Counters {
        &self.shared.counters
    }

    pub(crate) fn remembered(&self) -> usize {
        self.shared.window().len()
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    /// Take nothing more.
    pub(crate) fn close(&self) {
        self.closed.store(true, Ordering::Release);
    }

    pub(crate) async fn ingest(
        &self,
        submission: Submission,
        key: Option<&str>,
    ) -> Result<Ack, IngestError> {
        let result = self.decide(submission, key).await;
        self.count(&result);
        result
    }

    /// Each event is judged by itself; those that are new are committed together, all or none. The
    /// results are in the order of the events.
    pub(crate) async fn ingest_batch(
        &self,
        submissions: Vec<Submission>,
    ) -> Vec<Result<Ack, IngestError>> {
        let deadline = Instant::now() + self.timeout;
        let (records, items) = self.claim(submissions);
        let committed =
            if records.is_empty() { Ok(()) } else { self.commit(records, None, deadline).await };
        let mut results = Vec::with_capacity(items.len());
        for item in items {
            let result = match item {
                Err(error) => Err(error),
                Ok((identity, _, Known::New)) => committed
                    .clone()
                    .map(|()| self.ack(identity, AckStatus::Accepted))
                    .map_err(IngestError::from),
                Ok((identity, checksum, Known::Committed { checksum: first })) => {
                    self.duplicate(identity, first == checksum)
                }
                Ok((identity, checksum, Known::Pending { checksum: first, decided })) => {
                    match self.wait(decided, deadline).await {
                        Ok(()) => self.duplicate(identity, first == checksum),
                        Err(error) => Err(error.into()),
                    }
                }
            };
            self.count(&result);
            results.push(result);
        }
        results
    }

    /// Judge events and look up the identities of all of them at once; those that are new are to be
    /// committed.
    fn claim(
        &self,
        submissions: Vec<Submission>,
    ) -> (Vec<Record>, Vec<Result<Claimed, IngestError>>) {
        let now = (self.clock)();
        let judged: Vec<_> =
            submissions.into_iter().map(|submission| self.judge(submission, None, now)).collect();
        let mut records = Vec::with_capacity(judged.len());
        let mut window = self.shared.window();
        let claim = |judged: Result<Judged, IngestError>| {
            let Judged { identity, record } = judged?;
            let checksum = record.checksum;
            let known = window.claim(record.id, checksum, now);
            if matches!(known, Known::New) {
                records.push(record);
            }
            Ok((identity, checksum, known))
        };
        let items = judged.into_iter().map(claim).collect();
        drop(window);
        (records, items)
    }

    async fn decide(&self, submission: Submission, key: Option<&str>) -> Result<Ack, IngestError> {
        let deadline = Instant::now() + self.timeout;
        let Judged { identity, record } = self.judge(submission, key, (self.clock)())?;
        let checksum = record.checksum;
        let known = self.shared.window().claim(record.id, checksum, record.received_at);
        match known {
            Known::New => {
                self.commit(vec![record], Some(identity.id), deadline).await?;
                Ok(self.ack(identity, AckStatus::Accepted))
            }
            Known::Pending { checksum: first, decided } => {
                self.wait(decided, deadline).await?;
                self.duplicate(identity, first == checksum)
            }
            Known::Committed { checksum: first } => self.duplicate(identity, first == checksum),
        }
    }

    /// Whether an event may come in, and what it is known by.
    fn judge(
        &self,
        submission: Submission,
        key: Option<&str>,
        now: u64,
    ) -> Result<Judged, IngestError> {
        let Submission { event, id } = submission;
        self.require.check(&event)?;
        if self.is_closed() {
            return Err(Unavailable::ShuttingDown.into());
        }
        let identity = Identity::of(&event, id, key);
        let record = Record::new(now, identity.id.into_bytes(), event.into_raw());
        Ok(Judged { identity, record })
    }

    /// Commit events together, and wait for it.
    async fn commit(
        &self,
        records: Vec<Record>,
        id: Option<Uuid>,
        deadline: Instant,
    ) -> Result<(), Unavailable> {
        let span = spans::commit(records.len(), id);
        let committed = self.wait(self.append(records), deadline);
        if span.is_disabled() {
            return committed.await;
        }
        let committed = committed.instrument(span.clone()).await;
        if let Err(error) = &committed {
            spans::failed(&span, "unavailable", &observer_core::report(error));
        }
        committed
    }

    async fn wait(
        &self,
        decided: oneshot::Receiver<Result<(), Unavailable>>,
        deadline: Instant,
    ) -> Result<(), Unavailable> {
        match tokio::time::timeout_at(deadline, decided).await {
            Err(_) => Err(Unavailable::Timeout(self.timeout)),
            Ok(decided) => decided.unwrap_or(Err(Unavailable::ShuttingDown)),
        }
    }

    /// Commit events together. What happens then doesn't depend on anyone waiting for it.
    fn append(&self, records: Vec<Record>) -> oneshot::Receiver<Result<(), Unavailable>> {
        let (answer, decided) = oneshot::channel();
        self.journal.append(Append::new(records, answer));
        decided
    }

    fn count(&self, result: &Result<Ack, IngestError>) {
        if let Err(error) = result {
            self.counters().rejected.increment(error.reason());
        }
    }

    fn duplicate(&self, identity: Identity, same: bool) -> Result<Ack, IngestError> {
        if !same && identity.origin == Origin::Key {
            return Err(IngestError::KeyReused);
        }
        self.counters().duplicates.fetch_add(1, Ordering::Relaxed);
        if !same {
            self.counters().changed.fetch_add(1, Ordering::Relaxed);
        }
        Ok(self.ack(identity, AckStatus::Duplicate))
    }

    fn ack(&self, identity: Identity, status: AckStatus) -> Ack {
        Ack { id: identity.id, status, durability: self.journal.durability() }
    }
}

impl Shared {
    pub(crate) fn new(dedup: DedupWindow) -> Self {
        Self {
            tail: Arc::default(),
            window: Mutex::new(Window::new(dedup)),
            counters: Counters::default(),
        }
    }

    /// Applies the result of a group: to the tail if it is committed, then to the window, and last
    /// to the requests that wait. So the event is where it belongs when its producer has an answer.
    pub(crate) fn finish(&self, group: Group<Answer>) {
        let count = group.record_count();
        let (records, answers): (Vec<_>, Vec<_>) =
            group.appends.into_iter().map(Append::into_parts).unzip();
        let mut keys = Vec::with_capacity(count);
        keys.extend(records.iter().flatten().map(Record::key));
        let result = group.result.map_err(Unavailable::from).map(|first_seq| {
            let mut envelopes = Vec::with_capacity(count);
            let numbered = (first_seq..).zip(records.into_iter().flatten());
            envelopes.extend(numbered.map(|(seq, record)| Arc::new(envelope(seq, record))));
            self.counters.accepted.fetch_add(count as u64, Ordering::Relaxed);
            self.tail.extend(envelopes);
        });
        let mut window = self.window();
        for key in keys {
            window.decide(key, &result);
        }
        drop(window);
        for answer in answers {
            // A producer that hung up gets its answer when it asks again.
            let _ = answer.send(result.clone());
        }
    }

    fn window(&self) -> MutexGuard<'_, Window> {
        lock(&self.window)
    }
}

impl IngestError {
    /// Returns the reason under which the rejected event is counted.
    #[must_use]
    pub fn reason(&self) -> RejectReason {
        match self {
            Self::Missing(_) => RejectReason::MissingField,
            Self::KeyReused => RejectReason::KeyReused,
            Self::Unavailable(_) => RejectReason::Unavailable,
        }
    }
}

#[cfg(test)]
mod model;
#[cfg(test)]
mod tests;
