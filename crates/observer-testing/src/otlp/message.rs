//! Messages between the transports and the receiver.

use std::convert::Infallible;

use bytes::Bytes;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use hyper::{Response, StatusCode};

use super::reply::Plain;

pub(super) type ResponseBody = UnsyncBoxBody<Bytes, Infallible>;

/// Message of a request, decompressed but not decoded.
pub(super) struct Message {
    pub(super) bytes: Bytes,
    pub(super) wire_size: usize,
    pub(super) compression: Option<String>,
}

/// Returns an HTTP response without OTLP.
pub(super) fn plain_response(plain: Plain) -> Response<ResponseBody> {
    let mut response = Response::new(Full::new(plain.body).boxed_unsync());
    *response.status_mut() =
        StatusCode::from_u16(plain.status).expect("the status of a script is valid");
    for (name, value) in plain.headers {
        let value = value.parse().expect("the headers of a script are valid");
        response.headers_mut().append(name, value);
    }
    response
}
