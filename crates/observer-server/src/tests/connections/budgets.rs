//! Memory and time that clients which neither send nor read can hold.

use std::time::{Duration, Instant};

use observer_pipeline::Pipeline;

use super::super::support::client::{Client, Response, TEST_TIMEOUT};
use super::super::support::setup::{EVENT, Running, options, serve, serve_until};
use crate::ServerOptions;
use crate::request::access::{Access, Scope, Scopes, Token, TokenDigest};

async fn serve_with(options: ServerOptions) -> Running {
    serve(options, Pipeline::builder().start().await.unwrap()).await
}

/// Sends all of a body but its last byte.
async fn upload(server: &Running, path: &str, bytes: usize) -> Client {
    let mut client = server.client().await;
    let body = " ".repeat(bytes - 1);
    let head = format!("POST {path} HTTP/1.1\r\nhost: test\r\ncontent-length: {bytes}\r\n\r\n");
    client.send(head + &body).await;
    client
}

#[tokio::test]
async fn two_slow_uploads_of_one_client_leave_memory_to_its_events() {
    let server = serve_with(options()).await;
    let (mut first, mut second) = tokio::join!(
        upload(&server, "/v1/events", 16 << 20),
        upload(&server, "/v1/events", 16 << 20),
    );
    let refused = tokio::select! {
        refused = first.response() => refused,
        refused = second.response() => refused,
    };
    assert_eq!(refused.status, 429);
    assert!(refused.text("detail").contains("its share of `max_bytes_in_flight`"), "{refused}");
    for path in ["/event", "/v1/events"] {
        let mut client = upload(&server, path, 60 << 10).await;
        client.send("x").await;
        assert_eq!(client.response().await.status / 100, 4, "it is read to its end");
    }
    assert_eq!(server.client().await.post(EVENT).await.status, 200);
}

#[tokio::test]
async fn body_that_stops_is_refused_before_its_timeout() {
    let server = serve_with(ServerOptions { body_timeout: TEST_TIMEOUT, ..options() }).await;
    for bytes in [100, 1 << 20] {
        let response = upload(&server, "/event", bytes).await.response().await;
        assert_eq!(
            (response.status, &*response.text("detail")),
            (408, "the body arrived more slowly than 1024 bytes a second (`min_body_rate`)")
        );
    }
}

#[tokio::test]
async fn unending_body_delays_the_shutdown_by_two_seconds() {
    let pipeline = Pipeline::builder().start().await.unwrap();
    let server = serve_until(options(), pipeline, TEST_TIMEOUT).await;
    let mut unending = upload(&server, "/event", 100).await;
    // The server has read the head of the first request when it responds to a later one.
    assert_eq!(server.client().await.post(EVENT).await.status, 200);
    let ended = server.stop();
    let response = unending.response().await;
    assert_eq!((response.status, response.header("connection")), (503, Some("close")));
    assert!(response.text("detail").starts_with("the observer is shutting down"), "{response}");
    drop(unending);
    tokio::time::timeout(Duration::from_secs(2), ended).await.expect("it stops").unwrap();
}

/// Options of a server whose responses to [`rejected_batch`] are large.
fn talkative(write_timeout: Duration) -> ServerOptions {
    let token = Token {
        name: "ci".into(),
        digests: vec![TokenDigest::of("ci")],
        scopes: Scopes::from_iter([Scope::Ingest]),
        // Named in each error.
        sources: Some(vec!["x".repeat(2_000)]),
        rate: None,
    };
    ServerOptions {
        access: Access { tokens: vec![token], anonymous: Scopes::ALL },
        max_bytes_in_flight: 8 << 20,
        max_batch_body: 4 << 20,
        write_timeout,
        ..options()
    }
}

/// Returns a request whose response has 2 MB.
fn rejected_batch() -> String {
    let body = [EVENT, "\n"].concat().repeat(1_000);
    format!(
        "POST /v1/events HTTP/1.1\r\nhost: test\r\nauthorization: Bearer ci\r\n\
         content-length: {}\r\n\r\n{body}",
        body.len()
    )
}

/// Returns a client that reads no response to some requests, which are more than sockets hold.
async fn silent_client(server: &Running) -> Client {
    let mut client = server.client().await;
    client.send(rejected_batch().repeat(8)).await;
    client
}

/// Sends the request on new connections until the response has the status.
async fn until_status(server: &Running, request: &str, status: u16) -> Response {
    let responded = async {
        loop {
            let mut client = server.client().await;
            client.send(request).await;
            let response = client.response().await;
            if response.status == status {
                break response;
            }
        }
    };
    tokio::time::timeout(TEST_TIMEOUT * 3, responded).await.expect("the status is reached")
}

#[tokio::test]
async fn responses_that_are_not_read_stay_within_their_budget() {
    let server = serve_with(talkative(TEST_TIMEOUT * 10)).await;
    let mut silent = Vec::new();
    for _ in 0..4 {
        silent.push(silent_client(&server).await);
    }
    let refused = until_status(&server, &rejected_batch(), 503).await;
    assert_eq!(refused.text("reason"), "overloaded");
    assert!(refused.text("detail").contains("`max_bytes_in_flight`"), "{refused}");
    assert_eq!(server.client().await.post(EVENT).await.status, 200);
    assert_eq!(server.client().await.get("/metrics").await.status, 200);
    drop(silent);
    until_status(&server, &rejected_batch(), 422).await;
}

#[tokio::test]
async fn client_that_accepts_no_bytes_is_disconnected() {
    let server = serve_with(talkative(Duration::from_millis(300))).await;
    let _silent = silent_client(&server).await;
    let mut other = server.client().await;
    let mut open = async || {
        let metrics = other.get("/metrics").await.body;
        metrics.contains("\nobserver_open_connections 2\n")
    };
    assert!(open().await);
    let closed = async { while open().await {} };
    tokio::time::timeout(TEST_TIMEOUT, closed).await.expect("it is disconnected");
}

#[tokio::test]
async fn idle_time_of_a_connection_is_announced_and_kept() {
    let options = ServerOptions { header_timeout: Duration::from_secs(2), ..options() };
    let server = serve_with(options).await;
    let mut client = server.client().await;
    assert_eq!(client.post(EVENT).await.header("keep-alive"), Some("timeout=1"));
    let idle_since = Instant::now();
    client.expect_close().await;
    assert!(idle_since.elapsed() > Duration::from_secs(1), "it is open for longer than announced");
    let refused = upload(&server, "/v1/sinks", 1 << 20).await.response().await;
    assert_eq!((refused.header("connection"), refused.header("keep-alive")), (Some("close"), None));
}

#[tokio::test]
async fn transfer_coding_other_than_chunked_is_not_implemented() {
    let server = serve_with(options()).await;
    for (coding, status) in [
        ("chunked", 200),
        ("Chunked", 200),
        ("gzip, chunked", 501),
        ("gzip\r\ntransfer-encoding: chunked", 501),
    ] {
        let mut client = server.client().await;
        let head = format!("POST /event HTTP/1.1\r\nhost: test\r\ntransfer-encoding: {coding}");
        client.send(format!("{head}\r\n\r\n{:x}\r\n{EVENT}\r\n0\r\n\r\n", EVENT.len())).await;
        let response = client.response().await;
        assert_eq!(response.status, status, "{coding}: {response}");
        assert_eq!(client.post(EVENT).await.status, 200, "{coding}: the connection stays usable");
    }
}
