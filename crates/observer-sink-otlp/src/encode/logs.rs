//! Mapping of events to log records.

use observer_core::{Envelope, Event};
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::logs::v1::{LogRecord, SeverityNumber};

use super::any_value::{self, NewValue, pair};
use super::ids::Ids;
use super::{add_attempt, add_text, add_usage, event_time, unix_nanos};
use crate::semconv;

/// Returns the log record of an event.
pub(super) fn record(envelope: &Envelope) -> LogRecord {
    let Envelope { received_at, event, .. } = envelope;
    let ids = Ids::new(envelope);
    let (severity, severity_text) = if event.ok() == Some(false) {
        (SeverityNumber::Warn, "WARN")
    } else {
        (SeverityNumber::Info, "INFO")
    };
    let event_name = if event.is_phase() { semconv::PHASE } else { semconv::OUTCOME };
    LogRecord {
        time_unix_nano: event_time(event, *received_at),
        observed_time_unix_nano: unix_nanos(*received_at),
        severity_number: severity.into(),
        severity_text: severity_text.to_owned(),
        event_name: event_name.to_owned(),
        body: event.extra().map(any_value::from_json),
        attributes: attributes(envelope, event),
        trace_id: ids.trace.to_vec(),
        span_id: ids.span.to_vec(),
        flags: ids.flags.into(),
        dropped_attributes_count: 0,
    }
}

fn attributes(envelope: &Envelope, event: &Event) -> Vec<KeyValue> {
    let mut attributes = Vec::with_capacity(16);
    attributes.push(pair(semconv::EVENT_ID, Value::text(envelope.id.to_string())));
    add_text(&mut attributes, semconv::EVENT_SOURCE, Some(event.source()));
    add_text(&mut attributes, semconv::EVENT_KIND, Some(event.event_kind()));
    attributes.extend(event.ok().map(|ok| pair(semconv::OK, Value::bool(ok))));
    add_text(&mut attributes, semconv::CYCLE_ID, event.cycle_id());
    add_text(&mut attributes, semconv::SIG_HASH, event.sig_hash());
    add_text(&mut attributes, semconv::STAFFER_ID, event.staffer_id());
    attributes.extend(event.turns().map(|turns| pair(semconv::TURNS, any_value::count(turns))));
    attributes.extend(
        event.duration_ms().map(|duration| pair(semconv::DURATION_MS, Value::double(duration))),
    );
    add_text(&mut attributes, semconv::PRODUCERS_ID, event.id());
    add_usage(&mut attributes, event);
    add_attempt(&mut attributes, event);
    for (key, json) in event.other_fields() {
        attributes.push(pair(format!("{}{key}", semconv::OTHER_FIELD), any_value::from_json(json)));
    }
    attributes
}
