//! HTTP/1.1 on one connection.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::header::CONNECTION;
use axum::http::{Method, StatusCode};
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

use super::error_body::ErrorBodyStream;
use super::handshake::{HandshakeError, handshake};
use super::linger::{LingerFlag, LingeringStream};
use super::refuse;
use super::shared::{MAX_BUFFER, Shared};
use super::slots::Slot;
use super::tls::TlsHandle;
use crate::problem::Problem;
use crate::request::guard::guarded;
use crate::routes::post_event;
use crate::state::ServerState;

/// Serves a connection of plain HTTP until it ends or its slot is reclaimed.
pub(crate) async fn serve_plain(
    stream: TcpStream,
    shared: Arc<Shared>,
    _permit: OwnedSemaphorePermit,
) {
    let _open = OpenConnection::new(&shared.requests.connections);
    let _ = stream.set_nodelay(true);
    let (linger, slot) = (LingerFlag::default(), shared.slots.take());
    tokio::select! {
        biased;
        () = serve(LingeringStream::new(stream, linger.clone()), linger, &slot, &shared) => {}
        () = slot.reclaimed() => {}
    }
}

/// Serves a connection to a TLS address until it ends or its slot is reclaimed.
pub(crate) async fn serve_tls(
    stream: TcpStream,
    tls: TlsHandle,
    shared: Arc<Shared>,
    _permit: OwnedSemaphorePermit,
) {
    let _open = OpenConnection::new(&shared.requests.connections);
    let _ = stream.set_nodelay(true);
    let client = stream.peer_addr();
    let (linger, slot) = (LingerFlag::default(), shared.slots.take());
    let encrypted = tokio::select! {
        biased;
        encrypted = handshake(stream, linger.clone(), &tls, shared.header_timeout) => encrypted,
        () = shared.drain.cancelled() => return,
        () = slot.reclaimed() => return,
    };
    match encrypted {
        Ok(stream) => tokio::select! {
            biased;
            () = serve(stream, linger, &slot, &shared) => {}
            () = slot.reclaimed() => {}
        },
        Err(HandshakeError::Closed) => {}
        Err(error) => {
            shared.requests.tls_handshake_failures.inc();
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
    shared: &Shared,
) {
    let router = shared.router.clone();
    let state = shared.state.clone();
    let (slot, flag) = (slot.clone(), linger.clone());
    let service = hyper::service::service_fn(move |request: hyper::Request<Incoming>| {
        let (mut router, state, slot, flag) =
            (router.clone(), state.clone(), slot.clone(), flag.clone());
        // Boxed, because hyper reserves space for the future on every connection, idle ones
        // included.
        Box::pin(async move {
            let _active = slot.begin_request().await;
            let answer = dispatch(&state, &mut router, request.map(Body::new)).await;
            if answer.as_ref().is_ok_and(leaves_body_unread) {
                flag.set();
            }
            answer
        })
    });
    let stream = TokioIo::new(ErrorBodyStream::new(stream, linger.clone(), MAX_BUFFER));
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
    tracing::debug!(error = observer_core::report(&error), "connection ended early");
    let Parts { io, read_buf, .. } = connection.into_parts();
    // Without a part of a head there is no request to answer.
    if error.is_timeout() && !read_buf.is_empty() {
        linger.set();
        refuse::answer_on(io.into_inner(), slow_head(shared.header_timeout)).await;
    }
}

/// Answers a request.
///
/// `POST /event` skips the router: nearly all requests are of this route, and routing costs as much
/// as parsing the event does.
async fn dispatch(
    state: &Arc<ServerState>,
    router: &mut Router,
    request: Request,
) -> Result<Response, Infallible> {
    let is_event = request.uri().path() == "/event" && request.method() == Method::POST;
    if is_event && state.cors.is_none() {
        let handler = |request| post_event(State(state.clone()), request);
        return Ok(guarded(state, request, handler).await);
    }
    router.call(request).await
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

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use axum::http::header::CONTENT_LENGTH;
    use axum::http::{HeaderMap, Uri};
    use http_body_util::BodyExt;
    use observer_pipeline::Pipeline;
    use prometheus::Registry;

    use super::*;
    use crate::request::access::{Access, Rate, Scope, Scopes, Token, TokenDigest};
    use crate::{ServerOptions, routes};

    type Answer = (StatusCode, HeaderMap, Vec<u8>);

    const METHODS: [Method; 8] = [
        Method::POST,
        Method::GET,
        Method::HEAD,
        Method::PUT,
        Method::DELETE,
        Method::OPTIONS,
        Method::PATCH,
        Method::TRACE,
    ];

    const PATHS: [&str; 9] = [
        "/event",
        "/event?a=b",
        "http://localhost/event",
        "http://evil.example/event",
        "/event/",
        "//event",
        "/%65vent",
        "/v1/events",
        "/nowhere",
    ];

    const HEADERS: [&[(&str, &str)]; 15] = [
        &[],
        &[("host", "localhost")],
        &[("host", "evil.example")],
        &[("host", "localhost"), ("host", "localhost")],
        &[("host", "localhost"), ("content-type", "application/json")],
        &[("host", "localhost"), ("content-type", "text/plain")],
        &[("host", "localhost"), ("origin", "http://localhost")],
        &[("host", "localhost"), ("idempotency-key", "k")],
        &[("host", "localhost"), ("idempotency-key", "a b")],
        &[("host", "localhost"), ("content-encoding", "gzip")],
        &[("host", "localhost"), ("authorization", "Bearer ingest")],
        &[("host", "localhost"), ("authorization", "Bearer read")],
        &[("host", "localhost"), ("authorization", "Bearer unknown")],
        &[("host", "localhost"), ("authorization", "Basic YTpi")],
        &[
            ("host", "localhost"),
            ("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
        ],
    ];

    /// Bodies with explicit ids, since two pipelines assign different ones.
    const BODIES: [&str; 5] = [
        "{\"id\":\"6f1c34a4-55c4-4a3e-9a42-1f1fd2b3c4d5\",\
          \"event\":{\"source\":\"job\",\"event_kind\":\"ok\",\"ok\":true}}",
        r#"{"source":"bot","event_kind":"ok","ok":true}"#,
        "not json",
        "",
        "[            a body that is larger than the limit of this test allows it to be, by a few \
         bytes             ]",
    ];

    fn token(secret: &str, scope: Scope, rate: Option<Rate>) -> Token {
        Token {
            name: secret.to_owned(),
            digests: vec![TokenDigest::of(secret)],
            scopes: Scopes::from_iter([scope]),
            rate,
        }
    }

    /// Options of an open server, of one with tokens and a rate limit, and of an overloaded one.
    fn cases() -> [ServerOptions; 3] {
        let open = ServerOptions { max_body: 100, ..ServerOptions::default() };
        let rate = Rate { per_second: NonZeroU32::MIN, burst: NonZeroU32::new(20).unwrap() };
        let tokens =
            vec![token("ingest", Scope::Ingest, Some(rate)), token("read", Scope::Read, None)];
        let guarded =
            ServerOptions { access: Access { tokens, anonymous: Scopes::NONE }, ..open.clone() };
        let overloaded = ServerOptions { max_requests_in_flight: 0, ..open.clone() };
        [open, guarded, overloaded]
    }

    async fn state(options: &ServerOptions) -> Arc<ServerState> {
        let pipeline = Pipeline::builder().start().await.unwrap();
        ServerState::new(options, pipeline, Registry::new(), routes::openapi_json()).unwrap()
    }

    fn request(method: &Method, path: &str, headers: &[(&str, &str)], body: &str) -> Request {
        let mut request = Request::new(Body::from(body.to_owned()));
        *request.method_mut() = method.clone();
        *request.uri_mut() = path.parse::<Uri>().unwrap();
        for &(name, value) in headers {
            let name: axum::http::HeaderName = name.parse().unwrap();
            request.headers_mut().append(name, value.parse().unwrap());
        }
        request
    }

    /// Without the content length, which the router sets and hyper adds where it is missing.
    async fn answer(response: Result<Response, Infallible>) -> Answer {
        let (mut head, body) = response.unwrap().into_parts();
        head.headers.remove(CONTENT_LENGTH);
        (head.status, head.headers, body.collect().await.unwrap().to_bytes().to_vec())
    }

    #[tokio::test]
    async fn short_cut_and_router_give_the_same_answers() {
        let mut statuses = std::collections::BTreeSet::new();
        for options in cases() {
            let (short, full) = (state(&options).await, state(&options).await);
            let mut routers = (routes::with_state(short.clone()), routes::with_state(full));
            for method in &METHODS {
                for path in PATHS {
                    for headers in HEADERS {
                        for body in BODIES {
                            let request = || request(method, path, headers, body);
                            let dispatched =
                                answer(dispatch(&short, &mut routers.0, request()).await).await;
                            let routed = answer(routers.1.call(request()).await).await;
                            assert_eq!(dispatched, routed, "{method} {path} {headers:?} {body}");
                            if method == Method::POST && path == "/event" {
                                statuses.insert(routed.0.as_u16());
                            }
                        }
                    }
                }
            }
        }
        let expected = [200, 400, 401, 403, 413, 415, 421, 422, 429];
        assert_eq!(Vec::from_iter(statuses), expected, "the table reaches each kind of answer");
    }

    #[tokio::test]
    async fn short_cut_is_not_taken_with_cors() {
        let options = ServerOptions { cors_origins: vec!["*".into()], ..ServerOptions::default() };
        let state = state(&options).await;
        let mut router = routes::with_state(state.clone());
        let headers = [("host", "localhost"), ("origin", "http://a.example")];
        let request = request(&Method::POST, "/event", &headers, "");
        let (_, headers, _) = answer(dispatch(&state, &mut router, request).await).await;
        assert_eq!(headers.get("access-control-allow-origin").unwrap(), "*");
    }
}
