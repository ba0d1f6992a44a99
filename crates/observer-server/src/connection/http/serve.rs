//! HTTP/1.1 on one connection.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use axum::http::StatusCode;
use bytes::BytesMut;
use hyper::server::conn::http1::Parts;
use hyper_util::rt::TokioIo;
use observer_pipeline::RejectReason;
use prometheus::IntGauge;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::timeout;

use super::error_body::ErrorBodyStream;
use super::http2;
use super::lasting::Lasting;
use super::service::{Admission, ConnectionService};
use super::unread_body::UnreadBody;
use crate::connection::context::{ConnectionContext, MAX_BUFFER};
use crate::connection::handshake::{HandshakeError, handshake};
use crate::connection::reject;
use crate::connection::slots::{Slot, Slots};
use crate::connection::stream::{Flags, socket_stream};
use crate::problem::Problem;
use crate::request::limits::peer::Peer;
use crate::request::refusals::Refusal;
use crate::tls::TlsHandle;

/// Time that a connection beyond the limit has for its request and the response.
const MAX_RESERVE_TIME: Duration = Duration::from_secs(5);
/// Time that a body has to end after the shutdown of the server has begun.
const MAX_BODY_DRAIN: Duration = Duration::from_secs(2);
/// Time that the last bytes of a stream have after the shutdown of the server has begun.
const MAX_STREAM_DRAIN: Duration = Duration::from_millis(500);
/// Limit of the time for a response to a request that is not understood.
const MAX_REJECT_TIME: Duration = Duration::from_secs(3);

/// Connection that was accepted, with its permit.
pub(crate) struct Accepted {
    pub(crate) stream: TcpStream,
    pub(crate) peer: Peer,
    pub(crate) admission: Admission,
    pub(crate) permit: OwnedSemaphorePermit,
}

/// Serves a TCP connection until it ends or its slot is reclaimed.
pub(crate) async fn serve_tcp(
    accepted: Accepted,
    tls: Option<TlsHandle>,
    context: Arc<ConnectionContext>,
) {
    let Accepted { stream, peer, admission, permit: _permit } = accepted;
    let _open = OpenConnection::new(&context.metrics.connections);
    let _ = stream.set_nodelay(true);
    let slot = context.slots.take();
    let serve = async {
        match tls {
            None => serve_plain(stream, peer, admission, &slot, &context).await,
            // Boxed, so that plain connections don't reserve space for a handshake.
            Some(tls) => {
                Box::pin(serve_tls(stream, &tls, peer, admission, &slot, &context)).await;
            }
        }
    };
    tokio::select! {
        biased;
        () = serve => {}
        () = slot.reclaimed() => {}
        () = reserve_end(admission) => {}
    }
}

/// Completes when a connection of the reserve has to close.
async fn reserve_end(admission: Admission) {
    match admission {
        Admission::Regular => std::future::pending().await,
        Admission::Reserve => tokio::time::sleep(MAX_RESERVE_TIME).await,
    }
}

async fn serve_plain(
    stream: TcpStream,
    peer: Peer,
    admission: Admission,
    slot: &Arc<Slot>,
    context: &Arc<ConnectionContext>,
) {
    // A connection without a first byte needs no buffers.
    let readable = tokio::select! {
        biased;
        readable = timeout(context.header_timeout, stream.readable()) => readable,
        () = context.drain.cancelled() => return,
    };
    if matches!(readable, Ok(Ok(()))) {
        let flags = Flags::default();
        let stream = socket_stream(stream, &flags, context);
        serve(stream, service(flags, slot, peer, admission, context)).await;
    }
}

