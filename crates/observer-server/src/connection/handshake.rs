//! From a connection to an encrypted one.

use std::io;
use std::time::Duration;

use axum::http::StatusCode;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};
use tokio_rustls::server::TlsStream;

use crate::connection::linger::{Lingering, Wanted};
use crate::connection::refuse::answer_unread;
use crate::connection::tls::TlsHandle;
use crate::problem::Problem;

/// Why there is no encrypted connection.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HandshakeError {
    /// As those do that only look whether someone listens.
    #[error("the client was gone before it said anything")]
    Gone,
    #[error("the client took too long")]
    TimedOut,
    #[error("the client spoke plain HTTP")]
    PlainHttp,
    #[error(transparent)]
    Failed(io::Error),
}

/// Agree with the client on keys, and on who it is where that matters.
///
/// The handshake ends below whatever lingers, so that what a client sent too much is thrown away
/// without being decrypted.
pub(crate) async fn shake_hands(
    stream: TcpStream,
    wanted: Wanted,
    tls: &TlsHandle,
    timeout: Duration,
) -> Result<TlsStream<Lingering>, HandshakeError> {
    let deadline = Instant::now() + timeout;
    let mut first = [0];
    match timeout_at(deadline, stream.peek(&mut first)).await {
        Err(_) => return Err(HandshakeError::TimedOut),
        Ok(Ok(0)) => return Err(HandshakeError::Gone),
        Ok(Ok(_)) => {}
        Ok(Err(error)) => return Err(HandshakeError::Failed(error)),
    }
    // Methods are in capitals. Whatever else it is gets an alert.
    if first[0].is_ascii_uppercase() {
        answer_unread(stream, plain_http()).await;
        return Err(HandshakeError::PlainHttp);
    }
    let stream = Lingering::new(stream, wanted.clone());
    match timeout_at(deadline, tls.acceptor().accept(stream).into_fallible()).await {
        Ok(Ok(stream)) => Ok(stream),
        Ok(Err((error, mut stream))) => {
            // With TLS 1.3 a client sends its request together with its certificate. The alert that
            // says what is wrong with that one would be lost in a reset.
            wanted.set();
            let _ = stream.shutdown().await;
            Err(HandshakeError::Failed(error))
        }
        Err(_) => Err(HandshakeError::TimedOut),
    }
}

/// Not 400, which producers take to be about the event that they sent; see RFC 9110, section
/// 15.5.20.
fn plain_http() -> Problem {
    Problem::new(
        StatusCode::MISDIRECTED_REQUEST,
        "this port speaks TLS; the URL has to begin with https:// here",
    )
}
