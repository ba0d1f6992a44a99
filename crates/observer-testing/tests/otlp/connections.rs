//! Connections end where they should.

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

use crate::client::{BOTH, export, export_by_grpc, export_by_http, id, logs};

/// Whether an export came to nothing because of its connection.
async fn is_cut(receiver: &OtlpReceiver, by: Transport, request: ExportLogsServiceRequest) -> bool {
    match by {
        Transport::Grpc => {
            let status = export_by_grpc(receiver, request).await.unwrap_err();
            // A reset stream would be `Internal`.
            matches!(status.code(), Code::Unknown | Code::Unavailable)
        }
        Transport::Http => export_by_http(receiver, request).await.is_err(),
    }
}

#[tokio::test]
async fn connections_are_cut_before_the_answer_and_in_it() {
    for transport in BOTH {
        let receiver =
            OtlpReceiver::scripted([Reply::close_before_response(), Reply::close_mid_response()]);
        assert!(is_cut(&receiver, transport, logs(&[(1, "a")])).await);
        assert!(is_cut(&receiver, transport, logs(&[(2, "b")])).await);
        let requests = receiver.wait_for_requests(2).await;
        assert!(requests.iter().all(|request| request.code.is_none()));
        assert_eq!(receiver.event_ids(Signal::Logs), [id(1), id(2)], "they were taken");
    }
}

#[tokio::test]
async fn connections_are_cut_in_the_request() {
    for transport in BOTH {
        let receiver = OtlpReceiver::scripted([Reply::close_mid_request()]);
        let name = "x".repeat(4 << 20);
        assert!(is_cut(&receiver, transport, logs(&[(1, &name)])).await);
        let requests = receiver.wait_for_requests(1).await;
        assert!(requests[0].wire_size < 4 << 20, "the receiver read on");
        assert!(receiver.event_ids(Signal::Logs).is_empty());
    }
}

#[tokio::test]
async fn an_answer_that_is_cut_has_begun() {
    let receiver = OtlpReceiver::start();
    receiver.set_default_reply(Reply::close_mid_response());
    let stream = || async { TokioIo::new(TcpStream::connect(receiver.address()).await.unwrap()) };
    let message = logs(&[(1, "a")]).encode_to_vec();

    let (mut client, connection) = http1::handshake(stream().await).await.unwrap();
    tokio::spawn(connection);
    let request = Request::post("/v1/logs")
        .header("host", "h")
        .header("content-type", "application/x-protobuf");
    let mut answer = client
        .send_request(request.body(Full::<bytes::Bytes>::new(message.clone().into())).unwrap())
        .await
        .unwrap();
    assert_eq!(
        (answer.status().as_u16(), &answer.headers()["content-length"]),
        (200, &"8192".parse().unwrap())
    );
    let mut part = 0;
    let end = loop {
        match answer.frame().await.unwrap() {
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
    let mut answer =
        client.send_request(request.body(Full::new(framed.into())).unwrap()).await.unwrap();
    assert_eq!(answer.status(), 200);
    let start = answer.frame().await.unwrap().unwrap().into_data().unwrap();
    assert_eq!(start[..5], [0, 0, 0, 0x20, 0], "a message of 8192 bytes is announced");
    let mut part = start.len();
    while let Some(Ok(frame)) = answer.frame().await {
        part += frame.into_data().unwrap().len();
    }
    assert!(part < 8192, "{part} bytes came");
}

#[tokio::test]
async fn a_receiver_that_is_down_refuses_connections_until_it_comes_back() {
    for transport in BOTH {
        let receiver = OtlpReceiver::scripted([Reply::hang()]);
        let down = async {
            receiver.wait_for_requests(1).await;
            receiver.stop().await;
        };
        let (was_cut, ()) = tokio::join!(is_cut(&receiver, transport, logs(&[(1, "a")])), down);
        assert!(was_cut, "its connections end with it");
        TcpStream::connect(receiver.address()).await.unwrap_err();
        receiver.restart();
        export(&receiver, transport, logs(&[(2, "b")])).await;
        assert_eq!(receiver.event_ids(Signal::Logs), [id(2)]);
    }
}

#[tokio::test]
async fn a_receiver_hangs_up_and_serves_those_who_connect_anew() {
    let receiver = OtlpReceiver::scripted([Reply::accept(), Reply::hang()]);
    let channel = Endpoint::from_shared(receiver.url("")).unwrap().connect_lazy();
    let mut client = LogsServiceClient::new(channel);
    client.export(logs(&[(1, "a")])).await.unwrap();
    let hang_up = async {
        receiver.wait_for_requests(2).await;
        receiver.close_connections().await;
    };
    let both = async { tokio::join!(client.export(logs(&[(2, "b")])), hang_up) };
    let (cut, ()) = timeout(Duration::from_secs(30), both).await.unwrap();
    assert!(matches!(cut.unwrap_err().code(), Code::Unknown | Code::Unavailable));
    client.export(logs(&[(3, "c")])).await.unwrap();
    assert_eq!(receiver.event_ids(Signal::Logs), [id(1), id(3)]);
}
