//! Sink that sends events in HTTP requests: to webhooks, batch endpoints, or another observer.
//!
//! In the observer's configuration the sink has `type = "http"`, see [`HttpConfig`]. A program can
//! use it directly:
//!
//! ```no_run
//! use std::sync::Arc;
//!
//! use observer_core::{Batch, Envelope, Event, EventSink, Timestamp, Uuid};
//! use observer_sink_http::{Auth, Body, HttpConfig, HttpSink};
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let config = HttpConfig::new("https://hooks.example.com/agents")
//!     .body(Body::Ndjson)
//!     .auth(Auth::bearer("t0ken"));
//! let sink = HttpSink::new(&config)?;
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
//! # Requests
//!
//! | `body` | content | `Content-Type` |
//! |---|---|---|
//! | `array` | a JSON array of envelopes | `application/json` |
//! | `ndjson` | envelopes, one on each line | `application/x-ndjson` |
//! | `envelope` | one envelope | `application/json` |
//! | `event` | one event, as its producer sent it | `application/json` |
//! | `slack`, `discord`, `teams` | a message about one event or several | `application/json` |
//! | `pagerduty` | an alert about one event | `application/json` |
//! | `{ template }` | what a MiniJinja template makes of the events | `application/json`, or the configured one |
//!
//! An observer accepts `ndjson` at `/v1/events`.
//!
//! Each request has a `webhook-id`: the event's id, or a hash of the ids of several events. A
//! repeat of a request has the same one, so a destination can recognise it.
//! `idempotency_key = true` adds `Idempotency-Key` with the same value. `signing` adds
//! `webhook-timestamp` and `webhook-signature`.
//!
//! A signature covers the body as it is sent, so with `compression` the compressed bytes. The
//! destination can therefore verify it before decompressing anything. Standard Webhooks does not
//! define this case: a framework that hands over the decompressed body only can't verify such a
//! signature, and needs `compression = "none"`.
//!
//! # Responses
//!
//! | response | meaning |
//! |---|---|
//! | 2xx | All events are accepted. |
//! | 207 | Each event has its own status; see below. |
//! | 408, 425, 429, 503, transport error | [`Transient`]. |
//! | any with `Retry-After`, except redirects | [`Transient`], not before that time. |
//! | other 5xx, a head that can't be read | [`Failed`]. |
//! | 413 | [`TooLarge`]; the size is learnt, and larger batches are split unsent. |
//! | 400, 422 | [`Permanent`]: an event is at fault. |
//! | 401, 407 | [`Unauthenticated`]. |
//! | any other, redirects | [`Denied`]: the URL, a permission, or an event is at fault. |
//! | TLS failure, unknown host, unusable proxy | [`Blocked`]: the sink is parked. |
//!
//! The head of a response decides. A body that is large, incomplete or does not end within two
//! seconds changes nothing, except for a 207. Malformed headers are ignored.
//!
//! [`Transient`]: observer_core::ErrorKind::Transient
//! [`Failed`]: observer_core::ErrorKind::Failed
//! [`TooLarge`]: observer_core::ErrorKind::TooLarge
//! [`Permanent`]: observer_core::ErrorKind::Permanent
//! [`Unauthenticated`]: observer_core::ErrorKind::Unauthenticated
//! [`Denied`]: observer_core::ErrorKind::Denied
//! [`Blocked`]: observer_core::ErrorKind::Blocked
//!
//! A 207 has the form of the responses of an observer's `/v1/events`. Events with a status of
//! failure are rejected, with the reason that the destination gives; those that may be accepted
//! later are sent again.
//!
//! Error messages contain the first 300 characters of the destination's response. Of the URL they
//! contain scheme, host and port. Tokens, passwords, header values, the query and long segments of
//! the path are redacted where the destination repeats them.
//!
//! # Order and repeats
//!
//! One request is in flight at a time. If a delivery fails after the destination accepted some of
//! its events, the error names them ([`SinkError::accepted`](observer_core::SinkError::accepted)),
//! and the pipeline repeats the others only. A crash in between repeats all of them.
//!
//! # Limits
//!
//! - HTTP/1.1, and HTTP/2 over TLS. An HTTP/2 connection whose peer answers no ping within 25 s is
//!   closed.
//! - No timeout for a single request except `connect_timeout`: the pipeline bounds a delivery by
//!   the sink's `timeout`. With one event in a request, a delivery is one request. After a
//!   cancelled delivery, the next one opens a new connection.
//! - Proxies come from `HTTP_PROXY`, `HTTPS_PROXY`, `ALL_PROXY` and `NO_PROXY` only. SOCKS proxies
//!   are not supported.

mod body;
mod client;
mod config;
mod encode;
mod items;
mod response;
mod settings;
mod sign;
mod sink;
mod template;
#[cfg(test)]
mod testing;

pub use config::{Body, Check, Compression, HttpConfig, Method, Signing};
pub use observer_http_client::{Auth, Secret, Tls};
pub use sink::HttpSink;
