use std::sync::Arc;

use insta::assert_snapshot;
use observer_core::SinkSettings;
use observer_pipeline::{Pipeline, SinkSpec};

use super::support::client::{Client, Response, TEST_TIMEOUT};
use super::support::setup::{LedgerSink, Running, event, options, serve, sink};

const REPLAY: &str = "/v1/sinks/late/replay";
const ALL: &str = r#"{"since":"1970-01-01T00:00:00Z"}"#;

/// Sends events of these kinds, and then adds a sink.
async fn with_past_events(kinds: &[&str]) -> (Running, Client) {
    let server = serve(options(), Pipeline::builder().start().await.unwrap()).await;
    let mut client = server.client().await;
    for kind in kinds {
        assert_eq!(client.post(&event(kind)).await.status, 200);
    }
    server.pipeline.add_sink(sink("late", SinkSettings::default())).unwrap();
    (server, client)
}

async fn request(client: &mut Client, method: &str, path: &str, body: &str) -> Response {
    let length = body.len();
    client
        .send(format!(
            "{method} {path} HTTP/1.1\r\nhost: test\r\ncontent-length: {length}\r\n\r\n{body}"
        ))
        .await;
    client.response().await
}

/// Waits until the replay is in this state, and returns it.
async fn until(client: &mut Client, state: &str) -> serde_json::Value {
    let becomes = async {
        loop {
            let sinks = client.get("/v1/sinks").await.json();
            let replay = sinks["sinks"][0]["replay"].clone();
            if replay["state"] == state {
                return replay;
            }
        }
    };
    tokio::time::timeout(TEST_TIMEOUT, becomes).await.expect("the replay reaches the state")
}

/// Formats the replay with placeholders for times.
fn shown(mut replay: serde_json::Value) -> String {
    for time in ["begun_at", "ended_at"] {
        if replay[time].as_str().is_some_and(|time| time.ends_with('Z')) {
            replay[time] = "TIME".into();
        }
    }
    replay.to_string()
}

