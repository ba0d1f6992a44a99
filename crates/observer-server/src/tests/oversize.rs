use insta::assert_snapshot;
use observer_pipeline::{Pipeline, RejectReason};
use serde_json::{Value, json};

use super::support::client::{Response, post};
use super::support::setup::{EVENT, Running, options, serve};
use crate::{Oversize, ServerOptions};

/// Limit of a stored event in these tests.
const MAX_BODY: usize = 200;

async fn server(oversize: Oversize) -> Running {
    let options = ServerOptions { max_body: MAX_BODY, oversize, ..options() };
    serve(options, Pipeline::builder().start().await.unwrap()).await
}

fn with_field(field: &str, bytes: usize) -> String {
    let value = "x".repeat(bytes);
    format!(r#"{{"source":"job","event_kind":"ok","ok":true,"{field}":{{"x":"{value}"}}}}"#)
}

fn json(response: &Response) -> Value {
    serde_json::from_str(&response.body).unwrap()
}

async fn batch(server: &Running, lines: &[&str]) -> Response {
    let request = post("", &lines.join("\n")).replacen("/event", "/v1/events", 1);
    let mut client = server.client().await;
    client.send(request).await;
    client.response().await
}

#[tokio::test]
async fn oversized_extra_is_trimmed_with_a_warning() {
    let server = server(Oversize::Trim).await;
    let large = with_field("extra", 1_000);
    let response = server.client().await.post(&large).await;
    let id = response.text("id");
    assert_snapshot!(response.body.replace(&id, "ID"), @r#"{"id":"ID","status":"accepted","durability":"memory","warnings":[{"field":"extra","detail":"the event of 1061 bytes exceeds the limit of 200 bytes; the value is replaced by its size and SHA-256"}]}"#);
    assert_eq!(server.pipeline.status().ingest.accepted, 1);

    let response = batch(&server, &[EVENT, &large, EVENT]).await;
    assert_eq!(response.status, 200, "{}", response.body);
    let results = json(&response);
    assert_eq!(results["accepted"], 3);
    let warnings = results["warnings"].as_array().unwrap();
    assert_eq!(warnings.len(), 1);
    assert_eq!((&warnings[0]["index"], &warnings[0]["field"]), (&json!(1), &json!("extra")));
    assert_eq!(results["warnings_total"], Value::Null);
}

#[tokio::test]
async fn event_that_is_too_large_without_extra_is_rejected() {
    let server = server(Oversize::Trim).await;
    let large = with_field("other", 1_000);
    let mut client = server.client().await;
    assert_snapshot!(client.post(&large).await, @r#"
    HTTP/1.1 413 Payload Too Large
    content-type: application/problem+json
    {"type":"about:blank","title":"Payload Too Large","status":413,"detail":"the event exceeds the limit of 200 bytes for a stored event even without `extra`; shorten its other fields, or raise `max_body`","reason":"too_large"}
    "#);
    assert_eq!(client.post(EVENT).await.status, 200, "the connection stays open");

    let response = batch(&server, &[EVENT, &large]).await;
    assert_eq!(response.status, 207, "{}", response.body);
    assert_eq!(json(&response)["errors"][0]["status"], 413);
    assert_eq!(server.pipeline.status().ingest.rejected[&RejectReason::TooLarge], 2);
}

#[tokio::test]
async fn oversized_event_is_rejected_if_so_configured() {
    let server = server(Oversize::Reject).await;
    let large = with_field("extra", 1_000);
    assert_snapshot!(server.client().await.post(&large).await, @r#"
    HTTP/1.1 413 Payload Too Large
    content-type: application/problem+json
    {"type":"about:blank","title":"Payload Too Large","status":413,"detail":"the event exceeds the limit of 200 bytes for a stored event; shorten `extra`, set `ingest.oversize` to \"trim\", or raise `max_body`","reason":"too_large"}
    "#);
    let response = batch(&server, &[&large, EVENT]).await;
    assert_eq!(response.status, 207, "{}", response.body);
    let error = &json(&response)["errors"][0];
    assert_eq!((&error["index"], &error["status"]), (&json!(0), &json!(413)));
    assert_eq!(error["reason"], "too_large");
}

/// The limit applies to the stored event, and not to the envelope around it.
#[tokio::test]
async fn small_event_in_a_large_envelope_is_accepted() {
    let server = server(Oversize::Reject).await;
    let envelope = format!(r#"{{"note":"{}","event":{EVENT}}}"#, "x".repeat(1_000));
    let response = server.client().await.post(&envelope).await;
    assert_eq!(response.status, 200, "{}", response.body);
    let response = batch(&server, &[&envelope, EVENT]).await;
    assert_eq!((response.status, &json(&response)["accepted"]), (200, &json!(2)));
}

#[tokio::test]
async fn trimmed_event_reserves_its_original_size() {
    let options = ServerOptions {
        max_body: MAX_BODY,
        max_batch_body: 10_000,
        max_bytes_in_flight: 10_000,
        ..options()
    };
    let server = serve(options, Pipeline::builder().start().await.unwrap()).await;
    for (bytes, status) in [(5_000, 200), (9_850, 429)] {
        // A compressed batch, of which the body itself reserves little.
        let line = with_field("extra", bytes);
        let body = zstd::encode_all([&line, "\n", EVENT].concat().as_bytes(), 3).unwrap();
        let head = format!(
            "POST /v1/events HTTP/1.1\r\nhost: test\r\ncontent-encoding: zstd\r\n\
             content-length: {}\r\n\r\n",
            body.len()
        );
        let mut client = server.client().await;
        client.send([head.as_bytes(), &body].concat()).await;
        let response = client.response().await;
        assert_eq!(response.status, status, "{bytes}: {}", response.body);
    }
}
