//! Connections are closed at each scripted point.

use std::time::Duration;

use http_body_util::{BodyExt, Full};
use hyper::Request;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use observer_testing::otlp::{OtlpReceiver, Reply, Signal, Transport};
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::logs::v1::logs_service_client::LogsServiceClient;
use prost::Message;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tonic::Code;
use tonic::transport::Endpoint;

use crate::client::{export, export_by_grpc, export_by_http, id, logs};

/// Returns whether an export failed because its connection was closed.
async fn is_closed(
    receiver: &OtlpReceiver,
    transport: Transport,
    request: ExportLogsServiceRequest,
) -> bool {
    match transport {
        Transport::Grpc => {
            let status = export_by_grpc(receiver, request).await.unwrap_err();
            // A stream that is reset on an open connection has the code `Internal`.
            matches!(status.code(), Code::Unknown | Code::Unavailable)
        }
        Transport::Http => export_by_http(receiver, request).await.is_err(),
    }
}

#[tokio::test]
async fn connection_is_closed_before_and_within_the_response() {
    for transport in Transport::ALL {
        let receiver =
            OtlpReceiver::scripted([Reply::close_before_response(), Reply::close_mid_response()]);
        assert!(is_closed(&receiver, transport, logs(&[(1, "a")])).await);
        assert!(is_closed(&receiver, transport, logs(&[(2, "b")])).await);
        let requests = receiver.wait_for_requests(2).await;
        assert!(requests.iter().all(|request| request.code.is_none()));
        assert_eq!(receiver.event_ids(Signal::Logs), [id(1), id(2)], "both exports were accepted");
    }
}

#[tokio::test]
async fn connection_is_closed_within_the_request() {
    for transport in Transport::ALL {
        let receiver = OtlpReceiver::scripted([Reply::close_mid_request()]);
        let name = "x".repeat(4 << 20);
        assert!(is_closed(&receiver, transport, logs(&[(1, &name)])).await);
        let requests = receiver.wait_for_requests(1).await;
        assert!(requests[0].wire_size < 4 << 20, "the receiver read the whole request");
        assert!(receiver.event_ids(Signal::Logs).is_empty());
    }
}

#[tokio::test]
async fn closed_response_has_a_head_and_a_part_of_the_body() {
    let receiver = OtlpReceiver::start();
    receiver.set_default_reply(Reply::close_mid_response());
    let stream = || async { TokioIo::new(TcpStream::connect(receiver.address()).await.unwrap()) };
    let message = logs(&[(1, "a")]).encode_to_vec();

    let (mut client, connection) = http1::handshake(stream().await).await.unwrap();
    tokio::spawn(connection);
    let request = Request::post("/v1/logs")
        .header("host", "h")
        .header("content-type", "application/x-protobuf");
    let mut response = client
        .send_request(request.body(Full::<bytes::Bytes>::new(message.clone().into())).unwrap())
        .await
        .unwrap();
    assert_eq!(
        (response.status().as_u16(), &response.headers()["content-length"]),
        (200, &"8192".parse().unwrap())
    );
    let mut part = 0;
    let end = loop {
        match response.frame().await.unwrap() {
            Ok(frame) => part += frame.into_data().unwrap().len(),
            Err(error) => break error,
        }
    };
    assert!(part > 0 && part < 8192, "{part} bytes, then {end}");

    let (mut client, connection) =
        http2::handshake::<_, _, Full<bytes::Bytes>>(TokioExecutor::new(), stream().await)
            .await
            .unwrap();
    tokio::spawn(connection);
    let framed = [&[0, 0, 0, 0, u8::try_from(message.len()).unwrap()], &message[..]].concat();
    let request =
        Request::post(receiver.url("/opentelemetry.proto.collector.logs.v1.LogsService/Export"))
            .header("content-type", "application/grpc");
    let mut response =
        client.send_request(request.body(Full::new(framed.into())).unwrap()).await.unwrap();
    assert_eq!(response.status(), 200);
    let start = response.frame().await.unwrap().unwrap().into_data().unwrap();
    assert_eq!(start[..5], [0, 0, 0, 0x20, 0], "the prefix announces 8192 bytes");
    let mut part = start.len();
    while let Some(Ok(frame)) = response.frame().await {
        part += frame.into_data().unwrap().len();
    }
    assert!(part < 8192, "{part} bytes arrived");
}

#[tokio::test]
async fn stopped_receiver_refuses_connections_until_restarted() {
    for transport in Transport::ALL {
        let receiver = OtlpReceiver::scripted([Reply::hang()]);
        let stop = async {
            receiver.wait_for_requests(1).await;
            receiver.stop().await;
        };
        let (was_closed, ()) =
            tokio::join!(is_closed(&receiver, transport, logs(&[(1, "a")])), stop);
        assert!(was_closed, "a stopped receiver closes its connections");
        TcpStream::connect(receiver.address()).await.unwrap_err();
        receiver.restart();
        export(&receiver, transport, logs(&[(2, "b")])).await;
        assert_eq!(receiver.event_ids(Signal::Logs), [id(2)]);
    }
}

#[tokio::test]
async fn receiver_closes_connections_and_accepts_new_ones() {
    let receiver = OtlpReceiver::scripted([Reply::accept(), Reply::hang()]);
    let channel = Endpoint::from_shared(receiver.url("")).unwrap().connect_lazy();
    let mut client = LogsServiceClient::new(channel);
    client.export(logs(&[(1, "a")])).await.unwrap();
    let close = async {
        receiver.wait_for_requests(2).await;
        receiver.close_connections().await;
    };
    let both = async { tokio::join!(client.export(logs(&[(2, "b")])), close) };
    let (closed, ()) = timeout(Duration::from_secs(30), both).await.unwrap();
    assert!(matches!(closed.unwrap_err().code(), Code::Unknown | Code::Unavailable));
    client.export(logs(&[(3, "c")])).await.unwrap();
    assert_eq!(receiver.event_ids(Signal::Logs), [id(1), id(3)]);
}
