use std::time::Duration;

use insta::assert_snapshot;
use observer_pipeline::Pipeline;

use super::client::post;
use super::setup::{EVENT, options, plain, serve};
use crate::ServerOptions;

async fn small() -> super::setup::Running {
    let max_body = EVENT.len();
    serve(ServerOptions { max_body, ..options() }, Pipeline::builder().start().await.unwrap()).await
}

#[tokio::test]
async fn a_body_that_announces_too_much_is_refused_unread() {
    let server = small().await;
    let mut client = server.client().await;
    assert_eq!(client.post(EVENT).await.status, 200, "just at the limit");
    client.say("POST /event HTTP/1.1\r\nhost: test\r\ncontent-length: 45\r\n\r\n").await;
    assert_snapshot!(client.answer().await, @r#"
    HTTP/1.1 413 Payload Too Large
    content-type: application/problem+json
    connection: close
    {"type":"about:blank","title":"Payload Too Large","status":413,"detail":"an event may have 44 bytes, and this body has more; leave out a part of `extra`, or raise `max_body`","reason":"too_large"}
    "#);
    client.ends().await;
    assert_eq!(server.pipeline.status().ingest.rejected["too_large"], 1);
}

#[tokio::test]
async fn a_chunked_body_is_refused_where_it_gets_too_large() {
    let server = small().await;
    let mut client = server.client().await;
    let head = "POST /event HTTP/1.1\r\nhost: test\r\ntransfer-encoding: chunked\r\n\r\n";
    let (one, two) = EVENT.split_at(20);
    client.say(format!("{head}14\r\n{one}\r\n{:x}\r\n{two}\r\n0\r\n\r\n", two.len())).await;
    assert_eq!(client.answer().await.status, 200, "just at the limit");
    client.say(format!("{head}14\r\n{one}\r\n{:x}\r\n{two} \r\n", two.len() + 1)).await;
    assert_eq!(client.answer().await.status, 413);
    client.ends().await;
}

#[tokio::test]
async fn a_client_that_sends_on_regardless_still_gets_its_413() {
    let server = plain().await;
    let mut client = server.client().await;
    // More than the buffers of both sockets hold, so that the server has to read on for the answer to be seen.
    client.say(post("", &" ".repeat(12 << 20))).await;
    assert_eq!(client.answer().await.status, 413);
    client.ends().await;
}

#[tokio::test]
async fn a_body_that_trickles_is_given_up() {
    let body_timeout = Duration::from_millis(50);
    let server = serve(ServerOptions { body_timeout, ..options() }, Pipeline::builder().start().await.unwrap()).await;
    let mut client = server.client().await;
    client.say("POST /event HTTP/1.1\r\nhost: test\r\ncontent-length: 45\r\n\r\n{").await;
    assert_snapshot!(client.answer().await, @r#"
    HTTP/1.1 408 Request Timeout
    content-type: application/problem+json
    connection: close
    {"type":"about:blank","title":"Request Timeout","status":408,"detail":"the body did not arrive within 0.05 s of its head","reason":"timeout"}
    "#);
    client.ends().await;
    assert_eq!(server.pipeline.status().ingest.rejected["timeout"], 1);
}

#[tokio::test]
async fn a_head_that_trickles_and_an_idle_connection_are_closed() {
    let header_timeout = Duration::from_millis(50);
    let server = serve(ServerOptions { header_timeout, ..options() }, Pipeline::builder().start().await.unwrap()).await;
    let mut slow = server.client().await;
    slow.say("POST /event HTTP/1.1\r\nhost:").await;
    slow.ends().await;

    let mut silent = server.client().await;
    silent.ends().await;

    let mut idle = server.client().await;
    assert_eq!(idle.post(EVENT).await.status, 200);
    idle.ends().await;
}
