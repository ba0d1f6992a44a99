//! What a server can be told.

use std::time::Duration;

use crate::connection::tls::TlsOptions;
use crate::request::access::Access;

/// What a server can be told.
///
/// ```
/// use observer_server::ServerOptions;
///
/// let options = ServerOptions { listen: vec!["127.0.0.1:0".into()], max_body: 64 << 10, ..ServerOptions::default() };
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerOptions {
    /// Where to listen, as `host:port`; port 0 takes any that is free. Of a host name, every
    /// address.
    pub listen: Vec<String>,
    /// Where to listen for TLS too; then `listen` may be empty.
    pub tls: Option<TlsOptions>,
    /// How many bytes the body of `POST /event` may have.
    pub max_body: usize,
    /// How many bytes the body of `POST /v1/events` may have, compressed as well as after
    /// decompression.
    pub max_batch_body: usize,
    /// How many events it may have.
    pub max_batch_events: usize,
    /// How long the head of a request may take, and before it a TLS handshake; and how long a
    /// connection may be idle between two requests.
    pub header_timeout: Duration,
    /// How long a body may take, from its first byte to its last.
    pub body_timeout: Duration,
    /// How many connections there may be at once. One more is answered with 503 and closed; on a
    /// TLS address it is just closed.
    pub max_connections: usize,
    /// How many requests may be worked on at once. One more is answered with 429.
    pub max_requests_in_flight: usize,
    /// How many bytes the bodies of these may have together, as they came and decompressed. What
    /// has no room is answered with 429.
    pub max_bytes_in_flight: usize,
    /// Who may do what.
    pub access: Access,
    /// The host names that requests may name, beside `localhost` and addresses; `*` for any.
    pub hosts: Vec<String>,
    /// The origins whose pages may ask for things (CORS), such as `https://grafana.example.com`.
    pub cors_origins: Vec<String>,
}

impl Default for ServerOptions {
    /// Port 3800 on both loopbacks, events of 1 MiB, batches of 16 MiB and 10,000 events, 10 s, 10
    /// s, 4,096 connections and requests with 32 MiB in flight, for everyone who comes to this
    /// address, and no pages of other sites.
    fn default() -> Self {
        Self {
            listen: vec!["127.0.0.1:3800".into(), "[::1]:3800".into()],
            tls: None,
            max_body: 1 << 20,
            max_batch_body: 16 << 20,
            max_batch_events: 10_000,
            header_timeout: Duration::from_secs(10),
            body_timeout: Duration::from_secs(10),
            max_connections: 4_096,
            max_requests_in_flight: 4_096,
            max_bytes_in_flight: 32 << 20,
            access: Access::default(),
            hosts: Vec::new(),
            cors_origins: Vec::new(),
        }
    }
}
