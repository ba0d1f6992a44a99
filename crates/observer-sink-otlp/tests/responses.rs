//! What answers come to, over both protocols.
#![expect(clippy::unwrap_used, reason = "in a test, a panic is the message")]

use std::sync::Arc;
use std::time::Duration;

use observer_core::{
    Batch, Envelope, ErrorKind, Event, EventSink, Receipt, SinkError, Timestamp, Uuid,
};
use observer_sink_otlp::{Auth, Compression, OtlpConfig, OtlpSink, Protocol, Signal};
use observer_testing::http::{self, HttpReceiver};
use observer_testing::otlp::{OtlpReceiver, Reply};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tonic::Code;

const BOTH: [Protocol; 2] = [Protocol::Grpc, Protocol::Http];

/// Events 1 to `count`, each with a duration.
fn batch(count: u64) -> Batch {
    let envelope = |seq: u64| {
        let event =
            format!(r#"{{"source":"bot","event_kind":"e{seq}","ok":true,"duration_ms":{seq}}}"#);
        Arc::new(Envelope {
            id: Uuid::from_u128(seq.into()),
            seq,
            received_at: Timestamp::from_second(1_767_225_600).unwrap(),
            event: Event::parse(event).unwrap(),
        })
    };
    Batch::new(1, (1..=count).map(envelope).collect())
}

fn sink(receiver: &OtlpReceiver, protocol: Protocol, signal: Signal) -> OtlpSink {
    OtlpSink::new(&OtlpConfig::new(receiver.url("")).protocol(protocol), signal).unwrap()
}

#[track_caller]
fn failed(error: &SinkError, kind: ErrorKind, reason: &str) {
    let report = error.report();
    assert_eq!(error.kind, kind, "{report}");
    assert!(report.contains(reason), "{report}");
}

/// The error of a delivery that is answered so.
async fn refused(protocol: Protocol, answer: Reply) -> SinkError {
    let receiver = OtlpReceiver::scripted([answer]);
    sink(&receiver, protocol, Signal::Logs).deliver(&batch(2)).await.unwrap_err()
}

#[tokio::test]
async fn a_request_has_the_headers_and_the_resource_of_the_configuration() {
    for protocol in BOTH {
        let receiver = OtlpReceiver::start();
        let config = OtlpConfig::new(receiver.url(""))
            .protocol(protocol)
            .header("x-team", "red")
            .auth(Auth::bearer("t0ken"))
            .resource("service.name", "agents");
        for signal in [Signal::Logs, Signal::Traces] {
            let sink = OtlpSink::new(&config, signal).unwrap();
            assert_eq!(sink.deliver(&batch(3)).await.unwrap(), Receipt::accepted());
        }
        let requests = receiver.wait_for_requests(2).await;
        assert_eq!(requests[0].payload.log_records().len(), 3);
        assert_eq!(requests[1].payload.spans().len(), 3);
        for request in &requests {
            let expected = [("x-team", "red"), ("authorization", "Bearer t0ken")];
            assert!(
                expected.iter().all(|(name, value)| request.header(name) == Some(value)),
                "{:?}",
                request.headers
            );
            assert_eq!(request.compression.as_deref(), Some("gzip"));
            let resource = request.payload.resources()[0];
            assert_eq!(observer_testing::otlp::attribute(resource, "service.name"), Some("agents"));
            assert!(
                request.header("user-agent").is_some_and(|agent| agent.starts_with("observer/"))
            );
        }
    }
}

#[tokio::test]
async fn what_is_not_to_be_packed_is_not() {
    for protocol in BOTH {
        let receiver = OtlpReceiver::start();
        let config =
            OtlpConfig::new(receiver.url("")).protocol(protocol).compression(Compression::None);
        OtlpSink::new(&config, Signal::Logs).unwrap().deliver(&batch(1)).await.unwrap();
        assert_eq!(receiver.wait_for_requests(1).await[0].compression, None);
    }
}

#[tokio::test]
async fn what_may_work_later_is_transient_and_waits_as_long_as_the_far_side_wants() {
    for protocol in BOTH {
        let unavailable =
            Reply::status(Code::Unavailable, "starting").with_retry_after(Duration::from_secs(7));
        let error = refused(protocol, unavailable).await;
        failed(&error, ErrorKind::Transient, ": starting");
        assert_eq!(error.retry_after, Some(Duration::from_secs(7)), "{protocol:?}");
        let quota = Reply::status(Code::ResourceExhausted, "slow down")
            .with_retry_after(Duration::from_secs(3));
        let error = refused(protocol, quota).await;
        failed(&error, ErrorKind::Transient, ": slow down");
        assert_eq!(error.retry_after, Some(Duration::from_secs(3)), "{protocol:?}");
    }
    failed(
        &refused(Protocol::Grpc, Reply::status(Code::Aborted, "")).await,
        ErrorKind::Transient,
        "answered ABORTED",
    );
    let proxy = Reply::http(503).with_header("retry-after", "30").with_body("no upstream");
    for protocol in BOTH {
        let error = refused(protocol, proxy.clone()).await;
        failed(&error, ErrorKind::Transient, "answered 503 Service Unavailable: no upstream");
        assert_eq!(error.retry_after, Some(Duration::from_secs(30)));
    }
}

#[tokio::test]
async fn what_is_wrong_with_the_events_is_permanent_and_with_the_sink_blocks() {
    for protocol in BOTH {
        let error = refused(protocol, Reply::status(Code::InvalidArgument, "bad time")).await;
        failed(&error, ErrorKind::Permanent, ": bad time");
        let error = refused(protocol, Reply::status(Code::Unauthenticated, "who?")).await;
        failed(&error, ErrorKind::Blocked, ": who?; see `auth` and `headers`");
        let error = refused(protocol, Reply::http(404)).await;
        failed(&error, ErrorKind::Blocked, "answered 404 Not Found; see `endpoint`");
        let error = refused(protocol, Reply::http(301)).await;
        failed(&error, ErrorKind::Blocked, "; it has moved");
        let error = refused(protocol, Reply::http(500).with_body("oops")).await;
        failed(
            &error,
            ErrorKind::Blocked,
            "answered 500 Internal Server Error: oops; its own log may say more",
        );
    }
    let error =
        refused(Protocol::Grpc, Reply::status(Code::Unimplemented, "unknown service")).await;
    failed(
        &error,
        ErrorKind::Blocked,
        "UNIMPLEMENTED: unknown service; see `endpoint`, `protocol` and `signals`",
    );
    let error = refused(Protocol::Grpc, Reply::status(Code::Internal, "a bug")).await;
    failed(&error, ErrorKind::Blocked, "answered INTERNAL: a bug");
}

#[tokio::test]
async fn a_partial_success_is_counted_and_not_sent_again() {
    for (protocol, signal, what) in [
        (Protocol::Grpc, Signal::Logs, "log records"),
        (Protocol::Http, Signal::Traces, "spans"),
        (Protocol::Http, Signal::Logs, "log records"),
        (Protocol::Grpc, Signal::Traces, "spans"),
    ] {
        let receiver = OtlpReceiver::scripted([
            Reply::partial_success(2, "too old"),
            Reply::warning("a key is long"),
        ]);
        let sink = sink(&receiver, protocol, signal);
        let refused = sink.deliver(&batch(5)).await.unwrap().refused.unwrap();
        let reason = format!("{} rejected 2 of 5 {what}: too old", receiver.url(""));
        assert_eq!((refused.count, refused.reason), (2, reason));
        assert_eq!(
            sink.deliver(&batch(5)).await.unwrap(),
            Receipt::accepted(),
            "a warning takes nothing away"
        );
    }
}

#[tokio::test]
async fn what_is_too_large_is_halved_and_the_size_is_kept() {
    for protocol in BOTH {
        let receiver = OtlpReceiver::start();
        receiver.set_default_reply(Reply::reject_messages_larger_than(4_000));
        let sink = sink(&receiver, protocol, Signal::Logs);
        let large = batch(20);
        failed(&sink.deliver(&large).await.unwrap_err(), ErrorKind::Permanent, "; see `batch`");
        let (small, _) = large.halves().unwrap();
        assert_eq!(sink.deliver(&small).await.unwrap(), Receipt::accepted());

        failed(
            &sink.deliver(&large).await.unwrap_err(),
            ErrorKind::Permanent,
            "takes; see `batch`",
        );
        assert_eq!(receiver.requests().len(), 2, "it was not asked what is known");
        sink.check().await.unwrap();
        sink.deliver(&large).await.unwrap_err();
        assert_eq!(receiver.requests().len(), 4, "after a check it may be another far side");
    }
}

#[tokio::test]
async fn who_gives_no_answer_says_nothing_of_the_events() {
    for protocol in BOTH {
        for answer in [
            Reply::close_before_response(),
            Reply::close_mid_response(),
            Reply::close_mid_request(),
        ] {
            failed(&refused(protocol, answer).await, ErrorKind::Transient, " gives no answer: ");
        }
        let receiver = OtlpReceiver::start();
        let sink = sink(&receiver, protocol, Signal::Traces);
        sink.deliver(&batch(1)).await.unwrap();
        receiver.stop().await;
        failed(&sink.deliver(&batch(2)).await.unwrap_err(), ErrorKind::Transient, "");
        failed(
            &sink.deliver(&batch(2)).await.unwrap_err(),
            ErrorKind::Transient,
            "; nothing listens there",
        );
        receiver.restart();
        sink.deliver(&batch(2)).await.unwrap();
    }
}

#[tokio::test]
async fn events_without_a_duration_need_no_request_for_traces() {
    let receiver = OtlpReceiver::start();
    let event = Event::parse(r#"{"source":"bot","event_kind":"ok","ok":true}"#).unwrap();
    let first = batch(1).events()[0].clone();
    let envelope = Envelope { id: first.id, seq: 1, received_at: first.received_at, event };
    let receipt = sink(&receiver, Protocol::Grpc, Signal::Traces)
        .deliver(&Batch::new(1, vec![Arc::new(envelope)]))
        .await;
    assert_eq!(receipt.unwrap(), Receipt::accepted());
    assert!(receiver.requests().is_empty());
}

#[tokio::test]
async fn a_check_is_a_request_with_nothing_in_it() {
    for protocol in BOTH {
        let receiver = OtlpReceiver::scripted([
            Reply::accept(),
            Reply::status(Code::InvalidArgument, "empty"),
            Reply::status(Code::PermissionDenied, "not yours"),
            Reply::http(503),
        ]);
        let sink = sink(&receiver, protocol, Signal::Logs);
        sink.check().await.unwrap();
        sink.check().await.unwrap();
        failed(&sink.check().await.unwrap_err(), ErrorKind::Blocked, ": not yours; see `auth`");
        failed(&sink.check().await.unwrap_err(), ErrorKind::Transient, "answered 503");
        assert!(receiver.requests().iter().all(|request| request.payload.log_records().is_empty()));
        assert!(receiver.log_records().is_empty());
    }
}

#[tokio::test]
async fn a_page_is_no_success() {
    let page = HttpReceiver::start();
    page.set_default_reply(
        http::Reply::accept()
            .with_header("content-type", "text/html; charset=utf-8")
            .with_body("<h1>Sign in</h1>"),
    );
    let config = OtlpConfig::new(page.url("")).protocol(Protocol::Http);
    let error = OtlpSink::new(&config, Signal::Logs).unwrap().deliver(&batch(1)).await.unwrap_err();
    failed(
        &error,
        ErrorKind::Blocked,
        "answered 200 with a page, as a proxy or another server does; see `endpoint`",
    );
}

#[tokio::test]
async fn who_answers_in_json_is_understood() {
    let receiver = HttpReceiver::start();
    let partial = r#"{"partialSuccess":{"rejectedLogRecords":"1","errorMessage":"too old"}}"#;
    receiver.set_default_reply(
        http::Reply::accept().with_header("content-type", "application/json").with_body(partial),
    );
    let config = OtlpConfig::new(receiver.url("")).protocol(Protocol::Http);
    let receipt = OtlpSink::new(&config, Signal::Logs).unwrap().deliver(&batch(2)).await.unwrap();
    assert_eq!(receipt.refused.map(|refused| refused.count), Some(1));
}

#[tokio::test]
async fn one_connection_serves_many_requests_until_the_sink_is_closed() {
    for protocol in BOTH {
        let receiver = OtlpReceiver::start();
        let sink = sink(&receiver, protocol, Signal::Logs);
        for _ in 0..3 {
            sink.deliver(&batch(1)).await.unwrap();
        }
        assert_eq!(receiver.connections(), 1, "{protocol:?}");
        sink.close().await.unwrap();
        sink.deliver(&batch(1)).await.unwrap();
        assert_eq!(receiver.connections(), 2, "{protocol:?}");
    }
}

/// Says this to whoever connects, once it has said something itself.
async fn says(words: &'static [u8]) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut heard = [0; 4096];
            if stream.read(&mut heard).await.is_ok() {
                let _ = stream.write_all(words).await;
                let _ = tokio::io::copy(&mut stream, &mut tokio::io::sink()).await;
            }
        }
    });
    url
}

