//! What a client is told when there are too many connections: a clear answer at once is better than to wait for nothing until it gives up.

use std::time::Duration;

use axum::http::StatusCode;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::linger::{Lingering, Wanted};
use crate::problem::{COME_BACK_AFTER, PROBLEM_JSON, Problem};

const MAX_TIME: Duration = Duration::from_secs(3);

/// Answer 503 without reading the request.
pub(crate) async fn refuse(stream: TcpStream, max_connections: usize) {
    let wanted = Wanted::default();
    wanted.set();
    let mut stream = Lingering::new(stream, wanted);
    let told = async {
        stream.write_all(&answer(max_connections)).await?;
        stream.shutdown().await
    };
    // Whoever is gone needs no answer.
    let _ = tokio::time::timeout(MAX_TIME, told).await;
}

fn answer(max_connections: usize) -> Vec<u8> {
    let detail = format!(
        "there are {max_connections} connections, and no more may be (`max_connections`); come back later, or use fewer of them"
    );
    let problem = Problem::new(StatusCode::SERVICE_UNAVAILABLE, detail);
    let body = problem.to_json();
    let head = format!(
        "HTTP/1.1 503 Service Unavailable\r\ncontent-type: {PROBLEM_JSON}\r\nretry-after: {COME_BACK_AFTER}\r\n\
         connection: close\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    [head.into_bytes(), body].concat()
}
