//! Cross-origin requests from browsers (<https://fetch.spec.whatwg.org/#http-cors-protocol>).

use axum::http::header::{
    ACCESS_CONTROL_REQUEST_METHOD, AUTHORIZATION, CONTENT_ENCODING, CONTENT_TYPE, HeaderName,
    HeaderValue,
};
use axum::http::{Method, request};
use tower_http::cors::{AllowOrigin, CorsLayer};

/// Origins whose pages may send requests.
#[derive(Debug, Clone)]
pub(crate) enum Origins {
    Any,
    These(Vec<HeaderValue>),
}

impl Origins {
    /// Returns the allowed origins, or `None` if none are configured. `*` allows all. Origins that
    /// can't occur in a header are ignored.
    pub(crate) fn new(origins: &[String]) -> Option<Self> {
        if origins.is_empty() {
            return None;
        }
        Some(if origins.iter().any(|origin| origin == "*") {
            Self::Any
        } else {
            let values = origins.iter().filter_map(|origin| HeaderValue::from_str(origin).ok());
            Self::These(values.collect())
        })
    }

    /// Returns whether an origin is one of these.
    pub(crate) fn contains(&self, origin: &HeaderValue) -> bool {
        match self {
            Self::Any => true,
            Self::These(origins) => origins.contains(origin),
        }
    }
}

/// Returns the layer that allows these origins to send requests with these methods. Requests and
/// preflights for which `is_excluded` returns true, given the method and the path, are not allowed
/// to any origin.
pub(crate) fn layer(
    origins: Origins,
    methods: Vec<Method>,
    is_excluded: impl Fn(&Method, &str) -> bool + Clone + Send + Sync + 'static,
) -> CorsLayer {
    let [key, version, method, name] =
        ["idempotency-key", "mcp-protocol-version", "mcp-method", "mcp-name"]
            .map(HeaderName::from_static);
    let allowed = AllowOrigin::predicate(move |origin, head: &request::Parts| {
        !is_excluded(&announced_method(head), head.uri.path()) && origins.contains(origin)
    });
    CorsLayer::new().allow_origin(allowed).allow_methods(methods).allow_headers([
        AUTHORIZATION,
        CONTENT_ENCODING,
        CONTENT_TYPE,
        key,
        version,
        method,
        name,
    ])
}

/// Returns the method of a request, or the one that a preflight announces.
fn announced_method(head: &request::Parts) -> Method {
    let announced = (head.method == Method::OPTIONS)
        .then(|| head.headers.get(ACCESS_CONTROL_REQUEST_METHOD))
        .flatten();
    announced
        .and_then(|method| Method::from_bytes(method.as_bytes()).ok())
        .unwrap_or_else(|| head.method.clone())
}
