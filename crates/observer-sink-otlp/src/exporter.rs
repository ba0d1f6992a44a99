//! Export of encoded requests over either protocol.
//!
//! A gRPC call is an HTTP/2 request with a prefix before its message and a status in the trailers
//! ("gRPC over HTTP2"). So one HTTP client serves both protocols, with the same TLS settings,
//! proxies and errors.

use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use http_body_util::{BodyExt, Collected, Limited};
use observer_core::SinkError;
use observer_http_client::{is_protocol_mismatch, run_blocking, transport_error};
use reqwest::{Client, Response, StatusCode};
use tonic::Status;

use crate::body::GRPC_PREFIX;
use crate::protocol::Protocol;
use crate::response::{Accepted, ExportResponse, Failure, content_type};
use crate::settings::Settings;
use crate::signal::Signal;

/// Limit for the body of a response in bytes.
const MAX_RESPONSE: usize = 1 << 20;

pub(crate) struct Exporter {
    settings: Arc<Settings>,
    signal: Signal,
    /// `None` before the first use, and after `close`.
    client: Mutex<Option<Client>>,
}

impl Exporter {
    pub(crate) fn new(settings: Settings, signal: Signal) -> Self {
        Self { settings: Arc::new(settings), signal, client: Mutex::default() }
    }

    pub(crate) fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Replaces the client, and reads the files of `tls` again.
    pub(crate) async fn renew(&self) -> Result<Client, SinkError> {
        let settings = self.settings.clone();
        let client = run_blocking(move || build(&settings)).await??;
        self.set_client(Some(client.clone()));
        Ok(client)
    }

    /// Drops the client and its connections.
    pub(crate) fn close(&self) {
        self.set_client(None);
    }

    fn set_client(&self, client: Option<Client>) {
        *self.client.lock().unwrap_or_else(PoisonError::into_inner) = client;
    }

    /// Sends a body that [`encode_body`](crate::body::encode_body) made.
    ///
    /// # Errors
    /// If there is no valid response, or it is not OTLP.
    pub(crate) async fn export(&self, body: Bytes) -> Result<ExportResponse, SinkError> {
        let client = self.client.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let client = match client {
            Some(client) => client,
            None => self.renew().await?,
        };
        let Settings { url, headers, protocol, .. } = &*self.settings;
        let request = client.post(url.clone()).headers(headers.clone()).body(body);
        let response = request.send().await.map_err(|error| self.transport_error(&error))?;
        match protocol {
            Protocol::Grpc => self.grpc_response(response).await,
            Protocol::Http => self.http_response(response).await,
        }
    }

    async fn grpc_response(&self, response: Response) -> Result<ExportResponse, SinkError> {
        let (status, headers) = (response.status(), response.headers().clone());
        // A "Trailers-Only" response has its status in the headers.
        if let Some(status) = Status::from_header_map(&headers) {
            return self.grpc_status(&status, &[]);
        }
        let body = self.read(response).await?;
        if let Some(status) = body.trailers().and_then(Status::from_header_map) {
            return self.grpc_status(&status, &body.to_bytes());
        }
        if status != StatusCode::OK {
            let failure = Failure::from_http(status, &headers, &body.to_bytes());
            return Ok(ExportResponse::Failed(failure));
        }
        let origin = self.settings.destination.origin();
        Err(match content_type(&headers) {
            "application/grpc" | "application/grpc+proto" => {
                SinkError::transient(format!("the response of {origin} has no gRPC status"))
            }
            other => SinkError::blocked(format!(
                "{origin} responded with the content type {other:?}, which is not gRPC; \
                 see `endpoint` and `protocol`"
            )),
        })
    }

    fn grpc_status(&self, status: &Status, body: &[u8]) -> Result<ExportResponse, SinkError> {
        if let Some(failure) = Failure::from_grpc(status) {
            return Ok(ExportResponse::Failed(failure));
        }
        self.accepted(body.get(GRPC_PREFIX..).unwrap_or_default())
    }

    async fn http_response(&self, response: Response) -> Result<ExportResponse, SinkError> {
        let (status, headers) = (response.status(), response.headers().clone());
        if !status.is_success() {
            // The status alone is a failure, even if the body can't be read.
            let body = self.read(response).await.map(Collected::to_bytes).unwrap_or_default();
            return Ok(ExportResponse::Failed(Failure::from_http(status, &headers, &body)));
        }
        let body = self.read(response).await?.to_bytes();
        match content_type(&headers) {
            "application/json" => Ok(ExportResponse::Accepted(Accepted::decode_json(&body))),
            "text/html" => {
                let origin = self.settings.destination.origin();
                Err(SinkError::blocked(format!(
                    "{origin} responded with {} and an HTML page, as a proxy or another server \
                     does; see `endpoint`",
                    status.as_u16()
                )))
            }
            "application/x-protobuf" => self.accepted(&body),
            _ => Ok(ExportResponse::Accepted(Accepted::default())),
        }
    }

    fn accepted(&self, message: &[u8]) -> Result<ExportResponse, SinkError> {
        Accepted::decode(self.signal, message).map(ExportResponse::Accepted).map_err(|error| {
            let origin = self.settings.destination.origin();
            SinkError::blocked(format!(
                "the response of {origin} is not valid OTLP: {error}; see `endpoint`"
            ))
        })
    }

    async fn read(&self, response: Response) -> Result<Collected<Bytes>, SinkError> {
        let body = reqwest::Body::from(response);
        Limited::new(body, MAX_RESPONSE).collect().await.map_err(|error| {
            match error.downcast_ref() {
                Some(error) => self.transport_error(error),
                None => {
                    let origin = self.settings.destination.origin();
                    SinkError::blocked(format!(
                        "the response of {origin} exceeds {MAX_RESPONSE} bytes: {error}; \
                         see `endpoint`"
                    ))
                }
            }
        })
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
    let client = observer_http_client::client_builder(
        settings.is_https().then_some(&settings.tls),
        settings.connect_timeout,
    )?;
    observer_http_client::build_client(match settings.protocol {
        Protocol::Grpc => client.http2_prior_knowledge(),
        Protocol::Http => client,
    })
}
