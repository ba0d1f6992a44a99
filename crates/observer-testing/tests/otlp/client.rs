//! Client for both transports, with the outcome of an export as a sink sees it.

use std::io::Write;
use std::time::Duration;

use observer_core::Uuid;
use observer_testing::otlp::{EVENT_ID, OtlpReceiver, Transport};
use opentelemetry_proto::tonic::collector::logs::v1::logs_service_client::LogsServiceClient;
use opentelemetry_proto::tonic::collector::logs::v1::{
    ExportLogsServiceRequest, ExportLogsServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use prost::Message;
use tonic::{Code, Status};
use tonic_types::{StatusExt, pb};

pub(crate) fn id(number: u128) -> Uuid {
    Uuid::from_u128(number)
}

pub(crate) fn attributes(id: Uuid) -> Vec<KeyValue> {
    let value = Some(AnyValue { value: Some(Value::StringValue(id.to_string())) });
    vec![KeyValue { key: EVENT_ID.to_owned(), value, ..KeyValue::default() }]
}

/// Returns a log record for each event: the number is its id, the text its event name.
pub(crate) fn logs(events: &[(u128, &str)]) -> ExportLogsServiceRequest {
    let record = |&(number, name): &(u128, &str)| LogRecord {
        event_name: name.to_owned(),
        attributes: attributes(id(number)),
        ..LogRecord::default()
    };
    let log_records = events.iter().map(record).collect();
    let scope_logs = vec![ScopeLogs { log_records, ..ScopeLogs::default() }];
    ExportLogsServiceRequest {
        resource_logs: vec![ResourceLogs { scope_logs, ..ResourceLogs::default() }],
    }
}

/// Outcome of an export.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Outcome {
    pub(crate) code: Option<Code>,
    /// HTTP status; `None` over gRPC.
    pub(crate) http: Option<u16>,
    pub(crate) message: String,
    pub(crate) rejected: i64,
    pub(crate) retry_info: Option<Duration>,
    /// `Retry-After` in seconds.
    pub(crate) retry_after: Option<u64>,
}

pub(crate) async fn export(
    receiver: &OtlpReceiver,
    transport: Transport,
    request: ExportLogsServiceRequest,
) -> Outcome {
    match transport {
        Transport::Grpc => match export_by_grpc(receiver, request).await {
            Ok(response) => Outcome { code: Some(Code::Ok), ..accepted(response) },
            Err(status) => failed(&status),
        },
        Transport::Http => export_by_http(receiver, request).await.unwrap(),
    }
}

pub(crate) async fn export_by_grpc(
    receiver: &OtlpReceiver,
    request: ExportLogsServiceRequest,
) -> Result<ExportLogsServiceResponse, Status> {
    let client = LogsServiceClient::connect(receiver.url("")).await;
    let mut client = client.map_err(|error| Status::from_error(error.into()))?;
    client.export(request).await.map(tonic::Response::into_inner)
}

pub(crate) async fn export_by_http(
    receiver: &OtlpReceiver,
    request: ExportLogsServiceRequest,
) -> reqwest::Result<Outcome> {
    let request = post(receiver, "/v1/logs").body(request.encode_to_vec());
    let response = request.send().await?;
    let http = Some(response.status().as_u16());
    let retry_after =
        response.headers().get("retry-after").map(|value| value.to_str().unwrap().parse().unwrap());
    let is_otlp = response
        .headers()
        .get("content-type")
        .is_some_and(|value| value == "application/x-protobuf");
    let body = response.bytes().await?;
    let outcome = match http {
        _ if !is_otlp => {
            Outcome { message: String::from_utf8(body.to_vec()).unwrap(), ..Outcome::default() }
        }
        Some(200) => accepted(ExportLogsServiceResponse::decode(body).unwrap()),
        _ => {
            let status = pb::Status::decode(body.clone()).unwrap();
            failed(&Status::with_details(Code::from_i32(status.code), status.message, body))
        }
    };
    Ok(Outcome { http, retry_after, ..outcome })
}

/// Returns a client. In a build of the whole workspace reqwest needs a crypto provider first;
/// installing a second one fails, and that is fine.
pub(crate) fn http() -> reqwest::Client {
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::new()
}

/// Builds a POST of Protobuf to this path.
pub(crate) fn post(receiver: &OtlpReceiver, path: &str) -> reqwest::RequestBuilder {
    http().post(receiver.url(path)).header("content-type", "application/x-protobuf")
}

fn accepted(response: ExportLogsServiceResponse) -> Outcome {
    let partial = response.partial_success.unwrap_or_default();
    Outcome {
        message: partial.error_message,
        rejected: partial.rejected_log_records,
        ..Outcome::default()
    }
}

fn failed(status: &Status) -> Outcome {
    Outcome {
        code: Some(status.code()),
        message: status.message().to_owned(),
        retry_info: status.get_details_retry_info().and_then(|info| info.retry_delay),
        ..Outcome::default()
    }
}

pub(crate) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}
