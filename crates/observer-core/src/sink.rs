//! The contract between the pipeline and a sink.

use std::error::Error;
use std::fmt;
use std::num::NonZeroUsize;
use std::time::Duration;

use async_trait::async_trait;

use crate::{Batch, Position};

/// Destination of events.
///
/// A sink encodes events and sends them. Everything else belongs to the pipeline: queues, batching,
/// timeouts, retries, pacing, dead letters, and the decision to drop an event.
///
/// # Order
///
/// The pipeline makes one call at a time, and delivers batches in the order of the journal. A retry
/// repeats a batch as a whole or in parts. A replay delivers past events again, between live
/// batches and therefore out of order, unless [`replay_rejection`](Self::replay_rejection) returns
/// a reason.
///
/// # Durability
///
/// An event that [`deliver`](Self::deliver) accepted must be durable at the destination once the
/// next [`flush`](Self::flush) returned `Ok`. Only then does the pipeline commit the sink's
/// position; after a crash, delivery resumes after the committed position. A sink whose
/// destination acknowledges durably has nothing to do in `flush`.
///
/// # Delivery is at least once
///
/// The same event may be delivered again: after an error, a timeout, a cancelled call, or a restart
/// before the position was committed. A repeat has the same [`Envelope::id`](crate::Envelope::id),
/// so a destination can be made idempotent by it. A sink that stores a
/// [`position`](Self::position) with its data skips what it already holds.
///
/// # Cancel safety
///
/// The pipeline drops the future of a call that exceeds the sink's `timeout`, and at shutdown. It
/// then delivers the batch again. Cancellation must leave the sink usable, and must not let work of
/// the cancelled call overtake the next call. A sink that blocks should therefore run its work on
/// one thread of its own, in order.
///
/// # Errors
///
/// [`SinkError::kind`] tells the pipeline what to do next. An error means that no event of the
/// batch counts as accepted, although the destination may hold some of them. The events in
/// [`SinkError::accepted`] are the exception: they count as delivered.
///
/// # Example
///
/// ```
/// use std::io::Write;
/// use std::sync::Mutex;
///
/// use async_trait::async_trait;
/// use observer_core::{Batch, EventSink, Receipt, SinkError};
///
/// /// Writes a line to standard error for each failed cycle.
/// struct Failures(Mutex<std::io::Stderr>);
///
/// #[async_trait]
/// impl EventSink for Failures {
///     async fn deliver(&self, batch: &Batch) -> Result<Receipt, SinkError> {
///         let mut out = self.0.lock().expect("no call panics while it holds the lock");
///         for envelope in batch.events().iter().filter(|envelope| envelope.event.ok() == Some(false)) {
///             let event = &envelope.event;
///             writeln!(out, "{} {}", event.source(), event.event_kind())
///                 .map_err(SinkError::transient)?;
///         }
///         Ok(Receipt::accepted())
///     }
///
///     async fn flush(&self) -> Result<(), SinkError> {
///         let mut out = self.0.lock().expect("no call panics while it holds the lock");
///         out.flush().map_err(SinkError::transient)
///     }
///
///     async fn check(&self) -> Result<(), SinkError> {
///         Ok(())
///     }
/// }
/// # let _: Box<dyn EventSink> = Box::new(Failures(Mutex::new(std::io::stderr())));
/// ```
#[async_trait]
pub trait EventSink: Send + Sync + 'static {
    /// Delivers one batch in order.
    ///
    /// Returns `Ok` if the result for every event is known: each one was accepted, or is in
    /// the [`Receipt`] as rejected permanently. Accepted events are durable after the next
    /// [`flush`](Self::flush).
    ///
    /// # Errors
    /// If the result for any event is unknown. The pipeline delivers the batch again, whole or in
    /// parts, depending on [`SinkError::kind`], without the events in [`SinkError::accepted`].
    ///
    /// # Cancel safety
    /// May be dropped at any await point; the batch is then delivered again.
    async fn deliver(&self, batch: &Batch) -> Result<Receipt, SinkError>;

    /// Makes everything delivered so far durable at the destination.
    ///
    /// Called at most once a second, and before the sink is closed. The sink's position is
    /// committed after it succeeded.
    ///
    /// # Errors
    /// If events that were delivered since the last flush may not be durable. The position is then
    /// not committed, and those events are delivered again.
    ///
    /// # Cancel safety
    /// May be dropped at any await point, and counts as failed then.
    async fn flush(&self) -> Result<(), SinkError>;

    /// Returns the durable position that the sink stores together with its data, if it does.
    ///
    /// Called before the first delivery, which starts after the later one of this position and the
    /// committed one. Storing position and data in one transaction makes delivery exactly once.
    ///
    /// # Errors
    /// If the position can't be read at the moment. The call is repeated.
    async fn position(&self) -> Result<Option<Position>, SinkError> {
        Ok(None)
    }

    /// Verifies that this program can read the state that the sink keeps on disk, without changing
    /// anything. A damaged or missing state is no error.
    ///
    /// Called once before any other method, and by `observer check`.
    ///
    /// # Errors
    /// If a later version of the program wrote the state. The observer does not start then.
    async fn verify_state(&self) -> Result<(), SinkError> {
        Ok(())
    }

    /// Returns the reason why past events can't be delivered again out of order, for a sink that
    /// can't handle that.
    ///
    /// A sink with a [`position`](Self::position) would skip replayed events as already held, and a
    /// sink that counts would count them twice. The reason is shown to the operator who requests a
    /// replay.
    fn replay_rejection(&self) -> Option<&'static str> {
        None
    }

    /// Verifies that the destination is reachable as configured, without delivering an event.
    ///
    /// Called at start, and periodically while the sink is parked. After
    /// `Ok`, a parked sink receives one event as a probe before it receives the others.
    ///
    /// # Errors
    /// If delivery would fail; the error is the reason.
    async fn check(&self) -> Result<(), SinkError>;

    /// Verifies what can be verified of the destination without changing anything, for
    /// `observer check`, which another user than the observer's may run. By default, this is
    /// [`check`](Self::check); a sink whose check creates or writes files inspects them instead.
    ///
    /// # Errors
    /// If delivery would fail; the error is the reason.
    async fn inspect(&self) -> Result<(), SinkError> {
        self.check().await
    }

    /// Returns the largest number of events that one call of [`deliver`](Self::deliver) may get,
    /// for a sink that sends them in requests of their own.
    ///
    /// The `timeout` of a sink bounds one call. With `Some(1)` it therefore bounds one request, and
    /// each event has a result of its own. Batches are collected as before, up to
    /// `batch.max_events`; the pipeline delivers their parts one after the other.
    fn max_events_per_delivery(&self) -> Option<NonZeroUsize> {
        None
    }

    /// Makes the next request use a new connection, for a sink that keeps connections open.
    ///
    /// Called after a delivery that timed out, and before an event is delivered again that was
    /// refused with [`Failed`](ErrorKind::Failed), [`Denied`](ErrorKind::Denied) or
    /// [`Unauthenticated`](ErrorKind::Unauthenticated): one of several backends behind the same
    /// address may be at fault. Must neither block nor connect.
    fn renew_connections(&self) {}

    /// Takes over what is at the destination and looks like the sink's own, at an operator's
    /// request. Returns `None` if the sink has nothing of that kind.
    ///
    /// May be called at any time between [`position`](Self::position) and [`close`](Self::close),
    /// also during another call.
    ///
    /// # Errors
    /// If nothing could be taken over now.
    async fn adopt(&self) -> Result<Option<Adopted>, SinkError> {
        Ok(None)
    }

    /// Releases files and connections. Called once, after the last flush.
    ///
    /// # Errors
    /// If a resource could not be released properly. The error is logged.
    async fn close(&self) -> Result<(), SinkError> {
        Ok(())
    }
}

