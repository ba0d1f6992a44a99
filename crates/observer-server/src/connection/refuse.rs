//! Answers to requests that are not read.

use std::time::Duration;

use axum::http::StatusCode;
use axum::response::IntoResponse;
use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;

use super::linger::{LingerFlag, LingeringStream};
use crate::problem::Problem;
use crate::security_headers::SECURITY_HEADERS;

/// Limit of the time that sending an answer takes.
const MAX_TIME: Duration = Duration::from_secs(3);

/// Answers 503 without reading the request, so that the client doesn't wait until it times out.
pub(crate) async fn too_many_connections(stream: TcpStream, max_connections: usize) {
    let detail = format!(
        "the limit of {max_connections} connections (`max_connections`) is reached; \
         try again later, or use fewer connections"
    );
    answer_unread(stream, Problem::new(StatusCode::SERVICE_UNAVAILABLE, detail)).await;
}

/// Answers with the problem whatever the request is, and closes the connection so that the answer
/// arrives.
pub(crate) async fn answer_unread(stream: TcpStream, problem: Problem) {
    let linger = LingerFlag::default();
    linger.set();
    answer_on(LingeringStream::new(stream, linger), problem).await;
}

/// Does the same as [`answer_unread`] on a stream that lingers already.
pub(crate) async fn answer_on(mut stream: impl AsyncWrite + Unpin, problem: Problem) {
    let sent = async {
        stream.write_all(&response_bytes(problem)).await?;
        stream.shutdown().await
    };
    // A client that has disconnected needs no answer.
    let _ = tokio::time::timeout(MAX_TIME, sent).await;
}

/// Returns the head and the body of the answer.
pub(crate) fn response_bytes(problem: Problem) -> Vec<u8> {
    let body = problem.to_json();
    let response = problem.closing().into_response();
    let mut bytes = format!("HTTP/1.1 {}\r\ncontent-length: {}\r\n", response.status(), body.len())
        .into_bytes();
    let security = SECURITY_HEADERS;
    let security = security.iter().map(|(name, value)| (name, value));
    for (name, value) in response.headers().iter().chain(security) {
        bytes.extend([name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"].concat());
    }
    bytes.extend_from_slice(b"\r\n");
    bytes.extend(body);
    bytes
}
