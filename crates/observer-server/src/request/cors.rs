//! Cross-origin requests from browsers (<https://fetch.spec.whatwg.org/#http-cors-protocol>).

use axum::http::Method;
use axum::http::header::{AUTHORIZATION, CONTENT_ENCODING, CONTENT_TYPE, HeaderName, HeaderValue};
use tower_http::cors::{AllowOrigin, CorsLayer};

/// Returns the allowed origins, or `None` if none are configured. `*` allows all. Origins that
/// can't occur in a header are ignored.
pub(crate) fn allowed_origins(origins: &[String]) -> Option<AllowOrigin> {
    if origins.is_empty() {
        return None;
    }
    Some(if origins.iter().any(|origin| origin == "*") {
        AllowOrigin::any()
    } else {
        AllowOrigin::list(origins.iter().filter_map(|origin| HeaderValue::from_str(origin).ok()))
    })
}

/// Returns the layer that allows these origins to send requests with these methods.
pub(crate) fn layer(origins: AllowOrigin, methods: Vec<Method>) -> CorsLayer {
    let key = HeaderName::from_static("idempotency-key");
    CorsLayer::new().allow_origin(origins).allow_methods(methods).allow_headers([
        AUTHORIZATION,
        CONTENT_ENCODING,
        CONTENT_TYPE,
        key,
    ])
}
