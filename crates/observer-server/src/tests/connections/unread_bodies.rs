//! Requests that are refused before their body is read.

use std::num::{NonZeroU32, NonZeroU64};
use std::time::Duration;

use observer_pipeline::Pipeline;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::super::support::client::{Client, TEST_TIMEOUT};
use super::super::support::setup::{EVENT, Running, options, serve, serve_plain};
use crate::ServerOptions;
use crate::request::access::{Access, Rate, Scope, Scopes, Token, TokenDigest};

/// Size of a rest that is read, and of one that is not.
const SMALL: usize = 60_000;
const LARGE: usize = 900_000;

/// Refusals: the head of the request, and the status.
const REFUSALS: [(&str, u16); 7] = [
    ("POST /nowhere HTTP/1.1\r\nauthorization: Bearer good\r\n", 404),
    ("PUT /event HTTP/1.1\r\nauthorization: Bearer good\r\n", 405),
    ("POST /event HTTP/1.1\r\nauthorization: Bearer good\r\ncontent-type: text/plain\r\n", 415),
    ("POST /event HTTP/1.1\r\nauthorization: Bearer good\r\nidempotency-key: a b\r\n", 400),
    ("POST /event HTTP/1.1\r\n", 401),
    ("POST /event HTTP/1.1\r\nauthorization: Bearer read\r\n", 403),
    ("POST /event HTTP/1.1\r\nauthorization: Bearer slow\r\n", 429),
];

fn token(secret: &str, scope: Scope, rate: Option<Rate>) -> Token {
    Token {
        name: secret.to_owned(),
        digests: vec![TokenDigest::of(secret)],
        scopes: Scopes::from_iter([scope]),
        sources: None,
        rate,
    }
}

async fn server_with_tokens() -> Running {
    let rate = Rate {
        per_second: NonZeroU32::MIN,
        burst: NonZeroU32::MIN,
        bytes_per_second: Some(NonZeroU64::MIN),
    };
    let tokens = vec![
        token("good", Scope::Ingest, None),
        token("read", Scope::Read, None),
        token("slow", Scope::Ingest, Some(rate)),
    ];
    let access = Access { tokens, anonymous: Scopes::NONE };
    let pipeline = Pipeline::builder().start().await.unwrap();
    let server = serve(ServerOptions { access, ..options() }, pipeline).await;
    let exhausting = event("slow");
    let mut client = server.client().await;
    client.send(exhausting).await;
    assert_eq!(client.response().await.status, 200);
    server
}

fn event(token: &str) -> String {
    format!(
        "POST /event HTTP/1.1\r\nhost: test\r\nauthorization: Bearer {token}\r\n\
         content-type: application/json\r\ncontent-length: {}\r\n\r\n{EVENT}",
        EVENT.len()
    )
}

fn with_length(head: &str, bytes: usize) -> String {
    format!("{head}host: test\r\ncontent-length: {bytes}\r\n\r\n{}", "x".repeat(bytes))
}

fn chunked(head: &str, bytes: usize) -> String {
    let body = format!("{bytes:x}\r\n{}\r\n0\r\n\r\n", "x".repeat(bytes));
    format!("{head}host: test\r\ntransfer-encoding: chunked\r\n\r\n{body}")
}

#[tokio::test]
async fn refusal_keeps_the_connection_or_announces_its_end() {
    let server = server_with_tokens().await;
    for (head, status) in REFUSALS {
        for bytes in [0, 300, SMALL, LARGE] {
            for request in [with_length(head, bytes), chunked(head, bytes.max(1))] {
                let case = format!("{status}, {bytes} bytes: {}", request.lines().next().unwrap());
                let mut client = server.client().await;
                client.send(&request).await;
                let response = client.response().await;
                assert_eq!(response.status, status, "{case}: {response}");
                if response.header("connection") == Some("close") {
                    client.expect_close().await;
                    // An invalid key announces the end itself, whatever the size.
                    assert!(bytes > SMALL || status == 400, "{case}");
                } else {
                    client.send(event("good")).await;
                    assert_eq!(client.response().await.status, 200, "{case}");
                    assert!(bytes <= SMALL, "{case}");
                }
            }
        }
    }
}

#[tokio::test]
async fn client_that_sends_its_whole_body_before_it_reads_gets_the_refusal() {
    let server = serve_plain().await;
    for bytes in [LARGE, 20_000_000, 40_000_000] {
        let mut client = server.client().await;
        client
            .send(with_length("POST /event HTTP/1.1\r\ncontent-type: text/plain\r\n", bytes))
            .await;
        assert_eq!(client.response().await.status, 415, "{bytes}");
        client.expect_close().await;
    }
}

#[tokio::test]
async fn client_that_waits_for_100_continue_is_not_asked_for_a_body_that_is_refused() {
    let server = serve_plain().await;
    let mut client = server.client().await;
    let head = "POST /nowhere HTTP/1.1\r\nhost: test\r\nexpect: 100-continue\r\n";
    client.send(format!("{head}content-length: 300\r\n\r\n")).await;
    let response = client.response().await;
    assert_eq!((response.status, response.header("connection")), (404, Some("close")));
    client.expect_close().await;
}

/// Returns a connection with a refused request whose body does not end, after its response.
async fn endless(server: &Running) -> TcpStream {
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    let head = "POST /nowhere HTTP/1.1\r\nhost: test\r\ncontent-length: 1000000000\r\n\r\n";
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut response = Vec::new();
    while !response.ends_with(b"}") {
        assert!(stream.read_buf(&mut response).await.unwrap() > 0);
    }
    stream
}

#[tokio::test]
async fn connection_with_an_endless_body_ends_with_the_server() {
    // Without the shutdown, the connection lasts for 30 s.
    let server = serve_plain().await;
    let mut streams = [endless(&server).await, endless(&server).await];
    let stopped = server.stop();
    let [talking, _silent] = &mut streams;
    let sending = async {
        while talking.write_all(&[b'x'; 1000]).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let stopped = tokio::time::timeout(TEST_TIMEOUT, async { tokio::join!(sending, stopped) });
    stopped.await.expect("the server stops in time").1.unwrap();
}

#[tokio::test]
async fn connection_with_an_endless_body_gives_way_to_a_new_one() {
    let pipeline = Pipeline::builder().start().await.unwrap();
    let server = serve(ServerOptions { max_connections: 2, ..options() }, pipeline).await;
    let _streams = [endless(&server).await, endless(&server).await];
    let served =
        async { while Client::connect(server.address).await.post(EVENT).await.status != 200 {} };
    tokio::time::timeout(TEST_TIMEOUT, served).await.expect("a slot is reclaimed");
}
