//! The HTTP receiver replies by its script, and records each request.
#![expect(clippy::unwrap_used, reason = "in a test, a panic is the message")]

use std::io::Write;
use std::time::Duration;

use observer_core::Timestamp;
use observer_testing::http::{HttpReceiver, Reply};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};

/// Sends a POST, and returns all bytes until the receiver closes the connection.
async fn post(receiver: &HttpReceiver, headers: &str, body: &[u8]) -> String {
    let mut stream = TcpStream::connect(receiver.address()).await.unwrap();
    let length = body.len();
    let head = format!(
        "POST /hook?a=1 HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\
         content-length: {length}\r\n{headers}\r\n"
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    // The receiver may close the connection in the middle of the request.
    let _ = stream.write_all(body).await;
    let mut response = Vec::new();
    let _ = stream.read_to_end(&mut response).await;
    String::from_utf8(response).unwrap()
}

fn status(response: &str) -> Option<u16> {
    response.strip_prefix("HTTP/1.1 ")?.get(..3)?.parse().ok()
}

fn header<'a>(response: &'a str, name: &str) -> Option<&'a str> {
    response.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
}

#[tokio::test]
async fn script_is_replied_in_order_and_then_the_default_reply() {
    let receiver =
        HttpReceiver::scripted([Reply::status(401).with_body("token expired"), Reply::accept()]);
    let refused = post(&receiver, "authorization: Bearer old\r\n", b"{}").await;
    assert_eq!(status(&refused), Some(401));
    assert!(refused.ends_with("\r\n\r\ntoken expired"), "{refused}");
    assert_eq!(status(&post(&receiver, "authorization: Bearer new\r\n", b"{}").await), Some(200));
    assert_eq!(status(&post(&receiver, "", b"{}").await), Some(200));
    receiver.set_default_reply(Reply::status(503));
    receiver.enqueue(Reply::status(202));
    assert_eq!(status(&post(&receiver, "", b"{}").await), Some(202));
    assert_eq!(status(&post(&receiver, "", b"{}").await), Some(503));

    let requests = receiver.wait_for_requests(5).await;
    assert_eq!(
        requests.iter().map(|request| request.status.unwrap()).collect::<Vec<_>>(),
        [401, 200, 200, 202, 503]
    );
    assert_eq!((requests[0].method.as_str(), requests[0].path.as_str()), ("POST", "/hook?a=1"));
    assert_eq!(requests[0].header("authorization"), Some("Bearer old"));
    assert_eq!(receiver.accepted_items().len(), 3);
}

