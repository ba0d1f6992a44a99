//! Mapping of events to spans.

use observer_core::Envelope;
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;
use opentelemetry_proto::tonic::trace::v1::{Span, SpanFlags, Status};

use super::any_value::{self, NewValue, pair};
use super::ids::Ids;
use super::{add_attempt, add_text, add_usage, event_time};
use crate::semconv;

/// Returns the span of an event, or `None` for a phase and for an event without a duration.
pub(super) fn span(envelope: &Envelope) -> Option<Span> {
    let event = &envelope.event;
    let ok = event.ok()?;
    // The cast saturates.
    let duration = (event.duration_ms()? * 1e6).round() as u64;
    let ids = Ids::new(envelope);
    let end = event_time(event, envelope.received_at);
    let is_agent = event.source() == semconv::AGENT;
    let name = if is_agent { semconv::INVOKE_AGENT } else { "cycle" };
    let is_remote = if ids.parent.is_some() { SpanFlags::ContextIsRemoteMask as u32 } else { 0 };
    let status = (!ok).then(|| Status { code: StatusCode::Error.into(), message: String::new() });
    Some(Span {
        trace_id: ids.trace.to_vec(),
        span_id: ids.span.to_vec(),
        parent_span_id: ids.parent.map(|parent| parent.to_vec()).unwrap_or_default(),
        flags: u32::from(ids.flags) | SpanFlags::ContextHasIsRemoteMask as u32 | is_remote,
        name: format!("{name} {}", event.source()),
        kind: SpanKind::Internal.into(),
        start_time_unix_nano: end.saturating_sub(duration),
        end_time_unix_nano: end,
        attributes: attributes(envelope),
        status,
        ..Span::default()
    })
}

fn attributes(envelope: &Envelope) -> Vec<KeyValue> {
    let event = &envelope.event;
    let mut attributes = Vec::with_capacity(16);
    if event.source() == semconv::AGENT {
        add_text(&mut attributes, semconv::OPERATION_NAME, Some(semconv::INVOKE_AGENT));
        add_text(&mut attributes, semconv::AGENT_NAME, Some(event.source()));
    }
    add_text(&mut attributes, semconv::REQUEST_MODEL, event.staffer_id());
    add_usage(&mut attributes, event);
    add_text(
        &mut attributes,
        semconv::ERROR_TYPE,
        (event.ok() == Some(false)).then_some(event.event_kind()),
    );
    attributes.push(pair(semconv::EVENT_ID, Value::text(envelope.id.to_string())));
    add_text(&mut attributes, semconv::EVENT_SOURCE, Some(event.source()));
    add_text(&mut attributes, semconv::EVENT_KIND, Some(event.event_kind()));
    add_text(&mut attributes, semconv::CYCLE_ID, event.cycle_id());
    add_text(&mut attributes, semconv::SIG_HASH, event.sig_hash());
    attributes.extend(event.turns().map(|turns| pair(semconv::TURNS, any_value::count(turns))));
    add_attempt(&mut attributes, event);
    attributes
}
