//! The observer's HTTP interface: events in, and how it is doing.
//!
//! A [`Server`] is HTTP/1.1 around a [`Pipeline`](observer_pipeline::Pipeline). It knows no sink;
//! what sinks export is in the [`Registry`](prometheus::Registry) that it is handed, and it adds
//! the observer's own metrics to it.
//!
//! | | |
//! |---|---|
//! | `POST /event` | one event, or an envelope around one: 200 `{"id","status","durability"}`. `Idempotency-Key` names it |
//! | `POST /v1/events` | lines or an array of events, also in gzip or zstd: 200, 207 with each bad item's index and reason, 422 if all are bad |
//! | `GET /v1/sinks` | each sink: its state, position, backlog, and what became of its events |
//! | `DELETE /v1/sinks/{name}` | forget where a sink stands that is configured no more |
//! | `GET /v1/sinks/{name}/dead-letters` | what a sink refused for good, by pages; with `/{id}`, one letter whole |
//! | `POST /v1/sinks/{name}/dead-letters/replay` | send letters again, to that sink alone: `{"ids":[…]}`, with one id an edited `event` too, or `{"all":true}` |
//! | `DELETE /v1/sinks/{name}/dead-letters` | purge: `?all=true` or `?before=TIME`; with `/{id}`, one |
//! | `GET /metrics` | Prometheus text |
//! | `GET /livez` | 200 while the process answers |
//! | `GET /readyz` | 200 while events are taken, else 503; and, for readers, which sink is parked, and why |
//! | `GET /openapi.json` | all of this as an OpenAPI document |
//! | `POST /-/reload` | have the configuration read again: 200 with what has changed, 422 with what is wrong with it |
//!
//! Errors are problem details (RFC 9457) with a `detail` for people, and the `reason` that the
//! metrics count them under.
//!
//! ```
//! use std::time::Duration;
//!
//! use observer_pipeline::Pipeline;
//! use observer_server::{Server, ServerOptions};
//! use tokio::io::{AsyncReadExt, AsyncWriteExt};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let pipeline = Pipeline::builder().start().await?;
//! let options = ServerOptions { listen: vec!["127.0.0.1:0".into()], ..ServerOptions::default() };
//! let server = Server::bind(options, pipeline.clone(), prometheus::Registry::new()).await?;
//! let address = server.local_addrs()[0];
//! let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
//! let running = tokio::spawn(server.run(async { stopped.await.unwrap_or_default() }, Duration::from_secs(10)));
//!
//! let event = r#"{"source":"job","event_kind":"ok","ok":true}"#;
//! let mut client = tokio::net::TcpStream::connect(address).await?;
//! let request = format!("POST /event HTTP/1.0\r\ncontent-length: {}\r\n\r\n{event}", event.len());
//! client.write_all(request.as_bytes()).await?;
//! let mut answer = String::new();
//! client.read_to_string(&mut answer).await?;
//! assert!(answer.starts_with("HTTP/1.0 200 OK"), "{answer}");
//! assert!(answer.ends_with(r#""status":"accepted","durability":"fsync"}"#), "{answer}");
//!
//! stop.send(()).expect("the server runs");
//! running.await?;
//! pipeline.shutdown(Duration::from_secs(10)).await;
//! # Ok(())
//! # }
//! ```
//!
//! Who may do what is said by [`Access`]: sending events takes the scope `ingest`, asking takes
//! `read`, and all else that changes something takes `admin`. The header `Host` has to name an
//! address, `localhost` or a name that is known, and a body has to say that it is JSON, so that no
//! page in a browser can act in the name of the machine that it is shown on.
//!
//! TLS, with or without certificates of clients, has addresses of its own ([`TlsOptions`]); its
//! files can be read again at any time ([`TlsHandle`]).
//!
//! What a server does to stay up: handshakes, heads and bodies have a time limit, and bodies and
//! buffers a size limit ([`ServerOptions`]). One connection more than there may be is answered with
//! 503 at once, rather than left waiting. When the operating system has no more sockets, accepting
//! pauses and goes on. A request that is refused before it was read is read on for a moment, so
//! that the answer arrives.

mod connection;
mod metrics;
mod options;
mod problem;
mod rejection;
mod reload;
mod request;
mod routes;
mod security_headers;
mod server;
mod settings;
mod state;
#[cfg(test)]
mod tests;

pub use connection::bind::BindError;
pub use connection::tls;
pub use connection::tls::{TlsError, TlsHandle, TlsOptions};
pub use options::ServerOptions;
pub use reload::{ReloadError, ReloadHandler, ReloadReport};
pub use request::access::{Access, InvalidDigest, Rate, Scope, Scopes, Token, TokenDigest};
pub use routes::router;
pub use server::{MetricsGuard, Server};
pub use settings::SettingsHandle;
