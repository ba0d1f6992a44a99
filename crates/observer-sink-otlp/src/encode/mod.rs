//! Mapping of events to OTLP: pure functions from batches to encoded requests.
//!
//! The [crate's documentation](crate#mapping) shows the mapping as a table.

mod any_value;
mod ids;
mod logs;
mod provider;
mod spans;

use observer_core::{Batch, Event, Timestamp};
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::logs::v1::{ResourceLogs, ScopeLogs};
use opentelemetry_proto::tonic::resource::v1::Resource;
use prost::Message;

use self::any_value::{NewValue, pair};
use crate::semconv;
use crate::signal::Signal;

/// Encoder of batches with the attributes of one resource.
///
/// ```
/// use std::sync::Arc;
///
/// use observer_core::{Batch, Envelope, Event, Timestamp, Uuid};
/// use observer_sink_otlp::{Encoder, Signal};
/// use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
/// use prost::Message;
///
/// let envelope = Envelope {
///     id: Uuid::from_u128(7),
///     seq: 1,
///     received_at: Timestamp::from_second(1_795_341_600)?,
///     event: Event::parse(r#"{"source":"bot","event_kind":"tests_failed","ok":false}"#)?,
/// };
/// let batch = Batch::new(1, vec![Arc::new(envelope)]);
/// let encoder = Encoder::new([("service.name", "agents")]);
///
/// let logs = encoder.encode(Signal::Logs, &batch);
/// let logs = ExportLogsServiceRequest::decode(&*logs.bytes)?;
/// let record = &logs.resource_logs[0].scope_logs[0].log_records[0];
/// assert_eq!(record.event_name, "observer.cycle.outcome");
///
/// // An event without a duration has no span.
/// assert_eq!(encoder.encode(Signal::Traces, &batch).items, 0);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct Encoder {
    /// Encoded `ResourceLogs` without scopes. It is also a `ResourceSpans`, because the fields have
    /// the same numbers.
    resource: Vec<u8>,
    /// Encoded `ScopeLogs` without log records. It is also a `ScopeSpans`.
    scope: Vec<u8>,
    has_llm_spans: bool,
}

/// Key of `resource_logs` and `resource_spans` in a request: field 1, length-delimited.
const RESOURCE_KEY: u8 = 1 << 3 | 2;
/// Key of the scopes in a resource, and of the log records or spans in a scope: field 2,
/// length-delimited.
const ITEM_KEY: u8 = 2 << 3 | 2;

/// Encoded request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Encoded {
    /// `Export…ServiceRequest` in Protobuf; empty if it has no items.
    pub bytes: Vec<u8>,
    /// Number of log records or spans.
    pub items: usize,
}

impl Encoder {
    /// Creates an encoder with these attributes of the resource.
    ///
    /// Without `service.name` among them, `service.name` is `observer` and `service.version` the
    /// version of this crate.
    pub fn new<'a>(resource: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let mut attributes: Vec<_> =
            resource.into_iter().map(|(key, text)| pair(key, Value::text(text))).collect();
        if attributes.iter().all(|pair| pair.key != semconv::SERVICE_NAME) {
            attributes.push(pair(semconv::SERVICE_NAME, Value::text("observer")));
            attributes.push(pair(semconv::SERVICE_VERSION, Value::text(env!("CARGO_PKG_VERSION"))));
        }
        attributes.sort_by(|left, right| left.key.cmp(&right.key));
        attributes.dedup_by(|right, left| left.key == right.key);
        let scope = InstrumentationScope {
            name: semconv::SCOPE.to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            ..InstrumentationScope::default()
        };
        let schema_url = semconv::SCHEMA_URL.to_owned();
        let scope = ScopeLogs {
            scope: Some(scope),
            log_records: Vec::new(),
            schema_url: schema_url.clone(),
        };
        let resource = Some(Resource { attributes, ..Resource::default() });
        let resource = ResourceLogs { resource, scope_logs: Vec::new(), schema_url };
        let (resource, scope) = (resource.encode_to_vec(), scope.encode_to_vec());
        Self { resource, scope, has_llm_spans: false }
    }

    /// Adds a child span `chat {model}` with the usage to the span of each event that has a model
    /// and usage.
    #[must_use]
    pub fn with_llm_spans(self) -> Self {
        Self { has_llm_spans: true, ..self }
    }

    /// Encodes the events of a batch as items of this signal, in order.
    ///
    /// For [`Signal::Traces`], phases and events without a duration have no item.
    #[must_use]
    pub fn encode(&self, signal: Signal, batch: &Batch) -> Encoded {
        match signal {
            Signal::Logs => self.request(batch.into_iter().map(|envelope| logs::record(envelope))),
            Signal::Traces => {
                let spans = |envelope| spans::spans(envelope, self.has_llm_spans);
                self.request(batch.into_iter().flat_map(|envelope| spans(envelope)))
            }
        }
    }

    /// Encodes each item as soon as it is made, because a whole batch of decoded items takes many
    /// times the memory. Protobuf allows fields in any order, so the constant ones come first.
    fn request(&self, items: impl Iterator<Item = impl Message>) -> Encoded {
        let (mut scope, mut count) = (self.scope.clone(), 0);
        for item in items {
            scope.push(ITEM_KEY);
            item.encode_length_delimited(&mut scope).expect("a vector has no limit");
            count += 1;
        }
        if count == 0 {
            return Encoded { bytes: Vec::new(), items: count };
        }
        let mut resource = self.resource.clone();
        add_field(&mut resource, ITEM_KEY, &scope);
        let mut bytes = Vec::with_capacity(resource.len() + 16);
        add_field(&mut bytes, RESOURCE_KEY, &resource);
        Encoded { bytes, items: count }
    }
}

