//! Cross-origin requests from browsers (<https://fetch.spec.whatwg.org/#http-cors-protocol>).

use axum::http::Method;
use axum::http::header::{AUTHORIZATION, CONTENT_ENCODING, CONTENT_TYPE, HeaderName, HeaderValue};
use tower_http::cors::{AllowOrigin, CorsLayer};

/// Returns the layer that allows these origins, or `None` if there are none. `*` allows all.
/// Origins that can't occur in a header are ignored.
pub(crate) fn layer(origins: &[String]) -> Option<CorsLayer> {
    if origins.is_empty() {
        return None;
    }
    let allowed = if origins.iter().any(|origin| origin == "*") {
        AllowOrigin::any()
    } else {
        AllowOrigin::list(origins.iter().filter_map(|origin| HeaderValue::from_str(origin).ok()))
    };
    let key = HeaderName::from_static("idempotency-key");
    Some(
        CorsLayer::new()
            .allow_origin(allowed)
            .allow_methods([Method::GET, Method::POST, Method::DELETE])
            .allow_headers([AUTHORIZATION, CONTENT_ENCODING, CONTENT_TYPE, key]),
    )
}
