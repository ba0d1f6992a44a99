//! OTLP over gRPC: the framing of one message each way (gRPC over HTTP/2, "Requests" and
//! "Responses").

use std::convert::Infallible;
use std::future::ready;

use bytes::{BufMut, Bytes, BytesMut};
use http_body_util::{BodyExt, Full};
use hyper::header::{CONTENT_TYPE, HeaderMap, HeaderValue};
use hyper::{Response, StatusCode};
use tonic::{Code, Status};

use super::payload::Signal;
use super::reply::{Content, Plain};
use super::serve::{AnswerBody, Message};
use crate::http::gunzip;

/// One byte says whether the message is compressed, four how long it is.
const PREFIX: usize = 5;

pub(super) const CONTENT: HeaderValue = HeaderValue::from_static("application/grpc");

/// The one message of a request.
pub(super) fn message(headers: &HeaderMap, raw: &Bytes) -> Result<Message, Status> {
    let (Some(prefix), Some(data)) = (raw.get(..PREFIX), raw.get(PREFIX..)) else {
        return Err(Status::internal("a request without a message"));
    };
    let length = u32::from_be_bytes([prefix[1], prefix[2], prefix[3], prefix[4]]);
    if length as usize != data.len() {
        return Err(Status::internal(format!(
            "a message of {length} bytes was announced, {} came",
            data.len()
        )));
    }
    let data = raw.slice(PREFIX..);
    let wire_size = data.len();
    let encoding = headers.get("grpc-encoding").and_then(|value| value.to_str().ok());
    match (prefix[0], encoding) {
        (0, _) => Ok(Message { bytes: data, wire_size, compression: None }),
        (1, Some("gzip")) => {
            let bytes = gunzip(&data)
                .map_err(|error| Status::internal(format!("the message is no gzip: {error}")))?;
            Ok(Message { bytes, wire_size, compression: Some("gzip".to_owned()) })
        }
        (1, Some(other)) => {
            let mut status = Status::unimplemented(format!(
                "messages compressed with `{other}` are not supported"
            ));
            status
                .metadata_mut()
                .insert("grpc-accept-encoding", "identity,gzip".parse().expect("it is ASCII"));
            Err(status)
        }
        _ => Err(Status::internal("a compressed message without a `grpc-encoding`")),
    }
}

/// A message as it goes over the wire, uncompressed.
pub(super) fn framed(message: &[u8]) -> Bytes {
    announced(message.len(), message)
}

/// A message of which there may be less than was announced.
pub(super) fn announced(length: usize, message: &[u8]) -> Bytes {
    let mut frame = BytesMut::with_capacity(PREFIX + message.len());
    frame.put_u8(0);
    frame.put_u32(u32::try_from(length).expect("an answer is small"));
    frame.put_slice(message);
    frame.freeze()
}

pub(super) fn response(signal: Signal, reply: Content) -> Response<AnswerBody> {
    match reply {
        Content::Taken { rejected, message } => {
            let mut trailers = HeaderMap::new();
            Status::new(Code::Ok, "")
                .add_header(&mut trailers)
                .expect("a status without a message can be sent");
            let body = Full::new(framed(&signal.response(rejected, &message)));
            let body =
                body.with_trailers(ready(Some(Ok::<_, Infallible>(trailers)))).boxed_unsync();
            let mut response = Response::new(body);
            response.headers_mut().insert(CONTENT_TYPE, CONTENT);
            response
        }
        Content::Status(status) | Content::TooLarge(status) => refused(&status),
        Content::Plain(plain) => plain_response(plain),
    }
}

/// Trailers alone, as servers answer where there is no message.
pub(super) fn refused(status: &Status) -> Response<AnswerBody> {
    let mut response = Response::new(AnswerBody::default());
    response.headers_mut().insert(CONTENT_TYPE, CONTENT);
    status.add_header(response.headers_mut()).expect("a status of a test can be sent");
    response
}

pub(super) fn plain_response(plain: Plain) -> Response<AnswerBody> {
    let mut response = Response::new(Full::new(plain.body).boxed_unsync());
    *response.status_mut() =
        StatusCode::from_u16(plain.status).expect("a test gives a status that there is");
    for (name, value) in plain.headers {
        response
            .headers_mut()
            .append(name, value.parse().expect("a test gives headers that can be sent"));
    }
    response
}
