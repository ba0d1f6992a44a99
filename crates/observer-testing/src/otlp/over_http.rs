//! OTLP/HTTP: a POST of Protobuf, as in the OTLP specification, section "OTLP/HTTP".

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::header::{CONTENT_TYPE, HeaderMap, HeaderValue, RETRY_AFTER};
use hyper::{Response, StatusCode};
use prost::Message as _;
use tonic::{Code, Status};
use tonic_types::{StatusExt, pb};

use super::message::{Message, ResponseBody, plain_response};
use super::payload::Signal;
use super::reply::{Content, Plain};
use crate::http::gunzip;

const CONTENT: HeaderValue = HeaderValue::from_static("application/x-protobuf");

/// Reads the message of a request.
pub(super) fn message(headers: &HeaderMap, raw: &Bytes) -> Result<Message, Content> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    if headers.get(CONTENT_TYPE) != Some(&CONTENT) {
        let found = text("content-type").unwrap_or_default();
        return Err(plain(415, format!("unsupported content type {found:?}")));
    }
    let wire_size = raw.len();
    match text("content-encoding") {
        None | Some("identity") => Ok(Message { bytes: raw.clone(), wire_size, compression: None }),
        Some("gzip") => {
            let bytes = gunzip(raw)
                .map_err(|error| plain(400, format!("the body is not valid gzip: {error}")))?;
            Ok(Message { bytes, wire_size, compression: Some("gzip".to_owned()) })
        }
        Some(other) => Err(plain(415, format!("unsupported content encoding {other:?}"))),
    }
}

fn plain(status: u16, text: String) -> Content {
    Content::Plain(Plain { status, headers: Vec::new(), body: text.into() })
}

pub(super) fn response(signal: Signal, content: Content) -> Response<ResponseBody> {
    match content {
        Content::Success { rejected, message } => {
            protobuf(StatusCode::OK, signal.response(rejected, &message))
        }
        Content::Status(status) => failure(status_code(status.code()), &status),
        Content::TooLarge(status) => failure(StatusCode::PAYLOAD_TOO_LARGE, &status),
        Content::Plain(plain) => plain_response(plain),
    }
}

fn failure(code: StatusCode, status: &Status) -> Response<ResponseBody> {
    let body = if status.details().is_empty() {
        let message = status.message().to_owned();
        pb::Status { code: status.code() as i32, message, details: Vec::new() }.encode_to_vec()
    } else {
        // The details of a gRPC status are an encoded `google.rpc.Status`.
        status.details().to_vec()
    };
    let mut response = protobuf(code, body);
    response.headers_mut().extend(status.metadata().clone().into_headers());
    if let Some(pause) = status.get_details_retry_info().and_then(|info| info.retry_delay) {
        let seconds = pause.as_secs() + u64::from(pause.subsec_nanos() > 0);
        response.headers_mut().insert(RETRY_AFTER, seconds.into());
    }
    response
}

fn protobuf(code: StatusCode, body: Vec<u8>) -> Response<ResponseBody> {
    let mut response = Response::new(Full::new(body.into()).boxed_unsync());
    *response.status_mut() = code;
    response.headers_mut().insert(CONTENT_TYPE, CONTENT);
    response
}

/// Returns the HTTP status for a code, as `GetHTTPStatusCodeFromStatus` of the OpenTelemetry
/// collector does.
fn status_code(code: Code) -> StatusCode {
    match code {
        Code::Ok => StatusCode::OK,
        Code::Cancelled
        | Code::DeadlineExceeded
        | Code::Aborted
        | Code::OutOfRange
        | Code::Unavailable
        | Code::DataLoss => StatusCode::SERVICE_UNAVAILABLE,
        Code::ResourceExhausted => StatusCode::TOO_MANY_REQUESTS,
        Code::InvalidArgument => StatusCode::BAD_REQUEST,
        Code::Unauthenticated => StatusCode::UNAUTHORIZED,
        Code::PermissionDenied => StatusCode::FORBIDDEN,
        Code::Unimplemented => StatusCode::NOT_FOUND,
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    }
}
