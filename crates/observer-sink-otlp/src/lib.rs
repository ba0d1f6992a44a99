//! OTLP sink of the observer: exports events as log records and spans, over gRPC or HTTP.
//!
//! In the observer's configuration the sink is `type = "otlp"`, see [`OtlpConfig`]. In a program:
//!
//! ```no_run
//! use std::sync::Arc;
//!
//! use observer_core::{Batch, Envelope, Event, EventSink, Timestamp, Uuid};
//! use observer_sink_otlp::{OtlpConfig, OtlpSink, Signal};
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let config = OtlpConfig::new("http://127.0.0.1:4317").resource("service.name", "agents");
//! let sink = OtlpSink::new(&config, Signal::Logs)?;
//!
//! let envelope = Envelope {
//!     id: Uuid::from_u128(7),
//!     seq: 1,
//!     received_at: Timestamp::from_second(1_795_341_600)?,
//!     event: Event::parse(r#"{"source":"bot","event_kind":"ok","ok":true}"#)?,
//! };
//! let receipt = sink.deliver(&Batch::new(1, vec![Arc::new(envelope)])).await?;
//! assert!(receipt.rejected.is_empty());
//! # Ok(())
//! # }
//! ```
//!
//! # Mapping
//!
//! Each event is one log record. Each outcome with a duration is also one span. Names follow the
//! OpenTelemetry semantic conventions 1.41.0; [`semconv`] lists them.
//!
//! | | log record | span |
//! |---|---|---|
//! | name | event name `observer.cycle.outcome`, or `observer.cycle.phase` | `cycle {source}`, kind INTERNAL |
//! | time | `timestamp`, else the time of receipt | end as for the log record |
//! | other time | observed: the time of receipt | start: `duration_ms` before the end |
//! | `ok` | severity INFO (9) | status Unset |
//! | phase, which has no `ok` | severity INFO (9) | – |
//! | not `ok` | severity WARN (13) | status Error, `error.type` is `event_kind` |
//! | `extra` | body, structured | – |
//!
//! The source `bot` is an agent: its spans are named `invoke_agent bot` and have
//! `gen_ai.operation.name` and `gen_ai.agent.name`.
//!
//! With `traces.llm_span`, an event with a model and usage also has a child span `chat {model}` of
//! kind CLIENT, with the same times and status, `gen_ai.operation.name` = `chat`, the model and the
//! usage, which the first span then lacks. Its id is a prefix of SHA-256 of the event's id and
//! `/chat`.
//!
//! `gen_ai.provider.name` is the label `provider`, or follows from the name of the model.
//!
//! | field | attribute of the log record | attribute of the span |
//! |---|---|---|
//! | id of the event | `observer.event.id` | `observer.event.id` |
//! | `source` | `observer.source` | `observer.source` |
//! | `event_kind` | `observer.event_kind` | `observer.event_kind` |
//! | `ok` | `observer.ok` | – |
//! | `cycle_id` | `observer.cycle.id` | `observer.cycle.id` |
//! | `sig_hash` | `observer.sig_hash` | `observer.sig_hash` |
//! | `staffer_id` | `observer.staffer_id` | `gen_ai.request.model` |
//! | `turns` | `observer.turns` | `observer.turns` |
//! | `duration_ms` | `observer.duration_ms` | – |
//! | `id` of the producer | `observer.id` | – |
//! | usage, `cost_usd` | `gen_ai.usage.*`, `observer.cost_usd` | `gen_ai.usage.*`, `observer.cost_usd` |
//! | `attempt` | `observer.attempt` | `observer.attempt` |
//! | `replaces` | `observer.replaces` | `observer.replaces` |
//! | `labels` | `observer.label.{name}` | `observer.label.{name}` |
//! | any other field | `observer.fields.{name}` | – |
//!
//! Values of `extra` and of other fields are converted from JSON to `AnyValue`. An integer beyond
//! `i64` becomes a string of its digits, and one beyond `u64` a double. Structures below 24 levels
//! become strings of their JSON text, as does a value with a number beyond the range of a double.
//!
//! # Trace and span ids
//!
//! The log record and the span of an event have the same trace and span id:
//!
//! - The trace id is that of `traceparent`. Without one, it is a prefix of SHA-256 of `source` and
//!   `cycle_id` as netstrings (`3:bot,6:c-0001,`); without a cycle, of the event's id.
//! - The span id is a prefix of SHA-256 of the event's id in hyphenated lower case.
//! - The parent is that of `traceparent`.
//!
//! So an event that is sent again has the same ids.
//!
//! # Responses
//!
//! | result | gRPC | HTTP |
//! |---|---|---|
//! | accepted | OK | 2xx |
//! | transient | see below | 408, 425, 429, 503, all with `Retry-After` |
//! | failed | UNKNOWN, INTERNAL, DATA_LOSS | other 5xx |
//! | too large | see below | 413 |
//! | permanent | INVALID_ARGUMENT, OUT_OF_RANGE | 400, 422 |
//! | denied | all other codes | all other statuses, redirects among them |
//!
//! - Accepted: items that a partial success rejects are counted as refused. They are not sent
//!   again, as OTLP requires. Over HTTP, the head of a response decides: a body that is incomplete,
//!   large, or does not end within two seconds changes nothing.
//! - Transient: the batch is sent again, after `RetryInfo` or `Retry-After` if there is one. The
//!   gRPC codes are UNAVAILABLE, CANCELLED, DEADLINE_EXCEEDED, ABORTED, RESOURCE_EXHAUSTED, and all
//!   with `RetryInfo`. A transport error counts as transient, too.
//! - Too large: the batch is sent in parts. RESOURCE_EXHAUSTED and OUT_OF_RANGE count as too large
//!   if the message or the details say so, RESOURCE_EXHAUSTED also if a smaller request is accepted
//!   and the larger one is refused again. The sink remembers the size, so that later batches of
//!   this size are split before they are sent, and tries it again now and then. A single event is
//!   always sent.
//! - The other classes are those of [`ErrorKind`](observer_core::ErrorKind).
//!
//! `check` exports a request without items.
//!
//! # Limits
//!
//! - The sink reads none of the `OTEL_*` variables: they configure a program's own telemetry.
//! - A request has no timeout except `connect_timeout`. The pipeline limits each delivery by the
//!   `timeout` of the sink.
//! - A connection whose peer answers no HTTP/2 ping within 25 s is closed. After a cancelled
//!   delivery, the next one opens a new connection.
//! - Proxies are those of `HTTP_PROXY`, `HTTPS_PROXY`, `ALL_PROXY` and `NO_PROXY`. SOCKS proxies
//!   are not supported, nor is gRPC without TLS through a proxy; the error names the variable.

mod body;
mod config;
mod encode;
mod exporter;
mod parts;
mod protocol;
mod response;
pub mod semconv;
mod settings;
mod signal;
mod sink;
#[cfg(test)]
mod testing;

pub use config::{OtlpConfig, Traces};
pub use encode::{Encoded, Encoder};
pub use observer_http_client::{Auth, Secret, Tls};
pub use protocol::{Compression, Protocol};
pub use signal::Signal;
pub use sink::OtlpSink;
