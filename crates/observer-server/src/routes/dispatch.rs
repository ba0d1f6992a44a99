//! Dispatch of requests: to the router, or past it on the fast path.
//!
//! Nearly all requests are `POST /event`, and routing costs as much as parsing the event does.
//! These requests therefore skip the router. They pass the same [`Guard`] as all others. A layer
//! that [`with_state`](super::with_state) adds to the router does not run for them, so it also
//! needs a condition in [`Dispatcher::dispatch`], as CORS has.

use std::convert::Infallible;
use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::Method;
use axum::response::Response;
use tower::ServiceExt;

use super::event::{self, post_event};
use super::guard::Guard;
use super::with_state;
use crate::metrics::requests::RouteClass;
use crate::state::ServerState;

/// Dispatcher of the requests of all connections.
pub(crate) struct Dispatcher {
    router: Router,
    /// Guard of `POST /event`.
    event_guard: Guard,
    state: Arc<ServerState>,
}

impl Dispatcher {
    pub(crate) fn new(state: Arc<ServerState>) -> Self {
        Self {
            router: with_state(state.clone()),
            event_guard: Guard::new(state.clone(), event::PATH, RouteClass::Ingest),
            state,
        }
    }

    pub(crate) fn state(&self) -> &ServerState {
        &self.state
    }

    /// Passes the request to its handler and returns the response.
    pub(crate) async fn dispatch(&self, request: Request) -> Result<Response, Infallible> {
        let is_event = request.uri().path() == event::PATH && request.method() == Method::POST;
        if is_event && self.state.cors_origins.is_none() {
            let handler = |request| post_event(State(self.state.clone()), request);
            return Ok(self.event_guard.run(request, handler).await);
        }
        self.router.clone().oneshot(request).await
    }
}

#[cfg(test)]
mod tests {
    use std::num::{NonZeroU32, NonZeroU64};

    use axum::body::Body;
    use axum::http::header::{CONTENT_LENGTH, RETRY_AFTER};
    use axum::http::{HeaderMap, StatusCode, Uri};
    use http_body_util::BodyExt;
    use observer_pipeline::Pipeline;
    use prometheus::Registry;

    use super::*;
    use crate::request::access::{Access, Rate, Scope, Scopes, Token, TokenDigest};
    use crate::routes;
    use crate::{EventStoreHandle, ServerOptions};

    type Parts = (StatusCode, HeaderMap, Vec<u8>);

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
            sources: (secret == "ingest").then(|| vec!["job".to_owned()]),
            rate,
        }
    }

    /// Options of an open server, of one with tokens and a rate limit, and of an overloaded one.
    fn cases() -> [ServerOptions; 3] {
        let open = ServerOptions { max_body: 100, max_batch_body: 100, ..ServerOptions::default() };
        // The first body exhausts the bytes for longer than the test takes.
        let rate = Rate {
            per_second: NonZeroU32::MAX,
            burst: NonZeroU32::MAX,
            bytes_per_second: Some(NonZeroU64::MIN),
        };
        let tokens =
            vec![token("ingest", Scope::Ingest, Some(rate)), token("read", Scope::Read, None)];
        let guarded =
            ServerOptions { access: Access { tokens, anonymous: Scopes::NONE }, ..open.clone() };
        let overloaded = ServerOptions { max_requests_in_flight: 0, ..open.clone() };
        [open, guarded, overloaded]
    }

    async fn state(options: &ServerOptions) -> Arc<ServerState> {
        let pipeline = Pipeline::builder().start().await.unwrap();
        let store = EventStoreHandle::default();
        ServerState::new(options, pipeline, Registry::new(), store, routes::openapi_json()).unwrap()
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

    /// Returns the response without its content length, which the router sets and hyper adds if it
    /// is missing, and without the time after which to retry, which passes between two requests.
    async fn parts(response: Result<Response, Infallible>) -> Parts {
        let (mut head, body) = response.unwrap().into_parts();
        head.headers.remove(CONTENT_LENGTH);
        head.headers.remove(RETRY_AFTER);
        (head.status, head.headers, body.collect().await.unwrap().to_bytes().to_vec())
    }

    #[tokio::test]
    async fn fast_path_and_router_return_identical_responses() {
        let mut statuses = std::collections::BTreeSet::new();
        for options in cases() {
            let dispatcher = Dispatcher::new(state(&options).await);
            let router = routes::with_state(state(&options).await);
            for method in &METHODS {
                for path in PATHS {
                    for headers in HEADERS {
                        for body in BODIES {
                            let request = || request(method, path, headers, body);
                            let dispatched = parts(dispatcher.dispatch(request()).await).await;
                            let routed = parts(router.clone().oneshot(request()).await).await;
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
        assert_eq!(Vec::from_iter(statuses), expected, "the cases cover each status");
    }

    #[tokio::test]
    async fn fast_path_is_not_taken_with_cors() {
        let options = ServerOptions { cors_origins: vec!["*".into()], ..ServerOptions::default() };
        let dispatcher = Dispatcher::new(state(&options).await);
        let headers = [("host", "localhost"), ("origin", "http://a.example")];
        let request = request(&Method::POST, "/event", &headers, "");
        let (_, headers, _) = parts(dispatcher.dispatch(request).await).await;
        assert_eq!(headers.get("access-control-allow-origin").unwrap(), "http://a.example");
    }
}
