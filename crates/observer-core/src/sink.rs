//! What a sink is, and what it says about a delivery.

use std::error::Error;
use std::fmt;
use std::time::Duration;

use async_trait::async_trait;

use crate::{Batch, Position};

/// A place that events go to.
///
/// A sink only encodes and sends. Queues, retries, timers, batching, dead letters and dropping are
/// the pipeline's: it makes one call at a time, in the journal's order, and calls
/// [`deliver`](Self::deliver) again until the batch is settled. The future of a delivery may be
/// dropped half-way (a timeout, a shutdown), and the batch comes again; so a sink that blocks does
/// its work on one thread of its own, in order.
///
/// ```
/// use std::io::Write;
/// use std::sync::Mutex;
///
/// use async_trait::async_trait;
/// use observer_core::{Batch, EventSink, Receipt, SinkError};
///
/// /// Writes each failure as a line to standard error.
/// struct Failures(Mutex<std::io::Stderr>);
///
/// #[async_trait]
/// impl EventSink for Failures {
///     async fn deliver(&self, batch: &Batch) -> Result<Receipt, SinkError> {
///         let mut out = self.0.lock().expect("no one panics while writing");
///         for envelope in batch.events().iter().filter(|envelope| !envelope.event.ok()) {
///             let event = &envelope.event;
///             writeln!(out, "{} {}", event.source(), event.event_kind()).map_err(SinkError::transient)?;
///         }
///         Ok(Receipt::accepted())
///     }
///
///     async fn flush(&self) -> Result<(), SinkError> {
///         self.0.lock().expect("no one panics while writing").flush().map_err(SinkError::transient)
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
    /// Take one batch, in order. What `Ok` accepted is durable on the far side after the next
    /// [`flush`](Self::flush).
    ///
    /// # Errors
    /// Nothing of the batch may be taken as settled; [`SinkError::kind`] says what has to happen
    /// next.
    async fn deliver(&self, batch: &Batch) -> Result<Receipt, SinkError>;

    /// Make what was delivered durable. Called at most once a second; positions are committed after
    /// it.
    ///
    /// # Errors
    /// What was delivered since the last flush is not known to be durable.
    async fn flush(&self) -> Result<(), SinkError>;

    /// How far this sink knows itself to have come, if it keeps that with its data. Asked before
    /// the first delivery, and delivery resumes at the later of this and the committed position.
    ///
    /// # Errors
    /// The sink can't be asked at the moment.
    async fn position(&self) -> Result<Option<Position>, SinkError> {
        Ok(None)
    }

    /// Why past events can't be delivered to it again, out of the journal's order, for a sink that
    /// can't take them rightly: one that keeps its [`position`](Self::position) with its data would
    /// take them for events it has already, and one that counts would count them twice.
    fn replay_refusal(&self) -> Option<&'static str> {
        None
    }

    /// Can this sink be reached as configured? Asked at start, by `observer check`, and while the
    /// sink is parked.
    ///
    /// # Errors
    /// Why not.
    async fn check(&self) -> Result<(), SinkError>;

    /// Let go of files and connections. Called once, after the last flush.
    ///
    /// # Errors
    /// What could not be ended properly.
    async fn close(&self) -> Result<(), SinkError> {
        Ok(())
    }
}

const _: fn(&dyn EventSink) = |_| {};

/// What became of a batch that was settled.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Receipt {
    /// The events that the far side refused for good, by name; all others were accepted.
    pub rejected: Vec<Rejected>,
    /// How many more the far side refused without saying which (an OTLP partial success), with its
    /// reason.
    pub refused: Option<Refused>,
}

/// One event that the far side refused for good.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejected {
    /// Its place in the batch, from 0.
    pub index: usize,
    /// What the far side said.
    pub reason: String,
}

/// A number of events that the far side refused for good without naming them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// How many.
    pub count: u64,
    /// What the far side said.
    pub reason: String,
}

impl Receipt {
    /// The whole batch was accepted.
    #[must_use]
    pub fn accepted() -> Self {
        Self::default()
    }
}

/// Why a delivery failed, and what has to happen next.
///
/// Its `Display` says only the kind; the cause is the [`source`](Error::source), and
/// [`report`](Self::report) has both in one line.
#[derive(Debug)]
pub struct SinkError {
    /// What has to happen next.
    pub kind: ErrorKind,
    /// How long the far side asked to be left alone.
    pub retry_after: Option<Duration>,
    /// What happened.
    pub source: Box<dyn Error + Send + Sync>,
}

/// What a failed delivery calls for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorKind {
    /// It may work soon: the same batch is delivered again after a pause. After some failures it
    /// comes in halves; an event that goes on failing alone while those after it are accepted is
    /// given up.
    Transient,
    /// This batch will never be accepted as it is: it is halved until the bad event stands alone.
    Permanent,
    /// Nothing will be accepted until someone mends something (a credential, a URL, a full disk):
    /// the sink is parked and checked on a timer.
    Blocked,
}

impl SinkError {
    /// It may work soon.
    pub fn transient(source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self { kind: ErrorKind::Transient, retry_after: None, source: source.into() }
    }

    /// This batch will never be accepted as it is.
    pub fn permanent(source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self { kind: ErrorKind::Permanent, retry_after: None, source: source.into() }
    }

    /// Nothing will be accepted until someone mends something.
    pub fn blocked(source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self { kind: ErrorKind::Blocked, retry_after: None, source: source.into() }
    }

    /// The far side asked to be left alone for this long.
    #[must_use]
    pub fn with_retry_after(self, pause: Duration) -> Self {
        Self { retry_after: Some(pause), ..self }
    }

    /// The cause with all of its own causes in one line, for people.
    #[must_use]
    pub fn report(&self) -> String {
        report(&*self.source)
    }
}

impl fmt::Display for SinkError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.kind {
            ErrorKind::Transient => "not accepted for now",
            ErrorKind::Permanent => "refused",
            ErrorKind::Blocked => "blocked",
        })
    }
}

impl Error for SinkError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&*self.source)
    }
}

/// An error and its causes in one line, `what: why: why`.
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
    fn a_report_names_each_cause_once() {
        let disk = std::io::Error::new(std::io::ErrorKind::StorageFull, "no space left on device");
        let error = SinkError::blocked(disk).with_retry_after(Duration::from_secs(3));
        assert_eq!(report(&error), "blocked: no space left on device");
        assert_eq!(error.report(), "no space left on device");
        assert_eq!(error.retry_after, Some(Duration::from_secs(3)));
    }
}
