//! Channel for OTLP over gRPC.

use std::error::Error;
use std::fs;
use std::path::Path;
use std::time::Duration;

use observer_core::{SinkError, report};
use observer_http_client::{Destination, Tls};
use opentelemetry_proto::tonic::collector::logs::v1::logs_service_client::LogsServiceClient;
use opentelemetry_proto::tonic::collector::metrics::v1::metrics_service_client::MetricsServiceClient;
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_client::TraceServiceClient;
use reqwest::header::HeaderMap;
use tokio::sync::mpsc::Sender;
use tonic::metadata::MetadataMap;
use tonic::service::Interceptor;
use tonic::transport::channel::Change;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};
use tonic::{Request, Status};

use super::settings::Target;
use crate::config::Signal;

/// Time without a frame after which a ping is sent over a connection with open requests.
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(5);

/// Connection of a channel, which can be replaced while the channel is in use.
#[derive(Debug)]
pub(super) struct Connection {
    endpoint: Endpoint,
    changes: Sender<Change<(), Endpoint>>,
}

impl Connection {
    /// Creates a channel that connects on first use, and its connection. Reads the files of `tls`.
    ///
    /// # Errors
    /// If a file can't be used.
    pub(super) fn open(target: &Target) -> Result<(Channel, Self), SinkError> {
        let (channel, changes) = Channel::balance_channel(1);
        let connection = Self { endpoint: endpoint(target)?, changes };
        connection.renew();
        Ok((channel, connection))
    }

    /// Lets the next request open a new connection: a peer that answers pings and no requests
    /// would keep the old one.
    pub(super) fn renew(&self) {
        // If the queue is full, the next request finds a new connection in it already.
        let _ = self.changes.try_send(Change::Insert((), self.endpoint.clone()));
    }
}

/// Sends an empty export.
///
/// # Errors
/// If the collector is unreachable or rejects the export.
pub(super) async fn probe(target: &Target) -> Result<(), SinkError> {
    let channel = endpoint(target)?.connect_lazy();
    let response = match target.signal {
        Signal::Traces => TraceServiceClient::new(channel).export(empty(target)).await.map(drop),
        Signal::Metrics => MetricsServiceClient::new(channel).export(empty(target)).await.map(drop),
        Signal::Logs => LogsServiceClient::new(channel).export(empty(target)).await.map(drop),
    };
    let destination = Destination::new("telemetry.endpoint", &target.url, &target.headers, []);
    response.map_err(|status| {
        let origin = destination.origin();
        SinkError::blocked(match status.source() {
            // A transport error; the message of the status omits its cause.
            Some(error) => {
                format!("{origin} is unreachable: {}", destination.excerpt(&report(error)))
            }
            None => {
                format!(
                    "{origin} responded with {:?}: {}",
                    status.code(),
                    destination.excerpt(status.message())
                )
            }
        })
    })
}

fn empty<T: Default>(target: &Target) -> Request<T> {
    let mut request = Request::new(T::default());
    *request.metadata_mut() = MetadataMap::from_headers(target.headers.clone());
    request
}

fn endpoint(target: &Target) -> Result<Endpoint, SinkError> {
    let endpoint = Endpoint::from_shared(target.url.to_string())
        .and_then(|endpoint| endpoint.user_agent(concat!("observer/", env!("CARGO_PKG_VERSION"))))
        .map_err(SinkError::blocked)?
        .timeout(target.timeout)
        .connect_timeout(target.timeout)
        .http2_keep_alive_interval(KEEP_ALIVE_INTERVAL)
        .keep_alive_timeout(target.timeout);
    if target.url.scheme() != "https" {
        return Ok(endpoint);
    }
    let Tls { ca, cert, key, .. } = &target.tls;
    let mut tls = ClientTlsConfig::new().with_native_roots();
    if let Some(path) = ca {
        tls = tls.ca_certificate(Certificate::from_pem(read("tls.ca", path)?));
    }
    if let (Some(cert), Some(key)) = (cert, key) {
        tls = tls.identity(Identity::from_pem(read("tls.cert", cert)?, read("tls.key", key)?));
    }
    endpoint.tls_config(tls).map_err(SinkError::blocked)
}

fn read(key: &str, path: &Path) -> Result<Vec<u8>, SinkError> {
    fs::read(path).map_err(|error| {
        SinkError::blocked(format!("`{key}`: {} can't be read: {error}", path.display()))
    })
}

/// Interceptor that replaces the headers which the exporter reads from the environment by those of
/// the settings.
#[derive(Clone)]
pub(super) struct Headers(pub(super) HeaderMap);

impl Interceptor for Headers {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        *request.metadata_mut() = MetadataMap::from_headers(self.0.clone());
        Ok(request)
    }
}
