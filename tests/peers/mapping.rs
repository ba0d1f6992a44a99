//! Expected OTLP items, derived from the archive and the documentation of the mapping, without code
//! of the sink.
//!
//! Items are compared as plain JSON: ids in hexadecimal, times in nanoseconds, enums as numbers,
//! attributes and structured bodies as objects, an int as a whole number and a double as one with a
//! fraction. A field with its default value is absent.

use observer_core::Timestamp;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use crate::support::run_totals::Usage;

/// Kind of item that an event is sent as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Signal {
    Logs,
    Spans,
}

impl Signal {
    pub(super) const ALL: [Self; 2] = [Self::Logs, Self::Spans];

    /// Returns the item for an envelope. Every run has a duration, so each one is a span.
    pub(super) fn item(self, envelope: &Value) -> Value {
        match self {
            Self::Logs => log_record(envelope),
            Self::Spans => span(envelope),
        }
    }
}

/// Attribute with the id of the event.
pub(super) const EVENT_ID: &str = "observer.event.id";

fn log_record(envelope: &Value) -> Value {
    let event = &envelope["event"];
    let (number, text) = if event["ok"] == true { (9, "INFO") } else { (13, "WARN") };
    let mut attributes = common(envelope);
    attributes.insert("observer.ok".to_owned(), event["ok"].clone());
    attributes.insert("observer.staffer_id".to_owned(), event["staffer_id"].clone());
    attributes
        .insert("observer.duration_ms".to_owned(), event["duration_ms"].as_f64().unwrap().into());
    json!({
        "event_name": "observer.cycle.outcome",
        "time_unix_nano": received(envelope),
        "observed_time_unix_nano": received(envelope),
        "severity_number": number,
        "severity_text": text,
        "trace_id": trace_id(event),
        "span_id": span_id(envelope),
        "flags": 1,
        "body": event["extra"],
        "attributes": attributes,
    })
}

fn span(envelope: &Value) -> Value {
    let event = &envelope["event"];
    let end = received(envelope);
    let duration = (event["duration_ms"].as_f64().unwrap() * 1e6).round() as u64;
    let mut attributes = common(envelope);
    attributes.insert("gen_ai.operation.name".to_owned(), "invoke_agent".into());
    attributes.insert("gen_ai.agent.name".to_owned(), "bot".into());
    let model = event["staffer_id"].as_str().unwrap();
    let provider = if model.starts_with("claude-") { "anthropic" } else { "openai" };
    assert!(provider == "anthropic" || model.starts_with("gpt-"), "{model}");
    attributes.insert("gen_ai.provider.name".to_owned(), provider.into());
    attributes.insert("gen_ai.request.model".to_owned(), model.into());
    let mut span = json!({
        "name": "invoke_agent bot",
        "kind": 1,
        "start_time_unix_nano": end - duration,
        "end_time_unix_nano": end,
        "trace_id": trace_id(event),
        "span_id": span_id(envelope),
        // Sampled, and the parent is known not to be remote.
        "flags": 0x101,
    });
    if event["ok"] == false {
        attributes.insert("error.type".to_owned(), event["event_kind"].clone());
        span["status"] = json!({ "code": 2 });
    }
    span["attributes"] = attributes.into();
    span
}

/// Returns the attributes that log records and spans have in common.
fn common(envelope: &Value) -> Map<String, Value> {
    let event = &envelope["event"];
    let usage = Usage::of(event);
    let mut attributes = Map::from_iter([
        (EVENT_ID.to_owned(), envelope["id"].clone()),
        ("observer.source".to_owned(), event["source"].clone()),
        ("observer.event_kind".to_owned(), event["event_kind"].clone()),
        ("observer.cycle.id".to_owned(), event["cycle_id"].clone()),
        ("observer.sig_hash".to_owned(), event["sig_hash"].clone()),
        ("observer.turns".to_owned(), event["turns"].clone()),
        ("gen_ai.usage.input_tokens".to_owned(), usage.input.into()),
        ("gen_ai.usage.output_tokens".to_owned(), usage.output.into()),
        ("observer.cost_usd".to_owned(), usage.cost_usd.into()),
    ]);
    for (name, count) in [
        ("gen_ai.usage.cache_read.input_tokens", usage.cache_read),
        ("gen_ai.usage.cache_creation.input_tokens", usage.cache_creation),
    ] {
        if count > 0 {
            attributes.insert(name.to_owned(), count.into());
        }
    }
    attributes
}

/// Returns the time of an item, in nanoseconds: that of receipt, since the runs have no timestamp.
fn received(envelope: &Value) -> u64 {
    let time: Timestamp = envelope["received_at"].as_str().unwrap().parse().unwrap();
    time.as_nanosecond().try_into().unwrap()
}

fn trace_id(event: &Value) -> String {
    let netstring = |field: &str| {
        let text = event[field].as_str().unwrap();
        format!("{}:{text},", text.len())
    };
    hashed(&(netstring("source") + &netstring("cycle_id")), 16)
}

fn span_id(envelope: &Value) -> String {
    hashed(envelope["id"].as_str().unwrap(), 8)
}

fn hashed(text: &str, bytes: usize) -> String {
    hex(&Sha256::digest(text)[..bytes])
}

pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
