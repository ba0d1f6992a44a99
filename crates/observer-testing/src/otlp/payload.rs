//! Payload of OTLP requests.

use memchr::memmem;
use observer_core::Uuid;
use opentelemetry_proto::tonic::collector::logs::v1::{
    ExportLogsServiceRequest, ExportLogsServiceResponse,
};
use opentelemetry_proto::tonic::collector::metrics::v1::{
    ExportMetricsServiceRequest, ExportMetricsServiceResponse,
};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::collector::{logs, metrics, trace};
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::logs::v1::LogRecord;
use opentelemetry_proto::tonic::metrics::v1::Metric;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::{DecodeError, Message};

/// Attribute of log records and spans that holds the id of the event.
pub const EVENT_ID: &str = "observer.event.id";

/// Signal of OTLP; each has a gRPC service and an HTTP path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    /// `LogsService`, `/v1/logs`.
    Logs,
    /// `TraceService`, `/v1/traces`.
    Traces,
    /// `MetricsService`, `/v1/metrics`.
    Metrics,
}

/// Decoded message of a request.
#[derive(Debug, Clone, PartialEq)]
pub enum Payload {
    /// Log records.
    Logs(ExportLogsServiceRequest),
    /// Spans.
    Traces(ExportTraceServiceRequest),
    /// Metrics.
    Metrics(ExportMetricsServiceRequest),
    /// Message that can't be decoded, with the reason.
    Invalid(String),
}

impl Signal {
    /// All signals.
    pub const ALL: [Self; 3] = [Self::Logs, Self::Traces, Self::Metrics];

    /// Returns the name of the signal, as in the paths of OTLP/HTTP.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Logs => "logs",
            Self::Traces => "traces",
            Self::Metrics => "metrics",
        }
    }

    pub(super) fn of_grpc(path: &str) -> Option<Self> {
        match path {
            "/opentelemetry.proto.collector.logs.v1.LogsService/Export" => Some(Self::Logs),
            "/opentelemetry.proto.collector.trace.v1.TraceService/Export" => Some(Self::Traces),
            "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export" => {
                Some(Self::Metrics)
            }
            _ => None,
        }
    }

    pub(super) fn of_http(path: &str) -> Option<Self> {
        let name = path.strip_prefix("/v1/")?;
        Self::ALL.into_iter().find(|signal| signal.as_str() == name)
    }

    pub(super) fn decode(self, message: &[u8]) -> Result<Payload, DecodeError> {
        Ok(match self {
            Self::Logs => Payload::Logs(Message::decode(message)?),
            Self::Traces => Payload::Traces(Message::decode(message)?),
            Self::Metrics => Payload::Metrics(Message::decode(message)?),
        })
    }

    /// Encodes a response: a partial success if items are rejected or there is a message, else a
    /// full success.
    pub(super) fn response(self, rejected: usize, message: &str) -> Vec<u8> {
        let rejected = i64::try_from(rejected).expect("a request has fewer than 2^63 items");
        let is_partial = rejected != 0 || !message.is_empty();
        let error_message = message.to_owned();
        match self {
            Self::Logs => {
                let partial = logs::v1::ExportLogsPartialSuccess {
                    rejected_log_records: rejected,
                    error_message,
                };
                ExportLogsServiceResponse { partial_success: is_partial.then_some(partial) }
                    .encode_to_vec()
            }
            Self::Traces => {
                let partial = trace::v1::ExportTracePartialSuccess {
                    rejected_spans: rejected,
                    error_message,
                };
                ExportTraceServiceResponse { partial_success: is_partial.then_some(partial) }
                    .encode_to_vec()
            }
            Self::Metrics => {
                let partial = metrics::v1::ExportMetricsPartialSuccess {
                    rejected_data_points: rejected,
                    error_message,
                };
                ExportMetricsServiceResponse { partial_success: is_partial.then_some(partial) }
                    .encode_to_vec()
            }
        }
    }
}

