//! Ingest: from a submission to its acknowledgement.
//!
//! A submission of a [principal] is checked against the [requirements](require), gets an
//! [identity], and is looked up in the deduplication [`window`], where it is found after an
//! [`upgrade`] too. A new event is appended to the journal, with a tag that has the share of the
//! principal in the window and says whether the event is a phase. The acknowledgement is sent after
//! the group commit, and states the durability that was reached.

pub(crate) mod counters;
pub mod identity;
mod keys;
pub(crate) mod principal;
pub(crate) mod reject;
pub(crate) mod require;
pub(crate) mod upgrade;
pub(crate) mod window;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use observer_core::{Field, FieldWarning, Submission, Uuid};
use observer_journal::{Append, Clock, Durability, Group, Record};
use tokio::sync::oneshot;
use tokio::time::Instant;
use tracing::Instrument;

use crate::error::Unavailable;
use crate::event_log::record::envelope;
use crate::event_log::tail::Tail;
use crate::event_log::{Journal, ReplyTo};
use crate::ingest::counters::Counters;
use crate::ingest::identity::{FormerIdentity, Identity, Origin};
use crate::ingest::principal::Principal;
use crate::ingest::reject::RejectReason;
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
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Ack {
    /// Id of the event; for a duplicate, the id of the first event.
    pub id: Uuid,
    /// Status of the event: new or a duplicate.
    pub status: AckStatus,
    /// Durability of the event.
    pub durability: Durability,
    /// Warnings about fields of the event, for its producer.
    pub warnings: Vec<FieldWarning>,
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
    /// The source is reserved for events of the observer itself.
    #[error(
        "the source {RESERVED_SOURCE:?} is reserved for events of an observer itself; use another \
         source, or a token with the scope `relay`"
    )]
    ReservedSource,
    /// No event can be accepted at the moment. The same event may be sent again later.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
}

/// Source of events about the observer itself, which only callers that may relay can send.
const RESERVED_SOURCE: &str = "observer";

/// Returns the number of keys of the journal that are read at the start, a multiple of the keys
/// that are remembered. So a flood of one principal does not hide the keys of the others.
pub(crate) fn scanned_keys(dedup: &DedupWindow) -> usize {
    dedup.max_keys.saturating_mul(4)
}

const ID_NOT_ADOPTED: &str = "the id of an envelope is adopted only with the scope `relay`; it \
                              counts as an `id` of this caller";
const ID_REUSED: &str = "this id came with other content before; the first event is kept";

/// Ingest of a pipeline.
pub(crate) struct Ingest {
    journal: Arc<Journal>,
    commit_state: Arc<CommitState>,
    require: Requirements,
    timeout: Duration,
    clock: Clock,
    closed: AtomicBool,
    /// Time until which the window may have events from before identities contained principals.
    former_until: u64,
}

/// Event that passed the requirements, as a record with its identity.
///
/// The record has only the raw bytes of the event. To decode fields again for the sinks that need
/// them costs less than to keep the decoded event.
struct Candidate {
    identity: Identity,
    former: Option<FormerIdentity>,
    record: Record,
    warnings: Vec<FieldWarning>,
}

/// Registered event.
struct Registered {
    identity: Identity,
    checksum: u32,
    warnings: Vec<FieldWarning>,
    registration: Registration,
}

/// State that commits update, also after the request was cancelled.
pub(crate) struct CommitState {
    pub(crate) tail: Arc<Tail>,
    window: Mutex<Window>,
    counters: Counters,
}

