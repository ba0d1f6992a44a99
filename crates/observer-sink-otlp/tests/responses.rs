//! Receipts and errors for each response, over both protocols.
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

/// Returns events 1 to `count`, each with a duration.
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
fn assert_error(error: &SinkError, kind: ErrorKind, reason: &str) {
    let report = error.report();
    assert_eq!(error.kind, kind, "{report}");
    assert!(report.contains(reason), "{report}");
}

/// Returns the error of a delivery that gets this reply.
async fn delivery_error(protocol: Protocol, reply: Reply) -> SinkError {
    let receiver = OtlpReceiver::scripted([reply]);
    sink(&receiver, protocol, Signal::Logs).deliver(&batch(2)).await.unwrap_err()
}

#[tokio::test]
async fn request_has_the_configured_headers_and_resource() {
    for protocol in Protocol::ALL {
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
async fn request_is_uncompressed_if_configured() {
    for protocol in Protocol::ALL {
        let receiver = OtlpReceiver::start();
        let config =
            OtlpConfig::new(receiver.url("")).protocol(protocol).compression(Compression::None);
        OtlpSink::new(&config, Signal::Logs).unwrap().deliver(&batch(1)).await.unwrap();
        assert_eq!(receiver.wait_for_requests(1).await[0].compression, None);
    }
}

#[tokio::test]
async fn transient_refusal_has_the_retry_time_of_the_destination() {
    for protocol in Protocol::ALL {
        let unavailable =
            Reply::status(Code::Unavailable, "starting").with_retry_after(Duration::from_secs(7));
        let error = delivery_error(protocol, unavailable).await;
        assert_error(&error, ErrorKind::Transient, ": starting");
        assert_eq!(error.retry_after, Some(Duration::from_secs(7)), "{protocol:?}");
        let quota = Reply::status(Code::ResourceExhausted, "slow down")
            .with_retry_after(Duration::from_secs(3));
        let error = delivery_error(protocol, quota).await;
        assert_error(&error, ErrorKind::Transient, ": slow down");
        assert_eq!(error.retry_after, Some(Duration::from_secs(3)), "{protocol:?}");
    }
    assert_error(
        &delivery_error(Protocol::Grpc, Reply::status(Code::Aborted, "")).await,
        ErrorKind::Transient,
        "responded with ABORTED",
    );
    let proxy = Reply::http(503).with_header("retry-after", "30").with_body("no upstream");
    for protocol in Protocol::ALL {
        let error = delivery_error(protocol, proxy.clone()).await;
        assert_error(
            &error,
            ErrorKind::Transient,
            "responded with 503 Service Unavailable: no upstream",
        );
        assert_eq!(error.retry_after, Some(Duration::from_secs(30)));
    }
}

#[tokio::test]
async fn failure_has_the_kind_of_its_status() {
    for protocol in Protocol::ALL {
        let error =
            delivery_error(protocol, Reply::status(Code::InvalidArgument, "bad time")).await;
        assert_error(&error, ErrorKind::Permanent, ": bad time");
        let error = delivery_error(protocol, Reply::status(Code::Unauthenticated, "who?")).await;
        assert_error(&error, ErrorKind::Unauthenticated, ": who?; see `auth` and `headers`");
        let error = delivery_error(protocol, Reply::http(404)).await;
        assert_error(&error, ErrorKind::Denied, "responded with 404 Not Found; see `endpoint`");
        let error = delivery_error(protocol, Reply::http(301)).await;
        assert_error(&error, ErrorKind::Denied, "; the destination has moved, see `endpoint`");
        let error = delivery_error(protocol, Reply::http(500).with_body("oops")).await;
        assert_error(
            &error,
            ErrorKind::Failed,
            "responded with 500 Internal Server Error: oops; see the log of the destination",
        );
    }
    let error =
        delivery_error(Protocol::Grpc, Reply::status(Code::Unimplemented, "unknown service")).await;
    assert_error(
        &error,
        ErrorKind::Denied,
        "UNIMPLEMENTED: unknown service; see `endpoint`, `protocol` and `signals`",
    );
    let error = delivery_error(Protocol::Grpc, Reply::status(Code::Internal, "a bug")).await;
    assert_error(&error, ErrorKind::Failed, "responded with INTERNAL: a bug");
}

#[tokio::test]
async fn partial_success_is_counted_as_refused() {
    for (protocol, signal, kind) in [
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
        let reason = format!("{} rejected 2 of 5 {kind}: too old", receiver.url(""));
        assert_eq!((refused.count, refused.reason), (2, reason));
        assert_eq!(
            sink.deliver(&batch(5)).await.unwrap(),
            Receipt::accepted(),
            "a warning rejects nothing"
        );
    }
}

#[tokio::test]
async fn rejected_size_is_remembered_until_a_check() {
    for protocol in Protocol::ALL {
        let receiver = OtlpReceiver::start();
        receiver.set_default_reply(Reply::reject_messages_larger_than(4_000));
        let sink = sink(&receiver, protocol, Signal::Logs);
        let large = batch(20);
        assert_error(
            &sink.deliver(&large).await.unwrap_err(),
            ErrorKind::TooLarge,
            "; see `batch`",
        );
        let (small, _) = large.halves().unwrap();
        assert_eq!(sink.deliver(&small).await.unwrap(), Receipt::accepted());

        assert_error(
            &sink.deliver(&large).await.unwrap_err(),
            ErrorKind::TooLarge,
            " accepts; see `batch`",
        );
        assert_eq!(
            receiver.requests().len(),
            2,
            "a size that is known to be too large is not sent"
        );
        sink.check().await.unwrap();
        sink.deliver(&large).await.unwrap_err();
        assert_eq!(receiver.requests().len(), 4, "a check forgets the size limit");
    }
}

#[tokio::test]
async fn single_event_is_sent_whatever_its_size() {
    for protocol in Protocol::ALL {
        let receiver = OtlpReceiver::start();
        receiver.set_default_reply(Reply::reject_messages_larger_than(10));
        let sink = sink(&receiver, protocol, Signal::Logs);
        for _ in 0..2 {
            let error = sink.deliver(&batch(1)).await.unwrap_err();
            assert_error(&error, ErrorKind::TooLarge, "; see `batch`");
        }
        receiver.set_default_reply(Reply::accept());
        sink.deliver(&batch(1)).await.unwrap();
        assert_eq!(receiver.requests().len(), 3, "each delivery is a request");
    }
}

#[tokio::test]
async fn spell_of_an_exhausted_quota_rejects_no_event() {
    let receiver = OtlpReceiver::start();
    let sink = sink(&receiver, Protocol::Grpc, Signal::Logs);
    let quota = || Reply::status(Code::ResourceExhausted, "rate limit exceeded");
    let large = batch(20);
    let (small, _) = large.halves().unwrap();
    receiver.enqueue(quota());
    assert_eq!(sink.deliver(&large).await.unwrap_err().kind, ErrorKind::Transient);
    receiver.enqueue(quota());
    assert_eq!(sink.deliver(&small).await.unwrap_err().kind, ErrorKind::Transient);
    sink.deliver(&small).await.unwrap();
    sink.deliver(&large).await.unwrap();
    assert_eq!(receiver.requests().len(), 4, "no size was learnt");
}

#[tokio::test]
async fn size_is_learnt_without_words_from_a_smaller_success_and_a_second_failure() {
    let receiver = OtlpReceiver::start();
    let sink = sink(&receiver, Protocol::Grpc, Signal::Logs);
    let refused = || Reply::status(Code::ResourceExhausted, "");
    let large = batch(20);
    receiver.enqueue(refused());
    assert_eq!(sink.deliver(&large).await.unwrap_err().kind, ErrorKind::Transient);
    sink.deliver(&large.halves().unwrap().0).await.unwrap();
    receiver.enqueue(refused());
    assert_eq!(sink.deliver(&large).await.unwrap_err().kind, ErrorKind::TooLarge);
    assert_eq!(sink.deliver(&large).await.unwrap_err().kind, ErrorKind::TooLarge);
    assert_eq!(receiver.requests().len(), 3);
}

#[tokio::test]
async fn head_decides_even_if_the_body_is_endless_or_malformed() {
    let head = |status: &str, headers: &str| -> &'static [u8] {
        let head = format!(
            "HTTP/1.1 {status}\r\n{headers}content-type: application/x-protobuf\r\n\
             content-length: 100\r\n\r\n\x0a"
        );
        Box::leak(head.into_boxed_str()).as_bytes()
    };
    for (response, expected) in [
        (head("200 OK", ""), None),
        (head("200 OK", "connection: close\r\nbad header\r\n"), None),
        (
            b"HTTP/1.1 200 OK\r\ncontent-type: application/x-protobuf\r\n\
           content-length: 1\r\n\r\n\x0a",
            None,
        ),
        (head("429 Too Many Requests", ""), Some(ErrorKind::Transient)),
        (head("403 Forbidden", ""), Some(ErrorKind::Denied)),
    ] {
        let url = server_that_sends(response).await;
        let config = OtlpConfig::new(url).protocol(Protocol::Http);
        let sink = OtlpSink::new(&config, Signal::Logs).unwrap();
        let delivered = sink.deliver(&batch(1)).await;
        let shown = String::from_utf8_lossy(response);
        match expected {
            None => assert_eq!(delivered.unwrap(), Receipt::accepted(), "{shown}"),
            Some(kind) => assert_eq!(delivered.unwrap_err().kind, kind, "{shown}"),
        }
    }
}

#[tokio::test]
async fn stuck_connection_is_replaced_after_a_cancelled_delivery() {
    for protocol in Protocol::ALL {
        let receiver = OtlpReceiver::scripted([Reply::accept(), Reply::hang()]);
        let sink = sink(&receiver, protocol, Signal::Logs);
        sink.deliver(&batch(1)).await.unwrap();
        let batch = batch(1);
        let mut hanging = Box::pin(sink.deliver(&batch));
        tokio::select! {
            _ = &mut hanging => panic!("the receiver never responds"),
            _ = receiver.wait_for_requests(2) => {}
        }
        drop(hanging);
        sink.deliver(&batch).await.unwrap();
        assert_eq!(receiver.connections(), 2, "{protocol:?}");
        sink.renew_connections();
        sink.deliver(&batch).await.unwrap();
        assert_eq!(receiver.connections(), 3, "{protocol:?}");
    }
}

#[tokio::test]
async fn reset_stream_is_a_failure() {
    let error = delivery_error(Protocol::Grpc, Reply::reset_stream()).await;
    assert_error(&error, ErrorKind::Failed, "unexpected internal error encountered");
    let error = delivery_error(Protocol::Http, Reply::reset_stream()).await;
    assert_error(&error, ErrorKind::Transient, " sent no valid response: ");
}

/// A peer whose system acknowledges every byte, and whose process is stopped.
#[tokio::test(start_paused = true)]
async fn unanswered_ping_ends_a_delivery() {
    // SETTINGS frame with which an HTTP/2 server begins.
    let url = server_that_sends(b"\0\0\0\x04\0\0\0\0\0").await;
    let sink = OtlpSink::new(&OtlpConfig::new(url).protocol(Protocol::Grpc), Signal::Logs).unwrap();
    let started = tokio::time::Instant::now();
    let error = sink.deliver(&batch(1)).await.unwrap_err();
    assert_error(&error, ErrorKind::Transient, "stopped responding: it answers no ping");
    assert!(started.elapsed() < Duration::from_secs(30), "{:?}", started.elapsed());
}

#[tokio::test]
async fn transport_error_is_transient() {
    for protocol in Protocol::ALL {
        let mut replies = vec![Reply::close_before_response(), Reply::close_mid_request()];
        // Over HTTP, the head of a response says that the request was accepted.
        if protocol == Protocol::Grpc {
            replies.push(Reply::close_mid_response());
        }
        for reply in replies {
            assert_error(
                &delivery_error(protocol, reply).await,
                ErrorKind::Transient,
                " sent no valid response: ",
            );
        }
        let receiver = OtlpReceiver::start();
        let sink = sink(&receiver, protocol, Signal::Traces);
        sink.deliver(&batch(1)).await.unwrap();
        receiver.stop().await;
        assert_error(&sink.deliver(&batch(2)).await.unwrap_err(), ErrorKind::Transient, "");
        assert_error(
            &sink.deliver(&batch(2)).await.unwrap_err(),
            ErrorKind::Transient,
            "; nothing listens there",
        );
        receiver.restart();
        sink.deliver(&batch(2)).await.unwrap();
    }
}

#[tokio::test]
async fn batch_without_durations_sends_no_request_for_traces() {
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
async fn check_sends_a_request_without_items() {
    for protocol in Protocol::ALL {
        let receiver = OtlpReceiver::scripted([
            Reply::accept(),
            Reply::status(Code::InvalidArgument, "empty"),
            Reply::status(Code::PermissionDenied, "not yours"),
            Reply::http(503),
        ]);
        let sink = sink(&receiver, protocol, Signal::Logs);
        sink.check().await.unwrap();
        sink.check().await.unwrap();
        assert_error(
            &sink.check().await.unwrap_err(),
            ErrorKind::Denied,
            ": not yours; see `auth`",
        );
        assert_error(&sink.check().await.unwrap_err(), ErrorKind::Transient, "responded with 503");
        assert!(receiver.requests().iter().all(|request| request.payload.log_records().is_empty()));
        assert!(receiver.log_records().is_empty());
    }
}

#[tokio::test]
async fn html_page_is_not_a_success() {
    let page = HttpReceiver::start();
    page.set_default_reply(
        http::Reply::accept()
            .with_header("content-type", "text/html; charset=utf-8")
            .with_body("<h1>Sign in</h1>"),
    );
    let config = OtlpConfig::new(page.url("")).protocol(Protocol::Http);
    let error = OtlpSink::new(&config, Signal::Logs).unwrap().deliver(&batch(1)).await.unwrap_err();
    assert_error(
        &error,
        ErrorKind::Denied,
        "responded with 200 and an HTML page, as a proxy or another server does; see `endpoint`",
    );
}

#[tokio::test]
async fn response_in_json_is_decoded() {
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
async fn connection_is_reused_until_the_sink_is_closed() {
    for protocol in Protocol::ALL {
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

/// Starts a server that sends these bytes after the first bytes of each client. Returns its URL.
async fn server_that_sends(bytes: &'static [u8]) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut buffer = [0; 4096];
            if stream.read(&mut buffer).await.is_ok() {
                let _ = stream.write_all(bytes).await;
                let _ = tokio::io::copy(&mut stream, &mut tokio::io::sink()).await;
            }
        }
    });
    url
}

#[tokio::test]
async fn protocol_mismatch_is_reported() {
    let http = server_that_sends(
        b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\nconnection: close\r\n\r\n",
    )
    .await;
    let config = OtlpConfig::new(http).protocol(Protocol::Grpc);
    let error = OtlpSink::new(&config, Signal::Logs).unwrap().deliver(&batch(1)).await.unwrap_err();
    assert_error(&error, ErrorKind::Blocked, "; perhaps it doesn't speak gRPC, see `protocol`");

    // SETTINGS frame with which an HTTP/2 server begins.
    let grpc = server_that_sends(b"\0\0\x06\x04\0\0\0\0\0\0\x03\0\0\0\x64").await;
    let config = OtlpConfig::new(grpc).protocol(Protocol::Http);
    let error = OtlpSink::new(&config, Signal::Logs).unwrap().deliver(&batch(1)).await.unwrap_err();
    assert_error(&error, ErrorKind::Blocked, "; perhaps it speaks gRPC, see `protocol`");
}

#[tokio::test]
async fn secret_in_a_response_is_redacted() {
    for protocol in Protocol::ALL {
        let receiver = OtlpReceiver::scripted([Reply::status(
            Code::Unauthenticated,
            "bad token s3cr3t-t0ken",
        )]);
        let config =
            OtlpConfig::new(receiver.url("")).protocol(protocol).header("x-key", "s3cr3t-t0ken");
        let error =
            OtlpSink::new(&config, Signal::Logs).unwrap().deliver(&batch(1)).await.unwrap_err();
        assert_error(&error, ErrorKind::Unauthenticated, ": bad token …;");
    }
}
