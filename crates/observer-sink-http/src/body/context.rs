//! Values that a template sees.

use std::sync::Arc;

use minijinja::Value;
use minijinja::value::Serde;
use observer_core::{Envelope, Event, Timestamp, Uuid};
use serde_json::{Map, Value as Json, json};

use super::summary;

/// Returns the values for a request: `events`, `event` (the first of them), `count`, `failed`,
/// `summary` and `vars`.
pub(super) fn context(events: &[&Arc<Envelope>], vars: &Value) -> Value {
    let values: Vec<_> =
        events.iter().map(|envelope| Value::from(Serde(event(envelope)))).collect();
    let failed = events.iter().filter(|envelope| envelope.event.ok() == Some(false)).count();
    minijinja::context! {
        event => values.first().cloned(),
        count => values.len(),
        failed,
        summary => summary::of_batch(events),
        vars,
        events => values,
    }
}

/// Returns the fields of an event, its id and its time of receipt in one object. Fields of the
/// observer that the event doesn't have are null. `id` is the observer's; that of the producer is
/// `producer_id`.
fn event(envelope: &Envelope) -> Map<String, Json> {
    let event = &envelope.event;
    let mut fields: Map<_, _> = event
        .other_fields()
        .into_iter()
        .map(|(name, value)| (name.into_owned(), parsed(value)))
        .collect();
    let labels: Map<_, _> =
        event.labels().map(|(name, value)| (name.to_owned(), value.into())).collect();
    let usage = event.usage().map(|usage| {
        json!({
            "input": usage.input,
            "cached_input": usage.cached_input,
            "output": usage.output,
            "reasoning": usage.reasoning,
        })
    });
    let known = [
        ("id", json!(envelope.id)),
        ("seq", json!(envelope.seq)),
        ("received_at", json!(envelope.received_at)),
        ("summary", json!(summary::of_event(event))),
        ("source", json!(event.source())),
        ("event_kind", json!(event.event_kind())),
        ("ok", json!(event.ok())),
        ("cycle_id", json!(event.cycle_id())),
        ("sig_hash", json!(event.sig_hash())),
        ("staffer_id", json!(event.staffer_id())),
        ("turns", json!(event.turns())),
        ("duration_ms", json!(event.duration_ms())),
        ("timestamp", json!(event.timestamp())),
        ("producer_id", json!(event.id())),
        ("cost_usd", json!(event.usage().and_then(|usage| usage.cost_usd))),
        ("usage", json!(usage)),
        ("attempt", json!(event.attempt())),
        ("replaces", json!(event.replaces())),
        ("traceparent", json!(event.traceparent())),
        ("labels", Json::Object(labels)),
        ("extra", event.extra().map_or(Json::Null, parsed)),
    ];
    fields.extend(known.map(|(name, value)| (name.to_owned(), value)));
    fields
}

/// Parses a value that a producer sent. One with a number beyond every range stays a text.
fn parsed(json: &str) -> Json {
    serde_json::from_str(json).unwrap_or_else(|_| json.into())
}

/// Returns batches with which a template is tried: the smallest event, one with every field and
/// characters that need escapes, and both.
pub(super) fn samples() -> [Vec<Arc<Envelope>>; 3] {
    let small = sample(1, r#"{"source":"bot","event_kind":"ok","ok":true}"#);
    let large = sample(
        2,
        r#"{"source":"bot","event_kind":"tests_failed \"<&>\"\n","ok":false,"cycle_id":"c-1",
            "sig_hash":"s-1","staffer_id":"gpt-oss:120b","turns":3,"duration_ms":12345.5,
            "timestamp":"2026-01-01T00:00:00Z","id":"p-1","cost_usd":0.42,"attempt":1,
            "replaces":"p-0","labels":{"branch":"main"},"usage":{"input":10,"output":5},
            "extra":{}}"#,
    );
    [vec![small.clone()], vec![large.clone()], vec![small, large]]
}

fn sample(seq: u64, event: &'static str) -> Arc<Envelope> {
    Arc::new(Envelope {
        id: Uuid::from_u128(seq.into()),
        seq,
        received_at: Timestamp::UNIX_EPOCH,
        event: Event::parse(event).expect("the sample is a valid event"),
    })
}
