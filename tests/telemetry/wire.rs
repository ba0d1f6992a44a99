//! Decoded contents of the requests that a collector received.

use std::collections::BTreeMap;

use observer_testing::http::{HttpReceiver, ReceivedRequest};
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::logs::v1::LogRecord;
use opentelemetry_proto::tonic::metrics::v1::Metric;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message;

/// Returns the requests of one signal that the collector accepted.
pub(super) fn accepted<M: Message + Default>(collector: &HttpReceiver, signal: &str) -> Vec<M> {
    let path = format!("/v1/{signal}");
    let is_accepted =
        |request: &ReceivedRequest| request.path == path && request.status == Some(200);
    let accepted = collector.requests().into_iter().filter(is_accepted);
    accepted.map(|request| M::decode(request.body).unwrap()).collect()
}

pub(super) fn spans(collector: &HttpReceiver) -> Vec<Span> {
    let requests = accepted::<ExportTraceServiceRequest>(collector, "traces").into_iter();
    let scopes = requests
        .flat_map(|request| request.resource_spans)
        .flat_map(|resource| resource.scope_spans);
    scopes.flat_map(|scope| scope.spans).collect()
}

pub(super) fn logs(collector: &HttpReceiver) -> Vec<LogRecord> {
    let requests = accepted::<ExportLogsServiceRequest>(collector, "logs").into_iter();
    let scopes =
        requests.flat_map(|request| request.resource_logs).flat_map(|resource| resource.scope_logs);
    scopes.flat_map(|scope| scope.log_records).collect()
}

/// Returns the metrics of each export.
pub(super) fn metrics(collector: &HttpReceiver) -> Vec<Vec<Metric>> {
    let metrics = |request: ExportMetricsServiceRequest| {
        let scopes =
            request.resource_metrics.into_iter().flat_map(|resource| resource.scope_metrics);
        scopes.flat_map(|scope| scope.metrics).collect()
    };
    accepted(collector, "metrics").into_iter().map(metrics).collect()
}

/// Returns attributes with their values as text.
pub(super) fn attributes(attributes: &[KeyValue]) -> BTreeMap<&str, String> {
    attributes.iter().map(|pair| (pair.key.as_str(), text(pair.value.as_ref()))).collect()
}

/// Returns a value as text, whatever its type.
pub(super) fn text(value: Option<&AnyValue>) -> String {
    match value.and_then(|value| value.value.as_ref()) {
        Some(Value::StringValue(text)) => text.clone(),
        Some(Value::IntValue(number)) => number.to_string(),
        Some(Value::BoolValue(flag)) => flag.to_string(),
        other => format!("{other:?}"),
    }
}

pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