/// Keeps [`EventSink`] usable as a trait object.
const _: fn(&dyn EventSink) = |_| {};

/// Result of an accepted batch: every event was accepted, except those listed here.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Receipt {
    /// Events that the destination rejected permanently. They become dead letters.
    pub rejected: Vec<Rejected>,
    /// Further events that the destination permanently rejected without identifying them, such as
    /// an OTLP partial success. They are only counted.
    pub refused: Option<Refused>,
}

/// Event that a destination rejected permanently.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejected {
    /// Index of the event in the batch.
    pub index: usize,
    /// Reason that the destination gave, for the operator.
    pub reason: String,
}

/// Number of events that a destination permanently rejected without identifying them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// Number of events.
    pub count: u64,
    /// Reason that the destination gave, for the operator.
    pub reason: String,
}

impl Receipt {
    /// Returns the receipt of a batch that was accepted as a whole.
    #[must_use]
    pub fn accepted() -> Self {
        Self::default()
    }
}

/// Result of [`EventSink::adopt`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Adopted {
    /// Number of objects that the sink has taken over, such as files.
    pub adopted: u64,
    /// Number of objects in its place that are not the sink's.
    pub left: u64,
}

/// Error of a sink: the class of the failure, and its cause.
///
/// `Display` names the kind alone and the cause is the [`source`](Error::source), as usual for
/// error chains. [`report`](Self::report) returns the causes in one line.
#[derive(Debug)]
#[non_exhaustive]
pub struct SinkError {
    /// Class of the failure, which decides what the pipeline does next.
    pub kind: ErrorKind,
    /// Delay that the destination requested. It overrides a shorter back-off.
    pub retry_after: Option<Duration>,
    /// Indices of the events that the destination accepted although the delivery failed. They
    /// count as delivered and are not delivered again; the failure concerns the others.
    pub accepted: Vec<usize>,
    /// Cause of the failure.
    pub source: Box<dyn Error + Send + Sync>,
}

