use std::time::Duration;

use observer_pipeline::Pipeline;

use super::support::client::PATIENCE;
use super::support::setup::{EVENT, options, plain, serve_until};

#[tokio::test]
async fn a_request_in_flight_is_answered_and_idle_connections_are_closed() {
    let server = plain().await;
    let (mut idle, mut busy, mut silent) =
        (server.client().await, server.client().await, server.client().await);
    assert_eq!(idle.post(EVENT).await.status, 200);
    busy.say(format!(
        "POST /event HTTP/1.1\r\nhost: test\r\nexpect: 100-continue\r\ncontent-length: {}\r\n\r\n",
        EVENT.len()
    ))
    .await;
    assert_eq!(busy.head().await.status, 100, "it waits for the body");

    let address = server.address;
    let pipeline = server.pipeline.clone();
    let ended = server.stop();
    idle.ends().await;
    silent.ends().await;
    assert!(tokio::net::TcpStream::connect(address).await.is_err(), "nothing is accepted any more");

    busy.say(EVENT).await;
    let answer = busy.answer().await;
    assert_eq!(
        (answer.text("status"), answer.header("connection")),
        ("accepted".into(), Some("close"))
    );
    busy.ends().await;
    tokio::time::timeout(PATIENCE, ended).await.expect("the server ends").unwrap();
    assert_eq!(pipeline.status().ingest.accepted, 2);
}

#[tokio::test]
async fn after_the_deadline_connections_are_cut() {
    let pipeline = Pipeline::builder().start().await.unwrap();
    let server = serve_until(options(), pipeline, Duration::from_millis(50)).await;
    let mut busy = server.client().await;
    busy.say(
        "POST /event HTTP/1.1\r\nhost: test\r\nexpect: 100-continue\r\ncontent-length: 44\r\n\r\n",
    )
    .await;
    assert_eq!(busy.head().await.status, 100);
    tokio::time::timeout(PATIENCE, server.stop()).await.expect("the server ends").unwrap();
    busy.ends().await;
}

#[tokio::test]
async fn a_server_that_is_dropped_while_it_runs_lets_go_of_its_connections() {
    let pipeline = Pipeline::builder().start().await.unwrap();
    let server =
        crate::Server::bind(options(), pipeline, prometheus::Registry::new()).await.unwrap();
    let address = server.local_addrs()[0];
    let running = tokio::spawn(server.run(std::future::pending(), PATIENCE));
    let mut client = super::support::client::Client::connect(address).await;
    assert_eq!(client.post(EVENT).await.status, 200);
    running.abort();
    client.ends().await;
}
