use insta::assert_snapshot;
use observer_core::{Field, FieldWarning, ParseOptions, Phases};
use observer_pipeline::{Pipeline, RejectReason};
use serde_json::{Value, json};

use super::support::client::{Client, Response, post};
use super::support::setup::{EVENT, options, serve, serve_plain};
use crate::ServerOptions;

/// Event with a defect in two fields, whose values need escapes in JSON.
const DEFECTS: &str = r#"{"source":"job","event_kind":"ok","ok":true,"turns":"\"\\","labels":[]}"#;

fn json(response: &Response) -> Value {
    serde_json::from_str(&response.body).unwrap()
}

async fn batch(client: &mut Client, body: &str) -> Response {
    client.send(post("", body).replacen("/event", "/v1/events", 1)).await;
    client.response().await
}

async fn counts(client: &mut Client) -> Vec<(String, u64)> {
    let metrics = client.get("/metrics").await;
    let series = |line: &str| {
        let rest = line.strip_prefix("observer_field_warnings_total{field=\"")?;
        let (field, count) = rest.split_once("\"} ")?;
        Some((field.to_owned(), count.parse().unwrap()))
    };
    metrics.body.lines().filter_map(series).collect()
}

#[tokio::test]
async fn unreadable_field_is_a_warning_in_the_response() {
    let server = serve_plain().await;
    let mut client = server.client().await;
    let response = client.post(DEFECTS).await;
    assert_eq!(response.status, 200);
    let id = response.text("id");
    assert_snapshot!(response.body.replace(&id, "ID"), @r#"{"id":"ID","status":"accepted","durability":"memory","warnings":[{"field":"turns","detail":"\"\\\"\\\\\" is not a whole number from 0 to 2^53; the field is treated as absent"},{"field":"labels","detail":"[] is not an object; the field is treated as absent"}]}"#);
    let clean = client.post(EVENT).await;
    assert!(!clean.body.contains("warnings"), "{}", clean.body);
}

#[tokio::test]
async fn response_to_a_batch_has_the_first_hundred_warnings() {
    let server = serve_plain().await;
    let mut client = server.client().await;
    let response = batch(&mut client, &[EVENT, DEFECTS, "{}"].join("\n")).await;
    assert_eq!(response.status, 207);
    let results = json(&response);
    let warnings = results["warnings"].as_array().unwrap();
    let of: Vec<_> =
        warnings.iter().map(|warning| (&warning["index"], &warning["field"])).collect();
    assert_eq!(of, [(&json!(1), &json!("turns")), (&json!(1), &json!("labels"))]);
    assert_eq!(results["warnings_total"], Value::Null);

    let response = batch(&mut client, &[DEFECTS; 51].join("\n")).await;
    let results = json(&response);
    assert_eq!(results["warnings"].as_array().unwrap().len(), 100);
    assert_eq!(results["warnings_total"], 102);
    assert_eq!(results["warnings"][99]["index"], 49);
    let expected = |field: &str| if ["turns", "labels"].contains(&field) { 52 } else { 0 };
    for (field, count) in counts(&mut client).await {
        assert_eq!(count, expected(&field), "{field}");
    }

    let clean = batch(&mut client, EVENT).await;
    assert!(!clean.body.contains("warnings"), "{}", clean.body);
}

#[tokio::test]
async fn warnings_of_each_field_start_at_zero() {
    let server = serve_plain().await;
    let mut expected: Vec<_> = Field::ALL.map(|field| (field.to_string(), 0)).into();
    expected.push((FieldWarning::OTHER.to_owned(), 0));
    expected.sort();
    assert_eq!(counts(&mut server.client().await).await, expected);
}

#[tokio::test]
async fn rejected_event_names_the_defect_and_counts_no_warning() {
    let server = serve_plain().await;
    let mut client = server.client().await;
    let event = r#"{"source":"bot","event_kind":"ok","ok":true,"cycle_id":["c"],"sig_hash":"s"}"#;
    let response = client.post(event).await;
    assert_eq!(response.status, 422);
    assert_snapshot!(response.text("detail"), @r#"missing `cycle_id`, which is required of source "bot"; `cycle_id`: ["c"] is not a string of Unicode characters; the field is treated as absent"#);
    assert!(counts(&mut client).await.iter().all(|(_, count)| *count == 0));
}

#[tokio::test]
async fn strict_server_rejects_a_defect_in_an_optional_field() {
    let parse =
        ParseOptions { strict: true, phases: Phases::new(["queued"]), ..ParseOptions::default() };
    let server =
        serve(ServerOptions { parse, ..options() }, Pipeline::builder().start().await.unwrap())
            .await;
    let mut client = server.client().await;
    let response = client.post(DEFECTS).await;
    assert_eq!((response.status, response.text("field")), (422, "turns".into()));
    let response = batch(&mut client, &[DEFECTS, EVENT].join("\n")).await;
    assert_eq!((response.status, &json(&response)["errors"][0]["field"]), (207, &json!("turns")));
    assert_eq!(server.pipeline.status().ingest.rejected[&RejectReason::Invalid], 2);
    for (kind, status) in [("queued", 200), ("started", 422)] {
        let phase = format!(r#"{{"source":"job","event_kind":"{kind}","ok":null}}"#);
        assert_eq!(client.post(&phase).await.status, status, "{kind}");
    }
}
