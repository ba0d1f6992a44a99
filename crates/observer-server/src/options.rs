//! Options of a server.

use std::path::PathBuf;
use std::time::Duration;

use observer_core::ParseOptions;

use crate::request::access::Access;
use crate::request::body::event::Oversize;
use crate::request::body::partial_status::PartialStatus;
use crate::tls::TlsOptions;

/// Options of a server.
///
/// ```
/// use observer_server::ServerOptions;
///
/// let options = ServerOptions {
///     listen: vec!["127.0.0.1:0".into()],
///     max_body: 64 << 10,
///     ..ServerOptions::default()
/// };
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerOptions {
    /// Addresses to listen on, as `host:port`. Port 0 selects a free port; a host name stands for
    /// all of its addresses.
    pub listen: Vec<String>,
    /// Addresses and files of TLS, if any. `listen` may then be empty.
    pub tls: Option<TlsOptions>,
    /// Options of the parser of events.
    pub parse: ParseOptions,
    /// Reaction to an event that is larger than `max_body`.
    pub oversize: Oversize,
    /// Status of a batch of which some items are rejected, unless its request demands another.
    pub partial_status: PartialStatus,
    /// Limit of a stored event, in bytes.
    pub max_body: usize,
    /// Limit of a body in bytes, compressed as well as decompressed. A single event may have
    /// `max_body` bytes even if this is smaller.
    pub max_batch_body: usize,
    /// Limit of the events in the body of `POST /v1/events`.
    pub max_batch_events: usize,
    /// Time for a TLS handshake, for the head of a request, and for which a connection may be idle
    /// between two requests.
    pub header_timeout: Duration,
    /// Time for the body of a request.
    pub body_timeout: Duration,
    /// Rate at which a body has to arrive after its first 5 s, in bytes per second; 0 for any.
    pub min_body_rate: u64,
    /// Time within which a client has to accept some bytes of a response that is being sent.
    pub write_timeout: Duration,
    /// Limit of open connections. A further one takes the place of an idle one. Without an idle one,
    /// a few more are served for one request that is a health probe, `GET /metrics`, or has a body of
    /// at most 64 KiB; others get a 503 response.
    pub max_connections: usize,
    /// Limit of requests in flight. Further ones get a 429 response.
    pub max_requests_in_flight: usize,
    /// Limit of queries in flight. Further ones get a 503 response.
    pub max_queries_in_flight: usize,
    /// Limit of open streams of events. Further ones get a 503 response.
    pub max_streams: usize,
    /// Limit of the bytes that the bodies of the requests in flight hold together, received and
    /// decompressed. Further ones get a 429 response. While more than half is in use, a client gets
    /// no more than its share, and a part is reserved for bodies of up to 64 KiB. The responses that
    /// are being sent have a budget of the same size; further ones are replaced by a 503 response.
    pub max_bytes_in_flight: usize,
    /// Access control.
    pub access: Access,
    /// Path of a Unix socket whose callers have all scopes without a token, if any. Only the user
    /// of this process can connect to it. If it can't be bound, the server starts without it and
    /// logs a warning.
    pub admin_socket: Option<PathBuf>,
    /// Host names that requests may name in addition to `localhost` and addresses; `*` accepts any.
    pub hosts: Vec<String>,
    /// Origins that may send cross-origin requests (CORS), such as `https://grafana.example.com`.
    pub cors_origins: Vec<String>,
    /// Folder with a folder of state for each sink, if any. A sink that is forgotten loses its own.
    pub sink_state: Option<PathBuf>,
}

impl Default for ServerOptions {
    /// Returns the defaults: port 3800 on both loopback addresses without TLS, lenient parsing,
    /// events of 1 MiB, of which larger ones are trimmed, batches of 16 MiB and 10,000 events,
    /// timeouts of 10 s, bodies of at least 1 KiB a second, 4,096 connections, 4,096 requests, 256
    /// queries and 32 MiB in flight, 1,000 streams, every scope but `admin` for every client, no
    /// admin socket, and no cross-origin requests.
    fn default() -> Self {
        Self {
            listen: vec!["127.0.0.1:3800".into(), "[::1]:3800".into()],
            tls: None,
            parse: ParseOptions::default(),
            oversize: Oversize::default(),
            partial_status: PartialStatus::default(),
            max_body: 1 << 20,
            max_batch_body: 16 << 20,
            max_batch_events: 10_000,
            header_timeout: Duration::from_secs(10),
            body_timeout: Duration::from_secs(10),
            min_body_rate: 1 << 10,
            write_timeout: Duration::from_secs(10),
            max_connections: 4_096,
            max_requests_in_flight: 4_096,
            max_queries_in_flight: 256,
            max_streams: 1_000,
            max_bytes_in_flight: 32 << 20,
            access: Access::default(),
            admin_socket: None,
            hosts: Vec::new(),
            cors_origins: Vec::new(),
            sink_state: None,
        }
    }
}
