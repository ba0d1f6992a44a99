//! TLS handshakes.

use std::io;

use axum::http::StatusCode;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};
use tokio_rustls::server::TlsStream;

use super::context::ConnectionContext;
use super::reject::respond_unread;
use super::stream::{Flags, SocketStream, socket_stream};
use crate::problem::Problem;
use crate::tls::TlsHandle;

/// Reason for which a handshake failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HandshakeError {
    /// As port scanners and TCP health checks do.
    #[error("the client closed the connection before it sent anything")]
    Closed,
    #[error("the client did not complete the handshake in time")]
    TimedOut,
    #[error("the client sent plain HTTP")]
    PlainHttp,
    #[error(transparent)]
    Failed(io::Error),
}

/// Performs the server side of a TLS handshake, including the check of the client's certificate
/// where one is required.
///
/// TLS runs on top of the lingering stream, so that unread input is discarded without being
/// decrypted.
pub(crate) async fn handshake(
    stream: TcpStream,
    flags: &Flags,
    tls: &TlsHandle,
    context: &ConnectionContext,
) -> Result<TlsStream<SocketStream<TcpStream>>, HandshakeError> {
    let deadline = Instant::now() + context.header_timeout;
    let mut first = [0];
    match timeout_at(deadline, stream.peek(&mut first)).await {
        Err(_) => return Err(HandshakeError::TimedOut),
        Ok(Ok(0)) => return Err(HandshakeError::Closed),
        Ok(Ok(_)) => {}
        Ok(Err(error)) => return Err(HandshakeError::Failed(error)),
    }
    // Methods of HTTP are upper case. To other bytes the response is an alert.
    if first[0].is_ascii_uppercase() {
        let problem = plain_http();
        context.unrouted.count(problem.status());
        respond_unread(stream, problem).await;
        return Err(HandshakeError::PlainHttp);
    }
    let stream = socket_stream(stream, flags, context);
    match timeout_at(deadline, tls.acceptor().accept(stream).into_fallible()).await {
        Ok(Ok(stream)) => Ok(stream),
        Ok(Err((error, mut stream))) => {
            // With TLS 1.3 a client sends its request together with its certificate. A reset would
            // overtake the alert about the certificate.
            flags.linger.set();
            let _ = stream.shutdown().await;
            Err(HandshakeError::Failed(error))
        }
        Err(_) => Err(HandshakeError::TimedOut),
    }
}

/// Returns 421 (RFC 9110, section 15.5.20), since producers take 400 to be about their event.
fn plain_http() -> Problem {
    Problem::new(
        StatusCode::MISDIRECTED_REQUEST,
        "this port requires TLS; use a URL that begins with https://",
    )
}
