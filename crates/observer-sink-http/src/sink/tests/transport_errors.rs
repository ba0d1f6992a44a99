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
