//! A sink of the observer that sends events in HTTP requests: webhooks, batches, another observer.
//!
//! In the observer's configuration the sink is `type = "http"`, see [`HttpConfig`]; in a program of
//! your own:
//!
//! ```no_run
//! use std::sync::Arc;
//!
//! use observer_core::{Batch, Envelope, Event, EventSink, Timestamp, Uuid};
//! use observer_sink_http::{Auth, Body, HttpConfig, HttpSink};
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let config = HttpConfig::new("https://hooks.example.com/agents").body(Body::Ndjson).auth(Auth::bearer("t0ken"));
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
//! # What is sent
//!
//! | `body` | | `Content-Type` |
//! |---|---|---|
//! | `array` | envelopes in a JSON array | `application/json` |
//! | `ndjson` | envelopes, one a line: what an observer takes at `/v1/events` | `application/x-ndjson` |
//! | `envelope` | one envelope a request | `application/json` |
//! | `event` | one event a request, as its producer sent it | `application/json` |
//!
//! Each request has a `webhook-id`: the event's id, or where there are several a hash of their ids.
//! A repeat of a request has the same one, so that a far side can tell. `Idempotency-Key`, which
//! not all far sides want, has the same value. With `signing` there are also `webhook-timestamp`
//! and `webhook-signature`.
//!
//! The signature is that of the body as it is sent. Standard Webhooks speaks of the payload, and
//! not of `Content-Encoding`: with `compression`, the compressed bytes are signed, so that the far
//! side can check them before it unpacks them. A framework that hands over nothing but the unpacked
//! body can't check such a signature, and wants `compression = "none"`.
//!
//! # What answers mean
//!
//! | | |
//! |---|---|
//! | 2xx | accepted |
//! | 207 | each event of a batch has its own status, as in the answers of an observer's `/v1/events`: the bad ones are rejected, with what is said of them |
//! | 408, 425, 429, 5xx, no answer | the same again, after `Retry-After` where there is one |
//! | 413 | half of the batch again |
//! | 400, 422 | refused for good: the batch is halved until the bad event stands alone |
//! | all else, redirects that are not followed, TLS that can't be, and a host that nobody knows | the sink is parked, and no event is given up |
//!
//! The first 300 characters of what the far side says are part of the reason that people see. Of
//! the URL they see scheme, host and port; tokens, passwords, header values, the query and long
//! parts of the path are taken out where the far side repeats them.
//!
//! # Order, and repeats
//!
//! One request is under way at a time. Where a delivery fails after some of its events were
//! accepted (one event a request, or a 207), the sink knows which, and the next try leaves them
//! out; a restart in between repeats them.
//!
//! # What it does not do
//!
//! It speaks HTTP/1.1 and, where the program links it in, HTTP/2. There is no timeout for a single
//! request but `connect_timeout`: the pipeline bounds the delivery, by every sink's `timeout`.
//! Proxies are those of `HTTP_PROXY`, `HTTPS_PROXY`, `ALL_PROXY` and `NO_PROXY`.

mod accepted;
mod answer;
mod client;
mod config;
mod encode;
mod items;
mod settings;
mod sign;
mod sink;
mod template;
#[cfg(test)]
mod testing;

pub use config::{Body, Check, Compression, HttpConfig, Method, Signing};
pub use observer_http_client::{Auth, Secret, Tls};
pub use sink::HttpSink;
