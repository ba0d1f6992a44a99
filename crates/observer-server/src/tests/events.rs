use std::time::Duration;

use insta::assert_snapshot;
use observer_core::SinkSettings;
use observer_pipeline::{JournalOptions, Pipeline, RejectReason, fs};

use super::support::client::{Client, post};
use super::support::setup::{EVENT, event, options, serve, serve_plain, sink};

const CYCLE: &str =
    r#"{"source":"bot","cycle_id":"c","sig_hash":"9f","event_kind":"ok","ok":true}"#;

#[tokio::test]
async fn event_is_accepted_and_its_repetition_is_a_duplicate() {
    let server = serve_plain().await;
    let mut client = server.client().await;
    let first = client.post(CYCLE).await;
    let id = first.text("id");
    assert_eq!(
        first.to_string().replace(&id, "ID"),
        "HTTP/1.1 200 OK\ncontent-type: application/json\n{\"id\":\"ID\",\"status\":\"accepted\",\"durability\":\"memory\"}"
    );
    assert_eq!(id.len(), 36, "{id}");
    let second = client.post(CYCLE).await;
    assert_eq!(second.body, first.body.replace("accepted", "duplicate"));
    assert_ne!(client.post(EVENT).await.text("id"), client.post(EVENT).await.text("id"));
}