/// Class of a failure, by what it says about the events and about the destination.
///
/// A failure may be the fault of an event, or of the destination. The pipeline dead-letters an
/// event only on evidence: the destination refused it, accepted *another* event, and refused it
/// again. One refusal after such an acceptance is a *round*. The classes differ in the number of
/// rounds and in the time that these have to span. While the destination accepts nothing, no event
/// becomes a dead letter, unless the operator has set `retry.give_up_after`.
///
/// | class | over HTTP | over gRPC | becomes a dead letter after |
/// |---|---|---|---|
/// | `Transient` | 408, 425, 429, 503, and all with `Retry-After` | `UNAVAILABLE`, `CANCELLED`, `DEADLINE_EXCEEDED`, `ABORTED`, `RESOURCE_EXHAUSTED`, and all with `RetryInfo` | – |
/// | `Failed` | 500, 502, 504, other 5xx | `UNKNOWN`, `INTERNAL`, `DATA_LOSS` | eight rounds over ten minutes |
/// | `Permanent` | 400, 422 | `INVALID_ARGUMENT`, `OUT_OF_RANGE` | one round |
/// | `TooLarge` | 413 | a message that says so | one round, alone |
/// | `Unauthenticated` | 401, 407 | `UNAUTHENTICATED` | three rounds over one minute, of their own |
/// | `Denied` | other 4xx, redirects | other codes | three rounds over one minute |
/// | `Blocked` | – | – | – |
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// State of the destination, which says nothing about the events: an overload, a quota, a
    /// timeout, a broken connection.
    ///
    /// The pipeline delivers the batch again after a back-off. An event that fails alone while
    /// others are accepted is set aside, and tried again later. It never becomes a dead letter by
    /// evidence.
    Transient,
    /// Fault of the destination while it processed the events, which may be reproducible for one
    /// of them: an internal error, a crash.
    ///
    /// The pipeline delivers the batch again after a back-off, in parts and on new connections.
    Failed,
    /// Rejection of the events by their content: the destination will never accept one of them.
    ///
    /// The pipeline isolates the event. An acceptance within the five minutes before the rejection
    /// is evidence, too.
    Permanent,
    /// Rejection of the request by its size.
    ///
    /// The pipeline delivers the batch in parts. An event that is too large alone is treated as
    /// [`Permanent`](Self::Permanent).
    TooLarge,
    /// Refusal of the credential: a missing, wrong or expired token.
    ///
    /// It is treated as [`Denied`](Self::Denied), but its rounds are counted on their own: a token
    /// that expires for a while does not complete the evidence of another refusal.
    Unauthenticated,
    /// Refusal of the request, for a reason that may be in the configuration, in the destination,
    /// or in an event: a wrong path, a missing permission, a firewall that dislikes a word.
    ///
    /// The pipeline isolates the event and repeats it on new connections. While the destination
    /// accepts nothing, the sink is parked.
    Denied,
    /// Local condition under which nothing can be delivered: an unusable configuration, a full
    /// disk, an unreadable certificate.
    ///
    /// The pipeline parks the sink and calls [`EventSink::check`] periodically.
    Blocked,
}

