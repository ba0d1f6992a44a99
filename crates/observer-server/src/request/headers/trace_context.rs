//! Spans of requests that carry events, within the trace of the client (W3C Trace Context,
//! <https://www.w3.org/TR/trace-context/>).
//!
//! Other requests have no span: an observer that exports its traces to itself must not cause a
//! trace for each export. The attributes follow the semantic conventions for HTTP
//! (<https://opentelemetry.io/docs/specs/semconv/http/http-spans/>).

use axum::extract::Request;
use axum::http::header::{CONTENT_LENGTH, USER_AGENT};
use axum::http::{HeaderMap, HeaderName, Version};
use axum::response::Response;
use observer_core::Traceparent;
use observer_pipeline::SPAN_TARGET;
use opentelemetry::Context;
use opentelemetry::trace::{SpanContext, SpanId, TraceContextExt, TraceFlags, TraceId, TraceState};
use tracing::field::Empty;
use tracing::{Instrument, Span, info_span};
use tracing_opentelemetry::OpenTelemetrySpanExt;

/// Runs the handler in a span, if spans are collected. The parent is the client's span, if the
/// request names one.
pub(crate) async fn traced<F: Future<Output = Response>>(
    request: Request,
    handler: impl FnOnce(Request) -> F,
) -> Response {
    let span = start_span(&request);
    if span.is_disabled() {
        return handler(request).await;
    }
    if let Some(parent) = parent_of(request.headers()) {
        // Fails if a subscriber other than OpenTelemetry has enabled the span.
        let _ = span.set_parent(parent);
    }
    let response = handler(request).instrument(span.clone()).await;
    let status = response.status();
    span.record("http.response.status_code", i64::from(status.as_u16()));
    if status.is_server_error() {
        span.record("error.type", status.as_str());
        span.record("otel.status_code", "ERROR");
    }
    response
}

fn start_span(request: &Request) -> Span {
    let (head, path) = (request.headers(), request.uri().path());
    info_span!(
        target: SPAN_TARGET,
        parent: None,
        "request",
        otel.name = format!("POST {path}"),
        otel.kind = "server",
        http.request.method = "POST",
        http.route = path,
        url.path = path,
        network.protocol.version = version(request.version()),
        user_agent.original = text(head, USER_AGENT),
        http.request.body.size = content_length(head),
        http.response.status_code = Empty,
        "error.type" = Empty,
        otel.status_code = Empty,
    )
}

fn version(version: Version) -> &'static str {
    if version == Version::HTTP_10 { "1.0" } else { "1.1" }
}

fn content_length(head: &HeaderMap) -> Option<i64> {
    text(head, CONTENT_LENGTH)?.parse().ok()
}

fn text(head: &HeaderMap, name: HeaderName) -> Option<&str> {
    head.get(name).and_then(|value| value.to_str().ok())
}

const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

/// Returns the client's span as a context. A missing or malformed header is ignored, as the
/// specification requires.
fn parent_of(headers: &HeaderMap) -> Option<Context> {
    let mut all = headers.get_all(TRACEPARENT).iter();
    let (Some(value), None) = (all.next(), all.next()) else { return None };
    let Traceparent { trace_id, parent_id, flags } =
        Traceparent::parse(value.to_str().ok()?.trim())?;
    let states: Vec<_> =
        headers.get_all(TRACESTATE).iter().filter_map(|value| value.to_str().ok()).collect();
    let state = states.join(",").parse::<TraceState>().unwrap_or_default();
    let (trace, span) = (TraceId::from_bytes(trace_id), SpanId::from_bytes(parent_id));
    let parent =
        SpanContext::new(trace, span, TraceFlags::new(flags) & TraceFlags::SAMPLED, true, state);
    Some(Context::new().with_remote_span_context(parent))
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
    const SPAN: &str = "b7ad6b7169203331";

    #[track_caller]
    fn check(value: &str, sampled: Option<bool>) {
        let headers = HeaderMap::from_iter([(TRACEPARENT, HeaderValue::from_str(value).unwrap())]);
        let found = parent_of(&headers).map(|context| {
            let span = context.span().span_context().clone();
            assert!(span.is_remote());
            assert_eq!(
                (span.trace_id().to_string(), span.span_id().to_string()),
                (TRACE.into(), SPAN.into())
            );
            span.is_sampled()
        });
        assert_eq!(found, sampled, "{value}");
    }

    #[test]
    fn valid_trace_context_is_continued() {
        check(&format!("00-{TRACE}-{SPAN}-01"), Some(true));
        check(&format!("00-{TRACE}-{SPAN}-00"), Some(false));
        check(&format!("00-{TRACE}-{SPAN}-ff"), Some(true));
        check(&format!(" 00-{TRACE}-{SPAN}-01 "), Some(true));
        check("nonsense", None);
    }

    #[test]
    fn repeated_traceparent_is_ignored_and_trace_states_are_joined() {
        let parent = HeaderValue::from_str(&format!("00-{TRACE}-{SPAN}-01")).unwrap();
        let mut headers = HeaderMap::from_iter([(TRACEPARENT, parent.clone())]);
        headers.append(TRACESTATE, HeaderValue::from_static("a=1"));
        headers.append(TRACESTATE, HeaderValue::from_static("b=2"));
        assert_eq!(
            parent_of(&headers).unwrap().span().span_context().trace_state().header(),
            "a=1,b=2"
        );
        headers.append(TRACEPARENT, parent);
        assert!(parent_of(&headers).is_none());
    }
}
