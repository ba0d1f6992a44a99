//! Responses that reject requests which are not read.

use std::time::Duration;

use axum::http::StatusCode;
use axum::response::IntoResponse;
use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

use super::stream::linger::{LingerFlag, LingeringStream};
use crate::problem::Problem;
use crate::security_headers::SECURITY_HEADERS;

/// Limit of the time that sending a response takes.
const MAX_TIME: Duration = Duration::from_secs(3);

/// Returns the problem of a request on a connection beyond the limit.
pub(crate) fn too_many_connections(max_connections: usize) -> Problem {
    let detail = format!(
        "the limit of {max_connections} connections (`max_connections`) is reached; \
         try again later, or use fewer connections"
    );
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, detail)
}

/// Sends the problem without reading the request, and closes the connection so that the response
/// arrives.
pub(crate) async fn respond_unread(stream: TcpStream, problem: Problem) {
    let linger = LingerFlag::default();
    linger.set();
    respond_on(LingeringStream::new(stream, linger, CancellationToken::new()), problem).await;
}

/// Sends the problem on a stream that lingers already, and closes the connection.
pub(crate) async fn respond_on(mut stream: impl AsyncWrite + Unpin, problem: Problem) {
    let sent = async {
        stream.write_all(&response_bytes(problem)).await?;
        stream.shutdown().await
    };
    // A client that has disconnected needs no response.
    let _ = tokio::time::timeout(MAX_TIME, sent).await;
}

/// Returns the head and the body of the response.
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
