//! Requests are recorded with their decoded payload and their transport.

use observer_testing::otlp::{OtlpReceiver, Payload, Signal, Transport, attribute};
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::logs::v1::logs_service_client::LogsServiceClient;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::metrics_service_client::MetricsServiceClient;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_client::TraceServiceClient;
use opentelemetry_proto::tonic::metrics::v1::{Metric, ResourceMetrics, ScopeMetrics};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};
use prost::Message;
use tonic::codec::CompressionEncoding;
use tonic::{Code, Request};

use crate::client::{attributes, export, gzip, http, id, logs, post};

fn traces() -> ExportTraceServiceRequest {
    let span = |number| Span {
        name: format!("span {number}"),
        attributes: attributes(id(number)),
        ..Span::default()
    };
    let scope_spans = vec![ScopeSpans { spans: vec![span(7), span(8)], ..ScopeSpans::default() }];
    let resource = Some(Resource { attributes: attributes(id(9)), ..Resource::default() });
    let resource_spans = vec![ResourceSpans { resource, scope_spans, ..ResourceSpans::default() }];
    ExportTraceServiceRequest { resource_spans }
}

fn metrics() -> ExportMetricsServiceRequest {
    let metrics = vec![Metric { name: "observer.events".to_owned(), ..Metric::default() }];
    let scope_metrics = vec![ScopeMetrics { metrics, ..ScopeMetrics::default() }];
    ExportMetricsServiceRequest {
        resource_metrics: vec![ResourceMetrics { scope_metrics, ..ResourceMetrics::default() }],
    }
}

/// Checks that one request of each signal is recorded as it was sent.
fn check(
    receiver: &OtlpReceiver,
    transport: Transport,
    compression: Option<&str>,
    logs: ExportLogsServiceRequest,
) {
    let requests = receiver.requests();
    let payloads = requests.iter().map(|request| request.payload.clone()).collect::<Vec<_>>();
    assert_eq!(
        payloads,
        [Payload::Logs(logs.clone()), Payload::Traces(traces()), Payload::Metrics(metrics())]
    );
    let lengths = [logs.encoded_len(), traces().encoded_len(), metrics().encoded_len()];
    for (request, length) in requests.iter().zip(lengths) {
        assert_eq!((request.transport, request.code), (transport, Some(Code::Ok)), "{request:?}");
        assert_eq!(request.compression.as_deref(), compression, "{request:?}");
        assert_eq!(request.wire_size == length, compression.is_none(), "{request:?}");
        assert!(request.wire_size > 0);
        assert_eq!(request.header("authorization"), Some("Bearer secret"));
    }
    assert_eq!(receiver.event_ids(Signal::Logs), [id(1), id(2)]);
    assert_eq!(receiver.event_ids(Signal::Traces), [id(7), id(8)]);
    assert!(receiver.event_ids(Signal::Metrics).is_empty());
    assert_eq!(receiver.log_records().len(), 2);
    assert_eq!(receiver.spans()[1].name, "span 8");
    assert_eq!(requests[1].payload.resources(), [attributes(id(9))]);
    assert_eq!(
        attribute(requests[1].payload.resources()[0], "observer.event.id"),
        Some(&*id(9).to_string())
    );
    assert_eq!(requests[2].payload.metrics()[0].name, "observer.events");
}

fn authorized<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.metadata_mut().insert("authorization", "Bearer secret".parse().unwrap());
    request
}

#[tokio::test]
async fn each_signal_arrives_over_grpc() {
    let receiver = OtlpReceiver::start();
    let url = || receiver.url("");
    let logs = logs(&[(1, "a"), (2, "b")]);
    LogsServiceClient::connect(url())
        .await
        .unwrap()
        .export(authorized(logs.clone()))
        .await
        .unwrap();
    TraceServiceClient::connect(url()).await.unwrap().export(authorized(traces())).await.unwrap();
    MetricsServiceClient::connect(url())
        .await
        .unwrap()
        .export(authorized(metrics()))
        .await
        .unwrap();
    check(&receiver, Transport::Grpc, None, logs);
}

