//! What a trace shows of the pipeline.
//!
//! The spans have a target of their own, so that a log can leave them out as a whole, and cost next
//! to nothing where nobody asks for them. Their fields are named as OpenTelemetry wants them.

use observer_core::{Batch, ErrorKind, SinkError, Uuid};
use tracing::field::Empty;
use tracing::{Span, info_span};

use crate::account::Account;

/// The target of every span.
pub const SPAN_TARGET: &str = "observer::spans";

/// From the hand-over of new events to the journal until they are as durable as it promises.
pub(crate) fn commit(events: usize, id: Option<Uuid>) -> Span {
    info_span!(
        target: SPAN_TARGET,
        "commit",
        observer.events = events as i64,
        observer.event.id = id.map(display),
        "error.type" = Empty,
        otel.status_description = Empty,
    )
}

/// A batch, until each of its events is settled.
pub(crate) fn batch(sink: &str, batch: &Batch) -> Span {
    info_span!(
        target: SPAN_TARGET,
        parent: None,
        "batch",
        otel.name = format!("batch {sink}"),
        observer.sink.name = sink,
        observer.events = batch.len() as i64,
        observer.first_seq = batch.events()[0].seq as i64,
        observer.last_seq = batch.position().seq as i64,
        observer.outcome = Empty,
        otel.status_code = Empty,
    )
}

/// One call of the sink with a batch, or with a part of one.
pub(crate) fn deliver(sink: &str, batch: &Batch, attempt: u32) -> Span {
    info_span!(
        target: SPAN_TARGET,
        "deliver",
        observer.sink.name = sink,
        observer.events = batch.len() as i64,
        observer.attempt = i64::from(attempt),
        "error.type" = Empty,
        otel.status_description = Empty,
    )
}

/// What was delivered is made durable on the far side. It belongs to the batch that it came after,
/// if there is one.
pub(crate) fn flush(batch: &Span, sink: &str) -> Span {
    info_span!(
        target: SPAN_TARGET,
        parent: batch,
        "flush",
        observer.sink.name = sink,
        "error.type" = Empty,
        otel.status_description = Empty,
    )
}

/// What became of a batch: the account of its sink before and after, or that the worker had to end.
pub(crate) fn settled(span: &Span, before: Account, after: Option<Account>) {
    let Some(after) = after else {
        span.record("observer.outcome", "interrupted");
        return;
    };
    let refused = (after.dead - before.dead) + (after.refused - before.refused);
    let outcome = match (after.delivered - before.delivered, refused) {
        (0, 0) => "put off",
        (_, 0) => "delivered",
        (0, _) => "refused",
        _ => "partly refused",
    };
    span.record("observer.outcome", outcome);
    if refused > 0 {
        span.record("otel.status_code", "ERROR");
    }
}

/// It failed, and why.
pub(crate) fn refused(span: &Span, error: &SinkError) {
    if span.is_disabled() {
        return;
    }
    let kind = match error.kind {
        ErrorKind::Transient => "transient",
        ErrorKind::Permanent => "permanent",
        ErrorKind::Blocked => "blocked",
    };
    failed(span, kind, &error.report());
}

/// It failed; `kind` is one of few words.
pub(crate) fn failed(span: &Span, kind: &'static str, why: &str) {
    span.record("error.type", kind);
    span.record("otel.status_description", why);
}
