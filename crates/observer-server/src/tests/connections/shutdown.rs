use std::time::Duration;

use observer_pipeline::Pipeline;

use super::super::support::client::TEST_TIMEOUT;
use super::super::support::setup::{EVENT, options, serve_plain, serve_until};

#[tokio::test]
async fn shutdown_serves_requests_in_flight_and_closes_idle_connections() {
    let server = serve_plain().await;
    let (mut idle, mut busy, mut silent) =
        (server.client().await, server.client().await, server.client().await);
    assert_eq!(idle.post(EVENT).await.status, 200);
    busy.send(format!(
        "POST /event HTTP/1.1\r\nhost: test\r\nexpect: 100-continue\r\ncontent-length: {}\r\n\r\n",
        EVENT.len()
    ))
    .await;
    assert_eq!(busy.head().await.status, 100, "the server waits for the body");

    let address = server.address;
    let pipeline = server.pipeline.clone();
    let ended = server.stop();
    idle.expect_close().await;
    silent.expect_close().await;
    assert!(
        tokio::net::TcpStream::connect(address).await.is_err(),
        "the server has stopped accepting"
    );

    busy.send(EVENT).await;
    let response = busy.response().await;
    assert_eq!(
        (response.text("status"), response.header("connection")),
        ("accepted".into(), Some("close"))
    );
    busy.expect_close().await;
    tokio::time::timeout(TEST_TIMEOUT, ended).await.expect("the server stops in time").unwrap();
    assert_eq!(pipeline.status().ingest.accepted, 2);
}

#[tokio::test]
async fn shutdown_closes_all_connections_after_the_deadline() {
    let pipeline = Pipeline::builder().start().await.unwrap();
    let server = serve_until(options(), pipeline, Duration::from_millis(50)).await;
    let mut busy = server.client().await;
    busy.send(
        "POST /event HTTP/1.1\r\nhost: test\r\nexpect: 100-continue\r\ncontent-length: 44\r\n\r\n",
    )
    .await;
    assert_eq!(busy.head().await.status, 100);
    tokio::time::timeout(TEST_TIMEOUT, server.stop())
        .await
        .expect("the server stops in time")
        .unwrap();
    busy.expect_close().await;
}

#[tokio::test]
async fn dropped_server_closes_its_connections() {
    let pipeline = Pipeline::builder().start().await.unwrap();
    let server =
        crate::Server::bind(options(), pipeline, prometheus::Registry::new()).await.unwrap();
    let address = server.local_addrs()[0];
    let running = tokio::spawn(server.run(std::future::pending(), TEST_TIMEOUT));
    let mut client = super::super::support::client::Client::connect(address).await;
    assert_eq!(client.post(EVENT).await.status, 200);
    running.abort();
    client.expect_close().await;
}
