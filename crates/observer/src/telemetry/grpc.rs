//! OTLP over gRPC: a channel for the exporters.

use std::fs;
use std::path::Path;

use observer_core::SinkError;
use observer_net::Tls;
use reqwest::header::HeaderMap;
use tonic::metadata::MetadataMap;
use tonic::service::Interceptor;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};
use tonic::{Request, Status};

use super::settings::Target;

/// Reads the files of `tls`, and connects to nothing.
///
/// # Errors
/// A file that can't be used.
pub(super) fn channel(target: &Target) -> Result<Channel, SinkError> {
    Ok(endpoint(target)?.connect_lazy())
}

/// Connect once, to know whether that works.
pub(super) async fn connect(target: &Target) -> Result<(), SinkError> {
    endpoint(target)?.connect().await.map(drop).map_err(SinkError::transient)
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
    fs::read(path).map_err(|error| SinkError::blocked(format!("`{key}`: {} can't be read: {error}", path.display())))
}

/// Puts the headers of the configuration in the place of what the exporter takes from the environment, whatever the file says.
#[derive(Clone)]
pub(super) struct Headers(pub(super) HeaderMap);

impl Interceptor for Headers {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        *request.metadata_mut() = MetadataMap::from_headers(self.0.clone());
        Ok(request)
    }
}
