//! Requests and their answers, over either protocol.
//!
//! gRPC is HTTP/2 with each message behind a flag and its length, and a status in the trailers
//! ("gRPC over HTTP2"); so one client serves both, with the same TLS, proxies and errors.

use std::io::{self, Write};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use flate2::write::GzEncoder;
use http_body_util::{BodyExt, Collected, Limited};
use observer_core::{SinkError, Timestamp};
use observer_http_client::{is_protocol_mismatch, retry_after, run_blocking, transport_error};
use prost::Message;
use reqwest::header::{CONTENT_TYPE, HeaderMap};
use reqwest::{Client, Response, StatusCode};
use serde::Deserialize;
use tonic::Status;

use crate::protocol::{Compression, Protocol};
use crate::response::{Accepted, Refusal};
use crate::settings::Settings;
use crate::signal::Signal;

/// What is read of an answer.
const MAX_ANSWER: usize = 1 << 20;
/// What stands before a message of gRPC: whether it is packed, and its length.
const PREFIX: usize = 5;

pub(crate) struct Exporter {
    settings: Arc<Settings>,
    signal: Signal,
    client: Mutex<Option<Client>>,
}

/// What the far side answered.
pub(crate) enum Answer {
    Accepted(Accepted),
    Refused(Refusal),
}

impl Exporter {
    pub(crate) fn new(settings: Settings, signal: Signal) -> Self {
        Self { settings: Arc::new(settings), signal, client: Mutex::default() }
    }

    pub(crate) fn settings(&self) -> &Settings {
        &self.settings
    }

    /// With what is in the files of `tls` now.
    pub(crate) async fn renew(&self) -> Result<Client, SinkError> {
        let settings = self.settings.clone();
        let client = run_blocking(move || build(&settings)).await??;
        self.keep(Some(client.clone()));
        Ok(client)
    }

    pub(crate) fn close(&self) {
        self.keep(None);
    }

    fn keep(&self, client: Option<Client>) {
        *self.client.lock().unwrap_or_else(PoisonError::into_inner) = client;
    }

    /// Send a [packed](pack) message.
    pub(crate) async fn export(&self, body: Bytes) -> Result<Answer, SinkError> {
        let client = self.client.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let client = match client {
            Some(client) => client,
            None => self.renew().await?,
        };
        let Settings { url, headers, protocol, .. } = &*self.settings;
        let request = client.post(url.clone()).headers(headers.clone()).body(body);
        let response = request.send().await.map_err(|error| self.unanswered(&error))?;
        match protocol {
            Protocol::Grpc => self.grpc(response).await,
            Protocol::Http => self.http(response).await,
        }
    }

    async fn grpc(&self, response: Response) -> Result<Answer, SinkError> {
        let (status, headers) = (response.status(), response.headers().clone());
        if let Some(status) = Status::from_header_map(&headers) {
            // Where there is no message, the status stands at the front.
            return self.judged(&status, &[]);
        }
        let body = self.read(response).await?;
        if let Some(status) = body.trailers().and_then(Status::from_header_map) {
            return self.judged(&status, &body.to_bytes());
        }
        if status != StatusCode::OK {
            return Ok(Answer::Refused(refusal(status, &headers, &body.to_bytes())));
        }
        let origin = self.settings.shown.origin();
        Err(match content_type(&headers) {
            "application/grpc" | "application/grpc+proto" => {
                SinkError::transient(format!("the answer of {origin} ends without a status"))
            }
            other => SinkError::blocked(format!(
                "{origin} answered with {other:?}, which is not gRPC; see `endpoint` and `protocol`"
            )),
        })
    }

    fn judged(&self, status: &Status, body: &[u8]) -> Result<Answer, SinkError> {
        if let Some(refusal) = Refusal::of_grpc(status) {
            return Ok(Answer::Refused(refusal));
        }
        self.accepted(body.get(PREFIX..).unwrap_or_default())
    }

