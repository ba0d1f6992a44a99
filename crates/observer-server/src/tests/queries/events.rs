use std::sync::Arc;

use insta::assert_snapshot;
use observer_core::{Position, SinkSettings};
use observer_pipeline::Pipeline;

use super::super::support::client::TEST_TIMEOUT;
use super::super::support::setup::{event, options, serve_with_store, sink};
use super::super::support::store::{Behaviour, EVENT_ID, ScriptedStore};
use super::{Setup, get_as};
use crate::{Access, Scope, Scopes, Token, TokenDigest};

#[tokio::test]
async fn events_are_pages_of_envelopes_with_the_bytes_of_the_producer() {
    let mut setup = Setup::new().await;
    let page = setup.get("/v1/events?source=bot").await;
    assert_snapshot!(page, @r#"
    HTTP/1.1 200 OK
    content-type: application/json
    vary: accept
    link: <?source=bot&cursor=3-41%26x>; rel="next"
    {"events":[{"id":"00000000-0000-0000-0000-000000000007","seq":1,"received_at":"2026-05-28T20:26:40.000000Z","event":{"source":"bot","event_kind":"tests_failed","ok":false,         "cycle_id":"c-1","sig_hash":"03f203cc93b17365","staffer_id":"=cmd",         "turns":3, "labels":{"branch":"a,b"},"extra":{ "é": [1,  2]}},"replaced_by":"00000000-0000-0000-0000-000000000008"}],"cursor":"3-41&x"}
    "#);
    let page = setup.get("/v1/events?source=bot&cursor=3").await;
    assert_eq!(page.header("link"), None);
    assert!(page.json().get("cursor").is_none(), "{page}");
}

#[tokio::test]
async fn events_as_lines_can_be_sent_again() {
    let mut setup = Setup::new().await;
    let lines = setup.get_as("/v1/events", "application/x-ndjson").await;
    assert_eq!(lines.header("content-type"), Some("application/x-ndjson"));
    assert!(lines.header("link").is_some());
    let line = lines.body.strip_suffix('\n').unwrap();
    assert!(!line.contains('\n'), "{line}");
    let sent = observer_core::Submission::parse(line.to_owned()).unwrap();
    assert_eq!(sent.id, Some(EVENT_ID));
    assert_eq!(sent.event.staffer_id(), Some("=cmd"));
}

#[tokio::test]
async fn events_as_csv_have_the_known_fields() {
    let mut setup = Setup::new().await;
    let csv = setup.get_as("/v1/events", "text/csv").await;
    assert_snapshot!(csv, @r#"
    HTTP/1.1 200 OK
    content-type: text/csv; charset=utf-8; header=present
    vary: accept
    link: <?cursor=3-41%26x>; rel="next"
    id,seq,received_at,timestamp,source,event_kind,ok,cycle_id,sig_hash,staffer_id,turns,duration_ms,cost_usd,attempt,replaces,replaced_by,labels
    00000000-0000-0000-0000-000000000007,1,2026-05-28T20:26:40Z,,bot,tests_failed,false,c-1,03f203cc93b17365,'=cmd,3,,,,,00000000-0000-0000-0000-000000000008,"{""branch"":""a,b""}"
    "#);
}

#[tokio::test]
async fn filters_reach_the_store() {
    let mut setup = Setup::new().await;
    let path = "/v1/events?source=a&source=b&event_kind=ok&ok=false&sig_hash=s&cycle_id=c\
                &staffer_id=gpt-oss%3A120b&label.branch=main&label.host=a+b\
                &since=2026-11-22T17:00:00Z&until=2026-11-23&limit=7&cursor=x";
    assert_snapshot!(setup.recorded(path).await, @r#"EventsRequest { scope: Scope { sources: None }, source: ["a", "b"], event_kind: ["ok"], ok: Some(false), sig_hash: ["s"], cycle_id: ["c"], staffer_id: ["gpt-oss:120b"], labels: [("branch", "main"), ("host", "a b")], since: Some(2026-11-22T17:00:00Z), until: Some(2026-11-23T00:00:00Z), limit: 7, cursor: Some("x") }"#);
    assert_snapshot!(setup.recorded("/v1/events").await, @"EventsRequest { scope: Scope { sources: None }, source: [], event_kind: [], ok: None, sig_hash: [], cycle_id: [], staffer_id: [], labels: [], since: None, until: None, limit: 100, cursor: None }");
}

#[tokio::test]
async fn age_is_relative_to_the_present() {
    let mut setup = Setup::new().await;
    let before = observer_core::Timestamp::now();
    let recorded = setup.recorded("/v1/events?since=24h").await;
    let since = recorded.split("since: Some(").nth(1).unwrap().split(')').next().unwrap();
    let since: observer_core::Timestamp = since.parse().unwrap();
    let age = observer_core::Timestamp::now().duration_since(since).as_secs();
    assert!(since.duration_since(before).as_secs() <= -86_399 && age >= 86_400, "{since}");
}

#[tokio::test]
async fn event_is_found_by_either_id() {
    let mut setup = Setup::new().await;
    for id in [&*EVENT_ID.to_string(), "mine%2F1"] {
        let found = setup.get(&format!("/v1/events/{id}?source=bot")).await;
        assert_eq!(found.status, 200, "{found}");
        assert!(found.body.contains(r#""extra":{ "é": [1,  2]}}"#), "{found}");
        let found = found.json();
        assert_eq!(found["id"], EVENT_ID.to_string());
        assert_eq!(found["position"], "1-1");
        assert_eq!(found["sinks"], serde_json::json!([]));
    }
    assert_snapshot!(setup.get("/v1/events/other").await, @r#"
    HTTP/1.1 404 Not Found
    content-type: application/problem+json
    {"type":"about:blank","title":"Not Found","status":404,"detail":"no event with the id \"other\""}
    "#);
}

#[tokio::test]
async fn id_that_no_path_can_have_is_a_parameter() {
    let mut setup = Setup::new().await;
    let recorded = setup.recorded("/v1/events/-?id=mine%2F1&source=bot").await;
    assert!(recorded.contains(r#"id: "mine/1", source: Some("bot")"#), "{recorded}");
    let recorded = setup.recorded("/v1/signatures/-?sig_hash=03f203cc93b17365").await;
    assert!(recorded.contains(r#"sig_hash: "03f203cc93b17365""#), "{recorded}");
    for path in ["/v1/events/-?id=..", "/v1/signatures/-?sig_hash=.."] {
        let unknown = setup.get(path).await;
        assert_eq!(unknown.status, 404, "{unknown}");
        assert!(unknown.json()["detail"].as_str().unwrap().contains(r#""..""#), "{unknown}");
    }
}

/// Waits until the sink has resolved all events.
async fn wait_for_delivery(pipeline: &Pipeline) {
    let resolved = async {
        while pipeline.status().sinks.values().any(|sink| sink.pending > 0) {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(TEST_TIMEOUT, resolved).await.expect("the sinks resolve the events");
}

#[tokio::test]
async fn event_has_its_standing_at_each_sink() {
    let mut filtered = SinkSettings::default();
    filtered.filter = serde_json::from_str(r#"{"ok":true}"#).unwrap();
    let pipeline = Pipeline::builder()
        .sinks([sink("all", SinkSettings::default()), sink("good", filtered)])
        .start()
        .await
        .unwrap();
    let mut store = ScriptedStore::new(Behaviour::Answers);
    store.position = Position { epoch: pipeline.status().epoch, seq: 2 };
    let server = serve_with_store(options(), pipeline.clone(), Some(Arc::new(store))).await;
    let mut client = server.client().await;
    let path = format!("/v1/events/{EVENT_ID}");

    client.post(&event("ok")).await;
    wait_for_delivery(&pipeline).await;
    assert_snapshot!(client.get(&path).await.json()["sinks"], @r#"[{"name":"all","state":"pending"},{"name":"good","state":"pending"}]"#);
    client.post(&event("failed")).await;
    wait_for_delivery(&pipeline).await;
    assert_snapshot!(client.get(&path).await.json()["sinks"], @r#"[{"name":"all","state":"delivered"},{"name":"good","state":"filtered"}]"#);
    // The dead letter is that of another event, so this one was delivered.
    client.post(&event("dead")).await;
    wait_for_delivery(&pipeline).await;
    assert_snapshot!(client.get(&path).await.json()["sinks"], @r#"[{"name":"all","state":"delivered"},{"name":"good","state":"filtered"}]"#);
    client.send("DELETE /v1/sinks/all/dead-letters?all=true HTTP/1.1\r\nhost: test\r\n\r\n").await;
    assert_eq!(client.response().await.status, 200);
    assert_snapshot!(client.get(&path).await.json()["sinks"], @r#"[{"name":"all","possible":["delivered","dead"],"state":"unknown"},{"name":"good","state":"filtered"}]"#);
}

#[tokio::test]
async fn caller_with_sources_reads_these_alone() {
    let token = |name: &str, source: &str| Token {
        name: name.to_owned(),
        digests: vec![TokenDigest::of(name)],
        scopes: Scopes::from_iter([Scope::Read]),
        sources: Some(vec![source.to_owned()]),
        rate: None,
    };
    let tokens = vec![token("bots", "bot"), token("others", "ci")];
    let options =
        crate::ServerOptions { access: Access { tokens, anonymous: Scopes::NONE }, ..options() };
    let store = ScriptedStore::new(Behaviour::Answers);
    let requests = store.requests.clone();
    let pipeline = Pipeline::builder().start().await.unwrap();
    let server = serve_with_store(options, pipeline, Some(Arc::new(store))).await;
    let mut client = server.client().await;
    let event = format!("/v1/events/{EVENT_ID}");
    let problem = "/v1/signatures/03f203cc93b17365";
    for (path, own, other) in [
        ("/v1/events", 200, 200),
        (&event, 200, 404),
        ("/v1/signatures", 200, 200),
        (problem, 200, 404),
        ("/v1/models", 200, 200),
        ("/v1/usage", 200, 200),
        ("/v1/diff?since=1d", 200, 200),
        ("/v1/hints", 200, 200),
    ] {
        for (token, expected) in [("bots", own), ("others", other), ("unknown", 401)] {
            client
                .send(format!(
                    "GET {path} HTTP/1.1\r\nhost: test\r\nauthorization: Bearer {token}\r\n\r\n"
                ))
                .await;
            let response = client.response().await;
            assert_eq!(response.status, expected, "{token} {path}: {response}");
            assert!(!response.body.contains("sinks"), "{token} {path}: {response}");
            for number in [r#""seq""#, r#""position""#] {
                assert!(!response.body.contains(number), "{token} {path}: {response}");
            }
            assert!(other == 200 || token != "others" || !response.body.contains("similar"));
        }
    }
    for (media, expected) in [
        ("application/x-ndjson", r#"{"id":"00000000-0000-0000-0000-000000000007","received_at":"#),
        ("text/csv", "\r\n00000000-0000-0000-0000-000000000007,,2026-05-28T20:26:40Z,"),
    ] {
        client
            .send(format!(
                "GET /v1/events HTTP/1.1\r\nhost: test\r\nauthorization: Bearer bots\r\n\
                 accept: {media}\r\n\r\n"
            ))
            .await;
        let response = client.response().await;
        assert!(response.body.contains(expected), "{response}");
    }
    assert_eq!(get_as(&mut client, "/v1/events", "*/*").await.status, 401);
    let requests = requests.lock().unwrap();
    assert!(
        requests
            .iter()
            .all(|request| request.contains(r#"["bot"]"#) || request.contains(r#"["ci"]"#)),
        "{requests:?}"
    );
}
