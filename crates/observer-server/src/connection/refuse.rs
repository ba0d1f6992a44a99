//! Answers to requests that are not read.

use std::time::Duration;

use axum::http::StatusCode;
use axum::response::IntoResponse;
use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::connection::linger::{Lingering, Wanted};
use crate::problem::Problem;
use crate::security_headers::HEADERS;

const MAX_TIME: Duration = Duration::from_secs(3);

/// Say what the problem is, whatever was asked, and close the connection so that this arrives.
pub(crate) async fn answer_unread(stream: TcpStream, problem: Problem) {
    let wanted = Wanted::default();
    wanted.set();
    tell(Lingering::new(stream, wanted), problem).await;
}

/// The same on a connection that reads on for itself.
pub(crate) async fn tell(mut stream: impl AsyncWrite + Unpin, problem: Problem) {
    let told = async {
        stream.write_all(&answer(problem)).await?;
        stream.shutdown().await
    };
    // Whoever is gone needs no answer.
    let _ = tokio::time::timeout(MAX_TIME, told).await;
}

/// The whole answer, head and body.
pub(crate) fn answer(problem: Problem) -> Vec<u8> {
    let body = problem.to_json();
    let response = problem.closing().into_response();
    let mut answer =
        format!("HTTP/1.1 {}\r\ncontent-length: {}\r\n", response.status(), body.len())
            .into_bytes();
    for (name, value) in
        response.headers().iter().chain(HEADERS.iter().map(|(name, value)| (name, value)))
    {
        answer.extend([name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"].concat());
    }
    answer.extend_from_slice(b"\r\n");
    answer.extend(body);
    answer
}

/// Answer 503 without reading the request.
pub(crate) async fn too_many_connections(stream: TcpStream, max_connections: usize) {
    let detail = format!(
        "there are {max_connections} connections, and no more may be (`max_connections`); come back later, or use fewer of them"
    );
    answer_unread(stream, Problem::new(StatusCode::SERVICE_UNAVAILABLE, detail)).await;
}
