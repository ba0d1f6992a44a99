//! Mapping of events to spans.

use observer_core::{Envelope, Event};
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;
use opentelemetry_proto::tonic::trace::v1::{Span, SpanFlags, Status};

use super::any_value::{self, NewValue, pair};
use super::ids::{self, Ids};
use super::provider::provider;
use super::{add_attempt, add_text, add_usage, event_time};
use crate::semconv;

/// Returns the span of an event and, if `has_llm_span`, its child for the calls to the model. A phase
/// and an event without a duration have neither, an event without a model or usage has no child.
pub(super) fn spans(envelope: &Envelope, has_llm_span: bool) -> impl Iterator<Item = Span> {
    let event = &envelope.event;
    let has_usage = event.staffer_id().is_some() && event.usage().is_some();
    let span = span(envelope, !(has_llm_span && has_usage));
    let child = span.as_ref().filter(|_| has_llm_span && has_usage).map(|parent| {
        let mut attributes = Vec::with_capacity(12);
        add_text(&mut attributes, semconv::OPERATION_NAME, Some(semconv::CHAT));
        add_model(&mut attributes, event);
        add_usage(&mut attributes, event);
        add_error(&mut attributes, event);
        attributes.push(pair(semconv::EVENT_ID, Value::text(envelope.id.to_string())));
        Span {
            span_id: ids::llm_span(envelope.id).to_vec(),
            parent_span_id: parent.span_id.clone(),
            flags: u32::from(parent.flags as u8) | SpanFlags::ContextHasIsRemoteMask as u32,
            name: format!("{} {}", semconv::CHAT, event.staffer_id().unwrap_or_default()),
            kind: SpanKind::Client.into(),
            attributes,
            ..parent.clone()
        }
    });
    span.into_iter().chain(child)
}

fn span(envelope: &Envelope, has_usage: bool) -> Option<Span> {
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
        attributes: attributes(envelope, has_usage),
        status,
        ..Span::default()
    })
}

fn attributes(envelope: &Envelope, has_usage: bool) -> Vec<KeyValue> {
    let event = &envelope.event;
    let mut attributes = Vec::with_capacity(16);
    if event.source() == semconv::AGENT {
        add_text(&mut attributes, semconv::OPERATION_NAME, Some(semconv::INVOKE_AGENT));
        add_text(&mut attributes, semconv::AGENT_NAME, Some(event.source()));
    }
    add_model(&mut attributes, event);
    if has_usage {
        add_usage(&mut attributes, event);
    }
    add_error(&mut attributes, event);
    attributes.push(pair(semconv::EVENT_ID, Value::text(envelope.id.to_string())));
    add_text(&mut attributes, semconv::EVENT_SOURCE, Some(event.source()));
    add_text(&mut attributes, semconv::EVENT_KIND, Some(event.event_kind()));
    add_text(&mut attributes, semconv::CYCLE_ID, event.cycle_id());
    add_text(&mut attributes, semconv::SIG_HASH, event.sig_hash());
    attributes.extend(event.turns().map(|turns| pair(semconv::TURNS, any_value::count(turns))));
    add_attempt(&mut attributes, event);
    attributes
}

fn add_model(attributes: &mut Vec<KeyValue>, event: &Event) {
    add_text(attributes, semconv::PROVIDER_NAME, provider(event));
    add_text(attributes, semconv::REQUEST_MODEL, event.staffer_id());
}

fn add_error(attributes: &mut Vec<KeyValue>, event: &Event) {
    let is_error = event.ok() == Some(false);
    add_text(attributes, semconv::ERROR_TYPE, is_error.then_some(event.event_kind()));
}
