//! Events as OTLP: pure functions from batches to the bytes of requests.

mod logs;
mod spans;

use observer_core::{Batch, Event, Timestamp};
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::logs::v1::{ResourceLogs, ScopeLogs};
use opentelemetry_proto::tonic::resource::v1::Resource;
use prost::Message;

use crate::any_value::{self, Make, pair};
use crate::semconv;
use crate::signal::Signal;

/// The part of a request that is the same in each one, and how events get into it.
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
/// assert_eq!(encoder.encode(Signal::Traces, &batch).items, 0, "an event without a duration is no span");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct Encoder {
    /// A `ResourceLogs` without scopes, which is a `ResourceSpans` as well: their fields have the
    /// same numbers.
    resource: Vec<u8>,
    /// A `ScopeLogs` without log records, which is a `ScopeSpans` as well.
    scope: Vec<u8>,
}

/// Of `resource_logs` in a request, and of `resource_spans`: field 1, delimited by its length.
const RESOURCE: u8 = 1 << 3 | 2;
/// Of `scope_logs` in a resource, of `log_records` in a scope, and of their like: field 2.
const WITHIN: u8 = 2 << 3 | 2;

/// A request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Encoded {
    /// An `Export…ServiceRequest` in Protobuf.
    pub bytes: Vec<u8>,
    /// How many log records or spans are in it.
    pub items: usize,
}

impl Encoder {
    /// With these attributes of the resource; `service.name` is `observer` where it isn't among
    /// them.
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
        Self { resource: resource.encode_to_vec(), scope: scope.encode_to_vec() }
    }

    /// A request with what the events of the batch are in this signal.
    #[must_use]
    pub fn encode(&self, signal: Signal, batch: &Batch) -> Encoded {
        match signal {
            Signal::Logs => self.request(batch.into_iter().map(|envelope| logs::record(envelope))),
            Signal::Traces => {
                self.request(batch.into_iter().filter_map(|envelope| spans::span(envelope)))
            }
        }
    }

    /// Each item is written as soon as it is made: a whole batch of them would take many times the
    /// memory. Fields may come in any order, so what is always the same goes first.
    fn request(&self, made: impl Iterator<Item = impl Message>) -> Encoded {
        let (mut scope, mut items) = (self.scope.clone(), 0);
        for item in made {
            scope.push(WITHIN);
            item.encode_length_delimited(&mut scope).expect("a vector grows");
            items += 1;
        }
        if items == 0 {
            return Encoded { bytes: Vec::new(), items };
        }
        let mut resource = self.resource.clone();
        add(&mut resource, WITHIN, &scope);
        let mut bytes = Vec::with_capacity(resource.len() + 16);
        add(&mut bytes, RESOURCE, &resource);
        Encoded { bytes, items }
    }
}

fn add(message: &mut Vec<u8>, key: u8, field: &[u8]) {
    message.push(key);
    prost::encode_length_delimiter(field.len(), message).expect("a vector grows");
    message.extend_from_slice(field);
}

/// Nanoseconds since 1970, within what OTLP can say: up to the year 2554.
fn nanos(time: Timestamp) -> u64 {
    u64::try_from(time.as_nanosecond().max(0)).unwrap_or(u64::MAX)
}

/// When it happened.
fn time(event: &Event, received_at: Timestamp) -> u64 {
    nanos(event.timestamp().unwrap_or(received_at))
}

/// Adds text where there is some.
fn add_text(attributes: &mut Vec<KeyValue>, key: &str, text: Option<&str>) {
    attributes.extend(text.map(|text| pair(key, Value::text(text))));
}

/// What the model used up.
fn add_usage(attributes: &mut Vec<KeyValue>, event: &Event) {
    let Some(usage) = event.usage() else { return };
    let counts = [
        (semconv::INPUT_TOKENS, usage.input),
        (semconv::CACHE_READ_INPUT_TOKENS, usage.cached_input),
        (semconv::CACHE_CREATION_INPUT_TOKENS, usage.cache_creation_input),
        (semconv::OUTPUT_TOKENS, usage.output),
    ];
    let is_told = |key: &str, number: u64| {
        number > 0 || [semconv::INPUT_TOKENS, semconv::OUTPUT_TOKENS].contains(&key)
    };
    let told = counts.into_iter().filter(|(key, number)| is_told(key, *number));
    attributes.extend(told.map(|(key, number)| pair(key, any_value::count(number))));
    attributes.extend(usage.cost_usd.map(|cost| pair(semconv::COST_USD, Value::double(cost))));
}

#[cfg(test)]
mod tests;
