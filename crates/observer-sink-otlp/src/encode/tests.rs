//! Snapshots of complete requests.

use std::fmt::Write;

use observer_core::Batch;
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::trace::v1::Span;

use super::*;
use crate::testing::envelope;

/// Encodes an event as a log record, and decodes the request.
fn logs(event: &str) -> ExportLogsServiceRequest {
    let encoded = Encoder::new([("service.name", "agents")]).encode(Signal::Logs, &batch(event));
    ExportLogsServiceRequest::decode(&*encoded.bytes).unwrap()
}

#[test]
fn llm_span_is_a_child_with_the_usage() {
    let event = r#"{"source":"bot","event_kind":"tests_failed","ok":false,"staffer_id":"gpt-5",
        "cycle_id":"c","sig_hash":"s","duration_ms":1500,"cost_usd":0.5,
        "usage":{"input_tokens":10,"output_tokens":5}}"#;
    let encoder = Encoder::new([]).with_llm_spans();
    let encoded = encoder.encode(Signal::Traces, &batch(event));
    let request = ExportTraceServiceRequest::decode(&*encoded.bytes).unwrap();
    let [parent, child] = request.resource_spans[0].scope_spans[0].spans.as_slice() else {
        panic!("{request:?}")
    };
    assert_eq!(encoded.items, 2);
    assert_eq!((&*parent.name, &*child.name), ("invoke_agent bot", "chat gpt-5"));
    assert_eq!((&child.trace_id, &child.parent_span_id), (&parent.trace_id, &parent.span_id));
    assert_ne!(child.span_id, parent.span_id);
    let times = |span: &Span| (span.start_time_unix_nano, span.end_time_unix_nano);
    assert_eq!((times(child), &child.status), (times(parent), &parent.status));
    assert_eq!((child.kind, child.flags), (3, 0x101));
    assert_eq!(
        format_attributes(&child.attributes),
        "
  gen_ai.operation.name = \"chat\"
  gen_ai.provider.name = \"openai\"
  gen_ai.request.model = \"gpt-5\"
  gen_ai.usage.input_tokens = int 10
  gen_ai.usage.output_tokens = int 5
  observer.cost_usd = double 0.5
  error.type = \"tests_failed\"
  observer.event.id = \"00000000-0000-0000-0000-000000000007\""
    );
    assert!(!format_attributes(&parent.attributes).contains("gen_ai.usage"), "it is counted once");
    for event in [
        r#"{"source":"bot","event_kind":"ok","ok":true,"duration_ms":1,"staffer_id":"gpt-5"}"#,
        r#"{"source":"s","event_kind":"ok","ok":true,"duration_ms":1,"usage":{"input_tokens":1}}"#,
    ] {
        assert_eq!(encoder.encode(Signal::Traces, &batch(event)).items, 1, "{event}");
    }
    let phase = r#"{"source":"bot","event_kind":"started","duration_ms":1,"staffer_id":"gpt-5"}"#;
    assert_eq!(encoder.encode(Signal::Traces, &batch(phase)).items, 0);
}

/// Encodes an event as a span, and decodes the request.
fn spans(event: &str) -> ExportTraceServiceRequest {
    let encoded = Encoder::new([("service.name", "agents")]).encode(Signal::Traces, &batch(event));
    ExportTraceServiceRequest::decode(&*encoded.bytes).unwrap()
}

