use insta::assert_snapshot;
use observer_pipeline::Pipeline;

use super::support::setup::{EVENT, options, plain, serve};
use crate::{Server, ServerOptions};

#[tokio::test]
async fn one_connection_too_many_is_told_so() {
    let pipeline = Pipeline::builder().start().await.unwrap();
    let server = serve(ServerOptions { max_connections: 1, ..options() }, pipeline).await;
    let mut first = server.client().await;
    assert_eq!(first.post(EVENT).await.status, 200);

    let mut second = server.client().await;
    assert_snapshot!(second.answer().await, @r#"
    HTTP/1.1 503 Service Unavailable
    content-type: application/problem+json
    retry-after: 1
    connection: close
    {"type":"about:blank","title":"Service Unavailable","status":503,"detail":"there are 1 connections, and no more may be (`max_connections`); come back later, or use fewer of them"}
    "#);
    second.ends().await;
    let metrics = first.get("/metrics").await.body;
    assert!(metrics.contains("\nobserver_refused_connections_total 1\n"), "{metrics}");
    assert!(metrics.contains("\nobserver_open_connections 1\n"), "{metrics}");

    drop(first);
    let status = loop {
        let status = server.client().await.post(EVENT).await.status;
        if status != 503 {
            break status;
        }
    };
    assert_eq!(status, 200, "there is room again");
}

#[tokio::test]
async fn an_idle_connection_makes_room_for_another_and_a_busy_one_does_not() {
    let pipeline = Pipeline::builder().start().await.unwrap();
    let server = serve(ServerOptions { max_connections: 2, ..options() }, pipeline).await;
    let mut idle = server.client().await;
    assert_eq!(idle.post(EVENT).await.status, 200);
    let mut busy = server.client().await;
    let (start, end) = EVENT.split_at(10);
    busy.say(format!(
        "POST /event HTTP/1.1\r\nhost: test\r\ncontent-length: {}\r\n\r\n{start}",
        EVENT.len()
    ))
    .await;
    let mut newcomer = loop {
        let mut client = server.client().await;
        if client.post(EVENT).await.status == 200 {
            break client;
        }
    };
    idle.ends().await;
    busy.say(end).await;
    assert_eq!(busy.answer().await.status, 200);
    assert_eq!(newcomer.post(EVENT).await.status, 200);
}

#[tokio::test]
async fn several_addresses_are_served() {
    let listen = vec!["127.0.0.1:0".into(), "127.0.0.1:0".into()];
    let pipeline = Pipeline::builder().start().await.unwrap();
    let server =
        Server::bind(ServerOptions { listen, ..options() }, pipeline, prometheus::Registry::new())
            .await
            .unwrap();
    let addresses = server.local_addrs().to_vec();
    assert_ne!(addresses[0], addresses[1]);
    let running =
        tokio::spawn(server.run(std::future::pending(), super::support::client::PATIENCE));
    for address in addresses {
        assert_eq!(
            super::support::client::Client::connect(address).await.post(EVENT).await.status,
            200
        );
    }
    running.abort();
}

#[tokio::test]
async fn unknown_paths_and_methods_are_told_what_there_is() {
    let server = plain().await;
    let mut client = server.client().await;
    assert_snapshot!(client.get("/events").await, @r#"
    HTTP/1.1 404 Not Found
    content-type: application/problem+json
    {"type":"about:blank","title":"Not Found","status":404,"detail":"there is nothing at this path; there is POST /event, /v1/events and /-/reload, and GET /v1/sinks, /metrics, /livez, /readyz and /openapi.json, which lists all"}
    "#);
    assert_snapshot!(client.get("/event").await, @r#"
    HTTP/1.1 405 Method Not Allowed
    content-type: application/problem+json
    allow: POST
    {"type":"about:blank","title":"Method Not Allowed","status":405,"detail":"/event can't be asked for with GET; the header Allow says how it can"}
    "#);
    client.say("DELETE /metrics HTTP/1.1\r\nhost: test\r\n\r\n").await;
    assert_eq!(client.answer().await.header("allow"), Some("GET,HEAD"));
}
