//! Destinations without a valid or complete response.

use std::time::Duration;

use observer_core::{ErrorKind, EventSink, Receipt};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use super::{assert_error, sink};
use crate::config::{Body, HttpConfig};
use crate::testing::batch;

/// Starts a server that reads one request, writes `response` and closes the connection.
async fn serve_once(response: &'static [u8]) -> (String, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let serving = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut request = Vec::new();
        while !request.ends_with(b"]") {
            assert!(stream.read_buf(&mut request).await.unwrap() > 0);
        }
        stream.write_all(response).await.unwrap();
        // The client may have closed the connection already.
        let _ = stream.shutdown().await;
    });
    (url, serving)
}

#[tokio::test]
async fn refused_connection_is_transient() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let sink = sink(&HttpConfig::new(format!("{url}/hook?key=s3cret")));
    for error in [sink.deliver(&batch(1)).await.unwrap_err(), sink.check().await.unwrap_err()] {
        assert_error(
            &error,
            ErrorKind::Transient,
            &format!("{url} can't be reached: Connection refused"),
        );
        assert!(
            error.report().ends_with("; nothing listens there, see `url`"),
            "{}",
            error.report()
        );
        assert!(!error.report().contains("s3cret"), "{}", error.report());
    }
}

#[tokio::test]
async fn unknown_host_blocks_the_sink() {
    let config =
        HttpConfig::new("http://no-such-host.invalid/").connect_timeout(Duration::from_secs(1));
    let error = sink(&config).deliver(&batch(1)).await.unwrap_err();
    assert_error(&error, ErrorKind::Blocked, "http://no-such-host.invalid can't be reached: ");
    assert!(error.report().ends_with("; see `url`"), "{}", error.report());
}

#[tokio::test]
async fn incomplete_response_is_transient() {
    for response in [
        &b""[..],
        b"HTTP/1.1 20",
        b"HTTP/1.1 207 Multi-Status\r\ncontent-length: 50\r\n\r\n{\"errors\":[",
    ] {
        let (url, serving) = serve_once(response).await;
        let error = sink(&HttpConfig::new(&*url)).deliver(&batch(2)).await.unwrap_err();
        assert_error(&error, ErrorKind::Transient, &format!("{url} sent no valid response: "));
        serving.await.unwrap();
    }
}

#[tokio::test]
async fn success_with_a_truncated_body_is_a_success() {
    let (url, serving) =
        serve_once(b"HTTP/1.1 202 Accepted\r\ncontent-length: 50\r\n\r\nthank y").await;
    let receipt = sink(&HttpConfig::new(url)).deliver(&batch(2)).await.unwrap();
    assert_eq!(receipt, Receipt::accepted());
    serving.await.unwrap();
}

/// Reads one request on each of `count` connections, responds with `head` and then with a byte a
/// second for ever.
async fn serve_endlessly(head: &'static str, count: usize) -> (String, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let serving = tokio::spawn(async move {
        for _ in 0..count {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = Vec::new();
            while !request.ends_with(b"]") {
                assert!(stream.read_buf(&mut request).await.unwrap() > 0);
            }
            stream.write_all(head.as_bytes()).await.unwrap();
            while stream.write_all(b"1\r\n \r\n").await.is_ok() {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    });
    (url, serving)
}

#[tokio::test]
async fn head_decides_even_if_the_body_never_ends() {
    for (head, expected) in [
        ("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n", None),
        ("HTTP/1.1 403 Forbidden\r\ntransfer-encoding: chunked\r\n\r\n", Some(ErrorKind::Denied)),
        ("HTTP/1.1 500 Oops\r\ntransfer-encoding: chunked\r\n\r\n", Some(ErrorKind::Failed)),
    ] {
        let (url, serving) = serve_endlessly(head, 1).await;
        let delivered = sink(&HttpConfig::new(&*url)).deliver(&batch(2)).await;
        assert_eq!(delivered.map_err(|error| error.kind).err(), expected, "{head}");
        serving.await.unwrap();
    }
}

#[tokio::test]
async fn malformed_and_many_headers_of_a_success_are_a_success() {
    let many: &'static str = Box::leak("x-a: b\r\n".repeat(300).into_boxed_str());
    for headers in ["bad header\r\n", "x-a : b\r\n", "x-\u{e4}: b\r\n", many] {
        let response = format!("HTTP/1.1 200 OK\r\n{headers}content-length: 0\r\n\r\n");
        let (url, serving) = serve_once(Box::leak(response.into_boxed_str()).as_bytes()).await;
        let receipt = sink(&HttpConfig::new(url)).deliver(&batch(2)).await.unwrap();
        assert_eq!(receipt, Receipt::accepted());
        serving.await.unwrap();
    }
}

#[tokio::test]
async fn unreadable_head_is_a_failure_of_the_destination() {
    let large = format!("HTTP/1.1 200 OK\r\n{}\r\n", "x-a: b\r\n".repeat(2000));
    for (response, reason) in [
        (Box::leak(large.into_boxed_str()).as_bytes(), "message head is too large"),
        (b"HTTP/1.1 2x0 OK\r\n\r\n", "invalid HTTP status-code parsed"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: x\r\n\r\n", "invalid content-length parsed"),
    ] {
        let (url, serving) = serve_once(response).await;
        let error = sink(&HttpConfig::new(&*url)).deliver(&batch(2)).await.unwrap_err();
        let expected = format!(
            "{url} sent a response whose head can't be read: {reason}; the destination may hold \
             the events"
        );
        assert_error(&error, ErrorKind::Failed, &expected);
        serving.await.unwrap();
    }
}

#[tokio::test]
async fn response_that_is_not_http_is_transient() {
    let (url, serving) = serve_once(b"220 mail.example.com ESMTP\r\n").await;
    let error = sink(&HttpConfig::new(&*url)).deliver(&batch(1)).await.unwrap_err();
    assert_error(&error, ErrorKind::Transient, &format!("{url} sent no valid response: "));
    serving.await.unwrap();
}

#[tokio::test]
async fn hanging_tls_handshake_times_out() {
    // The listener accepts connections and never responds to the TLS handshake.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://{}", listener.local_addr().unwrap());
    let config =
        HttpConfig::new(&*url).body(Body::Ndjson).connect_timeout(Duration::from_millis(50));
    let error = sink(&config).deliver(&batch(1)).await.unwrap_err();
    assert_error(
        &error,
        ErrorKind::Transient,
        &format!("{url} can't be reached: no connection within `connect_timeout`"),
    );
}