fn batch(event: &str) -> Batch {
    Batch::new(1, vec![envelope(7, event)])
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn format_value(value: Option<&AnyValue>) -> String {
    match value.and_then(|value| value.value.as_ref()) {
        None => "empty".to_owned(),
        Some(Value::StringValue(text)) => format!("{text:?}"),
        Some(Value::IntValue(number)) => format!("int {number}"),
        Some(Value::DoubleValue(number)) => format!("double {number}"),
        Some(Value::BoolValue(is)) => is.to_string(),
        Some(Value::ArrayValue(array)) => {
            let values: Vec<_> =
                array.values.iter().map(|value| format_value(Some(value))).collect();
            format!("[{}]", values.join(", "))
        }
        Some(Value::KvlistValue(list)) => {
            let pair =
                |pair: &KeyValue| format!("{}: {}", pair.key, format_value(pair.value.as_ref()));
            format!("{{{}}}", list.values.iter().map(pair).collect::<Vec<_>>().join(", "))
        }
        Some(other) => panic!("the encoder makes no {other:?}"),
    }
}

fn format_attributes(attributes: &[KeyValue]) -> String {
    attributes.iter().fold(String::new(), |mut text, pair| {
        let _ = write!(text, "\n  {} = {}", pair.key, format_value(pair.value.as_ref()));
        text
    })
}

fn format_log(event: &str) -> String {
    let request = logs(event);
    let resource = &request.resource_logs[0];
    let scope = &resource.scope_logs[0];
    let record = &scope.log_records[0];
    format!(
        "resource {} {}\nscope {:?} {}\n{} {} {} {}\ntime {}\nobserved {}\n\
         trace {} span {} flags {}\nbody {}\nattributes{}",
        resource.schema_url,
        format_attributes(&resource.resource.as_ref().unwrap().attributes),
        scope.scope.as_ref().map(|scope| (&*scope.name, !scope.version.is_empty())).unwrap(),
        scope.schema_url,
        request.resource_logs.len(),
        record.event_name,
        record.severity_number,
        record.severity_text,
        record.time_unix_nano,
        record.observed_time_unix_nano,
        hex(&record.trace_id),
        hex(&record.span_id),
        record.flags,
        format_value(record.body.as_ref()),
        format_attributes(&record.attributes)
    )
}

fn format_span(event: &str) -> String {
    let request = spans(event);
    let resource = &request.resource_spans[0];
    let scope = &resource.scope_spans[0];
    let span = &scope.spans[0];
    format!(
        "resource {} {}\nscope {:?} {}\n{:?} kind {} status {:?}\nfrom {} to {}\n\
         trace {} span {} parent {:?} flags {:#x}\nattributes{}",
        resource.schema_url,
        format_attributes(&resource.resource.as_ref().unwrap().attributes),
        scope.scope.as_ref().map(|scope| (&*scope.name, !scope.version.is_empty())).unwrap(),
        scope.schema_url,
        span.name,
        span.kind,
        span.status.as_ref().map(|status| (status.code, &*status.message)),
        span.start_time_unix_nano,
        span.end_time_unix_nano,
        hex(&span.trace_id),
        hex(&span.span_id),
        hex(&span.parent_span_id),
        span.flags,
        format_attributes(&span.attributes)
    )
}

const FAILED: &str = r#"{"source":"bot","cycle_id":"c-0001","sig_hash":"9f2c",
    "event_kind":"tests_failed","ok":false,"staffer_id":"gpt-oss:120b","turns":7,
    "duration_ms":1500.25,"timestamp":"2026-01-01T00:00:10.5Z","id":"mine","team":["red",2],
    "extra":{"usage":{"input_tokens":10,"cache_read_input_tokens":90,
        "cache_creation_input_tokens":5,"output_tokens":3,"cost_usd":0.25},
        "note":null,"deep":{"x":1.5}}}"#;

#[test]
fn failed_cycle_of_the_agent_has_all_attributes() {
    insta::assert_snapshot!("failed_log", format_log(FAILED));
    insta::assert_snapshot!("failed_span", format_span(FAILED));
}

#[test]
fn minimal_event_has_required_attributes_only() {
    let minimal = r#"{"source":"autotune","event_kind":"ok","ok":true,"duration_ms":0}"#;
    insta::assert_snapshot!("minimal_log", format_log(minimal));
    insta::assert_snapshot!("minimal_span", format_span(minimal));
}

#[test]
fn cycle_continues_the_trace_of_its_traceparent() {
    let event = r#"{"source":"scenario","event_kind":"ok","ok":true,"duration_ms":2,
        "traceparent":"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00"}"#;
    insta::assert_snapshot!("continued_span", format_span(event));
}

#[test]
fn event_without_a_duration_has_no_span() {
    let event = r#"{"source":"s","event_kind":"ok","ok":true}"#;
    assert_eq!(
        Encoder::new([]).encode(Signal::Traces, &batch(event)),
        Encoded { bytes: Vec::new(), items: 0 }
    );
}

#[test]
fn phase_is_a_log_record_of_info_without_a_span() {
    for event in [
        r#"{"source":"bot","cycle_id":"c","event_kind":"started","ok":false,"duration_ms":5}"#,
        r#"{"source":"bot","cycle_id":"c","event_kind":"started"}"#,
    ] {
        let record = logs(event).resource_logs.remove(0).scope_logs.remove(0).log_records.remove(0);
        assert_eq!((record.severity_number, &*record.severity_text), (9, "INFO"));
        assert_eq!(record.event_name, "observer.cycle.phase");
        assert!(record.attributes.iter().all(|attribute| attribute.key != "observer.ok"));
        assert_eq!(Encoder::new([]).encode(Signal::Traces, &batch(event)).items, 0);
    }
}

