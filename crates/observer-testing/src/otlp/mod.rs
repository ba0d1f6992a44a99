//! A receiver of OTLP, over gRPC and over HTTP, that does as it is told.

mod connection;
mod grpc;
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

/// A collector on a port of its own that answers as a script says, and keeps all that it was sent:
/// logs, traces and metrics, by gRPC and by POSTs of protobuf, plain or with gzip.
///
/// It needs a tokio runtime, and ends when it is dropped. The script is for exports; a request to
/// anywhere else is told that nothing is there.
///
/// ```
/// use observer_testing::otlp::{Reply, OtlpReceiver, attribute};
/// use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
/// use opentelemetry_proto::tonic::collector::logs::v1::logs_service_client::LogsServiceClient;
/// use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
/// use tonic::Code;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let receiver = OtlpReceiver::scripted([Reply::status(Code::Unavailable, "starting"), Reply::partial_success(1, "too old")]);
/// let mut client = LogsServiceClient::connect(receiver.url("")).await?;
/// let log_records = ["a", "b"].map(|name| LogRecord { event_name: name.to_owned(), ..LogRecord::default() }).to_vec();
/// let scope_logs = vec![ScopeLogs { log_records, ..ScopeLogs::default() }];
/// let request = ExportLogsServiceRequest { resource_logs: vec![ResourceLogs { scope_logs, ..ResourceLogs::default() }] };
///
/// let refused = client.export(request.clone()).await.unwrap_err();
/// assert_eq!((refused.code(), refused.message()), (Code::Unavailable, "starting"));
/// let taken = client.export(request).await?.into_inner();
/// assert_eq!(taken.partial_success.map(|partial| partial.rejected_log_records), Some(1));
///
/// assert_eq!(receiver.wait_for_requests(2).await[1].payload.log_records().len(), 2);
/// assert_eq!(receiver.log_records()[..], [LogRecord { event_name: "a".to_owned(), ..LogRecord::default() }]);
/// # Ok(())
/// # }
/// ```
pub struct OtlpReceiver {
    port: Port,
    scheme: &'static str,
    script: Arc<Script<Reply, ReceivedRequest>>,
}

impl OtlpReceiver {
    /// A receiver that accepts everything.
    ///
    /// # Panics
    /// If there is no port, and outside a tokio runtime.
    #[must_use]
    pub fn start() -> Self {
        Self::scripted([])
    }

    /// A receiver that gives one of these answers to each export, in order, and accepts all that
    /// come later.
    ///
    /// # Panics
    /// If there is no port, and outside a tokio runtime.
    #[must_use]
    pub fn scripted(script: impl IntoIterator<Item = Reply>) -> Self {
        Self::new(script, None)
    }

    /// The same over TLS, and nothing else.
    ///
    /// # Panics
    /// If there is no port, and outside a tokio runtime.
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

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.port.address()
    }

    /// `http://127.0.0.1:PORT`, or `https` over TLS, and the path, which begins with a slash. gRPC
    /// takes it without one.
    #[must_use]
    pub fn url(&self, path: &str) -> String {
        format!("{}://{}{path}", self.scheme, self.address())
    }

    /// How many connections there were so far, those that have ended among them.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.port.connections()
    }

    /// One more answer at the end of the script.
    pub fn enqueue(&self, answer: Reply) {
        self.script.enqueue(answer);
    }

    /// How all are answered for whom the script has nothing.
    pub fn set_default_reply(&self, answer: Reply) {
        self.script.set_default_reply(answer);
    }

    /// All requests so far, in the order in which they were complete.
    #[must_use]
    pub fn requests(&self) -> Vec<ReceivedRequest> {
        self.script.requests()
    }

    /// All requests, once there are so many.
    ///
    /// # Panics
    /// If they don't come within 30 s, with those that came.
    pub async fn wait_for_requests(&self, count: usize) -> Vec<ReceivedRequest> {
        self.script.wait_for_requests(count).await
    }

    /// The log records that the receiver took, in order, repeats and all: what an acknowledgement
    /// stands for, and what was cut off just before it.
    #[must_use]
    pub fn log_records(&self) -> Vec<LogRecord> {
        self.script.collect(|request| {
            request.accepted_log_records().into_iter().cloned().collect::<Vec<_>>()
        })
    }

    /// The spans that the receiver took, in order, repeats and all.
    #[must_use]
    pub fn spans(&self) -> Vec<Span> {
        self.script
            .collect(|request| request.accepted_spans().into_iter().cloned().collect::<Vec<_>>())
    }

    /// The ids of the events whose log record or span the receiver took, in order, repeats and all.
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

    /// The same as a [`Destination`](crate::Destination) tells it.
    #[must_use]
    pub fn contents(&self, signal: Signal) -> Contents {
        Contents::Events(
            self.event_ids(signal).into_iter().map(|id| StoredEvent { id, raw: None }).collect(),
        )
    }

    /// End all connections that there are; who connects anew is served.
    pub async fn close_connections(&self) {
        self.port.close_connections().await;
    }

    /// Let go of the port and of all connections: whoever comes now is refused.
    pub async fn stop(&self) {
        self.port.stop().await;
    }

    /// Listen on the same port again.
    ///
    /// # Panics
    /// If someone else has taken it, and outside a tokio runtime.
    pub fn restart(&self) {
        self.port.restart();
    }
}

impl fmt::Debug for OtlpReceiver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OtlpReceiver").field("address", &self.address()).finish_non_exhaustive()
    }
}