impl ErrorKind {
    /// All classes.
    pub const ALL: [Self; 7] = [
        Self::Transient,
        Self::Failed,
        Self::Permanent,
        Self::TooLarge,
        Self::Unauthenticated,
        Self::Denied,
        Self::Blocked,
    ];

    /// Returns the name of the class, as traces and metrics show it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Transient => "transient",
            Self::Failed => "failed",
            Self::Permanent => "permanent",
            Self::TooLarge => "too_large",
            Self::Unauthenticated => "unauthenticated",
            Self::Denied => "denied",
            Self::Blocked => "blocked",
        }
    }
}

impl SinkError {
    /// Returns an error of the given kind.
    pub fn new(kind: ErrorKind, source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self { kind, retry_after: None, accepted: Vec::new(), source: source.into() }
    }

    /// Returns an error of kind [`Transient`](ErrorKind::Transient).
    pub fn transient(source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self::new(ErrorKind::Transient, source)
    }

    /// Returns an error of kind [`Failed`](ErrorKind::Failed).
    pub fn failed(source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self::new(ErrorKind::Failed, source)
    }

    /// Returns an error of kind [`Permanent`](ErrorKind::Permanent).
    pub fn permanent(source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self::new(ErrorKind::Permanent, source)
    }

    /// Returns an error of kind [`TooLarge`](ErrorKind::TooLarge).
    pub fn too_large(source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self::new(ErrorKind::TooLarge, source)
    }

    /// Returns an error of kind [`Unauthenticated`](ErrorKind::Unauthenticated).
    pub fn unauthenticated(source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self::new(ErrorKind::Unauthenticated, source)
    }

    /// Returns an error of kind [`Denied`](ErrorKind::Denied).
    pub fn denied(source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self::new(ErrorKind::Denied, source)
    }

    /// Returns an error of kind [`Blocked`](ErrorKind::Blocked).
    pub fn blocked(source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self::new(ErrorKind::Blocked, source)
    }

    /// Sets the delay that the destination requested.
    #[must_use]
    pub fn with_retry_after(self, delay: Duration) -> Self {
        Self { retry_after: Some(delay), ..self }
    }

    /// Sets the indices of the events that were accepted before the failure.
    #[must_use]
    pub fn with_accepted(self, indices: impl IntoIterator<Item = usize>) -> Self {
        Self { accepted: indices.into_iter().collect(), ..self }
    }

    /// Returns the cause and its own causes in one line, for the operator.
    #[must_use]
    pub fn report(&self) -> String {
        report(&*self.source)
    }
}

impl fmt::Display for SinkError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.kind {
            ErrorKind::Transient => "not accepted for now",
            ErrorKind::Failed => "failed",
            ErrorKind::Permanent => "rejected",
            ErrorKind::TooLarge => "too large",
            ErrorKind::Unauthenticated => "not authenticated",
            ErrorKind::Denied => "denied",
            ErrorKind::Blocked => "blocked",
        })
    }
}

impl Error for SinkError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&*self.source)
    }
}

/// Returns an error and its causes in one line, separated by colons.
#[must_use]
pub fn report(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let message = error.to_string();
        // Some libraries repeat the cause in their own message.
        if !text.ends_with(&message) {
            text.push_str(": ");
            text.push_str(&message);
        }
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn report_names_each_cause_once() {
        let disk = std::io::Error::new(std::io::ErrorKind::StorageFull, "no space left on device");
        let error = SinkError::blocked(disk).with_retry_after(Duration::from_secs(3));
        assert_eq!(report(&error), "blocked: no space left on device");
        assert_eq!(error.report(), "no space left on device");
        assert_eq!(error.retry_after, Some(Duration::from_secs(3)));
    }

    #[test]
    fn each_class_has_its_own_name() {
        let names: std::collections::BTreeSet<_> =
            ErrorKind::ALL.iter().map(|kind| kind.as_str()).collect();
        assert_eq!(names.len(), ErrorKind::ALL.len());
        let error = SinkError::new(ErrorKind::Denied, "no").with_accepted([0, 2]);
        assert_eq!(
            (error.to_string().as_str(), error.accepted.as_slice()),
            ("denied", &[0, 2][..])
        );
    }
}