#[test]
fn attempt_correction_labels_and_cost_are_attributes() {
    let event = r#"{"source":"bot","event_kind":"ok","ok":true,"duration_ms":1,"attempt":3,
        "replaces":"mine","labels":{"branch":"main","shard":7,"deep":{}},"cost_usd":0.5,
        "usage":{"input_tokens":10,"cost_usd":0.25}}"#;
    let expected = [
        "observer.cost_usd = double 0.5",
        "observer.attempt = int 3",
        "observer.replaces = \"mine\"",
        "observer.label.branch = \"main\"",
        "observer.label.shard = \"7\"",
    ];
    for text in [format_log(event), format_span(event)] {
        for attribute in expected {
            assert_eq!(text.matches(attribute).count(), 1, "{attribute} in {text}");
        }
        assert!(!text.contains("label.deep") && !text.contains("observer.fields"), "{text}");
    }
}

#[test]
fn unused_caches_have_no_attributes() {
    let event = r#"{"source":"s","event_kind":"ok","ok":true,"duration_ms":1,
        "usage":{"prompt_tokens":0,"completion_tokens":3}}"#;
    let span = format_span(event);
    let usage: Vec<_> = span.lines().filter(|line| line.contains("usage")).map(str::trim).collect();
    assert_eq!(usage, ["gen_ai.usage.input_tokens = int 0", "gen_ai.usage.output_tokens = int 3"]);
}

#[test]
fn total_without_parts_has_no_counts() {
    let event = r#"{"source":"s","event_kind":"ok","ok":true,"duration_ms":1,
        "usage":{"total_tokens":30}}"#;
    assert!(!format_span(event).contains("gen_ai.usage"));
}

#[test]
fn parts_of_the_tokens_are_attributes() {
    let event = r#"{"source":"s","event_kind":"ok","ok":true,"duration_ms":1,"extra":{"usage":{
        "promptTokenCount":90,"cachedContentTokenCount":40,"candidatesTokenCount":5,
        "thoughtsTokenCount":7,"totalTokenCount":102}}}"#;
    let expected = [
        "gen_ai.usage.input_tokens = int 90",
        "gen_ai.usage.cache_read.input_tokens = int 40",
        "gen_ai.usage.output_tokens = int 12",
        "gen_ai.usage.reasoning.output_tokens = int 7",
    ];
    for text in [format_log(event), format_span(event)] {
        let usage: Vec<_> =
            text.lines().map(str::trim).filter(|line| line.starts_with("gen_ai.usage")).collect();
        assert_eq!(usage, expected);
    }
}

#[test]
fn service_name_is_observer_by_default() {
    let resource = ResourceLogs::decode(&*Encoder::new([("team", "red")]).resource).unwrap();
    let attributes = resource.resource.unwrap().attributes;
    let keys: Vec<_> = attributes.iter().map(|pair| &*pair.key).collect();
    assert_eq!(keys, ["service.name", "service.version", "team"]);
    assert_eq!(format_value(attributes[0].value.as_ref()), "\"observer\"");
}

#[test]
fn times_are_clamped_to_the_range_of_otlp() {
    let span = |timestamp: &str, duration: &str| {
        let event = format!(
            r#"{{"source":"s","event_kind":"k","ok":true,
                "timestamp":"{timestamp}","duration_ms":{duration}}}"#
        );
        let span = spans(&event).resource_spans.remove(0).scope_spans.remove(0).spans.remove(0);
        (span.start_time_unix_nano, span.end_time_unix_nano)
    };
    assert_eq!(span("1970-01-01T00:00:01Z", "3155760000000"), (0, 1_000_000_000));
    assert_eq!(span("1970-01-01T00:00:00Z", "5"), (0, 0));
    let end = 9_246_182_399_999_999_999;
    assert_eq!(span("2262-12-31T23:59:59.999999999Z", "0"), (end, end));
    assert_eq!(span("1970-01-01T00:00:01Z", "0.0000014"), (999_999_999, 1_000_000_000));
}

#[test]
fn encoding_is_deterministic() {
    let encoder = Encoder::new([("b", "2"), ("a", "1")]);
    for signal in [Signal::Logs, Signal::Traces] {
        assert_eq!(encoder.encode(signal, &batch(FAILED)), encoder.encode(signal, &batch(FAILED)));
    }
}
