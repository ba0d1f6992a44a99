//! HTTP/1.1 on one connection.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::header::{CONNECTION, EXPECT};
use axum::http::{HeaderValue, Method, StatusCode};
use axum::response::Response;
use hyper::body::Incoming;
use hyper::server::conn::http1::Parts;
use hyper_util::rt::TokioIo;
use observer_pipeline::RejectReason;
use prometheus::IntGauge;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::OwnedSemaphorePermit;

use super::admin_socket::ViaAdminSocket;
use super::client_watch::{Flags, WatchedStream};
use super::context::{ConnectionContext, MAX_BUFFER};
use super::error_body::ErrorBodyStream;
use super::handshake::{HandshakeError, handshake};
use super::linger::LingeringStream;
use super::reject;
use super::slots::{Slot, Slots};
use super::unread_body::UnreadBody;
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
    let (flags, slot) = (Flags::default(), context.slots.take());
    let stream = WatchedStream::new(stream, flags.watch.clone());
    let stream = LingeringStream::new(stream, flags.linger.clone(), context.drain.clone());
    tokio::select! {
        biased;
        () = serve(stream, flags, &slot, None, &context) => {}
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
    let (flags, slot) = (Flags::default(), context.slots.take());
    let encrypted = tokio::select! {
        biased;
        encrypted = handshake(stream, &flags, &tls, &context) => encrypted,
        () = context.drain.cancelled() => return,
        () = slot.reclaimed() => return,
    };
    match encrypted {
        Ok(stream) => tokio::select! {
            biased;
            () = serve(stream, flags, &slot, None, &context) => {}
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

/// Serves a connection to the admin socket until it ends.
pub(crate) async fn serve_admin(
    stream: UnixStream,
    context: Arc<ConnectionContext>,
    _permit: OwnedSemaphorePermit,
) {
    let _open = OpenConnection::new(&context.metrics.connections);
    let flags = Flags::default();
    // Its slot is not reclaimed for other connections, whose permits are not those of this socket.
    let slot = Slots::new().take();
    let stream = WatchedStream::new(stream, flags.watch.clone());
    let stream = LingeringStream::new(stream, flags.linger.clone(), context.drain.clone());
    serve(stream, flags, &slot, Some(ViaAdminSocket), &context).await;
}

/// Serves requests until the client or the shutdown ends the connection.
async fn serve(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    Flags { linger, watch }: Flags,
    slot: &Arc<Slot>,
    admin: Option<ViaAdminSocket>,
    context: &ConnectionContext,
) {
    let (dispatcher, slot, flag) = (context.dispatcher.clone(), slot.clone(), linger.clone());
    let unread = UnreadBody::default();
    let service = hyper::service::service_fn(move |request: hyper::Request<Incoming>| {
        let (dispatcher, slot, flag) = (dispatcher.clone(), slot.clone(), flag.clone());
        let unread = unread.clone();
        let watch = (request.method() == Method::GET).then(|| watch.clone());
        // Boxed, because hyper reserves space for the future on every connection, idle ones
        // included.
        Box::pin(async move {
            let _active = slot.begin_request().await;
            let expects_continue = request.headers().contains_key(EXPECT);
            let mut request = request.map(|body| Body::new(unread.keep_rest_of(body)));
            if let Some(watch) = watch {
                request.extensions_mut().insert(watch);
            }
            if let Some(admin) = admin {
                request.extensions_mut().insert(admin);
            }
            let Ok(mut response) = dispatcher.dispatch(request).await;
            let stays_open = unread.discard(!closes(&response) && !expects_continue).await;
            if !stays_open {
                response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
            }
            if closes(&response) {
                flag.set();
            }
            Ok::<_, Infallible>(response)
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

/// Returns whether the connection closes after the response, although the request may not have been
/// read to its end.
fn closes(response: &Response) -> bool {
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
