use std::sync::Arc;

use insta::assert_snapshot;
use observer_core::SinkSettings;
use observer_pipeline::{Pipeline, SinkSpec};

use super::support::client::{Client, Response, TEST_TIMEOUT};
use super::support::setup::{LedgerSink, Running, event, options, serve, sink};

const DEAD_LETTERS: &str = "/v1/sinks/archive/dead-letters";

/// Sends three events, of which the second and third become dead letters. Returns their ids.
async fn with_dead_letters(spec: SinkSpec) -> (Running, Client, Vec<String>) {
    let server = serve(options(), Pipeline::builder().sink(spec).start().await.unwrap()).await;
    let mut client = server.client().await;
    let mut ids = Vec::new();
    for kind in ["ok", "dead", "dead"] {
        ids.push(client.post(&event(kind)).await.text("id"));
    }
    let processed = async {
        while server.pipeline.status().sinks["archive"].pending > 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(TEST_TIMEOUT, processed).await.expect("the sink processes the events");
    (server, client, ids)
}

async fn scripted() -> (Running, Client, Vec<String>) {
    with_dead_letters(sink("archive", SinkSettings::default())).await
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

async fn replay(client: &mut Client, body: &str) -> Response {
    request(client, "POST", &format!("{DEAD_LETTERS}/replay"), body).await
}

#[tokio::test]
async fn dead_letters_are_listed_by_page_and_shown_byte_for_byte() {
    let (_server, mut client, ids) = scripted().await;
    let page = client.get(&format!("{DEAD_LETTERS}?limit=1")).await.json();
    assert_eq!(
        (&page["total"], &page["dead_letters"][0]["id"]),
        (&2.into(), &ids[2].as_str().into())
    );
    let cursor = page["next"].as_str().unwrap();
    let page = client.get(&format!("{DEAD_LETTERS}?limit=1&cursor={cursor}")).await.json();
    assert!(page["next"].is_null());
    let mut dead_letter = page["dead_letters"][0].clone();
    assert_eq!(dead_letter["id"], ids[1]);
    for time in ["dead_at", "received_at"] {
        assert!(dead_letter[time].as_str().unwrap().ends_with('Z'));
        dead_letter[time] = "TIME".into();
    }
    dead_letter["id"] = "ID".into();
    assert_snapshot!(dead_letter, @r#"{"attempts":1,"dead_at":"TIME","event_kind":"dead","id":"ID","reason":"too strange","received_at":"TIME","seq":2,"source":"job"}"#);

    let whole = client.get(&format!("{DEAD_LETTERS}/{}", ids[1])).await;
    assert_eq!((whole.status, whole.text("reason")), (200, "too strange".to_owned()));
    assert!(whole.body.ends_with(&format!(r#""event":{}}}}}"#, event("dead"))), "{}", whole.body);
}

#[tokio::test]
async fn dead_letter_is_replayed_with_an_edited_event_and_removed() {
    let (server, mut client, ids) = scripted().await;
    let (id, edited) = (&ids[1], event("ok"));
    let response = replay(&mut client, &format!(r#"{{"ids":["{id}"],"event":{edited}}}"#)).await;
    assert_snapshot!(response, @r#"
    HTTP/1.1 200 OK
    content-type: application/json
    {"replayed":1,"refused":[],"missing":[],"stopped":null}
    "#);
    assert_eq!(client.get(&format!("{DEAD_LETTERS}/{id}")).await.status, 404);
    assert_eq!(client.get(DEAD_LETTERS).await.json()["total"], 1);
    let sink = client.get("/v1/sinks").await.json()["sinks"][0].clone();
    assert_eq!(
        (&sink["dead"], &sink["replayed"], &sink["accepted"]),
        (&2.into(), &1.into(), &3.into())
    );
    let metrics = client.get("/metrics").await.body;
    assert!(
        metrics.contains("\nobserver_sink_replayed_events_total{sink=\"archive\"} 1\n"),
        "{metrics}"
    );
    let purged = request(&mut client, "DELETE", &format!("{DEAD_LETTERS}?all=true"), "").await;
    assert_eq!(purged.body, r#"{"purged":1}"#);
    // Replay and purge do not change the account.
    let metrics = client.get("/metrics").await.body;
    for (result, count) in [
        ("delivered", 1),
        ("dead", 2),
        ("refused", 0),
        ("expired", 0),
        ("lost", 0),
        ("filtered", 0),
    ] {
        let sample = format!(
            "\nobserver_sink_events_total{{sink=\"archive\",result=\"{result}\"}} {count}\n"
        );
        assert!(metrics.contains(&sample), "{sample}: {metrics}");
    }
    for (name, count) in [("accepted_events_total", 3), ("pending_events", 0)] {
        assert!(
            metrics.contains(&format!("\nobserver_sink_{name}{{sink=\"archive\"}} {count}\n")),
            "{metrics}"
        );
    }
    drop(server);
}

#[tokio::test]
async fn replay_reports_rejected_and_missing_dead_letters() {
    let (_server, mut client, ids) = scripted().await;
    let (id, unknown) = (&ids[1], "00000000-0000-0000-0000-000000000007");
    let response = replay(&mut client, &format!(r#"{{"ids":["{id}","{unknown}"]}}"#)).await;
    assert_snapshot!(response.to_string().replace(id, "ID"), @r#"
    HTTP/1.1 207 Multi-Status
    content-type: application/json
    {"replayed":0,"refused":[{"id":"ID","reason":"too strange"}],"missing":["00000000-0000-0000-0000-000000000007"],"stopped":null}
    "#);
    let response = replay(&mut client, r#"{"all":true}"#).await;
    assert_eq!((response.status, response.json()["refused"].as_array().unwrap().len()), (207, 2));
    assert_eq!(replay(&mut client, &format!(r#"{{"ids":["{unknown}"]}}"#)).await.status, 404);
    assert_eq!(client.get(DEAD_LETTERS).await.json()["total"], 2, "the dead letters stay");
}

#[tokio::test]
async fn sink_without_replay_gives_the_reason_for_its_dead_letters() {
    let (server, mut client, _) =
        with_dead_letters(SinkSpec::new("archive", Arc::new(LedgerSink))).await;
    assert_snapshot!(replay(&mut client, r#"{"all":true}"#).await, @r#"
    HTTP/1.1 409 Conflict
    content-type: application/problem+json
    {"type":"about:blank","title":"Conflict","status":409,"detail":"the sink \"archive\" does not support redelivery: its pages are numbered"}
    "#);
    drop(server);
}

#[tokio::test]
async fn dead_letters_are_purged_by_id_by_age_or_all() {
    let (_server, mut client, ids) = scripted().await;
    let one = format!("{DEAD_LETTERS}/{}", ids[1]);
    assert_eq!(request(&mut client, "DELETE", &one, "").await.body, r#"{"purged":1}"#);
    assert_eq!(request(&mut client, "DELETE", &one, "").await.status, 404);
    let old = format!("{DEAD_LETTERS}?before=2000-01-01T00:00:00Z");
    assert_eq!(request(&mut client, "DELETE", &old, "").await.body, r#"{"purged":0}"#);
    let all = format!("{DEAD_LETTERS}?all=true");
    assert_eq!(request(&mut client, "DELETE", &all, "").await.body, r#"{"purged":1}"#);
    assert_eq!(client.get(DEAD_LETTERS).await.body, r#"{"total":0,"dead_letters":[],"next":null}"#);
}

#[tokio::test]
async fn invalid_requests_change_no_dead_letters() {
    let (_server, mut client, ids) = scripted().await;
    let id = &ids[1];
    for (body, status, detail) in [
        ("", 400, "the body is"),
        ("{}", 422, "either `ids`, or `all`"),
        (r#"{"all":false}"#, 422, "either `ids`, or `all`"),
        (r#"{"everything":true}"#, 422, "unknown field `everything`"),
        (r#"{"ids":["seven"]}"#, 400, "UUID"),
        (&format!(r#"{{"all":true,"ids":["{id}"]}}"#), 422, "either `ids`, or `all`"),
        (&format!(r#"{{"all":true,"event":{}}}"#, event("ok")), 422, "single"),
        (&format!(r#"{{"ids":["{id}"],"event":{{"source":"x"}}}}"#), 422, "`event` is invalid"),
    ] {
        let response = replay(&mut client, body).await;
        assert_eq!(response.status, status, "{body}: {response}");
        assert!(response.text("detail").contains(detail), "{body}: {response}");
    }
    for (method, path, status) in [
        ("DELETE", DEAD_LETTERS.to_owned(), 400),
        ("DELETE", format!("{DEAD_LETTERS}?all=true&before=2000-01-01T00:00:00Z"), 400),
        ("DELETE", format!("{DEAD_LETTERS}?before=yesterday"), 400),
        ("DELETE", format!("{DEAD_LETTERS}/seven"), 400),
        ("GET", format!("{DEAD_LETTERS}?limit=0"), 400),
        ("GET", format!("{DEAD_LETTERS}?limit=many"), 400),
        ("GET", format!("{DEAD_LETTERS}?cursor=x"), 400),
        ("GET", "/v1/sinks/other/dead-letters".to_owned(), 404),
        ("GET", "/v1/sinks/..%2f..%2fj/dead-letters".to_owned(), 404),
    ] {
        let response = request(&mut client, method, &path, "").await;
        assert_eq!(response.status, status, "{method} {path}: {response}");
        assert_eq!(
            response.header("content-type"),
            Some("application/problem+json"),
            "{method} {path}"
        );
    }
    assert_eq!(client.get(DEAD_LETTERS).await.json()["total"], 2);
}

#[tokio::test]
async fn only_a_detached_sink_can_be_deleted() {
    let (server, mut client, _) = scripted().await;
    assert_snapshot!(request(&mut client, "DELETE", "/v1/sinks/archive", "").await, @r#"
    HTTP/1.1 409 Conflict
    content-type: application/problem+json
    {"type":"about:blank","title":"Conflict","status":409,"detail":"the sink \"archive\" is running; remove it from the configuration first"}
    "#);
    assert!(server.pipeline.remove_sink("archive", TEST_TIMEOUT).await);
    assert_eq!(client.get("/v1/sinks").await.json()["sinks"][0]["state"], "detached");
    let response = replay(&mut client, r#"{"all":true}"#).await;
    assert_eq!(response.status, 409, "{response}");
    assert_eq!(request(&mut client, "DELETE", "/v1/sinks/archive", "").await.status, 204);
    assert!(client.get("/v1/sinks").await.json()["sinks"].as_array().unwrap().is_empty());
    assert_eq!(request(&mut client, "DELETE", "/v1/sinks/archive", "").await.status, 404);
}
