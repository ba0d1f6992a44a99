//! OTLP/gRPC: one message in each direction, as in "gRPC over HTTP2", sections "Requests" and
//! "Responses".

use std::convert::Infallible;
use std::future::ready;

use bytes::{BufMut, Bytes, BytesMut};
use http_body_util::{BodyExt, Full};
use hyper::Response;
use hyper::header::{CONTENT_TYPE, HeaderMap, HeaderValue};
use tonic::{Code, Status};

use super::message::{Message, ResponseBody, plain_response};
use super::payload::Signal;
use super::reply::Content;
use crate::http::gunzip;

/// Length of the prefix of a message: one byte for compression, four for the length.
const PREFIX: usize = 5;

pub(super) const CONTENT: HeaderValue = HeaderValue::from_static("application/grpc");

/// Reads the only message of a request.
pub(super) fn message(headers: &HeaderMap, raw: &Bytes) -> Result<Message, Status> {
    let (Some(prefix), Some(data)) = (raw.get(..PREFIX), raw.get(PREFIX..)) else {
        return Err(Status::internal("the request has no message"));
    };
    let length = u32::from_be_bytes([prefix[1], prefix[2], prefix[3], prefix[4]]);
    if length as usize != data.len() {
        return Err(Status::internal(format!(
            "the message has {} bytes, and its prefix says {length}",
            data.len()
        )));
    }
    let data = raw.slice(PREFIX..);
    let wire_size = data.len();
    let encoding = headers.get("grpc-encoding").and_then(|value| value.to_str().ok());
    match (prefix[0], encoding) {
        (0, _) => Ok(Message { bytes: data, wire_size, compression: None }),
        (1, Some("gzip")) => {
            let bytes = gunzip(&data).map_err(|error| {
                Status::internal(format!("the message is not valid gzip: {error}"))
            })?;
            Ok(Message { bytes, wire_size, compression: Some("gzip".to_owned()) })
        }
        (1, Some(other)) => {
            let mut status =
                Status::unimplemented(format!("unsupported compression of messages {other:?}"));
            status
                .metadata_mut()
                .insert("grpc-accept-encoding", "identity,gzip".parse().expect("it is ASCII"));
            Err(status)
        }
        _ => Err(Status::internal("a compressed message needs the header grpc-encoding")),
    }
}

/// Returns an uncompressed message with a prefix that announces `length` bytes.
pub(super) fn framed(length: usize, message: &[u8]) -> Bytes {
    let mut frame = BytesMut::with_capacity(PREFIX + message.len());
    frame.put_u8(0);
    frame.put_u32(u32::try_from(length).expect("a response is small"));
    frame.put_slice(message);
    frame.freeze()
}

pub(super) fn response(signal: Signal, content: Content) -> Response<ResponseBody> {
    match content {
        Content::Success { rejected, message } => {
            let mut trailers = HeaderMap::new();
            Status::new(Code::Ok, "")
                .add_header(&mut trailers)
                .expect("a status without a message is valid in headers");
            let message = signal.response(rejected, &message);
            let body = Full::new(framed(message.len(), &message));
            let body =
                body.with_trailers(ready(Some(Ok::<_, Infallible>(trailers)))).boxed_unsync();
            let mut response = Response::new(body);
            response.headers_mut().insert(CONTENT_TYPE, CONTENT);
            response
        }
        Content::Status(status) | Content::TooLarge(status) => trailers_only(&status),
        Content::Plain(plain) => plain_response(plain),
    }
}

/// Returns a "Trailers-Only" response, which has a status and no message.
fn trailers_only(status: &Status) -> Response<ResponseBody> {
    let mut response = Response::new(ResponseBody::default());
    response.headers_mut().insert(CONTENT_TYPE, CONTENT);
    status.add_header(response.headers_mut()).expect("the status of a script is valid in headers");
    response
}
