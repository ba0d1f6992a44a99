//! HTTP on one connection.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::State;
use axum::http::header::CONNECTION;
use axum::http::{Method, Request, StatusCode};
use axum::response::Response;
use hyper::body::Incoming;
use hyper::server::conn::http1::Parts;
use hyper_util::rt::TokioIo;
use observer_pipeline::RejectReason;
use prometheus::IntGauge;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::OwnedSemaphorePermit;
use tower::Service;

use super::error_body::Explained;
use super::handshake::{HandshakeError, shake_hands};
use super::linger::{Lingering, Wanted};
use super::refuse;
use super::shared::{MAX_BUFFER, Shared};
use super::slots::Place;
use super::tls::TlsHandle;
use crate::problem::Problem;
use crate::request::guard::guarded;
use crate::routes::post_event;

pub(crate) async fn plain(stream: TcpStream, shared: Arc<Shared>, _permit: OwnedSemaphorePermit) {
    let _open = Open::new(&shared.requests.connections);
    let _ = stream.set_nodelay(true);
    let (linger, place) = (Wanted::default(), shared.places.take());
    tokio::select! {
        biased;
        () = converse(Lingering::new(stream, linger.clone()), linger, &place, &shared) => {}
        () = place.needed() => {}
    }
}

pub(crate) async fn encrypted(
    stream: TcpStream,
    tls: TlsHandle,
    shared: Arc<Shared>,
    _permit: OwnedSemaphorePermit,
) {
    let _open = Open::new(&shared.requests.connections);
    let _ = stream.set_nodelay(true);
    let client = stream.peer_addr();
    let (linger, place) = (Wanted::default(), shared.places.take());
    let agreed = tokio::select! {
        biased;
        agreed = shake_hands(stream, linger.clone(), &tls, shared.header_timeout) => agreed,
        () = shared.drain.cancelled() => return,
        () = place.needed() => return,
    };
    match agreed {
        Ok(stream) => tokio::select! {
            biased;
            () = converse(stream, linger, &place, &shared) => {}
            () = place.needed() => {}
        },
        Err(HandshakeError::Gone) => {}
        Err(error) => {
            shared.requests.tls_handshake_failures.inc();
            let client =
                client.map_or_else(|_| "unknown".to_owned(), |address| address.to_string());
            tracing::debug!(
                client,
                error = observer_core::report(&error),
                "a TLS handshake failed"
            );
        }
    }
}

async fn converse(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    linger: Wanted,
    place: &Arc<Place>,
    shared: &Shared,
) {
    let router = shared.router.clone();
    let wanted = linger.clone();
    let api = shared.api.clone();
    let place = place.clone();
    let service = hyper::service::service_fn(move |request: Request<Incoming>| {
        let (mut router, api, wanted, place) =
            (router.clone(), api.clone(), wanted.clone(), place.clone());
        // In a box that is there for the request alone: hyper keeps room for a future on every
        // connection, also on thousands that are idle.
        Box::pin(async move {
            let _working = place.work().await;
            // Nearly all requests are this one, and to the router it costs as much as reading the
            // event does.
            let is_event = request.uri().path() == "/event" && request.method() == Method::POST;
            let answer = if is_event && api.cors.is_none() {
                Ok(guarded(&api, request.map(Body::new), |request| {
                    post_event(State(api.clone()), request)
                })
                .await)
            } else {
                router.call(request).await
            };
            if answer.as_ref().is_ok_and(leaves_the_body_unread) {
                wanted.set();
            }
            answer
        })
    });
    let stream = TokioIo::new(Explained::new(stream, linger.clone(), MAX_BUFFER));
    let mut connection = shared.http.serve_connection(stream, service);
    let ended = tokio::select! {
        biased;
        ended = &mut connection => ended,
        () = shared.drain.cancelled() => {
            Pin::new(&mut connection).graceful_shutdown();
            tokio::select! {
                biased;
                ended = &mut connection => ended,
                () = shared.cut.cancelled() => return,
            }
        }
    };
    let Err(error) = ended else { return };
    tracing::debug!(error = observer_core::report(&error), "a connection ended early");
    let Parts { io, read_buf, .. } = connection.into_parts();
    // Between two requests there is no one to tell.
    if error.is_timeout() && !read_buf.is_empty() {
        linger.set();
        refuse::tell(io.into_inner(), slow_head(shared.header_timeout)).await;
    }
}

fn slow_head(limit: Duration) -> Problem {
    let detail = format!(
        "the head of the request did not arrive within {} s (`header_timeout`)",
        limit.as_secs_f64()
    );
    Problem::new(StatusCode::REQUEST_TIMEOUT, detail).reason(RejectReason::Timeout)
}

fn leaves_the_body_unread(response: &Response) -> bool {
    response.headers().get(CONNECTION).is_some_and(|value| value == "close")
}

/// Counts a connection while it is open.
struct Open<'a>(&'a IntGauge);

impl<'a> Open<'a> {
    fn new(gauge: &'a IntGauge) -> Self {
        gauge.inc();
        Self(gauge)
    }
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.0.dec();
    }
}