#[tokio::test]
async fn replay_to_a_sink_that_was_added_later_reports_its_progress() {
    let (server, mut client) = with_past_events(&["ok", "failed", "dead", "ok"]).await;
    let sinks = client.get("/v1/sinks").await.json();
    assert!(sinks["sinks"][0]["replay"].is_null());
    let response = request(&mut client, "POST", REPLAY, ALL).await;
    assert_eq!(response.status, 202, "{response}");
    assert_snapshot!(shown(response.json()), @r#"{"begun_at":"TIME","dead":0,"delivered":0,"ended_at":null,"events":4,"expired":0,"filter":{},"filtered":0,"gone_before":null,"lost":0,"pending":4,"reason":null,"refused":0,"since":"1970-01-01T00:00:00Z","state":"running","until":null}"#);
    let done = until(&mut client, "done").await;
    assert_snapshot!(shown(done), @r#"{"begun_at":"TIME","dead":1,"delivered":3,"ended_at":"TIME","events":4,"expired":0,"filter":{},"filtered":0,"gone_before":null,"lost":0,"pending":0,"reason":null,"refused":0,"since":"1970-01-01T00:00:00Z","state":"done","until":null}"#);

    let metrics = client.get("/metrics").await.body;
    for (result, count) in [
        ("delivered", 3),
        ("dead", 1),
        ("refused", 0),
        ("expired", 0),
        ("lost", 0),
        ("filtered", 0),
        ("pending", 0),
    ] {
        let sample =
            format!("\nobserver_sink_replay_events{{sink=\"late\",result=\"{result}\"}} {count}\n");
        assert!(metrics.contains(&sample), "{sample}: {metrics}");
    }
    assert!(
        metrics.contains("\nobserver_sink_accepted_events_total{sink=\"late\"} 0\n"),
        "the account of the sink has new events only"
    );
    drop(server);
}

#[tokio::test]
async fn replay_selects_events_by_period_and_filter() {
    let (_server, mut client) = with_past_events(&["ok", "failed", "broken", "ok"]).await;
    let body = r#"{"since":"2020-01-01T00:00:00+01:00","until":"2999-01-01T00:00:00Z","filter":{"ok":false,"event_kind":["failed","other"]}}"#;
    assert_eq!(request(&mut client, "POST", REPLAY, body).await.status, 202);
    let done = until(&mut client, "done").await;
    assert_eq!((&done["delivered"], &done["filtered"]), (&1.into(), &3.into()));
    assert_eq!(done["filter"].to_string(), r#"{"event_kind":["failed","other"],"ok":false}"#);
    assert_eq!(
        (&done["since"], &done["until"]),
        (&"2019-12-31T23:00:00Z".into(), &"2999-01-01T00:00:00Z".into())
    );
}

#[tokio::test]
async fn sink_has_one_replay_at_a_time_which_can_be_cancelled() {
    let (_server, mut client) = with_past_events(&["ok", "blocked"]).await;
    assert_snapshot!(request(&mut client, "DELETE", REPLAY, "").await, @r#"
    HTTP/1.1 404 Not Found
    content-type: application/problem+json
    {"type":"about:blank","title":"Not Found","status":404,"detail":"the sink \"late\" has no running replay"}
    "#);
    assert_eq!(request(&mut client, "POST", REPLAY, ALL).await.status, 202);
    let parked =
        async { while client.get("/v1/sinks").await.json()["sinks"][0]["state"] != "parked" {} };
    tokio::time::timeout(TEST_TIMEOUT, parked).await.expect("the sink is parked");
    let response = request(&mut client, "POST", REPLAY, ALL).await;
    assert_snapshot!(response, @r#"
    HTTP/1.1 503 Service Unavailable
    content-type: application/problem+json
    retry-after: 1
    {"type":"about:blank","title":"Service Unavailable","status":503,"detail":"the replay was not started: the sink is unavailable at the moment: 401 Unauthorized: the token has expired"}
    "#);
    let response = request(&mut client, "DELETE", REPLAY, "").await;
    assert_eq!((response.status, response.text("state")), (200, "cancelled".to_owned()));
    assert_eq!(request(&mut client, "DELETE", REPLAY, "").await.status, 404);
    let cancelled = until(&mut client, "cancelled").await;
    assert!(
        cancelled["ended_at"].is_string() && cancelled["pending"].as_u64() > Some(0),
        "{cancelled}"
    );
}

#[tokio::test]
async fn unsupported_replay_is_rejected_with_the_reason() {
    let (server, mut client) = with_past_events(&["ok"]).await;
    server.pipeline.add_sink(SinkSpec::new("pages", Arc::new(LedgerSink))).unwrap();
    assert_snapshot!(request(&mut client, "POST", "/v1/sinks/pages/replay", ALL).await, @r#"
    HTTP/1.1 409 Conflict
    content-type: application/problem+json
    {"type":"about:blank","title":"Conflict","status":409,"detail":"the sink \"pages\" does not support replays: its pages are numbered"}
    "#);
    assert!(server.pipeline.remove_sink("late", TEST_TIMEOUT).await);
    let response = request(&mut client, "POST", REPLAY, ALL).await;
    assert_eq!(response.status, 409, "{response}");
    assert!(response.text("detail").contains("is not running"), "{response}");
}

#[tokio::test]
async fn invalid_requests_start_no_replay() {
    let (_server, mut client) = with_past_events(&["ok"]).await;
    for (body, status, detail) in [
        ("", 400, "the body is"),
        ("[]", 422, "the body is"),
        ("{}", 422, "missing field `since`"),
        (r#"{"since":"yesterday"}"#, 422, "`since` must be a time"),
        (r#"{"since":7}"#, 422, "the body is"),
        (r#"{"since":"2026-01-01T00:00:00Z","until":"soon"}"#, 422, "`until` must be a time"),
        (
            r#"{"since":"2026-01-01T00:00:00Z","until":"2026-01-01T00:00:00Z"}"#,
            422,
            "must be later than `since`",
        ),
        (
            r#"{"since":"2026-01-01T00:00:00Z","filter":{"model":"x"}}"#,
            422,
            "unknown field `model`",
        ),
        (r#"{"since":"2026-01-01T00:00:00Z","all":true}"#, 422, "unknown field `all`"),
    ] {
        let response = request(&mut client, "POST", REPLAY, body).await;
        assert_eq!(response.status, status, "{body}: {response}");
        assert!(response.text("detail").contains(detail), "{body}: {response}");
    }
    assert_eq!(request(&mut client, "POST", "/v1/sinks/other/replay", ALL).await.status, 404);
    assert_eq!(request(&mut client, "DELETE", "/v1/sinks/..%2fj/replay", "").await.status, 404);
    assert_eq!(client.get(REPLAY).await.status, 405);
    assert!(client.get("/v1/sinks").await.json()["sinks"][0]["replay"].is_null());
}
