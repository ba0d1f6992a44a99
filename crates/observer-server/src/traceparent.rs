//! Which trace a request belongs to (<https://www.w3.org/TR/trace-context/>).

use axum::http::{HeaderMap, HeaderName};
use observer_core::Traceparent;
use opentelemetry::Context;
use opentelemetry::trace::{SpanContext, SpanId, TraceContextExt, TraceFlags, TraceId, TraceState};

const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

/// The client's span; `None` where it sends none, or something else, which is to be ignored.
pub(crate) fn of(headers: &HeaderMap) -> Option<Context> {
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
        let found = of(&headers).map(|context| {
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
    fn a_trace_is_continued_if_it_is_one() {
        check(&format!("00-{TRACE}-{SPAN}-01"), Some(true));
        check(&format!("00-{TRACE}-{SPAN}-00"), Some(false));
        check(&format!("00-{TRACE}-{SPAN}-ff"), Some(true));
        check(&format!(" 00-{TRACE}-{SPAN}-01 "), Some(true));
        check("nonsense", None);
    }

    #[test]
    fn two_traces_are_none_and_the_states_of_one_are_all_kept() {
        let parent = HeaderValue::from_str(&format!("00-{TRACE}-{SPAN}-01")).unwrap();
        let mut headers = HeaderMap::from_iter([(TRACEPARENT, parent.clone())]);
        headers.append(TRACESTATE, HeaderValue::from_static("a=1"));
        headers.append(TRACESTATE, HeaderValue::from_static("b=2"));
        assert_eq!(of(&headers).unwrap().span().span_context().trace_state().header(), "a=1,b=2");
        headers.append(TRACEPARENT, parent);
        assert!(of(&headers).is_none());
    }
}