#[tokio::test]
async fn envelope_keeps_its_id() {
    let server = serve_plain().await;
    let mut client = server.client().await;
    let envelope = format!(r#"{{"id":"6f1c34a4-55c4-4a3e-9a42-1f1fd2b3c4d5","event":{EVENT}}}"#);
    let response = client.post(&envelope).await;
    assert_eq!(
        (response.text("id"), response.text("status")),
        ("6f1c34a4-55c4-4a3e-9a42-1f1fd2b3c4d5".into(), "accepted".into())
    );
}

#[tokio::test]
async fn idempotency_key_identifies_an_event_with_and_without_quotes() {
    let server = serve_plain().await;
    let mut client = server.client().await;
    client.send(post("idempotency-key: k-1\r\n", EVENT)).await;
    let first = client.response().await;
    client.send(post("idempotency-key: \"k-1\"\r\n", EVENT)).await;
    assert_eq!(client.response().await.body, first.body.replace("accepted", "duplicate"));

    client.send(post("idempotency-key: k-1\r\n", &event("other"))).await;
    assert_snapshot!(client.response().await, @r#"
    HTTP/1.1 422 Unprocessable Entity
    content-type: application/problem+json
    {"type":"about:blank","title":"Unprocessable Entity","status":422,"detail":"this idempotency key was used for another body before; use a new key for each event","reason":"key_reused"}
    "#);
    client.send(post("idempotency-key: a b\r\n", EVENT)).await;
    assert_snapshot!(client.response().await, @r#"
    HTTP/1.1 400 Bad Request
    content-type: application/problem+json
    {"type":"about:blank","title":"Bad Request","status":400,"detail":"invalid header Idempotency-Key; send it once, with 1 to 255 visible ASCII characters without quotes","reason":"malformed"}
    "#);
}

#[tokio::test]
async fn compressed_event_is_rejected() {
    let server = serve_plain().await;
    let mut client = server.client().await;
    client.send(post("content-encoding: identity\r\n", EVENT)).await;
    assert_eq!(client.response().await.status, 200);
    client.send(post("content-encoding: gzip\r\n", "?")).await;
    assert_snapshot!(client.response().await, @r#"
    HTTP/1.1 415 Unsupported Media Type
    content-type: application/problem+json
    {"type":"about:blank","title":"Unsupported Media Type","status":415,"detail":"a single event can't be compressed; send it without Content-Encoding, or as a batch to /v1/events","reason":"malformed"}
    "#);
}

#[tokio::test]
async fn invalid_events_are_rejected_with_a_remedy() {
    let server = serve_plain().await;
    let mut client = server.client().await;
    assert_snapshot!(client.post("").await, @r#"
    HTTP/1.1 400 Bad Request
    content-type: application/problem+json
    {"type":"about:blank","title":"Bad Request","status":400,"detail":"the body is empty; send one JSON object","reason":"malformed"}
    "#);
    assert_snapshot!(client.post("{\"source\":\"bot\",\n\"ok\" true}").await, @r#"
    HTTP/1.1 400 Bad Request
    content-type: application/problem+json
    {"type":"about:blank","title":"Bad Request","status":400,"detail":"not valid JSON at line 2, column 6: expected `:`","reason":"malformed"}
    "#);
    assert_snapshot!(client.post(r#"{"ok":true,"ok":false}"#).await, @r#"
    HTTP/1.1 400 Bad Request
    content-type: application/problem+json
    {"type":"about:blank","title":"Bad Request","status":400,"detail":"the field `ok` is there twice","reason":"malformed","field":"ok"}
    "#);
    assert_snapshot!(client.post("[]").await, @r#"
    HTTP/1.1 422 Unprocessable Entity
    content-type: application/problem+json
    {"type":"about:blank","title":"Unprocessable Entity","status":422,"detail":"an event is a JSON object, and this is an array","reason":"invalid"}
    "#);
    assert_snapshot!(client.post(r#"{"source":"job"}"#).await, @r#"
    HTTP/1.1 422 Unprocessable Entity
    content-type: application/problem+json
    {"type":"about:blank","title":"Unprocessable Entity","status":422,"detail":"missing `event_kind` and `ok`; every event has `source`, `event_kind` and `ok`","reason":"invalid","field":"event_kind"}
    "#);
    assert_snapshot!(client.post(r#"{"source":"job","event_kind":"ok","ok":"yes"}"#).await, @r#"
    HTTP/1.1 422 Unprocessable Entity
    content-type: application/problem+json
    {"type":"about:blank","title":"Unprocessable Entity","status":422,"detail":"the field `ok` must be true or false, and this is a string","reason":"invalid","field":"ok"}
    "#);
    assert_snapshot!(client.post(r#"{"source":"bot","event_kind":"ok","ok":true,"cycle_id":"c"}"#).await, @r#"
    HTTP/1.1 422 Unprocessable Entity
    content-type: application/problem+json
    {"type":"about:blank","title":"Unprocessable Entity","status":422,"detail":"missing `sig_hash`, which is required of source \"bot\"","reason":"missing_field","field":"sig_hash"}
    "#);
    assert_eq!(client.post(EVENT).await.status, 200, "the connection stays usable");

    let mut rejected = server.pipeline.status().ingest.rejected;
    rejected.retain(|_, count| *count > 0);
    assert_eq!(
        Vec::from_iter(rejected),
        [(RejectReason::Invalid, 3), (RejectReason::Malformed, 3), (RejectReason::MissingField, 1)]
    );
}

#[tokio::test]
async fn responses_to_pipelined_requests_are_in_order() {
    let server = serve_plain().await;
    let mut client = server.client().await;
    let requests = [post("", EVENT), post("", "[]"), post("", CYCLE), post("", CYCLE)];
    client.send(requests.concat()).await;
    let mut responses = Vec::new();
    for _ in requests {
        let response = client.response().await;
        responses.push((response.status, response.json()["status"].as_str().map(str::to_owned)));
    }
    let [accepted, duplicate] =
        ["accepted", "duplicate"].map(|status| (200, Some(status.to_owned())));
    assert_eq!(responses, [accepted.clone(), (422, None), accepted, duplicate]);
}

#[tokio::test]
async fn client_that_hangs_up_within_a_body_stores_nothing() {
    let server = serve_plain().await;
    let mut client = server.client().await;
    // The response 100 shows that the server is waiting for the body.
    client.send("POST /event HTTP/1.1\r\nhost: test\r\nexpect: 100-continue\r\ncontent-length: 100\r\n\r\n").await;
    assert_eq!(client.head().await.status, 100);
    client.send(&EVENT[..20]).await;
    drop(client);
    assert_eq!(server.client().await.post(EVENT).await.status, 200);
    assert_eq!(server.pipeline.status().ingest.accepted, 1);
}

#[tokio::test]
async fn malformed_body_is_rejected_and_the_connection_closed() {
    let server = serve_plain().await;
    let mut client = server.client().await;
    client.send("POST /event HTTP/1.1\r\nhost: test\r\ntransfer-encoding: chunked\r\n\r\nnot a length\r\n").await;
    assert_snapshot!(client.response().await, @r#"
    HTTP/1.1 400 Bad Request
    content-type: application/problem+json
    connection: close
    {"type":"about:blank","title":"Bad Request","status":400,"detail":"the body ended early, or its chunked encoding is malformed","reason":"broken_off"}
    "#);
    client.expect_close().await;
    assert_eq!(server.pipeline.status().ingest.rejected[&RejectReason::BrokenOff], 1);
}

#[tokio::test]
async fn full_journal_is_reported_as_503_and_not_ready() {
    let mut required = SinkSettings::default();
    required.required = true;
    let journal =
        JournalOptions::new("journal").file_system(fs::Memory::default()).max_size(64 << 10);
    let pipeline =
        Pipeline::builder().journal(journal).sink(sink("archive", required)).start().await.unwrap();
    let server = serve(options(), pipeline).await;
    let mut client = server.client().await;
    let rejected = fill(&mut client).await;
    assert_snapshot!(rejected, @r#"
    HTTP/1.1 503 Service Unavailable
    content-type: application/problem+json
    retry-after: 1
    {"type":"about:blank","title":"Service Unavailable","status":503,"detail":"the journal is full: it has reached its limit of 65536 bytes, and `archive` still needs the oldest records; send the same event again later","reason":"unavailable"}
    "#);
    assert_snapshot!(client.get("/readyz").await, @r#"
    HTTP/1.1 503 Service Unavailable
    content-type: application/json
    {"status":"not ready","reason":"the journal is full: it has reached its limit of 65536 bytes, and `archive` still needs the oldest records","sinks":[{"name":"archive","state":"running"}]}
    "#);
    let metrics = client.get("/metrics").await.body;
    assert!(metrics.contains("\nobserver_journal_failing 1\n"), "{metrics}");
    assert!(
        metrics.contains("\nobserver_rejected_events_total{reason=\"unavailable\"} 1\n"),
        "{metrics}"
    );
}

async fn fill(client: &mut Client) -> super::support::client::Response {
    let large = format!(
        r#"{{"source":"job","event_kind":"hang","ok":true,"extra":{{"text":"{}"}}}}"#,
        "x".repeat(2000)
    );
    for _ in 0..100 {
        let response = client.post(&large).await;
        if response.status != 200 {
            return response;
        }
    }
    panic!("the journal did not become full");
}

#[tokio::test]
async fn hanging_sink_does_not_affect_responses() {
    let pipeline =
        Pipeline::builder().sink(sink("stuck", SinkSettings::default())).start().await.unwrap();
    let server = serve(options(), pipeline).await;
    let mut client = server.client().await;
    for _ in 0..100 {
        assert_eq!(client.post(&event("hang")).await.text("status"), "accepted");
    }
    assert_eq!(client.get("/readyz").await.status, 200);
    assert_eq!(client.get("/v1/sinks").await.json()["sinks"][0]["pending"], 100);
    tokio::time::timeout(Duration::from_secs(5), server.stop())
        .await
        .expect("the shutdown does not wait for sinks")
        .unwrap();
}
