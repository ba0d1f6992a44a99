//! OTLP over HTTP, with the observer's own client.

use std::fmt;
use std::io::Write;
use std::sync::Arc;

use async_trait::async_trait;
use flate2::Compression as Level;
use flate2::write::GzEncoder;
use observer_core::SinkError;
use observer_http_client::{Destination, is_protocol_mismatch, transport_error};
use observer_sink_otlp::Compression;
use opentelemetry_http::{Bytes, HttpClient, HttpError, Request, Response};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceResponse;
use prost::Message;
use reqwest::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderValue};
use reqwest::{Client, StatusCode};
use tokio::runtime::Handle;

use super::account::Account;
use super::settings::Target;

/// More than this nobody says who took something.
const MAX_ANSWER: usize = 64 << 10;

/// Sends requests on the observer's runtime for exporters, which wait on threads of their own.
#[derive(Clone)]
pub(super) struct Http {
    client: Client,
    runtime: Handle,
    headers: HeaderMap,
    compression: Compression,
    shown: Destination,
    account: Arc<Account>,
}

impl Http {
    /// Reads the files of `tls`, and connects to nothing.
    ///
    /// # Errors
    /// A file that can't be used.
    pub(super) fn new(
        target: &Target,
        runtime: Handle,
        account: Arc<Account>,
    ) -> Result<Self, SinkError> {
        let tls = (target.url.scheme() == "https").then_some(&target.tls);
        let client =
            observer_http_client::client_builder(tls, target.timeout)?.timeout(target.timeout);
        let shown = Destination::new("telemetry.endpoint", &target.url, &target.headers, []);
        Ok(Self {
            client: observer_http_client::build_client(client)?,
            runtime,
            headers: target.headers.clone(),
            compression: target.compression,
            shown,
            account,
        })
    }

    async fn exchange(self, request: reqwest::Request) -> Result<Response<Bytes>, HttpError> {
        let failed = |error: &reqwest::Error| -> HttpError {
            let why = unanswered(error, &self.shown);
            self.account.heard(why.clone());
            why.into()
        };
        let mut answer = self.client.execute(request).await.map_err(|error| failed(&error))?;
        let mut body = Vec::new();
        while let Some(chunk) = answer.chunk().await.map_err(|error| failed(&error))? {
            if body.len() + chunk.len() > MAX_ANSWER {
                break;
            }
            body.extend_from_slice(&chunk);
        }
        self.listen(answer.status(), &body);
        let mut response = Response::new(body.into());
        *response.status_mut() = answer.status();
        *response.headers_mut() = std::mem::take(answer.headers_mut());
        Ok(response)
    }

    /// Take in what the exporter keeps to itself.
    fn listen(&self, status: StatusCode, body: &[u8]) {
        if !status.is_success() {
            let said = self.shown.excerpt(&String::from_utf8_lossy(body));
            self.account.heard(format!("{} answers {status}: {said}", self.shown.origin()));
            return;
        }
        // The answers of all signals are the same to the byte.
        let partial =
            ExportTraceServiceResponse::decode(body).ok().and_then(|answer| answer.partial_success);
        if let Some(partial) = partial {
            let count = usize::try_from(partial.rejected_spans).unwrap_or(0);
            self.account.refused(count, &self.shown.excerpt(&partial.error_message));
        }
    }
}

/// Why there is no answer, and what to look at.
pub(super) fn unanswered(error: &reqwest::Error, shown: &Destination) -> String {
    let told = transport_error(error, shown).report();
    if !is_protocol_mismatch(&told) {
        return told;
    }
    format!(
        "{told}; perhaps it speaks gRPC, see `telemetry.protocol` (OTLP over gRPC is mostly at port 4317), or wants https://"
    )
}

#[async_trait]
impl HttpClient for Http {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let (mut head, mut body) = request.into_parts();
        // Of what the exporter has put there only this: it takes headers from the environment,
        // whatever the file says.
        let content_type = head.headers.remove(CONTENT_TYPE);
        head.headers = self.headers.clone();
        head.headers.extend(content_type.map(|value| (CONTENT_TYPE, value)));
        if self.compression == Compression::Gzip {
            let mut packed = GzEncoder::new(Vec::with_capacity(body.len() / 4), Level::fast());
            packed.write_all(&body)?;
            body = packed.finish()?.into();
            head.headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        }
        let request = Request::from_parts(head, body).try_into()?;
        self.runtime.spawn(self.clone().exchange(request)).await?
    }
}

impl fmt::Debug for Http {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Http").field("shown", &self.shown).finish_non_exhaustive()
    }
}
