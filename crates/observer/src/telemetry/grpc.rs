//! OTLP over gRPC: a channel for the exporters.

use std::error::Error;
use std::fs;
use std::path::Path;

use observer_core::{SinkError, report};
use observer_http_client::{Destination, Tls};
use opentelemetry_proto::tonic::collector::logs::v1::logs_service_client::LogsServiceClient;
use opentelemetry_proto::tonic::collector::metrics::v1::metrics_service_client::MetricsServiceClient;
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_client::TraceServiceClient;
use reqwest::header::HeaderMap;
use tonic::metadata::MetadataMap;
use tonic::service::Interceptor;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};
use tonic::{Request, Status};

use super::settings::Target;
use crate::config::Signal;

/// Reads the files of `tls`, and connects to nothing.
///
/// # Errors
/// A file that can't be used.
pub(super) fn channel(target: &Target) -> Result<Channel, SinkError> {
    Ok(endpoint(target)?.connect_lazy())
}

/// Send an export of nothing, to know whether that works.
pub(super) async fn send_nothing(target: &Target) -> Result<(), SinkError> {
    let channel = channel(target)?;
    let answer = match target.signal {
        Signal::Traces => TraceServiceClient::new(channel).export(nothing(target)).await.map(drop),
        Signal::Metrics => {
            MetricsServiceClient::new(channel).export(nothing(target)).await.map(drop)
        }
        Signal::Logs => LogsServiceClient::new(channel).export(nothing(target)).await.map(drop),
    };
    let shown = Destination::new("telemetry.endpoint", &target.url, &target.headers, []);
    answer.map_err(|status| {
        let origin = shown.origin();
        SinkError::blocked(match status.source() {
            // There is no answer, and tonic's own words don't say why.
            Some(error) => format!("{origin} gives no answer: {}", shown.excerpt(&report(error))),
            None => {
                format!("{origin} answers {:?}: {}", status.code(), shown.excerpt(status.message()))
            }
        })
    })
}

fn nothing<T: Default>(target: &Target) -> Request<T> {
    let mut request = Request::new(T::default());
    *request.metadata_mut() = MetadataMap::from_headers(target.headers.clone());
    request
}

fn endpoint(target: &Target) -> Result<Endpoint, SinkError> {
    let endpoint = Endpoint::from_shared(target.url.to_string())
        .and_then(|endpoint| endpoint.user_agent(concat!("observer/", env!("CARGO_PKG_VERSION"))))
        .map_err(SinkError::blocked)?
        .timeout(target.timeout)
        .connect_timeout(target.timeout);
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

/// Puts the headers of the configuration in the place of what the exporter takes from the
/// environment, whatever the file says.
#[derive(Clone)]
pub(super) struct Headers(pub(super) HeaderMap);

impl Interceptor for Headers {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        *request.metadata_mut() = MetadataMap::from_headers(self.0.clone());
        Ok(request)
    }
}
