//! What a trace shows of a request that brings events.
//!
//! Those alone: exporting the trace to the very observer that it is of must not make another one.
//! The names are those of the semantic conventions for HTTP
//! (<https://opentelemetry.io/docs/specs/semconv/http/http-spans/>).

use axum::extract::Request;
use axum::http::header::{CONTENT_LENGTH, USER_AGENT};
use axum::http::{HeaderMap, HeaderName, Version};
use axum::response::Response;
use observer_pipeline::SPANS;
use tracing::field::Empty;
use tracing::{Instrument, Span, info_span};
use tracing_opentelemetry::OpenTelemetrySpanExt;

use crate::traceparent;

/// Answer the request in a span, where someone asks for spans. It belongs to the trace that the
/// client sends.
pub(crate) async fn traced<F: Future<Output = Response>>(
    request: Request,
    answer: impl FnOnce(Request) -> F,
) -> Response {
    let span = begin(&request);
    if span.is_disabled() {
        return answer(request).await;
    }
    if let Some(parent) = traceparent::of(request.headers()) {
        // The error says that the span isn't for a trace, but for something else that asked for it.
        let _ = span.set_parent(parent);
    }
    let response = answer(request).instrument(span.clone()).await;
    let status = response.status();
    span.record("http.response.status_code", i64::from(status.as_u16()));
    if status.is_server_error() {
        span.record("error.type", status.as_str());
        span.record("otel.status_code", "ERROR");
    }
    response
}

fn begin(request: &Request) -> Span {
    let (head, path) = (request.headers(), request.uri().path());
    info_span!(
        target: SPANS,
        parent: None,
        "request",
        otel.name = format!("POST {path}"),
        otel.kind = "server",
        http.request.method = "POST",
        http.route = path,
        url.path = path,
        network.protocol.version = version(request.version()),
        user_agent.original = text(head, USER_AGENT),
        http.request.body.size = text(head, CONTENT_LENGTH).and_then(|length| length.parse::<i64>().ok()),
        http.response.status_code = Empty,
        "error.type" = Empty,
        otel.status_code = Empty,
    )
}

fn version(version: Version) -> &'static str {
    if version == Version::HTTP_10 { "1.0" } else { "1.1" }
}

fn text(head: &HeaderMap, name: HeaderName) -> Option<&str> {
    head.get(name).and_then(|value| value.to_str().ok())
}
