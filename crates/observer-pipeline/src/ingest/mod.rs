//! Ingest: from a submission to its acknowledgement.
//!
//! A submission is checked against the [requirements](require), gets an [identity], and is looked
//! up in the deduplication [`window`]. A new event is appended to the journal. The acknowledgement
//! is sent after the group commit, and states the durability that was reached.

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
use crate::event_log::record::envelope;
use crate::event_log::tail::Tail;
use crate::event_log::{Journal, ReplyTo};
use crate::ingest::identity::{Identity, Origin};
use crate::ingest::reject::{RejectCounters, RejectReason};
use crate::ingest::require::{MissingFields, Requirements};
use crate::ingest::window::{DedupWindow, Registration, Window};
use crate::lock::lock;
use crate::spans;

/// Options of ingest.
#[derive(Debug, Clone)]
pub struct IngestOptions {
    /// Deduplication window.
    pub dedup: DedupWindow,
    /// Required fields per source.
    pub require: Requirements,
    /// Time for which an ingest waits for the journal before it fails with
    /// [`Unavailable::Timeout`]. The event may still be committed; then its retry is a duplicate.
    pub timeout: Duration,
}

impl Default for IngestOptions {
    /// Returns options with a timeout of 2.5 s, below the 3 s after which a producer may give up.
    fn default() -> Self {
        Self {
            dedup: DedupWindow::default(),
            require: Requirements::default(),
            timeout: Duration::from_millis(2500),
        }
    }
}

/// Acknowledgement of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ack {
    /// Id of the event; for a duplicate, the id of the first event.
    pub id: Uuid,
    /// Status of the event: new or a duplicate.
    pub status: AckStatus,
    /// Durability of the event.
    pub durability: Durability,
}

/// Status of an acknowledged event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AckStatus {
    /// The event was new, and is in the journal now.
    Accepted,
    /// The event was in the journal before.
    Duplicate,
}

impl AckStatus {
    /// Returns the status as responses spell it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::Duplicate => "duplicate",
        }
    }
}

/// Error type for events that are not accepted.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum IngestError {
    /// A required field is missing.
    #[error(transparent)]
    Missing(#[from] MissingFields),
    /// The idempotency key was used for another event before.
    #[error("this idempotency key was used for another body before; use a new key for each event")]
    KeyReused,
    /// No event can be accepted at the moment. The same event may be sent again later.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
}

/// Counts of ingested events since the start.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) accepted: AtomicU64,
    pub(crate) duplicates: AtomicU64,
    pub(crate) changed: AtomicU64,
    pub(crate) rejected: RejectCounters,
}

/// Ingest of a pipeline.
pub(crate) struct Ingest {
    journal: Arc<Journal>,
    commit_state: Arc<CommitState>,
    require: Requirements,
    timeout: Duration,
    clock: Clock,
    closed: AtomicBool,
}

/// Event that passed the requirements, as a record with its identity.
///
/// The record has only the raw bytes of the event. To decode fields again for the sinks that need
/// them costs less than to keep the decoded event.
struct Candidate {
    identity: Identity,
    record: Record,
}

/// Identity of an event, its checksum, and its registration in the window.
type Registered = (Identity, u32, Registration);

/// State that commits update, also after the request was cancelled.
pub(crate) struct CommitState {
    pub(crate) tail: Arc<Tail>,
    window: Mutex<Window>,
    counters: Counters,
}

impl Ingest {
    /// Opens ingest with a window that is loaded from the journal.
    ///
    /// # Errors
    /// If the keys of recent events can't be read.
    pub(crate) fn open(
        journal: Arc<Journal>,
        commit_state: Arc<CommitState>,
        options: IngestOptions,
        clock: Clock,
    ) -> std::io::Result<Self> {
        let since = clock().saturating_sub(options.dedup.micros);
        for (_, key) in journal.recent_keys(options.dedup.max_keys, since)? {
            commit_state.window().remember(key);
        }
        Ok(Self {
            journal,
            commit_state,
            require: options.require,
            timeout: options.timeout,
            clock,
            closed: AtomicBool::new(false),
        })
    }

    pub(crate) fn counters(&self) -> &Counters {
        &self.commit_state.counters
    }

