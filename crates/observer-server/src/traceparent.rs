//! Which trace a request belongs to (<https://www.w3.org/TR/trace-context/>).

use axum::http::{HeaderMap, HeaderName};
use opentelemetry::Context;
use opentelemetry::trace::{SpanContext, SpanId, TraceContextExt, TraceFlags, TraceId, TraceState};

const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

/// The client's span; `None` where it sends none, or something else, which is to be ignored.
pub(crate) fn of(headers: &HeaderMap) -> Option<Context> {
    let mut all = headers.get_all(TRACEPARENT).iter();
    let (Some(value), None) = (all.next(), all.next()) else { return None };
    let (trace, span, flags) = parse(value.to_str().ok()?)?;
    let states: Vec<_> = headers.get_all(TRACESTATE).iter().filter_map(|value| value.to_str().ok()).collect();
    let state = states.join(",").parse::<TraceState>().unwrap_or_default();
    let parent = SpanContext::new(trace, span, flags, true, state);
    Some(Context::new().with_remote_span_context(parent))
}

/// Of a version that isn't known yet, what comes after the known fields is ignored.
fn parse(text: &str) -> Option<(TraceId, SpanId, TraceFlags)> {
    let mut parts = text.trim().splitn(5, '-');
    let (version, trace) = (hex::<2>(parts.next()?)?, hex::<32>(parts.next()?)?);
    let (span, flags) = (hex::<16>(parts.next()?)?, hex::<2>(parts.next()?)?);
    if version == "ff" || (version == "00" && parts.next().is_some()) {
        return None;
    }
    let (trace, span) = (TraceId::from_hex(trace).ok()?, SpanId::from_hex(span).ok()?);
    let flags = TraceFlags::new(u8::from_str_radix(flags, 16).ok()?) & TraceFlags::SAMPLED;
    (trace != TraceId::INVALID && span != SpanId::INVALID).then_some((trace, span, flags))
}

/// So many digits, which have to be small letters.
fn hex<const N: usize>(part: &str) -> Option<&str> {
    let is_digit = |digit: u8| matches!(digit, b'0'..=b'9' | b'a'..=b'f');
    (part.len() == N && part.bytes().all(is_digit)).then_some(part)
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
            assert_eq!((span.trace_id().to_string(), span.span_id().to_string()), (TRACE.into(), SPAN.into()));
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
        check(&format!("01-{TRACE}-{SPAN}-01-what-else"), Some(true));
        check(&format!("00-{TRACE}-{SPAN}-01-what"), None);
        check(&format!("ff-{TRACE}-{SPAN}-01"), None);
        check(&format!("0-{TRACE}-{SPAN}-01"), None);
        check(&format!("00-{}-{SPAN}-01", TRACE.to_uppercase()), None);
        check(&format!("00-{}-{SPAN}-01", "0".repeat(32)), None);
        check(&format!("00-{TRACE}-{}-01", "0".repeat(16)), None);
        check(&format!("00-+{}-{SPAN}-01", &TRACE[1..]), None);
        check(&format!("00-{TRACE}-{SPAN}-1"), None);
        check(&format!("00-{TRACE}-{SPAN}"), None);
        check("", None);
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
