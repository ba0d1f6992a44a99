//! Export of encoded requests over either protocol.
//!
//! A gRPC call is an HTTP/2 request with a prefix before its message and a status in the trailers
//! ("gRPC over HTTP2"). So one HTTP client serves both protocols, with the same TLS settings,
//! proxies and errors.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use observer_core::SinkError;
use observer_http_client::{
    BodyEnd, Connections, ProxyUse, RESPONSE_PATIENCE, ResponseBody, check_proxy,
    is_protocol_mismatch, transport_error,
};
use reqwest::{Client, Response, StatusCode};
use tonic::Status;

use crate::body::GRPC_PREFIX;
use crate::protocol::Protocol;
use crate::response::{Accepted, ExportResponse, Failure, content_type};
use crate::settings::Settings;
use crate::signal::Signal;

/// Largest part of a response's body that is read, in bytes.
const MAX_RESPONSE: usize = 1 << 20;

pub(crate) struct Exporter {
    settings: Arc<Settings>,
    signal: Signal,
    connections: Connections,
}

impl Exporter {
    pub(crate) fn new(settings: Settings, signal: Signal) -> Self {
        let settings = Arc::new(settings);
        let connections = Connections::new({
            let settings = settings.clone();
            move || build(&settings)
        });
        Self { settings, signal, connections }
    }

    pub(crate) fn settings(&self) -> &Settings {
        &self.settings
    }

    pub(crate) fn connections(&self) -> &Connections {
        &self.connections
    }

    /// Sends a body that [`encode_body`](crate::body::encode_body) made.
    ///
    /// # Errors
    /// If there is no valid response, or it is not OTLP.
    pub(crate) async fn export(&self, body: Bytes) -> Result<ExportResponse, SinkError> {
        let client = self.connections.client().await?;
        let Settings { url, headers, protocol, .. } = &*self.settings;
        let request = client.post(url.clone()).headers(headers.clone()).body(body);
        let exchange = async {
            let response = request.send().await.map_err(|error| self.transport_error(&error))?;
            match protocol {
                Protocol::Grpc => self.grpc_response(response).await,
                Protocol::Http => self.http_response(response).await,
            }
        };
        self.connections.exchange(exchange).await
    }

    async fn grpc_response(&self, response: Response) -> Result<ExportResponse, SinkError> {
        let (status, headers) = (response.status(), response.headers().clone());
        // A "Trailers-Only" response has its status in the headers.
        if let Some(status) = Status::from_header_map(&headers) {
            return self.grpc_status(&status, &[]);
        }
        // The trailers of a 200 have the status of the call, however long that takes. Another
        // response is that of a proxy.
        let patience = if status == StatusCode::OK { Duration::MAX } else { RESPONSE_PATIENCE };
        let body = ResponseBody::read(response, MAX_RESPONSE, patience).await;
        if let Some(status) = body.trailers.as_ref().and_then(Status::from_header_map) {
            return self.grpc_status(&status, &body.bytes);
        }
        if status != StatusCode::OK {
            let failure = Failure::from_http(status, &headers, &body.bytes);
            return Ok(ExportResponse::Failed(failure));
        }
        if let BodyEnd::Cut(error) = &body.end {
            return Err(self.transport_error(error));
        }
        let origin = self.settings.destination.origin();
        Err(match content_type(&headers) {
            "application/grpc" | "application/grpc+proto" => {
                SinkError::failed(format!("the response of {origin} has no gRPC status"))
            }
            other => SinkError::denied(format!(
                "{origin} responded with the content type {other:?}, which is not gRPC; \
                 see `endpoint` and `protocol`"
            )),
        })
    }

    fn grpc_status(&self, status: &Status, body: &[u8]) -> Result<ExportResponse, SinkError> {
        if let Some(failure) = Failure::from_grpc(status) {
            return Ok(ExportResponse::Failed(failure));
        }
        Ok(self.accepted(body.get(GRPC_PREFIX..).unwrap_or_default()))
    }

    async fn http_response(&self, response: Response) -> Result<ExportResponse, SinkError> {
        let (status, headers) = (response.status(), response.headers().clone());
        let body = ResponseBody::read(response, MAX_RESPONSE, RESPONSE_PATIENCE).await;
        if !status.is_success() {
            let failure = Failure::from_http(status, &headers, &body.bytes);
            return Ok(ExportResponse::Failed(failure));
        }
        match content_type(&headers) {
            "text/html" => {
                let origin = self.settings.destination.origin();
                Err(SinkError::denied(format!(
                    "{origin} responded with {} and an HTML page, as a proxy or another server \
                     does; see `endpoint`",
                    status.as_u16()
                )))
            }
            "application/json" if body.is_complete() => {
                Ok(ExportResponse::Accepted(Accepted::decode_json(&body.bytes)))
            }
            "application/x-protobuf" if body.is_complete() => Ok(self.accepted(&body.bytes)),
            // The head of the response says that the request was accepted.
            _ => Ok(ExportResponse::Accepted(Accepted::default())),
        }
    }

    /// Returns the success that this message describes. A message that can't be decoded leaves a
    /// success without details.
    fn accepted(&self, message: &[u8]) -> ExportResponse {
        ExportResponse::Accepted(Accepted::decode(self.signal, message).unwrap_or_else(|error| {
            let message = format!("the response is not valid OTLP: {error}; see `endpoint`");
            Accepted { rejected: 0, message }
        }))
    }

    fn transport_error(&self, error: &reqwest::Error) -> SinkError {
        let described = transport_error(error, &self.settings.destination);
        let report = described.report();
        if !is_protocol_mismatch(&report) {
            return described;
        }
        let hint = match self.settings.protocol {
            Protocol::Grpc => {
                "doesn't speak gRPC, see `protocol` (OTLP/HTTP usually has the port 4318)"
            }
            Protocol::Http => "speaks gRPC, see `protocol` (OTLP/gRPC usually has the port 4317)",
        };
        SinkError::blocked(format!("{report}; perhaps it {hint}, or requires https://"))
    }
}

fn build(settings: &Settings) -> Result<Client, SinkError> {
    let proxy_use = match settings.protocol {
        Protocol::Grpc => ProxyUse::Grpc,
        Protocol::Http => ProxyUse::Http,
    };
    check_proxy(&settings.url, "endpoint", proxy_use)?;
    let client = observer_http_client::client_builder(
        settings.is_https().then_some(&settings.tls),
        settings.connect_timeout,
    )?;
    observer_http_client::build_client(match settings.protocol {
        Protocol::Grpc => client.http2_prior_knowledge(),
        Protocol::Http => client,
    })
}
