//! The observer's HTTP interface: ingest, metrics, health, and administration of sinks.
//!
//! A [`Server`] serves HTTP/1.1 in front of a [`Pipeline`](observer_pipeline::Pipeline). It does
//! not depend on concrete sinks: it reads their status from the pipeline, and exports the metrics
//! that they put into the [`Registry`](prometheus::Registry) of its caller, together with its own.
//!
//! | Route | Purpose |
//! |---|---|
//! | `POST /event` | one event, with or without an envelope |
//! | `POST /v1/events` | a batch, as JSON lines or an array |
//! | `GET /v1/events` | events by filter, newest first |
//! | `GET /v1/events/{id}` | one event, and where each sink stands with it |
//! | `GET /v1/signatures` | problems by state |
//! | `GET /v1/signatures/{sig_hash}` | what happened before on one problem |
//! | `GET /v1/models` | figures of models, and two of them head to head |
//! | `GET /v1/usage` | tokens, cost and time by model, source, day or label |
//! | `GET /v1/diff` | what changed since a moment |
//! | `GET /v1/hints` | attempts with a hint against those without |
//! | `GET /v1/stream` | live events, as server-sent events |
//! | `POST /mcp` | tools of the Model Context Protocol |
//! | `GET /v1/sinks` | status of the sinks |
//! | `DELETE /v1/sinks/{name}` | remove the position and state of a detached sink |
//! | `POST /v1/sinks/{name}/retry` | try a waiting sink now |
//! | `POST /v1/sinks/{name}/adopt` | let a file sink own files that it did not write |
//! | `GET /v1/sinks/{name}/dead-letters` | list dead letters |
//! | `GET /v1/sinks/{name}/dead-letters/{id}` | show one with its event |
//! | `POST /v1/sinks/{name}/dead-letters/replay` | send dead letters again |
//! | `POST /v1/sinks/{name}/dead-letters/divert` | make events that hold a sink dead letters |
//! | `DELETE /v1/sinks/{name}/dead-letters` | purge dead letters |
//! | `DELETE /v1/sinks/{name}/dead-letters/{id}` | purge one |
//! | `POST /v1/sinks/{name}/replay` | replay past events to a sink |
//! | `DELETE /v1/sinks/{name}/replay` | cancel the replay |
//! | `GET /metrics` | metrics in the Prometheus text format |
//! | `GET /livez`, `GET /readyz` | health probes |
//! | `GET /openapi.json` | OpenAPI document of all routes |
//! | `POST /-/reload` | reload the configuration |
//!
//! Errors are problem details (RFC 9457): `detail` has an explanation and a remedy, and `reason` is
//! the label under which the metrics count a rejected event.
//!
//! # Example
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
//! let shutdown = async { stopped.await.unwrap_or_default() };
//! let running = tokio::spawn(server.run(shutdown, Duration::from_secs(10)));
//!
//! let event = r#"{"source":"job","event_kind":"ok","ok":true}"#;
//! let mut client = tokio::net::TcpStream::connect(address).await?;
//! let request = format!("POST /event HTTP/1.0\r\ncontent-length: {}\r\n\r\n{event}", event.len());
//! client.write_all(request.as_bytes()).await?;
//! let mut response = String::new();
//! client.read_to_string(&mut response).await?;
//! assert!(response.starts_with("HTTP/1.0 200 OK"), "{response}");
//! assert!(response.ends_with(r#""status":"accepted","durability":"memory"}"#), "{response}");
//!
//! stop.send(()).expect("the server runs");
//! running.await?;
//! pipeline.shutdown(Duration::from_secs(10)).await;
//! # Ok(())
//! # }
//! ```
//!
//! # Access
//!
//! [`Access`] defines tokens and their scopes: `ingest` for sending events, `relay` for sending
//! those of other observers, `read` for safe methods and the tools of MCP, and `admin` for all
//! other changes. A token may be limited to some sources and to a rate. Callers of the Unix socket
//! [`ServerOptions::admin_socket`] have all scopes without a token. Against DNS rebinding, the
//! header `Host` must name an address, `localhost` or a configured host. Against cross-site
//! requests, a request that changes state must not declare a content type other than JSON, and must
//! declare JSON if it has an `Origin`. The tools of MCP accept only the origins of
//! [`ServerOptions::cors_origins`] and their own.
//!
//! TLS, with or without client certificates, has addresses of its own ([`TlsOptions`]). Its files
//! can be reloaded at run time ([`TlsHandle`]), as can most other settings ([`SettingsHandle`]).
//!
//! # Overload
//!
//! Handshakes, heads and bodies have timeouts, and bodies and buffers have size limits
//! ([`ServerOptions`]). Connections beyond the limit get a 503 response at once. When the
//! operating system has no more sockets, the server retries until accepting works again. After it
//! rejects an unread request, the server discards input for a moment, so that the response arrives.
//!
//! # Modules
//!
//! `connection` accepts connections and serves HTTP on them, [`tls`] loads certificates, `routes`
//! has the route table, the guard and the handlers, `request` checks and reads requests, `metrics`
//! has the observer's own metrics, and `state` is what the handlers share. Dependencies point from
//! `server` to `connection`, to `routes`, to `state`, and from there to `metrics`, `settings`,
//! `request` and `problem`, never back.

mod connection;
mod event_store;
mod metrics;
mod options;
mod problem;
mod reload;
mod request;
mod routes;
mod security_headers;
mod server;
mod settings;
mod state;
#[cfg(test)]
mod tests;
pub mod tls;

pub use connection::bind::{BindError, InheritedSockets, verify_addresses};
pub use event_store::EventStoreHandle;
pub use options::ServerOptions;
pub use reload::{ReloadError, ReloadHandler, ReloadReport};
pub use request::access::{Access, InvalidDigest, Rate, Scope, Scopes, Token, TokenDigest};
pub use request::body::event::Oversize;
pub use request::body::partial_status::PartialStatus;
pub use routes::query::local::{LocalQueries, LocalResponse};
pub use routes::router;
pub use server::{MetricsGuard, Server};
pub use settings::SettingsHandle;
pub use tls::{TlsError, TlsHandle, TlsOptions};
