//! What a client is told when there are too many connections: a clear answer at once is better than
//! to wait for nothing until it gives up.

use axum::http::StatusCode;
use tokio::net::TcpStream;

use crate::problem::Problem;
use crate::unread::answer_unread;

/// Answer 503 without reading the request.
pub(crate) async fn refuse(stream: TcpStream, max_connections: usize) {
    let detail = format!(
        "there are {max_connections} connections, and no more may be (`max_connections`); come back later, or use fewer of them"
    );
    answer_unread(stream, Problem::new(StatusCode::SERVICE_UNAVAILABLE, detail)).await;
}
