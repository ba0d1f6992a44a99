use std::time::Duration;

use insta::assert_snapshot;
use observer_pipeline::{Pipeline, RejectReason};

use super::support::client::post;
use super::support::setup::{EVENT, options, serve, serve_plain};
use crate::ServerOptions;

async fn small() -> super::support::setup::Running {
    let max_body = EVENT.len();
    let options = ServerOptions { max_body, max_batch_body: max_body, ..options() };
    serve(options, Pipeline::builder().start().await.unwrap()).await
}

#[tokio::test]
async fn body_with_a_large_content_length_is_rejected_unread() {
    let server = small().await;
    let mut client = server.client().await;
    assert_eq!(client.post(EVENT).await.status, 200, "exactly at the limit");
    client.send("POST /event HTTP/1.1\r\nhost: test\r\ncontent-length: 45\r\n\r\n").await;
    assert_snapshot!(client.response().await, @r#"
    HTTP/1.1 413 Payload Too Large
    content-type: application/problem+json
    connection: close
    {"type":"about:blank","title":"Payload Too Large","status":413,"detail":"the body exceeds the limit of 44 bytes; shorten `extra`, or raise `max_batch_body`","reason":"too_large"}
    "#);
    client.expect_close().await;
    assert_eq!(server.pipeline.status().ingest.rejected[&RejectReason::TooLarge], 1);
}

#[tokio::test]
async fn chunked_body_is_rejected_where_it_exceeds_the_limit() {
    let server = small().await;
    let mut client = server.client().await;
    let head = "POST /event HTTP/1.1\r\nhost: test\r\ntransfer-encoding: chunked\r\n\r\n";
    let (one, two) = EVENT.split_at(20);
    client.send(format!("{head}14\r\n{one}\r\n{:x}\r\n{two}\r\n0\r\n\r\n", two.len())).await;
    assert_eq!(client.response().await.status, 200, "exactly at the limit");
    client.send(format!("{head}14\r\n{one}\r\n{:x}\r\n{two} \r\n", two.len() + 1)).await;
    assert_eq!(client.response().await.status, 413);
    client.expect_close().await;
}

#[tokio::test]
async fn client_that_keeps_sending_receives_its_413() {
    let server = small().await;
    let mut client = server.client().await;
    // More than the buffers of both sockets hold, so that the server has to discard input for the
    // response to arrive.
    client.send(post("", &" ".repeat(12 << 20))).await;
    assert_eq!(client.response().await.status, 413);
    client.expect_close().await;
}

#[tokio::test]
async fn slow_body_times_out() {
    let body_timeout = Duration::from_millis(50);
    let server = serve(
        ServerOptions { body_timeout, ..options() },
        Pipeline::builder().start().await.unwrap(),
    )
    .await;
    let mut client = server.client().await;
    client.send("POST /event HTTP/1.1\r\nhost: test\r\ncontent-length: 45\r\n\r\n{").await;
    assert_snapshot!(client.response().await, @r#"
    HTTP/1.1 408 Request Timeout
    content-type: application/problem+json
    connection: close
    {"type":"about:blank","title":"Request Timeout","status":408,"detail":"the body did not arrive within 0.05 s (`body_timeout`)","reason":"timeout"}
    "#);
    client.expect_close().await;
    assert_eq!(server.pipeline.status().ingest.rejected[&RejectReason::Timeout], 1);
}

#[tokio::test]
async fn slow_head_and_idle_connection_time_out() {
    let header_timeout = Duration::from_millis(50);
    let server = serve(
        ServerOptions { header_timeout, ..options() },
        Pipeline::builder().start().await.unwrap(),
    )
    .await;
    let mut slow = server.client().await;
    slow.send("POST /event HTTP/1.1\r\nhost:").await;
    assert_snapshot!(slow.response().await, @r#"
    HTTP/1.1 408 Request Timeout
    content-type: application/problem+json
    connection: close
    {"type":"about:blank","title":"Request Timeout","status":408,"detail":"the head of the request did not arrive within 0.05 s (`header_timeout`)","reason":"timeout"}
    "#);
    slow.expect_close().await;

    let mut silent = server.client().await;
    silent.expect_close().await;

    let mut idle = server.client().await;
    assert_eq!(idle.post(EVENT).await.status, 200);
    idle.expect_close().await;
}

#[tokio::test]
async fn request_beyond_the_limit_is_rejected_with_429_and_probes_still_work() {
    let options = ServerOptions { max_requests_in_flight: 1, ..options() };
    let server = serve(options, Pipeline::builder().start().await.unwrap()).await;
    let mut slow = server.client().await;
    slow.send(format!(
        "POST /event HTTP/1.1\r\nhost: test\r\ncontent-length: {}\r\n\r\n",
        EVENT.len()
    ))
    .await;
    let mut other = server.client().await;
    // Accepted until the server has read the head of the slow request.
    let rejected = loop {
        let response = other.post(EVENT).await;
        if response.status != 200 {
            break response;
        }
    };
    assert_snapshot!(rejected, @r#"
    HTTP/1.1 429 Too Many Requests
    content-type: application/problem+json
    retry-after: 1
    {"type":"about:blank","title":"Too Many Requests","status":429,"detail":"the limit of 1 requests in flight (`max_requests_in_flight`) is reached; try again later","reason":"overloaded"}
    "#);
    assert_eq!(other.get("/v1/sinks").await.status, 429);
    assert_eq!(other.get("/metrics").await.status, 200);
    assert_eq!(other.get("/livez").await.status, 200);
    assert_eq!(other.get("/readyz").await.status, 200);
    slow.send(EVENT).await;
    assert_eq!(slow.response().await.status, 200);
    assert_eq!(other.post(EVENT).await.status, 200, "the permit is free again");
    assert!(server.pipeline.status().ingest.rejected[&RejectReason::Overloaded] > 0);
}

#[tokio::test]
async fn bodies_in_flight_stay_within_their_budget() {
    let options = ServerOptions { max_bytes_in_flight: 100, ..options() };
    let server = serve(options, Pipeline::builder().start().await.unwrap()).await;
    let mut slow = server.client().await;
    let half = &" ".repeat(90);
    slow.send(format!(
        "POST /event HTTP/1.1\r\nhost: test\r\ncontent-length: {}\r\n\r\n{half}",
        90 + EVENT.len()
    ))
    .await;
    let mut other = server.client().await;
    let rejected = loop {
        let response = other.post(EVENT).await;
        if response.status != 200 {
            break response;
        }
    };
    assert_snapshot!(rejected, @r#"
    HTTP/1.1 429 Too Many Requests
    content-type: application/problem+json
    retry-after: 1
    connection: close
    {"type":"about:blank","title":"Too Many Requests","status":429,"detail":"the bodies of the requests in flight would exceed 100 bytes (`max_bytes_in_flight`); try again later","reason":"overloaded"}
    "#);
    drop(slow);
    loop {
        if server.client().await.post(EVENT).await.status == 200 {
            break;
        }
    }
}

#[tokio::test]
async fn unreadable_head_is_rejected_with_the_reason() {
    let server = serve_plain().await;
    let many = format!("GET /livez HTTP/1.1\r\nhost: test\r\n{}\r\n", "x: y\r\n".repeat(200));
    let large = format!("GET /livez HTTP/1.1\r\nhost: test\r\nx: {}\r\n\r\n", "y".repeat(1 << 20));
    let long = format!("GET /{} HTTP/1.1\r\nhost: test\r\n\r\n", "y".repeat(70_000));
    for head in [&*many, &large, &long] {
        let mut client = server.client().await;
        client.send(head).await;
        let response = client.response().await;
        assert!([431, 414].contains(&response.status), "{response}");
        assert_eq!(
            response.text("detail"),
            "the head of the request exceeds the fixed limit of 65536 bytes or 100 fields"
        );
        client.expect_close().await;
    }
    for head in [
        "hello\r\n\r\n",
        "GET /livez\r\n\r\n",
        "GET /livez HTTP/1.1\r\nno field\r\n\r\n",
        "POST /event HTTP/1.1\r\nhost: test\r\ncontent-length: -1\r\n\r\n",
    ] {
        let mut client = server.client().await;
        client.send(head).await;
        let response = client.response().await;
        assert_eq!(response.header("x-content-type-options"), Some("nosniff"));
        assert_eq!(
            (response.status, &*response.text("detail")),
            (400, "the head of the request is not valid HTTP/1.1")
        );
        client.expect_close().await;
    }
}

#[tokio::test]
async fn batch_reserves_its_decompressed_size() {
    use std::io::Write;

    let options = ServerOptions { max_bytes_in_flight: 10_000, ..options() };
    let server = serve(options, Pipeline::builder().start().await.unwrap()).await;
    let mut client = server.client().await;
    for (events, status) in [(100, 200), (1_000, 429)] {
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        gzip.write_all([EVENT, "\n"].concat().repeat(events).as_bytes()).unwrap();
        let body = gzip.finish().unwrap();
        assert!(body.len() < 1_000, "the compressed body is small");
        let head = "POST /v1/events HTTP/1.1\r\nhost: test\r\ncontent-encoding: gzip\r\n";
        client.send(format!("{head}content-length: {}\r\n\r\n", body.len())).await;
        client.send(&body).await;
        assert_eq!(client.response().await.status, status, "{events} events");
    }
    assert_eq!(server.pipeline.status().ingest.accepted, 100);
}