    async fn http(&self, response: Response) -> Result<Answer, SinkError> {
        let (status, headers) = (response.status(), response.headers().clone());
        if !status.is_success() {
            // A refusal is one, however it goes on.
            let body = self.read(response).await.map(Collected::to_bytes).unwrap_or_default();
            return Ok(Answer::Refused(refusal(status, &headers, &body)));
        }
        let body = self.read(response).await?.to_bytes();
        match content_type(&headers) {
            "application/json" => Ok(Answer::Accepted(accepted_json(&body))),
            "text/html" => {
                let origin = self.settings.shown.origin();
                Err(SinkError::blocked(format!(
                    "{origin} answered {} with a page, as a proxy or another server does; see `endpoint`",
                    status.as_u16()
                )))
            }
            "application/x-protobuf" => self.accepted(&body),
            _ => Ok(Answer::Accepted(Accepted::default())),
        }
    }

    fn accepted(&self, message: &[u8]) -> Result<Answer, SinkError> {
        Accepted::decode(self.signal, message).map(Answer::Accepted).map_err(|error| {
            let origin = self.settings.shown.origin();
            SinkError::blocked(format!(
                "{origin} answered with what is not OTLP: {error}; see `endpoint`"
            ))
        })
    }

    async fn read(&self, response: Response) -> Result<Collected<Bytes>, SinkError> {
        let body = reqwest::Body::from(response);
        Limited::new(body, MAX_ANSWER).collect().await.map_err(|error| match error.downcast_ref() {
            Some(error) => self.unanswered(error),
            None => {
                let origin = self.settings.shown.origin();
                SinkError::blocked(format!(
                    "{origin} gives an answer without end: {error}; see `endpoint`"
                ))
            }
        })
    }