#[tokio::test]
async fn each_signal_arrives_over_grpc_with_gzip() {
    let receiver = OtlpReceiver::start();
    let (url, gzip) = (|| receiver.url(""), CompressionEncoding::Gzip);
    let logs = logs(&[(1, "a"), (2, "b")]);
    let mut client = LogsServiceClient::connect(url()).await.unwrap().send_compressed(gzip);
    client.export(authorized(logs.clone())).await.unwrap();
    let mut client = TraceServiceClient::connect(url()).await.unwrap().send_compressed(gzip);
    client.export(authorized(traces())).await.unwrap();
    let mut client = MetricsServiceClient::connect(url()).await.unwrap().send_compressed(gzip);
    client.export(authorized(metrics())).await.unwrap();
    check(&receiver, Transport::Grpc, Some("gzip"), logs);
}

#[tokio::test]
async fn each_signal_arrives_over_http() {
    for compression in [None, Some("gzip")] {
        let receiver = OtlpReceiver::start();
        let logs = logs(&[(1, "a"), (2, "b")]);
        for (path, message) in [
            ("/v1/logs", logs.encode_to_vec()),
            ("/v1/traces", traces().encode_to_vec()),
            ("/v1/metrics", metrics().encode_to_vec()),
        ] {
            let request = post(&receiver, path).header("authorization", "Bearer secret");
            let request = match compression {
                None => request.body(message),
                Some(name) => request.header("content-encoding", name).body(gzip(&message)),
            };
            assert_eq!(request.send().await.unwrap().status(), 200);
        }
        check(&receiver, Transport::Http, compression, logs);
    }
}

#[tokio::test]
async fn invalid_request_is_rejected_and_recorded_with_the_reason() {
    let receiver = OtlpReceiver::start();
    let message = logs(&[(1, "a")]).encode_to_vec();
    for (request, status, expected) in [
        (
            post(&receiver, "/v1/logs").body("no protobuf"),
            400,
            "the message is not valid OTLP: failed to decode Protobuf message",
        ),
        (
            post(&receiver, "/v1/logs").header("content-encoding", "gzip").body("no gzip"),
            400,
            "the body is not valid gzip",
        ),
        (
            post(&receiver, "/v1/logs").header("content-encoding", "zstd").body(message.clone()),
            415,
            "unsupported content encoding \"zstd\"",
        ),
        (
            http()
                .post(receiver.url("/v1/logs"))
                .header("content-type", "application/json")
                .body("{}"),
            415,
            "unsupported content type \"application/json\"",
        ),
        (post(&receiver, "/v1/profiles").body(message), 404, "no OTLP service at /v1/profiles"),
    ] {
        assert_eq!(request.send().await.unwrap().status(), status);
        let requests = receiver.requests();
        let Payload::Invalid(reason) = &requests.last().unwrap().payload else {
            panic!("{requests:#?}")
        };
        assert!(reason.starts_with(expected), "{reason}");
    }

    let url = receiver.url("/opentelemetry.proto.collector.logs.v1.LogsService/Export");
    for (encoding, body, code, expected) in [
        ("zstd", &b"\x01\0\0\0\x01x"[..], "12", "unsupported compression of messages \"zstd\""),
        ("gzip", b"\x01\0\0\0\x01x", "13", "the message is not valid gzip"),
        ("gzip", b"\0\0\0\0\x01x", "13", "the message is not valid OTLP"),
        ("gzip", b"\0\0\0\0\x02x", "13", "the message has 1 bytes, and its prefix says 2"),
        ("gzip", b"\0\0\0", "13", "the request has no message"),
    ] {
        let request = http().post(&url).header("content-type", "application/grpc");
        let response = request.header("grpc-encoding", encoding).body(body).send().await.unwrap();
        assert_eq!(
            (response.status().as_u16(), &response.headers()["grpc-status"]),
            (200, &code.parse().unwrap())
        );
        let requests = receiver.requests();
        let Payload::Invalid(reason) = &requests.last().unwrap().payload else {
            panic!("{requests:#?}")
        };
        assert!(reason.starts_with(expected), "{reason}");
    }
    assert!(receiver.log_records().is_empty());
}

#[tokio::test]
async fn request_to_an_unknown_path_takes_no_reply_from_the_script() {
    let receiver = OtlpReceiver::scripted([observer_testing::otlp::Reply::warning("first")]);
    assert_eq!(post(&receiver, "/").send().await.unwrap().status(), 404);
    assert_eq!(export(&receiver, Transport::Grpc, logs(&[(1, "a")])).await.message, "first");
    assert_eq!(receiver.wait_for_requests(2).await[0].code, Some(Code::Unimplemented));
}