#[tokio::test]
async fn body_is_recorded_raw_and_decoded() {
    let receiver = HttpReceiver::start();
    let text = b"{\"n\":1}\n\n{\"n\" : 2}\n";
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(text).unwrap();
    let gzip = gzip.finish().unwrap();
    post(&receiver, "content-encoding: gzip\r\n", &gzip).await;
    post(&receiver, "content-encoding: zstd\r\n", &zstd::encode_all(&text[..], 1).unwrap()).await;
    post(&receiver, "", br#" [ {"n":1} , {"n" : 2} ] "#).await;
    post(&receiver, "", b"{\n\"n\":1}").await;
    let requests = receiver.requests();
    assert_eq!(
        (&requests[0].raw_body[..], requests[0].text()),
        (&gzip[..], std::str::from_utf8(text).unwrap())
    );
    for request in &requests[..3] {
        assert_eq!(request.items(), [r#"{"n":1}"#, r#"{"n" : 2}"#], "{request:?}");
    }
    assert_eq!(requests[3].items(), ["{\n\"n\":1}"]);
    let damaged = post(&receiver, "content-encoding: gzip\r\n", b"no gzip").await;
    assert_eq!(status(&damaged), Some(400), "{damaged}");
    assert_eq!(receiver.accepted_items().len(), 7);
}

#[tokio::test]
async fn retry_after_is_seconds_or_a_date() {
    let date = Timestamp::from_second(784_111_777).unwrap();
    let receiver = HttpReceiver::scripted([
        Reply::too_many_requests(Duration::from_secs(120)),
        Reply::too_many_requests_until(date),
    ]);
    let response = post(&receiver, "", b"{}").await;
    assert_eq!((status(&response), header(&response, "retry-after")), (Some(429), Some("120")));
    let response = post(&receiver, "", b"{}").await;
    // Example of RFC 9110, section 5.6.7.
    assert_eq!(
        (status(&response), header(&response, "retry-after")),
        (Some(429), Some("Sun, 06 Nov 1994 08:49:37 GMT"))
    );
    assert!(receiver.accepted_items().is_empty());
}

#[tokio::test]
async fn connections_are_closed_at_each_scripted_point() {
    let receiver = HttpReceiver::scripted([
        Reply::close_before_response(),
        Reply::close_mid_response(),
        Reply::close_mid_request(),
    ]);
    assert_eq!(post(&receiver, "", b"{\"n\":1}").await, "");
    let cut = post(&receiver, "", b"{\"n\":2}").await;
    let (head, body) = cut.split_once("\r\n\r\n").unwrap();
    assert_eq!(status(head), Some(200));
    let announced: usize = header(head, "content-length").unwrap().parse().unwrap();
    assert!(!body.is_empty() && body.len() < announced, "{} of {announced} bytes", body.len());
    assert_eq!(post(&receiver, "", &[b'x'; 4 << 20]).await, "");

    let requests = receiver.wait_for_requests(3).await;
    assert!(requests[2].body.len() < 4 << 20, "the receiver read the whole request");
    assert!(requests.iter().all(|request| request.status.is_none()));
    assert_eq!(receiver.accepted_items(), [r#"{"n":1}"#, r#"{"n":2}"#]);
}

#[tokio::test]
async fn partial_success_lists_each_rejected_item() {
    let receiver = HttpReceiver::start();
    receiver.set_default_reply(Reply::reject_items_containing(
        "poison",
        "the field `turns` must be a whole number",
    ));
    let response = post(&receiver, "", b"[{\"n\":1},{\"n\":\"poison\"},{\"n\":3}]").await;
    assert_eq!(status(&response), Some(207));
    let body: Value = serde_json::from_str(response.split_once("\r\n\r\n").unwrap().1).unwrap();
    assert_eq!((&body["accepted"], &body["rejected"]), (&2.into(), &1.into()));
    let detail = "the field `turns` must be a whole number";
    let expected = serde_json::json!([{"index": 1, "status": 422, "detail": detail}]);
    assert_eq!(body["errors"], expected);
    assert_eq!(status(&post(&receiver, "", b"{\"n\":4}").await), Some(200));
    assert_eq!(status(&post(&receiver, "", b"\"poison\"\n\"poison\"").await), Some(422));
    assert_eq!(receiver.accepted_items(), [r#"{"n":1}"#, r#"{"n":3}"#, r#"{"n":4}"#]);
}

#[tokio::test]
async fn poison_event_fails_the_whole_batch() {
    let receiver = HttpReceiver::start();
    receiver.set_default_reply(Reply::fail_requests_containing("poison"));
    assert_eq!(status(&post(&receiver, "", b"[{\"n\":1},{\"n\":\"poison\"}]").await), Some(500));
    assert_eq!(status(&post(&receiver, "", b"[{\"n\":1}]").await), Some(200));
    assert_eq!(receiver.accepted_items(), [r#"{"n":1}"#]);
}

#[tokio::test]
async fn gated_reply_waits_for_its_gate_and_a_hanging_one_forever() {
    let (gated, gate) = Reply::accept().gated();
    let receiver = HttpReceiver::scripted([gated, Reply::hang()]);
    let mut response = Box::pin(post(&receiver, "", b"{}"));
    tokio::select! {
        biased;
        response = &mut response => panic!("responded before the gate was opened: {response}"),
        _ = receiver.wait_for_requests(1) => {}
    }
    gate.open();
    assert_eq!(status(&response.await), Some(200));

    let hanging = post(&receiver, "", b"{}");
    tokio::select! {
        biased;
        response = hanging => panic!("responded: {response}"),
        requests = receiver.wait_for_requests(2) => assert_eq!(requests[1].status, None),
    }
    assert_eq!(receiver.accepted_items().len(), 1);
}

#[tokio::test]
async fn delayed_reply_takes_at_least_its_delay() {
    let receiver = HttpReceiver::scripted([Reply::accept().delayed_by(Duration::from_millis(80))]);
    let start = Instant::now();
    assert_eq!(status(&post(&receiver, "", b"{}").await), Some(200));
    assert!(start.elapsed() >= Duration::from_millis(80));
}

#[tokio::test]
async fn stopped_receiver_refuses_connections_until_restarted() {
    let receiver = HttpReceiver::scripted([Reply::hang()]);
    let hanging = post(&receiver, "", b"{\"n\":1}");
    let down = async {
        receiver.wait_for_requests(1).await;
        receiver.stop().await;
    };
    let (response, ()) = tokio::join!(hanging, down);
    assert_eq!(response, "", "a stopped receiver closes its connections");
    TcpStream::connect(receiver.address()).await.unwrap_err();
    receiver.restart();
    assert_eq!(status(&post(&receiver, "", b"{\"n\":2}").await), Some(200));
    assert_eq!(receiver.accepted_items(), [r#"{"n":2}"#]);
}

#[tokio::test]
async fn receiver_closes_connections_and_accepts_new_ones() {
    let receiver = HttpReceiver::scripted([Reply::hang()]);
    let close = async {
        receiver.wait_for_requests(1).await;
        receiver.close_connections().await;
    };
    let both = async { tokio::join!(post(&receiver, "", b"{\"n\":1}"), close) };
    let (response, ()) = timeout(Duration::from_secs(30), both).await.unwrap();
    assert_eq!(response, "");
    assert_eq!(status(&post(&receiver, "", b"{\"n\":2}").await), Some(200));
}
