//! Far sides that don't answer, or not to the end.

use std::time::Duration;

use observer_core::{ErrorKind, EventSink, Receipt};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use super::{failed, sink};
use crate::config::{Body, HttpConfig};
use crate::testing::batch;

/// Reads one request, writes this, and hangs up.
async fn far_side(answer: &'static [u8]) -> (String, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let serving = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut request = Vec::new();
        while !request.ends_with(b"]") {
            assert!(stream.read_buf(&mut request).await.unwrap() > 0);
        }
        stream.write_all(answer).await.unwrap();
        // The client may have hung up on what it has read.
        let _ = stream.shutdown().await;
    });
    (url, serving)
}

#[tokio::test]
async fn who_is_not_there_may_come_back() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let sink = sink(&HttpConfig::new(format!("{url}/hook?key=s3cret")));
    for error in [sink.deliver(&batch(1)).await.unwrap_err(), sink.check().await.unwrap_err()] {
        failed(
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
async fn a_name_that_is_not_known_says_so() {
    let config =
        HttpConfig::new("http://no-such-host.invalid/").connect_timeout(Duration::from_secs(1));
    let error = sink(&config).deliver(&batch(1)).await.unwrap_err();
    failed(&error, ErrorKind::Blocked, "http://no-such-host.invalid can't be reached: ");
    assert!(error.report().ends_with("; see `url`"), "{}", error.report());
}

#[tokio::test]
async fn a_connection_that_ends_before_the_answer_says_nothing_of_the_events() {
    for answer in [
        &b""[..],
        b"HTTP/1.1 20",
        b"HTTP/1.1 207 Multi-Status\r\ncontent-length: 50\r\n\r\n{\"errors\":[",
    ] {
        let (url, serving) = far_side(answer).await;
        let error = sink(&HttpConfig::new(&*url)).deliver(&batch(2)).await.unwrap_err();
        failed(&error, ErrorKind::Transient, &format!("{url} gives no answer: "));
        serving.await.unwrap();
    }
}

#[tokio::test]
async fn a_success_is_one_also_when_its_body_is_cut_off() {
    let (url, serving) =
        far_side(b"HTTP/1.1 202 Accepted\r\ncontent-length: 50\r\n\r\nthank y").await;
    let receipt = sink(&HttpConfig::new(url)).deliver(&batch(2)).await.unwrap();
    assert_eq!(receipt, Receipt::accepted());
    serving.await.unwrap();
}

#[tokio::test]
async fn what_is_no_http_is_no_answer() {
    let (url, serving) = far_side(b"220 mail.example.com ESMTP\r\n").await;
    let error = sink(&HttpConfig::new(&*url)).deliver(&batch(1)).await.unwrap_err();
    failed(&error, ErrorKind::Transient, &format!("{url} gives no answer: "));
    serving.await.unwrap();
}

#[tokio::test]
async fn a_connection_that_is_never_made_is_given_up() {
    // Connections are taken, and nobody ever says a word of TLS.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://{}", listener.local_addr().unwrap());
    let config =
        HttpConfig::new(&*url).body(Body::Ndjson).connect_timeout(Duration::from_millis(50));
    let error = sink(&config).deliver(&batch(1)).await.unwrap_err();
    failed(
        &error,
        ErrorKind::Transient,
        &format!("{url} can't be reached: no connection within `connect_timeout`"),
    );
}