fn add_field(message: &mut Vec<u8>, key: u8, field: &[u8]) {
    message.push(key);
    prost::encode_length_delimiter(field.len(), message).expect("a vector has no limit");
    message.extend_from_slice(field);
}

/// Returns nanoseconds since 1970, clamped to the range of OTLP, which ends in the year 2554.
fn unix_nanos(time: Timestamp) -> u64 {
    u64::try_from(time.as_nanosecond().max(0)).unwrap_or(u64::MAX)
}

/// Returns the time of an event: `timestamp`, or the time at which it was received.
fn event_time(event: &Event, received_at: Timestamp) -> u64 {
    unix_nanos(event.timestamp().unwrap_or(received_at))
}

/// Adds a text attribute, if there is a text.
fn add_text(attributes: &mut Vec<KeyValue>, key: &str, text: Option<&str>) {
    attributes.extend(text.map(|text| pair(key, Value::text(text))));
}

/// Adds the fields that tell the outcomes of a cycle or of several cycles apart.
fn add_attempt(attributes: &mut Vec<KeyValue>, event: &Event) {
    let attempt = event.attempt().map(|attempt| pair(semconv::ATTEMPT, any_value::count(attempt)));
    attributes.extend(attempt);
    add_text(attributes, semconv::REPLACES, event.replaces());
    attributes.extend(
        event
            .labels()
            .map(|(name, value)| pair(format!("{}{name}", semconv::LABEL), Value::text(value))),
    );
}

/// Adds the usage of the model. Counts that are parts of others are added only if they are not 0.
fn add_usage(attributes: &mut Vec<KeyValue>, event: &Event) {
    let Some(usage) = event.usage() else { return };
    let counts = [
        (semconv::INPUT_TOKENS, usage.input),
        (semconv::CACHE_READ_INPUT_TOKENS, usage.cached_input),
        (semconv::CACHE_CREATION_INPUT_TOKENS, usage.cache_creation_input),
        (semconv::OUTPUT_TOKENS, usage.output),
        (semconv::REASONING_OUTPUT_TOKENS, usage.reasoning),
    ];
    // Zeros would be wrong if a total is all that is known.
    let is_split = usage.unsplit == 0;
    let is_sent = |key: &str, number: u64| {
        number > 0 || is_split && [semconv::INPUT_TOKENS, semconv::OUTPUT_TOKENS].contains(&key)
    };
    let sent = counts.into_iter().filter(|(key, number)| is_sent(key, *number));
    attributes.extend(sent.map(|(key, number)| pair(key, any_value::count(number))));
    attributes.extend(usage.cost_usd.map(|cost| pair(semconv::COST_USD, Value::double(cost))));
}

#[cfg(test)]
mod tests;