async fn serve_tls(
    stream: TcpStream,
    tls: &TlsHandle,
    peer: Peer,
    admission: Admission,
    slot: &Arc<Slot>,
    context: &Arc<ConnectionContext>,
) {
    let flags = Flags::default();
    let encrypted = tokio::select! {
        biased;
        encrypted = handshake(stream, &flags, tls, context) => encrypted,
        () = context.drain.cancelled() => return,
    };
    match encrypted {
        Ok(stream) => serve(stream, service(flags, slot, peer, admission, context)).await,
        Err(HandshakeError::Closed) => {}
        Err(error) => {
            context.metrics.tls_handshake_failures.inc();
            tracing::debug!(%peer, error = observer_core::report(&error), "TLS handshake failed");
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
    let stream = socket_stream(stream, &flags, &context);
    let service = service(flags, &slot, Peer::AdminSocket, Admission::Regular, &context);
    serve(stream, service).await;
}

fn service(
    flags: Flags,
    slot: &Arc<Slot>,
    peer: Peer,
    admission: Admission,
    context: &Arc<ConnectionContext>,
) -> Arc<ConnectionService> {
    let (context, slot) = (context.clone(), slot.clone());
    let (unread, lasting) = (UnreadBody::default(), Lasting::default());
    Arc::new(ConnectionService { context, slot, flags, unread, lasting, peer, admission })
}

/// Serves requests until the client or the shutdown ends the connection.
async fn serve(stream: impl AsyncRead + AsyncWrite + Unpin, service: Arc<ConnectionService>) {
    let (context, linger) = (&service.context, &service.flags.linger);
    // Boxed, because hyper reserves space for the future on every connection, idle ones included.
    let respond = |request| {
        let service = service.clone();
        Box::pin(async move { Ok::<_, Infallible>(service.call(request).await) })
    };
    let unrouted = context.unrouted.clone();
    let stream = ErrorBodyStream::new(stream, linger.clone(), MAX_BUFFER, unrouted);
    let stream = TokioIo::new(stream);
    let mut connection = context.http.serve_connection(stream, hyper::service::service_fn(respond));
    let ended = run(&mut connection, |it| Pin::new(it).graceful_shutdown(), &service).await;
    if let Some(Err(error)) = ended {
        let Parts { io, read_buf, .. } = connection.into_parts();
        // Boxed, so that connections don't reserve space for it.
        Box::pin(fail(io.into_inner(), &read_buf, &error, &service)).await;
    }
}

/// Responds to a request that hyper did not understand, if there is one.
async fn fail(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    read: &[u8],
    error: &hyper::Error,
    service: &ConnectionService,
) {
    tracing::debug!(
        peer = %service.peer,
        error = observer_core::report(error),
        "connection ended early"
    );
    if http2::is_preface(read) {
        let refusal = Refusal::new(malformed(), "the client speaks HTTP/2");
        service.log_refusal(StatusCode::HTTP_VERSION_NOT_SUPPORTED, &refusal);
        service.context.unrouted.count(StatusCode::HTTP_VERSION_NOT_SUPPORTED);
        let respond = http2::respond_505(&mut stream, BytesMut::from(read));
        // The client may be sending a body.
        service.flags.linger.set();
        // A client that has disconnected needs no response.
        let _ = timeout(MAX_REJECT_TIME, respond).await;
    } else if error.is_timeout() && !read.is_empty() {
        // Without a part of a head there is no request to respond to.
        service.flags.linger.set();
        let problem = slow_head(service.context.header_timeout);
        service.log_refusal(StatusCode::REQUEST_TIMEOUT, &problem.refusal());
        service.context.unrouted.count(StatusCode::REQUEST_TIMEOUT);
        reject::respond_on(stream, problem).await;
    } else if error.is_parse() {
        let refusal = Refusal::new(malformed(), &observer_core::report(error));
        service.log_refusal(StatusCode::BAD_REQUEST, &refusal);
    }
}

/// Returns the reason of a request whose head is not understood.
fn malformed() -> Option<&'static str> {
    Some(RejectReason::Malformed.as_str())
}

/// Runs a connection to its end. When the server shuts down, it starts the shutdown of the
/// connection, ends a body that takes long, and cuts a connection whose stream does not end.
/// Returns `None` if the connection was cut.
async fn run<C: Future + Unpin>(
    connection: &mut C,
    shut_down: impl FnOnce(&mut C),
    service: &ConnectionService,
) -> Option<C::Output> {
    let context = &service.context;
    tokio::select! {
        biased;
        ended = &mut *connection => return Some(ended),
        () = context.drain.cancelled() => shut_down(connection),
    }
    if service.lasting.has_begun() {
        let ended = async { Some(connection.await) };
        return tokio::select! {
            biased;
            ended = ended => ended,
            () = context.cut.cancelled() => None,
            // The stream ends at once, unless its client does not read.
            () = tokio::time::sleep(MAX_STREAM_DRAIN) => None,
        };
    }
    tokio::select! {
        biased;
        ended = &mut *connection => return Some(ended),
        () = context.cut.cancelled() => return None,
        () = tokio::time::sleep(MAX_BODY_DRAIN) => {}
    }
    // The body fails when the connection is polled next.
    service.unread.abort();
    tokio::select! {
        biased;
        ended = connection => Some(ended),
        () = context.cut.cancelled() => None,
    }
}

fn slow_head(limit: Duration) -> Problem {
    let detail = format!(
        "the head of the request did not arrive within {} s (`header_timeout`)",
        limit.as_secs_f64()
    );
    Problem::new(StatusCode::REQUEST_TIMEOUT, detail).reason(RejectReason::Timeout)
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

#[cfg(test)]
mod tests {
    use observer_pipeline::Pipeline;
    use tokio::net::TcpListener;

    use super::*;
    use crate::state::ServerState;
    use crate::{EventStoreHandle, ServerOptions, routes};

    #[tokio::test]
    async fn idle_connection_takes_little_memory() {
        let pipeline = Pipeline::builder().start().await.unwrap();
        let (registry, store) = (prometheus::Registry::new(), EventStoreHandle::default());
        let options = ServerOptions::default();
        let state = ServerState::new(&options, pipeline, registry, store, routes::openapi_json());
        let context = ConnectionContext::new(state.unwrap(), &options);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let stream = TcpStream::connect(address).await.unwrap();
        let permit = context.permits.clone().try_acquire_owned().unwrap();
        let (peer, admission) = (address.into(), Admission::Regular);
        let connection = serve_tcp(Accepted { stream, peer, admission, permit }, None, context);
        let size = size_of_val(&connection);
        assert!(size <= 3 << 10, "it has {size} bytes");
    }
}