impl Payload {
    /// Returns the signal, if the message could be decoded.
    #[must_use]
    pub fn signal(&self) -> Option<Signal> {
        match self {
            Self::Logs(_) => Some(Signal::Logs),
            Self::Traces(_) => Some(Signal::Traces),
            Self::Metrics(_) => Some(Signal::Metrics),
            Self::Invalid(_) => None,
        }
    }

    /// Returns the log records in order.
    #[must_use]
    pub fn log_records(&self) -> Vec<&LogRecord> {
        let Self::Logs(request) = self else { return Vec::new() };
        let scopes = request.resource_logs.iter().flat_map(|resource| &resource.scope_logs);
        scopes.flat_map(|scope| &scope.log_records).collect()
    }

    /// Returns the spans in order.
    #[must_use]
    pub fn spans(&self) -> Vec<&Span> {
        let Self::Traces(request) = self else { return Vec::new() };
        let scopes = request.resource_spans.iter().flat_map(|resource| &resource.scope_spans);
        scopes.flat_map(|scope| &scope.spans).collect()
    }

    /// Returns the metrics in order.
    #[must_use]
    pub fn metrics(&self) -> Vec<&Metric> {
        let Self::Metrics(request) = self else { return Vec::new() };
        let scopes = request.resource_metrics.iter().flat_map(|resource| &resource.scope_metrics);
        scopes.flat_map(|scope| &scope.metrics).collect()
    }

    /// Returns the attributes of each resource.
    #[must_use]
    pub fn resources(&self) -> Vec<&[KeyValue]> {
        let resources: Vec<_> = match self {
            Self::Logs(request) => {
                request.resource_logs.iter().map(|of| of.resource.as_ref()).collect()
            }
            Self::Traces(request) => {
                request.resource_spans.iter().map(|of| of.resource.as_ref()).collect()
            }
            Self::Metrics(request) => {
                request.resource_metrics.iter().map(|of| of.resource.as_ref()).collect()
            }
            Self::Invalid(_) => Vec::new(),
        };
        resources
            .into_iter()
            .map(|resource| resource.map_or(&[][..], |resource| &resource.attributes))
            .collect()
    }

    /// Returns the event id of each log record or span, if it has one.
    pub(super) fn event_ids(&self) -> Vec<Option<Uuid>> {
        match self {
            Self::Logs(_) => {
                self.log_records().iter().map(|record| event_id(&record.attributes)).collect()
            }
            Self::Traces(_) => self.spans().iter().map(|span| event_id(&span.attributes)).collect(),
            Self::Metrics(_) | Self::Invalid(_) => Vec::new(),
        }
    }

    pub(super) fn count(&self) -> usize {
        self.log_records().len() + self.spans().len() + self.metrics().len()
    }

    /// Returns for each log record, span or metric whether it contains this text.
    #[must_use]
    pub fn contains(&self, marker: &str) -> Vec<bool> {
        let finder = memmem::Finder::new(marker);
        let contains = |message: Vec<u8>| finder.find(&message).is_some();
        match self {
            Self::Logs(_) => {
                self.log_records().iter().map(|record| contains(record.encode_to_vec())).collect()
            }
            Self::Traces(_) => {
                self.spans().iter().map(|span| contains(span.encode_to_vec())).collect()
            }
            Self::Metrics(_) => {
                self.metrics().iter().map(|metric| contains(metric.encode_to_vec())).collect()
            }
            Self::Invalid(_) => Vec::new(),
        }
    }
}

/// Returns the value of a text attribute, if there is one with this key.
#[must_use]
pub fn attribute<'a>(attributes: &'a [KeyValue], key: &str) -> Option<&'a str> {
    let value = attributes.iter().find(|attribute| attribute.key == key)?.value.as_ref()?;
    match &value.value {
        Some(Value::StringValue(text)) => Some(text),
        _ => None,
    }
}

fn event_id(attributes: &[KeyValue]) -> Option<Uuid> {
    attribute(attributes, EVENT_ID)?.parse().ok()
}
