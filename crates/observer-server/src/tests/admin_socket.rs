use insta::assert_snapshot;
use observer_core::SinkSettings;
use observer_pipeline::Pipeline;

use super::support::client::{Client, TEST_TIMEOUT};
use super::support::setup::{EVENT, options, serve, serve_until, sink};
use crate::{Access, Scope, Scopes, ServerOptions, Token, TokenDigest};

fn with_socket(dir: &tempfile::TempDir, access: Access) -> ServerOptions {
    let admin_socket = Some(dir.path().join("admin.sock"));
    ServerOptions { admin_socket, access, ..options() }
}

fn guarded() -> Access {
    let token = Token {
        name: "ops".to_owned(),
        digests: vec![TokenDigest::of("ops")],
        scopes: Scopes::from_iter([Scope::Admin]),
        sources: None,
        rate: None,
    };
    Access { tokens: vec![token], anonymous: Scopes::NONE }
}

async fn pipeline() -> Pipeline {
    let sink = sink("archive", SinkSettings::default());
    Pipeline::builder().sink(sink).start().await.unwrap()
}

#[tokio::test]
async fn socket_has_all_scopes_whatever_the_access_rules_and_the_host() {
    let dir = tempfile::tempdir().unwrap();
    for access in [Access::default(), guarded()] {
        let server = serve(with_socket(&dir, access), pipeline().await).await;
        let mut client = Client::connect_unix(&dir.path().join("admin.sock")).await;
        for (request, expected) in [
            ("POST /event HTTP/1.1", 200),
            ("GET /metrics HTTP/1.1", 200),
            ("GET /v1/sinks HTTP/1.1", 200),
            ("DELETE /v1/sinks/archive/dead-letters?all=true HTTP/1.1", 200),
            // Without a handler.
            ("POST /-/reload HTTP/1.1", 404),
            ("GET /livez HTTP/1.1", 200),
        ] {
            let body = if request.starts_with("POST /event") { EVENT } else { "" };
            for headers in ["host: unknown.example", "host: x\r\nauthorization: Bearer guess"] {
                let length = body.len();
                client
                    .send(format!(
                        "{request}\r\n{headers}\r\ncontent-length: {length}\r\n\r\n{body}"
                    ))
                    .await;
                let response = client.response().await;
                assert_eq!(response.status, expected, "{request} {headers}: {response}");
            }
        }
        assert_eq!(client.get("/readyz").await.json()["sinks"][0]["name"], "archive");
        client.send("GET /livez HTTP/1.1\r\n\r\n").await;
        assert_eq!(client.response().await.status, 200, "the host may be missing");
        server.stop().await.unwrap();
        assert!(!dir.path().join("admin.sock").exists());
    }
}

#[tokio::test]
async fn administration_without_a_token_needs_the_socket_by_default() {
    let dir = tempfile::tempdir().unwrap();
    let server = serve(with_socket(&dir, Access::default()), pipeline().await).await;
    let mut client = server.client().await;
    assert_eq!(client.post(EVENT).await.status, 200);
    assert_eq!(client.get("/v1/sinks").await.status, 200);
    client.send("POST /-/reload HTTP/1.1\r\nhost: test\r\ncontent-length: 0\r\n\r\n").await;
    assert_snapshot!(client.response().await, @r#"
    HTTP/1.1 401 Unauthorized
    content-type: application/problem+json
    www-authenticate: Bearer realm="observer"
    {"type":"about:blank","title":"Unauthorized","status":401,"detail":"the request needs a token with the scope `admin`; send it in the header `Authorization: Bearer TOKEN`, or use the command line on the observer's machine, which connects to `access.admin_socket` and needs no token, or add the scope to `access.anonymous`","reason":"unauthorized"}
    "#);
}

#[tokio::test]
async fn request_on_the_socket_that_is_not_read_gets_its_response() {
    let dir = tempfile::tempdir().unwrap();
    let options =
        ServerOptions { max_body: 10, max_batch_body: 10, ..with_socket(&dir, Access::default()) };
    let server = serve(options, pipeline().await).await;
    let mut client = Client::connect_unix(&dir.path().join("admin.sock")).await;
    let body = "x".repeat(1 << 20);
    assert_eq!(client.post(&body).await.status, 413);
    client.expect_close().await;
    let mut client = Client::connect_unix(&dir.path().join("admin.sock")).await;
    client.send("nonsense\r\n\r\n").await;
    assert_eq!(client.response().await.status, 400);
    drop(server);
}

#[tokio::test]
async fn socket_is_open_while_producers_hold_all_connections() {
    let dir = tempfile::tempdir().unwrap();
    let options = ServerOptions { max_connections: 1, ..with_socket(&dir, Access::default()) };
    let server = serve(options, pipeline().await).await;
    let mut producer = server.client().await;
    assert_eq!(producer.post(EVENT).await.status, 200);
    let mut clients = Vec::new();
    for _ in 0..10 {
        let mut client = Client::connect_unix(&dir.path().join("admin.sock")).await;
        assert_eq!(client.get("/v1/sinks").await.status, 200);
        clients.push(client);
    }
    assert_eq!(producer.post(EVENT).await.status, 200);
}

#[tokio::test]
async fn unusable_socket_does_not_stop_the_server() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    std::fs::write(&file, "text").unwrap();
    let (missing, long) = (dir.path().join("missing/a.sock"), dir.path().join("s".repeat(200)));
    for path in [file.clone(), missing, long] {
        let options = ServerOptions { admin_socket: Some(path.clone()), ..options() };
        let server = serve(options, pipeline().await).await;
        assert_eq!(server.client().await.post(EVENT).await.status, 200, "{path:?}");
        server.stop().await.unwrap();
    }
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "text");
}

#[tokio::test]
async fn request_in_flight_on_the_socket_is_completed_at_shutdown() {
    let dir = tempfile::tempdir().unwrap();
    let options = with_socket(&dir, Access::default());
    let server = serve_until(options, pipeline().await, TEST_TIMEOUT).await;
    let mut client = Client::connect_unix(&dir.path().join("admin.sock")).await;
    let length = EVENT.len();
    client
        .send(format!(
            "POST /event HTTP/1.1\r\nexpect: 100-continue\r\ncontent-length: {length}\r\n\r\n"
        ))
        .await;
    assert_eq!(client.head().await.status, 100, "the server reads the body");
    let stopping = server.stop();
    client.send(EVENT).await;
    assert_eq!(client.response().await.status, 200);
    stopping.await.unwrap();
}