#[tokio::test]
async fn the_wrong_protocol_is_told() {
    let http =
        says(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\nconnection: close\r\n\r\n").await;
    let config = OtlpConfig::new(http).protocol(Protocol::Grpc);
    let error = OtlpSink::new(&config, Signal::Logs).unwrap().deliver(&batch(1)).await.unwrap_err();
    failed(&error, ErrorKind::Blocked, "; perhaps it doesn't speak gRPC, see `protocol`");

    // The settings with which a server of HTTP/2 begins.
    let grpc = says(b"\0\0\x06\x04\0\0\0\0\0\0\x03\0\0\0\x64").await;
    let config = OtlpConfig::new(grpc).protocol(Protocol::Http);
    let error = OtlpSink::new(&config, Signal::Logs).unwrap().deliver(&batch(1)).await.unwrap_err();
    failed(&error, ErrorKind::Blocked, "; perhaps it speaks gRPC, see `protocol`");
}

#[tokio::test]
async fn a_far_side_that_repeats_a_token_does_not_show_it() {
    for protocol in BOTH {
        let receiver = OtlpReceiver::scripted([Reply::status(
            Code::Unauthenticated,
            "bad token s3cr3t-t0ken",
        )]);
        let config =
            OtlpConfig::new(receiver.url("")).protocol(protocol).header("x-key", "s3cr3t-t0ken");
        let error =
            OtlpSink::new(&config, Signal::Logs).unwrap().deliver(&batch(1)).await.unwrap_err();
        failed(&error, ErrorKind::Blocked, ": bad token …;");
    }
}