    fn unanswered(&self, error: &reqwest::Error) -> SinkError {
        let explained = transport_error(error, &self.settings.shown);
        let told = explained.report();
        if !is_protocol_mismatch(&told) {
            return explained;
        }
        let hint = match self.settings.protocol {
            Protocol::Grpc => {
                "doesn't speak gRPC, see `protocol` (OTLP over HTTP is mostly at port 4318)"
            }
            Protocol::Http => "speaks gRPC, see `protocol` (OTLP over gRPC is mostly at port 4317)",
        };
        SinkError::blocked(format!("{told}; perhaps it {hint}, or wants https://"))
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

/// A message as the body of a request.
pub(crate) fn pack(
    protocol: Protocol,
    compression: Compression,
    message: &[u8],
) -> io::Result<Vec<u8>> {
    let prefix: &[u8] = if protocol == Protocol::Grpc { &[0; PREFIX] } else { &[] };
    let mut body = match compression {
        Compression::None => [prefix, message].concat(),
        Compression::Gzip => {
            let mut gzip = GzEncoder::new(prefix.to_vec(), flate2::Compression::fast());
            gzip.write_all(message)?;
            gzip.finish()?
        }
    };
    if let Some((prefix, message)) =
        body.split_first_chunk_mut::<PREFIX>().filter(|_| protocol == Protocol::Grpc)
    {
        let length = u32::try_from(message.len()).map_err(|_| io::ErrorKind::FileTooLarge)?;
        prefix[0] = (compression == Compression::Gzip).into();
        prefix[1..].copy_from_slice(&length.to_be_bytes());
    }
    Ok(body)
}

fn content_type(headers: &HeaderMap) -> &str {
    let value = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    value.split(';').next().unwrap_or_default().trim()
}

fn refusal(status: StatusCode, headers: &HeaderMap, body: &[u8]) -> Refusal {
    #[derive(Default, Deserialize)]
    #[serde(default)]
    struct Told {
        message: Option<String>,
        detail: Option<String>,
        error: Option<String>,
    }

    let said = match content_type(headers) {
        // As OTLP wants it.
        "application/x-protobuf" => {
            tonic_types::pb::Status::decode(body).map(|status| status.message).unwrap_or_default()
        }
        "application/json" | "application/problem+json" => {
            let Told { message, detail, error } = serde_json::from_slice(body).unwrap_or_default();
            message
                .or(detail)
                .or(error)
                .unwrap_or_else(|| String::from_utf8_lossy(body).into_owned())
        }
        _ => String::from_utf8_lossy(body).into_owned(),
    };
    Refusal::of_http(status, said, retry_after(headers, Timestamp::now()))
}

/// Some receivers answer in JSON whatever they are asked in. 64-bit numbers are strings in it.
fn accepted_json(body: &[u8]) -> Accepted {
    #[derive(Default, Deserialize)]
    #[serde(default, rename_all = "camelCase")]
    struct Told {
        partial_success: Partial,
    }
    #[derive(Default, Deserialize)]
    #[serde(default, rename_all = "camelCase")]
    struct Partial {
        #[serde(alias = "rejectedSpans")]
        rejected_log_records: serde_json::Value,
        error_message: String,
    }

    let Partial { rejected_log_records: rejected, error_message: said } =
        serde_json::from_slice::<Told>(body).unwrap_or_default().partial_success;
    let rejected = rejected.as_u64().or_else(|| rejected.as_str()?.parse().ok()).unwrap_or(0);
    Accepted { rejected, said }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use reqwest::header::HeaderValue;

    use super::*;

    #[test]
    fn a_message_of_grpc_has_a_flag_and_its_length_before_it() {
        let pack = |protocol, compression| pack(protocol, compression, b"message").unwrap();
        assert_eq!(pack(Protocol::Http, Compression::None), b"message");
        assert_eq!(pack(Protocol::Grpc, Compression::None), b"\0\0\0\0\x07message");
        for (protocol, prefix) in [(Protocol::Http, 0), (Protocol::Grpc, PREFIX)] {
            let packed = pack(protocol, Compression::Gzip);
            let (prefix, gzip) = packed.split_at(prefix);
            let mut message = Vec::new();
            flate2::read::GzDecoder::new(gzip).read_to_end(&mut message).unwrap();
            assert_eq!(message, b"message");
            let length = gzip.len() as u8;
            assert!(prefix.is_empty() || *prefix == [1, 0, 0, 0, length]);
        }
    }

    #[test]
    fn what_a_refusal_says_is_found_in_whatever_form_it_is() {
        let said = |content_type: &'static str, body: &[u8]| {
            let headers =
                HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static(content_type))]);
            refusal(StatusCode::BAD_REQUEST, &headers, body).said
        };
        let status =
            tonic_types::pb::Status { message: "too old".to_owned(), ..Default::default() }
                .encode_to_vec();
        assert_eq!(said("application/x-protobuf", &status), "too old");
        assert_eq!(
            said("application/json; charset=utf-8", br#"{"code":3,"message":"too old"}"#),
            "too old"
        );
        assert_eq!(
            said("application/problem+json", br#"{"title":"Bad","detail":"too old"}"#),
            "too old"
        );
        assert_eq!(said("application/json", b"[7]"), "[7]");
        assert_eq!(said("text/plain", b"too old"), "too old");
    }

    #[test]
    fn an_answer_in_json_is_understood_too() {
        let accepted = |rejected, said: &str| Accepted { rejected, said: said.to_owned() };
        assert_eq!(accepted_json(b"{}"), accepted(0, ""));
        assert_eq!(accepted_json(b"ok"), accepted(0, ""));
        let partial = br#"{"partialSuccess":{"rejectedLogRecords":"3","errorMessage":"too old"}}"#;
        assert_eq!(accepted_json(partial), accepted(3, "too old"));
        assert_eq!(accepted_json(br#"{"partialSuccess":{"rejectedSpans":2}}"#), accepted(2, ""));
    }
}
