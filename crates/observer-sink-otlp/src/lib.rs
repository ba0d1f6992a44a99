//! A sink of the observer that sends events to whoever takes OTLP: as log records and as spans,
//! over gRPC or HTTP.
//!
//! In the observer's configuration the sink is `type = "otlp"`, see [`OtlpConfig`]; in a program of
//! your own:
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
//! # What is sent
//!
//! Names are in [`semconv`], ids as follows: the trace is that of the event's `traceparent`, else
//! SHA-256 of `source` and `cycle_id` as netstrings (`3:bot,6:c-0001,`), else of the event's id;
//! the span is SHA-256 of the event's id as it is written. As many bytes of each hash are taken as
//! are needed. So the log record and the span of an event belong together, and an event that is
//! sent again is the same span again.
//!
//! | | log record, one for each event | span, for each event with a duration |
//! |---|---|---|
//! | name | event name `observer.cycle.outcome` | `invoke_agent bot` for source `bot`, else `cycle {source}`; kind INTERNAL |
//! | time | `timestamp`, or when it was received; observed when it was received | ends at that time, and began `duration_ms` before |
//! | outcome | INFO (9) if `ok`, else WARN (13) | status Error and `error.type` if not `ok`, else unset |
//! | attributes | `observer.event.id`, `observer.source`, `observer.event_kind`, `observer.ok`, `observer.cycle.id`, `observer.sig_hash`, `observer.staffer_id`, `observer.turns`, `observer.duration_ms`, `observer.id`, and `observer.fields.…` for fields of any other name | `observer.event.id`, `observer.source`, `observer.event_kind`, `observer.cycle.id`, `observer.sig_hash`, `observer.turns`; `gen_ai.request.model`; for source `bot` `gen_ai.operation.name` and `gen_ai.agent.name` |
//! | usage | `gen_ai.usage.*`, `observer.cost_usd` | the same |
//! | body | `extra`, structured | |
//!
//! # What answers mean
//!
//! | gRPC | HTTP | |
//! |---|---|---|
//! | OK | 2xx | accepted; what a partial success rejects is counted as refused, and not sent again, as OTLP wants it |
//! | UNAVAILABLE, CANCELLED, DEADLINE_EXCEEDED, ABORTED, OUT_OF_RANGE, DATA_LOSS, RESOURCE_EXHAUSTED with `RetryInfo`, no answer | 429, 502, 503, 504, 408, 425, no answer | the same again, after `RetryInfo` or `Retry-After` where there is one |
//! | RESOURCE_EXHAUSTED | 413 | too large: half of the batch again; the size is kept, and later batches are halved before they are sent |
//! | INVALID_ARGUMENT | 400, 422 | refused for good: the batch is halved until the bad event stands alone |
//! | all else | all else, 500 among it, and redirects | the sink is parked, and no event is given up |
//!
//! A `check` is a request with nothing in it.
//!
//! # What it does not do
//!
//! It reads none of the `OTEL_*` variables: what they say is meant for a program's own telemetry.
//! There is no timeout for a single request but `connect_timeout`: the pipeline bounds the
//! delivery, by every sink's `timeout`. Proxies are those of `HTTP_PROXY`, `HTTPS_PROXY`,
//! `ALL_PROXY` and `NO_PROXY`.

mod any_value;
mod config;
mod encode;
mod exporter;
mod ids;
mod parts;
mod protocol;
mod response;
pub mod semconv;
mod settings;
mod signal;
mod sink;
mod size_limit;
#[cfg(test)]
mod testing;

pub use config::OtlpConfig;
pub use encode::{Encoded, Encoder};
pub use observer_http_client::{Auth, Secret, Tls};
pub use protocol::{Compression, Protocol};
pub use signal::Signal;
pub use sink::OtlpSink;
