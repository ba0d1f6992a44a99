//! Connections: their limit, refused requests, and the shutdown.

mod budgets;
mod shutdown;
mod unread_bodies;

use std::time::Duration;

use insta::assert_snapshot;
use observer_pipeline::Pipeline;

use super::support::setup::{EVENT, options, serve, serve_plain};
use crate::{Server, ServerOptions};

#[tokio::test]
async fn connection_beyond_the_limit_serves_monitoring_and_small_bodies_and_rejects_others() {
    let pipeline = Pipeline::builder().start().await.unwrap();
    let server = serve(ServerOptions { max_connections: 1, ..options() }, pipeline).await;
    let mut first = server.client().await;
    assert_eq!(first.post(EVENT).await.status, 200);

    assert_snapshot!(server.client().await.get("/v1/sinks").await, @r#"
    HTTP/1.1 503 Service Unavailable
    content-type: application/problem+json
    retry-after: 1
    connection: close
    {"type":"about:blank","title":"Service Unavailable","status":503,"detail":"the limit of 1 connections (`max_connections`) is reached; try again later, or use fewer connections"}
    "#);
    let large = format!("{EVENT}{}", " ".repeat(64 << 10));
    let mut client = server.client().await;
    client.send(super::support::client::post("", &large)).await;
    assert_eq!(client.response().await.status, 503);
    for path in ["/livez", "/readyz", "/metrics"] {
        let mut client = server.client().await;
        let response = client.get(path).await;
        assert_eq!((response.status, response.header("connection")), (200, Some("close")));
        client.expect_close().await;
    }
    assert_eq!(server.client().await.post(EVENT).await.status, 200);
    let metrics = first.get("/metrics").await.body;
    assert!(metrics.contains("\nobserver_refused_connections_total 2\n"), "{metrics}");

    drop(first);
    loop {
        let response = server.client().await.post(EVENT).await;
        if response.header("connection").is_none() {
            break;
        }
    }
}

#[tokio::test]
async fn bodies_that_never_end_leave_connections_for_probes() {
    let pipeline = Pipeline::builder().start().await.unwrap();
    let server = serve(ServerOptions { max_connections: 1, ..options() }, pipeline).await;
    let mut open = Vec::new();
    let rejected = loop {
        let mut client = server.client().await;
        // A connection that awaits a body is not idle.
        client.send("POST /event HTTP/1.1\r\nhost: test\r\ncontent-length: 9\r\n\r\n").await;
        let silent = Duration::from_millis(20);
        match tokio::time::timeout(silent, client.response()).await {
            Ok(response) => break response,
            Err(_) => open.push(client),
        }
    };
    assert_eq!((rejected.status, rejected.header("connection")), (503, Some("close")));
    assert!(open.len() > 48, "{} are open", open.len());
    for path in ["/livez", "/readyz", "/metrics"] {
        assert_eq!(server.client().await.get(path).await.status, 200, "{path}");
    }
    assert_eq!(server.client().await.post(EVENT).await.status, 503);
}

#[tokio::test]
async fn connections_beyond_the_reserve_are_rejected_with_503() {
    let pipeline = Pipeline::builder().start().await.unwrap();
    let server = serve(ServerOptions { max_connections: 1, ..options() }, pipeline).await;
    let mut open = Vec::new();
    let rejected = loop {
        let mut client = server.client().await;
        // A connection that awaits a body is not idle, nor is one without a complete head.
        client.send("POST /event HTTP/1.1\r\nhost: test\r\ncontent-length: 9\r\n").await;
        if open.is_empty() {
            client.send("\r\n").await;
        }
        let silent = Duration::from_millis(20);
        match tokio::time::timeout(silent, client.response()).await {
            Ok(response) => break response,
            Err(_) => open.push(client),
        }
    };
    assert_eq!((rejected.status, rejected.header("connection")), (503, Some("close")));
    assert!(open.len() > 64, "{} are open", open.len());
}

#[tokio::test]
async fn idle_connection_is_closed_for_a_new_one_and_an_active_one_is_not() {
    let pipeline = Pipeline::builder().start().await.unwrap();
    let server = serve(ServerOptions { max_connections: 2, ..options() }, pipeline).await;
    let mut idle = server.client().await;
    assert_eq!(idle.post(EVENT).await.status, 200);
    let mut busy = server.client().await;
    let (start, end) = EVENT.split_at(10);
    busy.send(format!(
        "POST /event HTTP/1.1\r\nhost: test\r\ncontent-length: {}\r\n\r\n{start}",
        EVENT.len()
    ))
    .await;
    let mut new = loop {
        // Until the connection counts as idle, the reserve serves one request of each new one.
        let mut client = server.client().await;
        if client.post(EVENT).await.header("connection").is_none() {
            break client;
        }
    };
    idle.expect_close().await;
    busy.send(end).await;
    assert_eq!(busy.response().await.status, 200);
    assert_eq!(new.post(EVENT).await.status, 200);
}

#[tokio::test]
async fn server_serves_several_addresses() {
    let listen = vec!["127.0.0.1:0".into(), "127.0.0.1:0".into()];
    let pipeline = Pipeline::builder().start().await.unwrap();
    let server =
        Server::bind(ServerOptions { listen, ..options() }, pipeline, prometheus::Registry::new())
            .await
            .unwrap();
    let addresses = server.local_addrs().to_vec();
    assert_ne!(addresses[0], addresses[1]);
    let running =
        tokio::spawn(server.run(std::future::pending(), super::support::client::TEST_TIMEOUT));
    for address in addresses {
        assert_eq!(
            super::support::client::Client::connect(address).await.post(EVENT).await.status,
            200
        );
    }
    running.abort();
}

#[tokio::test]
async fn unknown_paths_and_methods_are_rejected_with_the_known_ones() {
    let server = serve_plain().await;
    let mut client = server.client().await;
    assert_snapshot!(client.get("/events").await, @r#"
    HTTP/1.1 404 Not Found
    content-type: application/problem+json
    {"type":"about:blank","title":"Not Found","status":404,"detail":"unknown path \"/events\"; the routes are POST /-/reload, POST /event, GET /livez, POST /mcp, GET /metrics, GET /openapi.json, GET /readyz, GET /v1/diff, GET /v1/events, POST /v1/events, GET /v1/events/{id}, GET /v1/hints, GET /v1/models, GET /v1/signatures, GET /v1/signatures/{sig_hash}, GET /v1/sinks, DELETE /v1/sinks/{name}, POST /v1/sinks/{name}/adopt, GET /v1/sinks/{name}/dead-letters, DELETE /v1/sinks/{name}/dead-letters, POST /v1/sinks/{name}/dead-letters/divert, POST /v1/sinks/{name}/dead-letters/replay, GET /v1/sinks/{name}/dead-letters/{id}, DELETE /v1/sinks/{name}/dead-letters/{id}, POST /v1/sinks/{name}/replay, DELETE /v1/sinks/{name}/replay, POST /v1/sinks/{name}/retry, GET /v1/stream, GET /v1/usage"}
    "#);
    assert_snapshot!(client.get("/event").await, @r#"
    HTTP/1.1 405 Method Not Allowed
    content-type: application/problem+json
    allow: POST
    {"type":"about:blank","title":"Method Not Allowed","status":405,"detail":"/event does not support the method GET; use one that the header Allow lists"}
    "#);
    client.send("DELETE /metrics HTTP/1.1\r\nhost: test\r\n\r\n").await;
    assert_eq!(client.response().await.header("allow"), Some("GET,HEAD"));
}
