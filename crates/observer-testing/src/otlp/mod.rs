//! OTLP receiver that replies by a script, over gRPC and HTTP.
//!
//! | module | content |
//! |---|---|
//! | `reply` | replies of a script, and what each accepts of a request |
//! | `request`, `payload` | requests as they are recorded, and their decoded messages |
//! | `grpc`, `over_http`, `message` | encoding of both transports |
//! | `serve`, `connection` | connections |

mod connection;
mod grpc;
mod message;
mod over_http;
mod payload;
mod reply;
mod request;
mod serve;

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use observer_core::Uuid;
use opentelemetry_proto::tonic::logs::v1::LogRecord;
use opentelemetry_proto::tonic::trace::v1::Span;
use tokio_rustls::TlsAcceptor;

pub use self::payload::{EVENT_ID, Payload, Signal, attribute};
pub use self::reply::Reply;
pub use self::request::{ReceivedRequest, Transport};
use crate::contract::{Contents, StoredEvent};
pub use crate::delay::Gate;
use crate::port::Port;
use crate::script::Script;
use crate::tls::ServerTls;

/// OTLP server on a local port that replies by a script and records each request.
///
/// It receives logs, traces and metrics over OTLP/gRPC and OTLP/HTTP with Protobuf, uncompressed or
/// with gzip. The script is for exports: a request to any other path gets `UNIMPLEMENTED` (404)
/// and takes no reply from the script.
///
/// It needs a tokio runtime. Dropping it closes the port and all connections.
///
/// ```
/// use observer_testing::otlp::{OtlpReceiver, Reply};
/// use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
/// use opentelemetry_proto::tonic::collector::logs::v1::logs_service_client::LogsServiceClient;
/// use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
/// use tonic::Code;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let unavailable = Reply::status(Code::Unavailable, "starting");
/// let receiver = OtlpReceiver::scripted([unavailable, Reply::partial_success(1, "too old")]);
/// let mut client = LogsServiceClient::connect(receiver.url("")).await?;
/// let record = |name: &str| LogRecord { event_name: name.to_owned(), ..LogRecord::default() };
/// let log_records = vec![record("a"), record("b")];
/// let scope_logs = vec![ScopeLogs { log_records, ..ScopeLogs::default() }];
/// let resource_logs = vec![ResourceLogs { scope_logs, ..ResourceLogs::default() }];
/// let request = ExportLogsServiceRequest { resource_logs };
///
/// let refused = client.export(request.clone()).await.unwrap_err();
/// assert_eq!((refused.code(), refused.message()), (Code::Unavailable, "starting"));
/// let response = client.export(request).await?.into_inner();
/// assert_eq!(response.partial_success.map(|partial| partial.rejected_log_records), Some(1));
///
/// assert_eq!(receiver.wait_for_requests(2).await[1].payload.log_records().len(), 2);
/// assert_eq!(receiver.log_records()[..], [record("a")]);
/// # Ok(())
/// # }
/// ```
pub struct OtlpReceiver {
    port: Port,
    scheme: &'static str,
    script: Arc<Script<Reply, ReceivedRequest>>,
}

impl OtlpReceiver {
    /// Starts a receiver that accepts every request.
    ///
    /// # Panics
    /// If no port is free, and outside a tokio runtime.
    #[must_use]
    pub fn start() -> Self {
        Self::scripted([])
    }

    /// Starts a receiver that gives one of these replies to each export, in order, and accepts all
    /// later exports.
    ///
    /// # Panics
    /// If no port is free, and outside a tokio runtime.
    #[must_use]
    pub fn scripted(script: impl IntoIterator<Item = Reply>) -> Self {
        Self::new(script, None)
    }

    /// Starts a scripted receiver that accepts TLS connections only.
    ///
    /// # Panics
    /// If no port is free, and outside a tokio runtime.
    #[must_use]
    pub fn over_tls(tls: ServerTls, script: impl IntoIterator<Item = Reply>) -> Self {
        Self::new(script, Some(TlsAcceptor::from(tls.config())))
    }