impl Ingest {
    /// Opens ingest with a window that is loaded from the journal. Identities contain principals
    /// since the time `principals_since`.
    ///
    /// # Errors
    /// If the keys of recent events can't be read.
    pub(crate) fn open(
        journal: Arc<Journal>,
        commit_state: Arc<CommitState>,
        options: IngestOptions,
        principals_since: u64,
        clock: Clock,
    ) -> std::io::Result<Self> {
        let since = clock().saturating_sub(options.dedup.micros);
        let max_keys = scanned_keys(&options.dedup);
        let mut window = commit_state.window();
        window.set_principals_since(principals_since);
        journal.visit_recent_keys(max_keys, since, |_, key| window.remember(key))?;
        let former_until = window.former_until();
        drop(window);
        Ok(Self {
            journal,
            commit_state,
            require: options.require,
            timeout: options.timeout,
            clock,
            closed: AtomicBool::new(false),
            former_until,
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
        principal: &Principal,
        submission: Submission,
        key: Option<&str>,
    ) -> Result<Ack, IngestError> {
        let result = self.ingest_one(principal, submission, key).await;
        self.count_rejection(&result);
        result
    }

    /// Ingests a batch. Each event is checked by itself; the new ones are committed together, all
    /// or none. Results are in the order of the events.
    pub(crate) async fn ingest_batch(
        &self,
        principal: &Principal,
        submissions: Vec<Submission>,
    ) -> Vec<Result<Ack, IngestError>> {
        let deadline = Instant::now() + self.timeout;
        let (records, items) = self.register_all(principal, submissions);
        let committed =
            if records.is_empty() { Ok(()) } else { self.commit(records, None, deadline).await };
        let mut results = Vec::with_capacity(items.len());
        for item in items {
            let result = match item {
                Err(error) => Err(error),
                Ok(Registered { identity, warnings, registration: Registration::New, .. }) => {
                    committed
                        .clone()
                        .map(|()| self.ack(identity.id, AckStatus::Accepted, warnings))
                        .map_err(IngestError::from)
                }
                Ok(registered) => self.known(principal, registered, deadline).await,
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
        principal: &Principal,
        submissions: Vec<Submission>,
    ) -> (Vec<Record>, Vec<Result<Registered, IngestError>>) {
        let now = (self.clock)();
        let candidates: Vec<_> = submissions
            .into_iter()
            .map(|submission| self.prepare(principal, submission, None, now))
            .collect();
        let mut records = Vec::with_capacity(candidates.len());
        let mut window = self.commit_state.window();
        let register = |candidate: Result<Candidate, IngestError>| {
            let Candidate { identity, former, record, warnings } = candidate?;
            let checksum = record.checksum;
            let registration = window.register(record.id, former, checksum, now);
            if matches!(registration, Registration::New) {
                records.push(record);
            }
            Ok(Registered { identity, checksum, warnings, registration })
        };
        let items = candidates.into_iter().map(register).collect();
        drop(window);
        (records, items)
    }

    async fn ingest_one(
        &self,
        principal: &Principal,
        submission: Submission,
        key: Option<&str>,
    ) -> Result<Ack, IngestError> {
        let deadline = Instant::now() + self.timeout;
        let Candidate { identity, former, record, warnings } =
            self.prepare(principal, submission, key, (self.clock)())?;
        let checksum = record.checksum;
        let registration =
            self.commit_state.window().register(record.id, former, checksum, record.received_at);
        if let Registration::New = registration {
            self.commit(vec![record], Some(identity.id), deadline).await?;
            return Ok(self.ack(identity.id, AckStatus::Accepted, warnings));
        }
        let registered = Registered { identity, checksum, warnings, registration };
        self.known(principal, registered, deadline).await
    }

    /// Checks whether an event can be accepted, and returns its record and identity.
    fn prepare(
        &self,
        principal: &Principal,
        submission: Submission,
        key: Option<&str>,
        now: u64,
    ) -> Result<Candidate, IngestError> {
        let event = &submission.event;
        self.require.check(event)?;
        if event.source() == RESERVED_SOURCE && !principal.may_relay() {
            return Err(IngestError::ReservedSource);
        }
        if self.is_closed() {
            return Err(Unavailable::ShuttingDown.into());
        }
        let identity = Identity::of(principal, &submission, key);
        let former = (now < self.former_until)
            .then(|| FormerIdentity::of(identity, &submission, key))
            .flatten();
        let tag = principal.tag(event.is_phase());
        let Submission { event, id, mut warnings, .. } = submission;
        if id.is_some() && identity.origin == Origin::Id {
            warnings.push(FieldWarning::new(Field::Id, ID_NOT_ADOPTED));
        }
        let record = Record::new(now, identity.id.into_bytes(), event.into_raw()).with_tag(tag);
        Ok(Candidate { identity, former, record, warnings })
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

    /// Returns the result of an event whose identity is known: that of a duplicate, or an error if
    /// its idempotency key was used for another body.
    async fn known(
        &self,
        principal: &Principal,
        registered: Registered,
        deadline: Instant,
    ) -> Result<Ack, IngestError> {
        let Registered { identity, checksum, mut warnings, registration } = registered;
        let (id, first) = match registration {
            Registration::New => unreachable!("a new event has no known identity"),
            Registration::Committed { id, checksum } => (id, checksum),
            Registration::Pending { checksum, result } => {
                self.wait(result, deadline).await?;
                (identity.id, checksum)
            }
        };
        let principals = &self.counters().principals;
        if first != checksum {
            principals.changed(principal, id, (self.clock)());
            if identity.origin == Origin::Key {
                return Err(IngestError::KeyReused);
            }
            warnings.push(FieldWarning::new(Field::Id, ID_REUSED));
        }
        principals.duplicate(principal);
        Ok(self.ack(id, AckStatus::Duplicate, warnings))
    }

    fn ack(&self, id: Uuid, status: AckStatus, warnings: Vec<FieldWarning>) -> Ack {
        Ack { id, status, durability: self.journal.durability(), warnings }
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
            envelopes.extend(numbered.map(|(seq, record)| Arc::new(envelope(seq, record, true))));
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
            Self::ReservedSource => RejectReason::Invalid,
            Self::Unavailable(_) => RejectReason::Unavailable,
        }
    }
}

#[cfg(test)]
mod model;
#[cfg(test)]
mod tests;
