//! Spans of the pipeline for traces.
//!
//! All spans have the target [`SPAN_TARGET`], so that a log can exclude them as a whole. A span
//! costs next to nothing while no subscriber is interested in it. Field names follow the
//! conventions of OpenTelemetry.

use std::sync::Arc;

use observer_core::{Batch, Envelope, SinkError, Uuid};
use tracing::field::Empty;
use tracing::{Span, info_span};

use crate::account::Account;

/// Target of every span.
pub const SPAN_TARGET: &str = "observer::spans";

/// Returns the span of a commit: from the append of new events until they are as durable as the
/// journal promises.
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

/// Returns the span of a batch, which ends when each of its events is resolved.
pub(crate) fn batch(sink: &str, events: &[Arc<Envelope>]) -> Span {
    info_span!(
        target: SPAN_TARGET,
        parent: None,
        "batch",
        otel.name = format!("batch {sink}"),
        observer.sink.name = sink,
        observer.events = events.len() as i64,
        observer.first_seq = events.first().map(|first| first.seq as i64),
        observer.last_seq = events.last().map(|last| last.seq as i64),
        observer.outcome = Empty,
        otel.status_code = Empty,
    )
}

/// Returns the span of one delivery: a batch, or a part of one.
pub(crate) fn deliver(parent: &Span, sink: &str, batch: &Batch, attempt: u32) -> Span {
    info_span!(
        target: SPAN_TARGET,
        parent: parent,
        "deliver",
        observer.sink.name = sink,
        observer.events = batch.len() as i64,
        observer.attempt = i64::from(attempt),
        "error.type" = Empty,
        otel.status_description = Empty,
    )
}

/// Returns the span of a flush. Its parent is the span of the batch before it, if there is one.
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

/// Records the outcome of a batch from the account of its stream before and after it. `after` is
/// `None` when the worker had to end before the batch was resolved.
pub(crate) fn record_outcome(span: &Span, before: Account, after: Option<Account>) {
    let Some(after) = after else {
        span.record("observer.outcome", "interrupted");
        return;
    };
    let rejected = (after.dead - before.dead) + (after.refused - before.refused);
    let outcome = match (after.delivered - before.delivered, rejected) {
        (0, 0) => "postponed",
        (_, 0) => "delivered",
        (0, _) => "rejected",
        _ => "partly rejected",
    };
    span.record("observer.outcome", outcome);
    if rejected > 0 {
        span.record("otel.status_code", "ERROR");
    }
}

/// Records the error of a sink.
pub(crate) fn record_error(span: &Span, error: &SinkError) {
    if span.is_disabled() {
        return;
    }
    record_failure(span, error.kind.as_str(), &error.report());
}

/// Records a failure. `kind` is one of a small set of words, as metrics need it.
pub(crate) fn record_failure(span: &Span, kind: &'static str, reason: &str) {
    span.record("error.type", kind);
    span.record("otel.status_description", reason);
}