    pub(crate) fn remembered(&self) -> usize {
        self.commit_state.window().len()
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    /// Rejects all further events.
    pub(crate) fn close(&self) {
        self.closed.store(true, Ordering::Release);
    }

    pub(crate) async fn ingest(
        &self,
        submission: Submission,
        key: Option<&str>,
    ) -> Result<Ack, IngestError> {
        let result = self.ingest_one(submission, key).await;
        self.count_rejection(&result);
        result
    }

    /// Ingests a batch. Each event is checked by itself; the new ones are committed together, all
    /// or none. Results are in the order of the events.
    pub(crate) async fn ingest_batch(
        &self,
        submissions: Vec<Submission>,
    ) -> Vec<Result<Ack, IngestError>> {
        let deadline = Instant::now() + self.timeout;
        let (records, items) = self.register_all(submissions);
        let committed =
            if records.is_empty() { Ok(()) } else { self.commit(records, None, deadline).await };
        let mut results = Vec::with_capacity(items.len());
        for item in items {
            let result = match item {
                Err(error) => Err(error),
                Ok((identity, _, Registration::New)) => committed
                    .clone()
                    .map(|()| self.ack(identity, AckStatus::Accepted))
                    .map_err(IngestError::from),
                Ok((identity, checksum, Registration::Committed { checksum: first })) => {
                    self.duplicate(identity, first == checksum)
                }
                Ok((identity, checksum, Registration::Pending { checksum: first, result })) => {
                    match self.wait(result, deadline).await {
                        Ok(()) => self.duplicate(identity, first == checksum),
                        Err(error) => Err(error.into()),
                    }
                }
            };
            self.count_rejection(&result);
            results.push(result);
        }
        results
    }

    /// Checks events and registers all of them in the window at once. Returns the records of the
    /// new events, which have to be committed.
    fn register_all(
        &self,
        submissions: Vec<Submission>,
    ) -> (Vec<Record>, Vec<Result<Registered, IngestError>>) {
        let now = (self.clock)();
        let candidates: Vec<_> =
            submissions.into_iter().map(|submission| self.prepare(submission, None, now)).collect();
        let mut records = Vec::with_capacity(candidates.len());
        let mut window = self.commit_state.window();
        let register = |candidate: Result<Candidate, IngestError>| {
            let Candidate { identity, record } = candidate?;
            let checksum = record.checksum;
            let registration = window.register(record.id, checksum, now);
            if matches!(registration, Registration::New) {
                records.push(record);
            }
            Ok((identity, checksum, registration))
        };
        let items = candidates.into_iter().map(register).collect();
        drop(window);
        (records, items)
    }

    async fn ingest_one(
        &self,
        submission: Submission,
        key: Option<&str>,
    ) -> Result<Ack, IngestError> {
        let deadline = Instant::now() + self.timeout;
        let Candidate { identity, record } = self.prepare(submission, key, (self.clock)())?;
        let checksum = record.checksum;
        let registration =
            self.commit_state.window().register(record.id, checksum, record.received_at);
        match registration {
            Registration::New => {
                self.commit(vec![record], Some(identity.id), deadline).await?;
                Ok(self.ack(identity, AckStatus::Accepted))
            }
            Registration::Pending { checksum: first, result } => {
                self.wait(result, deadline).await?;
                self.duplicate(identity, first == checksum)
            }
            Registration::Committed { checksum: first } => {
                self.duplicate(identity, first == checksum)
            }
        }
    }

    /// Checks whether an event can be accepted, and returns its record and identity.
    fn prepare(
        &self,
        submission: Submission,
        key: Option<&str>,
        now: u64,
    ) -> Result<Candidate, IngestError> {
        let Submission { event, id, .. } = submission;
        self.require.check(&event)?;
        if self.is_closed() {
            return Err(Unavailable::ShuttingDown.into());
        }
        let identity = Identity::of(&event, id, key);
        let record = Record::new(now, identity.id.into_bytes(), event.into_raw());
        Ok(Candidate { identity, record })
    }

    /// Commits events together, and waits until they are durable.
    ///
    /// Cancel safe: the commit continues.
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
            spans::record_failure(&span, "unavailable", &observer_core::report(error));
        }
        committed
    }

    async fn wait(
        &self,
        result: oneshot::Receiver<Result<(), Unavailable>>,
        deadline: Instant,
    ) -> Result<(), Unavailable> {
        match tokio::time::timeout_at(deadline, result).await {
            Err(_) => Err(Unavailable::Timeout(self.timeout)),
            Ok(result) => result.unwrap_or(Err(Unavailable::ShuttingDown)),
        }
    }

    /// Appends events to the journal. They are committed whether or not the receiver is awaited.
    fn append(&self, records: Vec<Record>) -> oneshot::Receiver<Result<(), Unavailable>> {
        let (reply_to, result) = oneshot::channel();
        self.journal.append(Append::new(records, reply_to));
        result
    }

    fn count_rejection(&self, result: &Result<Ack, IngestError>) {
        if let Err(error) = result {
            self.counters().rejected.increment(error.reason());
        }
    }

    /// Acknowledges a duplicate, unless its idempotency key was used for another body.
    fn duplicate(&self, identity: Identity, is_same: bool) -> Result<Ack, IngestError> {
        if !is_same && identity.origin == Origin::Key {
            return Err(IngestError::KeyReused);
        }
        self.counters().duplicates.fetch_add(1, Ordering::Relaxed);
        if !is_same {
            self.counters().changed.fetch_add(1, Ordering::Relaxed);
        }
        Ok(self.ack(identity, AckStatus::Duplicate))
    }

    fn ack(&self, identity: Identity, status: AckStatus) -> Ack {
        Ack { id: identity.id, status, durability: self.journal.durability() }
    }
}

impl CommitState {
    pub(crate) fn new(dedup: DedupWindow) -> Self {
        Self {
            tail: Arc::default(),
            window: Mutex::new(Window::new(dedup)),
            counters: Counters::default(),
        }
    }

    /// Applies the result of a group commit to the tail cache, to the window, and then to the
    /// waiting requests. So an acknowledged event can be read and is known as a duplicate.
    pub(crate) fn on_commit(&self, group: Group<ReplyTo>) {
        let count = group.record_count();
        let (records, replies): (Vec<_>, Vec<_>) =
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
            window.complete(key, &result);
        }
        drop(window);
        for reply_to in replies {
            // The request may have been cancelled. A retry of its producer is a duplicate.
            let _ = reply_to.send(result.clone());
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
