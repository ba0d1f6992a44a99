//! HTTP/1.1 on one connection.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::StatusCode;
use axum::http::header::CONNECTION;
use axum::response::Response;
use hyper::body::Incoming;
use hyper::server::conn::http1::Parts;
use hyper_util::rt::TokioIo;
use observer_pipeline::RejectReason;
use prometheus::IntGauge;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::OwnedSemaphorePermit;

use super::context::{ConnectionContext, MAX_BUFFER};
use super::error_body::ErrorBodyStream;
use super::handshake::{HandshakeError, handshake};
use super::linger::{LingerFlag, LingeringStream};
use super::reject;
use super::slots::Slot;
use crate::problem::Problem;
use crate::tls::TlsHandle;

/// Serves a connection of plain HTTP until it ends or its slot is reclaimed.
pub(crate) async fn serve_plain(
    stream: TcpStream,
    context: Arc<ConnectionContext>,
    _permit: OwnedSemaphorePermit,
) {
    let _open = OpenConnection::new(&context.metrics.connections);
    let _ = stream.set_nodelay(true);
    let (linger, slot) = (LingerFlag::default(), context.slots.take());
    tokio::select! {
        biased;
        () = serve(LingeringStream::new(stream, linger.clone()), linger, &slot, &context) => {}
        () = slot.reclaimed() => {}
    }
}

/// Serves a connection to a TLS address until it ends or its slot is reclaimed.
pub(crate) async fn serve_tls(
    stream: TcpStream,
    tls: TlsHandle,
    context: Arc<ConnectionContext>,
    _permit: OwnedSemaphorePermit,
) {
    let _open = OpenConnection::new(&context.metrics.connections);
    let _ = stream.set_nodelay(true);
    let client = stream.peer_addr();
    let (linger, slot) = (LingerFlag::default(), context.slots.take());
    let encrypted = tokio::select! {
        biased;
        encrypted = handshake(stream, linger.clone(), &tls, context.header_timeout) => encrypted,
        () = context.drain.cancelled() => return,
        () = slot.reclaimed() => return,
    };
    match encrypted {
        Ok(stream) => tokio::select! {
            biased;
            () = serve(stream, linger, &slot, &context) => {}
            () = slot.reclaimed() => {}
        },
        Err(HandshakeError::Closed) => {}
        Err(error) => {
            context.metrics.tls_handshake_failures.inc();
            let client =
                client.map_or_else(|_| "unknown".to_owned(), |address| address.to_string());
            tracing::debug!(client, error = observer_core::report(&error), "TLS handshake failed");
        }
    }
}

/// Serves requests until the client or the shutdown ends the connection.
async fn serve(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    linger: LingerFlag,
    slot: &Arc<Slot>,
    context: &ConnectionContext,
) {
    let (dispatcher, slot, flag) = (context.dispatcher.clone(), slot.clone(), linger.clone());
    let service = hyper::service::service_fn(move |request: hyper::Request<Incoming>| {
        let (dispatcher, slot, flag) = (dispatcher.clone(), slot.clone(), flag.clone());
        // Boxed, because hyper reserves space for the future on every connection, idle ones
        // included.
        Box::pin(async move {
            let _active = slot.begin_request().await;
            let response = dispatcher.dispatch(request.map(Body::new)).await;
            if response.as_ref().is_ok_and(leaves_body_unread) {
                flag.set();
            }
            response
        })
    });
    let stream = TokioIo::new(ErrorBodyStream::new(stream, linger.clone(), MAX_BUFFER));
    let mut connection = context.http.serve_connection(stream, service);
    let ended = tokio::select! {
        biased;
        ended = &mut connection => ended,
        () = context.drain.cancelled() => {
            std::pin::Pin::new(&mut connection).graceful_shutdown();
            tokio::select! {
                biased;
                ended = &mut connection => ended,
                () = context.cut.cancelled() => return,
            }
        }
    };
    let Err(error) = ended else { return };
    tracing::debug!(error = observer_core::report(&error), "connection ended early");
    let Parts { io, read_buf, .. } = connection.into_parts();
    // Without a part of a head there is no request to respond to.
    if error.is_timeout() && !read_buf.is_empty() {
        linger.set();
        reject::respond_on(io.into_inner(), slow_head(context.header_timeout)).await;
    }
}

fn slow_head(limit: Duration) -> Problem {
    let detail = format!(
        "the head of the request did not arrive within {} s (`header_timeout`)",
        limit.as_secs_f64()
    );
    Problem::new(StatusCode::REQUEST_TIMEOUT, detail).reason(RejectReason::Timeout)
}

fn leaves_body_unread(response: &Response) -> bool {
    response.headers().get(CONNECTION).is_some_and(|value| value == "close")
}

/// Counts a connection while it is open.
struct OpenConnection<'a>(&'a IntGauge);

impl<'a> OpenConnection<'a> {
    fn new(gauge: &'a IntGauge) -> Self {
        gauge.inc();
        Self(gauge)
    }
}

impl Drop for OpenConnection<'_> {
    fn drop(&mut self) {
        self.0.dec();
    }
}