    fn new(script: impl IntoIterator<Item = Reply>, tls: Option<TlsAcceptor>) -> Self {
        let script = Arc::new(Script::new(script, Reply::accept()));
        let scheme = if tls.is_some() { "https" } else { "http" };
        let port = Port::open({
            let script = Arc::clone(&script);
            move |stream| Box::pin(serve::connection(stream, tls.clone(), Arc::clone(&script)))
        });
        Self { port, scheme, script }
    }

    /// Returns the address of the listener.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.port.address()
    }

    /// Returns `http://127.0.0.1:PORT`, or `https://…` over TLS, followed by `path`.
    ///
    /// The path begins with a slash; for gRPC it is empty.
    #[must_use]
    pub fn url(&self, path: &str) -> String {
        format!("{}://{}{path}", self.scheme, self.address())
    }

    /// Returns the number of connections so far, open and closed.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.port.connections()
    }

    /// Appends a reply to the script.
    pub fn enqueue(&self, reply: Reply) {
        self.script.enqueue(reply);
    }

    /// Sets the reply to all exports after the end of the script.
    pub fn set_default_reply(&self, reply: Reply) {
        self.script.set_default_reply(reply);
    }

    /// Returns all requests so far, in the order in which they were complete.
    #[must_use]
    pub fn requests(&self) -> Vec<ReceivedRequest> {
        self.script.requests()
    }

    /// Returns the requests since the last call, and forgets them, so that a long test needs no
    /// memory for them.
    #[must_use]
    pub fn take_requests(&self) -> Vec<ReceivedRequest> {
        self.script.take_requests()
    }

    /// Waits until the receiver has this number of requests, and returns all.
    ///
    /// # Panics
    /// If they do not arrive within 30 s; the message lists the requests so far.
    pub async fn wait_for_requests(&self, count: usize) -> Vec<ReceivedRequest> {
        self.script.wait_for_requests(count).await
    }

    /// Returns the log records that the receiver accepted, in order, repeats included.
    ///
    /// They count as accepted even if the connection was closed before the response.
    #[must_use]
    pub fn log_records(&self) -> Vec<LogRecord> {
        self.script.collect(|request| {
            request.accepted_log_records().into_iter().cloned().collect::<Vec<_>>()
        })
    }

    /// Returns the spans that the receiver accepted, in order, repeats included.
    #[must_use]
    pub fn spans(&self) -> Vec<Span> {
        self.script
            .collect(|request| request.accepted_spans().into_iter().cloned().collect::<Vec<_>>())
    }

    /// Returns the event ids of the log records or spans that the receiver accepted, in order,
    /// repeats included.
    #[must_use]
    pub fn event_ids(&self, signal: Signal) -> Vec<Uuid> {
        self.script.collect(|request| {
            if request.payload.signal() == Some(signal) {
                request.accepted_event_ids()
            } else {
                Vec::new()
            }
        })
    }

    /// Returns the accepted events as the contents of a [`Destination`](crate::Destination).
    #[must_use]
    pub fn contents(&self, signal: Signal) -> Contents {
        Contents::Events(
            self.event_ids(signal).into_iter().map(|id| StoredEvent { id, raw: None }).collect(),
        )
    }

    /// Closes all open connections. The receiver continues to accept new ones.
    pub async fn close_connections(&self) {
        self.port.close_connections().await;
    }

    /// Closes the listener and all connections, so that new connections are refused.
    pub async fn stop(&self) {
        self.port.stop().await;
    }

    /// Listens on the same port again after [`stop`](Self::stop).
    ///
    /// # Panics
    /// If another process has bound the port, and outside a tokio runtime.
    pub fn restart(&self) {
        self.port.restart();
    }
}

impl fmt::Debug for OtlpReceiver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OtlpReceiver").field("address", &self.address()).finish_non_exhaustive()
    }
}
