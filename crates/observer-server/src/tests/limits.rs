use std::time::Duration;

use insta::assert_snapshot;
use observer_pipeline::{Pipeline, RejectReason};

use super::support::client::post;
use super::support::setup::{EVENT, options, plain, serve};
use crate::ServerOptions;

async fn small() -> super::support::setup::Running {
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
    assert_eq!(server.pipeline.status().ingest.rejected[&RejectReason::TooLarge], 1);
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
    // More than the buffers of both sockets hold, so that the server has to read on for the answer
    // to be seen.
    client.say(post("", &" ".repeat(12 << 20))).await;
    assert_eq!(client.answer().await.status, 413);
    client.ends().await;
}

#[tokio::test]
async fn a_body_that_trickles_is_given_up() {
    let body_timeout = Duration::from_millis(50);
    let server = serve(
        ServerOptions { body_timeout, ..options() },
        Pipeline::builder().start().await.unwrap(),
    )
    .await;
    let mut client = server.client().await;
    client.say("POST /event HTTP/1.1\r\nhost: test\r\ncontent-length: 45\r\n\r\n{").await;
    assert_snapshot!(client.answer().await, @r#"
    HTTP/1.1 408 Request Timeout
    content-type: application/problem+json
    connection: close
    {"type":"about:blank","title":"Request Timeout","status":408,"detail":"the body did not arrive within 0.05 s of its head (`body_timeout`)","reason":"timeout"}
    "#);
    client.ends().await;
    assert_eq!(server.pipeline.status().ingest.rejected[&RejectReason::Timeout], 1);
}

#[tokio::test]
async fn a_head_that_trickles_and_an_idle_connection_are_closed() {
    let header_timeout = Duration::from_millis(50);
    let server = serve(
        ServerOptions { header_timeout, ..options() },
        Pipeline::builder().start().await.unwrap(),
    )
    .await;
    let mut slow = server.client().await;
    slow.say("POST /event HTTP/1.1\r\nhost:").await;
    assert_snapshot!(slow.answer().await, @r#"
    HTTP/1.1 408 Request Timeout
    content-type: application/problem+json
    connection: close
    {"type":"about:blank","title":"Request Timeout","status":408,"detail":"the head of the request did not arrive within 0.05 s (`header_timeout`)","reason":"timeout"}
    "#);
    slow.ends().await;

    let mut silent = server.client().await;
    silent.ends().await;

    let mut idle = server.client().await;
    assert_eq!(idle.post(EVENT).await.status, 200);
    idle.ends().await;
}

#[tokio::test]
async fn one_request_too_many_is_told_and_probes_still_answer() {
    let options = ServerOptions { max_requests_in_flight: 1, ..options() };
    let server = serve(options, Pipeline::builder().start().await.unwrap()).await;
    let mut slow = server.client().await;
    slow.say(format!(
        "POST /event HTTP/1.1\r\nhost: test\r\ncontent-length: {}\r\n\r\n",
        EVENT.len()
    ))
    .await;
    let mut other = server.client().await;
    // Until the slow one has begun, there is room.
    let refused = loop {
        let answer = other.post(EVENT).await;
        if answer.status != 200 {
            break answer;
        }
    };
    assert_snapshot!(refused, @r#"
    HTTP/1.1 429 Too Many Requests
    content-type: application/problem+json
    retry-after: 1
    {"type":"about:blank","title":"Too Many Requests","status":429,"detail":"there are 1 requests in flight, and no more may be (`max_requests_in_flight`); come back later","reason":"overloaded"}
    "#);
    assert_eq!(other.get("/metrics").await.status, 429);
    assert_eq!(other.get("/livez").await.status, 200);
    assert_eq!(other.get("/readyz").await.status, 200);
    slow.say(EVENT).await;
    assert_eq!(slow.answer().await.status, 200);
    assert_eq!(other.post(EVENT).await.status, 200, "there is room again");
    assert!(server.pipeline.status().ingest.rejected[&RejectReason::Overloaded] > 0);
}

#[tokio::test]
async fn bodies_hold_no_more_than_they_may_together() {
    let options = ServerOptions { max_bytes_in_flight: 100, ..options() };
    let server = serve(options, Pipeline::builder().start().await.unwrap()).await;
    let mut slow = server.client().await;
    let half = &" ".repeat(90);
    slow.say(format!(
        "POST /event HTTP/1.1\r\nhost: test\r\ncontent-length: {}\r\n\r\n{half}",
        90 + EVENT.len()
    ))
    .await;
    let mut other = server.client().await;
    let refused = loop {
        let answer = other.post(EVENT).await;
        if answer.status != 200 {
            break answer;
        }
    };
    assert_snapshot!(refused, @r#"
    HTTP/1.1 429 Too Many Requests
    content-type: application/problem+json
    retry-after: 1
    connection: close
    {"type":"about:blank","title":"Too Many Requests","status":429,"detail":"the requests in flight hold as many of the 100 bytes that they may hold together (`max_bytes_in_flight`) that there is no room for this one; come back later","reason":"overloaded"}
    "#);
    drop(slow);
    loop {
        if server.client().await.post(EVENT).await.status == 200 {
            break;
        }
    }
}

#[tokio::test]
async fn a_head_that_can_not_be_read_is_told_why() {
    let server = plain().await;
    let many = format!("GET /livez HTTP/1.1\r\nhost: test\r\n{}\r\n", "x: y\r\n".repeat(200));
    let large = format!("GET /livez HTTP/1.1\r\nhost: test\r\nx: {}\r\n\r\n", "y".repeat(1 << 20));
    let long = format!("GET /{} HTTP/1.1\r\nhost: test\r\n\r\n", "y".repeat(70_000));
    for head in [&*many, &large, &long] {
        let mut client = server.client().await;
        client.say(head).await;
        let answer = client.answer().await;
        assert!([431, 414].contains(&answer.status), "{answer}");
        assert_eq!(
            answer.text("detail"),
            "the head of a request may have 65536 bytes and 100 fields, and this one has more; that is no setting"
        );
        client.ends().await;
    }
    for head in [
        "hello\r\n\r\n",
        "GET /livez\r\n\r\n",
        "GET /livez HTTP/1.1\r\nno field\r\n\r\n",
        "POST /event HTTP/1.1\r\nhost: test\r\ncontent-length: -1\r\n\r\n",
    ] {
        let mut client = server.client().await;
        client.say(head).await;
        let answer = client.answer().await;
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
        assert_eq!(
            (answer.status, &*answer.text("detail")),
            (400, "the head of the request is not that of an HTTP/1.1 request")
        );
        client.ends().await;
    }
}

#[tokio::test]
async fn a_batch_holds_as_much_as_it_is_unpacked() {
    use std::io::Write;

    let options = ServerOptions { max_bytes_in_flight: 10_000, ..options() };
    let server = serve(options, Pipeline::builder().start().await.unwrap()).await;
    let mut client = server.client().await;
    for (events, status) in [(100, 200), (1_000, 429)] {
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        gzip.write_all([EVENT, "\n"].concat().repeat(events).as_bytes()).unwrap();
        let body = gzip.finish().unwrap();
        assert!(body.len() < 1_000, "it comes small");
        let head = "POST /v1/events HTTP/1.1\r\nhost: test\r\ncontent-encoding: gzip\r\n";
        client.say(format!("{head}content-length: {}\r\n\r\n", body.len())).await;
        client.say(&body).await;
        assert_eq!(client.answer().await.status, status, "{events} events");
    }
    assert_eq!(server.pipeline.status().ingest.accepted, 100);
}
