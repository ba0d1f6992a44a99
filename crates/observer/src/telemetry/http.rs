//! HTTP client for OTLP over HTTP.

use std::fmt;
use std::io::Write;
use std::sync::Arc;

use async_trait::async_trait;
use flate2::Compression as Level;
use flate2::write::GzEncoder;
use observer_core::SinkError;
use observer_http_client::{
    Connections, Destination, RESPONSE_PATIENCE, ResponseBody, build_client, client_builder,
    is_protocol_mismatch, transport_error,
};
use observer_sink_otlp::Compression;
use opentelemetry_http::{Bytes, HttpClient, HttpError, Request, Response};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceResponse;
use prost::Message;
use reqwest::StatusCode;
use reqwest::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderValue};
use tokio::runtime::Handle;

use super::settings::Target;
use super::stats::ExportStats;

/// Limit of the response body that is read, in bytes.
const MAX_RESPONSE: usize = 64 << 10;

/// Client that sends the requests of exporters on the runtime of the observer. The exporters block
/// on threads of the SDK.
#[derive(Clone)]
pub(super) struct Http {
    connections: Arc<Connections>,
    runtime: Handle,
    headers: HeaderMap,
    compression: Compression,
    destination: Destination,
    stats: Arc<ExportStats>,
}

impl Http {
    /// Creates a client that connects on first use. Reads the files of `tls`.
    ///
    /// # Errors
    /// If a file can't be used.
    pub(super) fn new(
        target: &Target,
        runtime: Handle,
        stats: Arc<ExportStats>,
    ) -> Result<Self, SinkError> {
        let (is_https, tls, timeout) =
            (target.url.scheme() == "https", target.tls.clone(), target.timeout);
        let connections = Connections::built(move || {
            let client = client_builder(is_https.then_some(&tls), timeout)?;
            build_client(client.timeout(timeout))
        })?;
        let destination = Destination::new("telemetry.endpoint", &target.url, &target.headers, []);
        Ok(Self {
            connections: Arc::new(connections),
            runtime,
            headers: target.headers.clone(),
            compression: target.compression,
            destination,
            stats,
        })
    }

    async fn exchange(self, request: reqwest::Request) -> Result<Response<Bytes>, HttpError> {
        let client = self.connections.client().await.map_err(|error| error.report())?;
        let sent = self.connections.exchange(client.execute(request)).await;
        let mut received = sent.map_err(|error| -> HttpError {
            // A connection that a request timed out on is used for no other.
            self.connections.close();
            let reason = describe_error(&error, &self.destination);
            self.stats.record_reason(reason.clone());
            reason.into()
        })?;
        let (status, headers) = (received.status(), std::mem::take(received.headers_mut()));
        let body = ResponseBody::read(received, MAX_RESPONSE, RESPONSE_PATIENCE).await;
        self.record(status, &body.bytes);
        let mut response = Response::new(body.bytes.into());
        *response.status_mut() = status;
        *response.headers_mut() = headers;
        Ok(response)
    }

    /// Records the parts of a response that the exporter ignores.
    fn record(&self, status: StatusCode, body: &[u8]) {
        if !status.is_success() {
            let detail = self.destination.excerpt(&String::from_utf8_lossy(body));
            let reason = format!("{} responded with {status}: {detail}", self.destination.origin());
            self.stats.record_reason(reason);
            return;
        }
        // The responses of all signals have the same encoding.
        let partial = ExportTraceServiceResponse::decode(body)
            .ok()
            .and_then(|response| response.partial_success);
        if let Some(partial) = partial {
            let count = usize::try_from(partial.rejected_spans).unwrap_or(0);
            self.stats.record_rejected(count, &self.destination.excerpt(&partial.error_message));
        }
    }
}

/// Describes a transport error, with a remedy.
pub(super) fn describe_error(error: &reqwest::Error, destination: &Destination) -> String {
    let report = transport_error(error, destination).report();
    if !is_protocol_mismatch(&report) {
        return report;
    }
    format!(
        "{report}; for a gRPC endpoint (usually port 4317) set telemetry.protocol = \"grpc\", \
         for TLS use https://"
    )
}

#[async_trait]
impl HttpClient for Http {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let (mut head, mut body) = request.into_parts();
        // The exporter reads further headers from the environment, and the settings take
        // precedence.
        let content_type = head.headers.remove(CONTENT_TYPE);
        head.headers = self.headers.clone();
        head.headers.extend(content_type.map(|value| (CONTENT_TYPE, value)));
        if self.compression == Compression::Gzip {
            let mut encoder = GzEncoder::new(Vec::with_capacity(body.len() / 4), Level::fast());
            encoder.write_all(&body)?;
            body = encoder.finish()?.into();
            head.headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        }
        let request = Request::from_parts(head, body).try_into()?;
        self.runtime.spawn(self.clone().exchange(request)).await?
    }
}

impl fmt::Debug for Http {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Http").field("destination", &self.destination).finish_non_exhaustive()
    }
}
