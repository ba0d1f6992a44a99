use std::sync::Arc;
use std::time::Duration;

use insta::assert_snapshot;
use observer_pipeline::Pipeline;

use super::super::support::client::TEST_TIMEOUT;
use super::super::support::setup::{EVENT, options, serve_plain, serve_until, serve_with_store};
use super::super::support::store::{Behaviour, EVENT_ID, SIG_HASH, ScriptedStore};
use super::Setup;
use crate::{LocalQueries, ServerOptions};

/// A valid request of each query route.
fn paths() -> [String; 8] {
    [
        "/v1/events".to_owned(),
        format!("/v1/events/{EVENT_ID}"),
        "/v1/signatures".to_owned(),
        format!("/v1/signatures/{SIG_HASH}"),
        "/v1/models".to_owned(),
        "/v1/usage".to_owned(),
        "/v1/diff?since=1d".to_owned(),
        "/v1/hints".to_owned(),
    ]
}

#[tokio::test]
async fn without_a_store_every_query_names_the_key() {
    let server = serve_plain().await;
    let mut client = server.client().await;
    assert_snapshot!(client.get("/v1/events").await, @r#"
    HTTP/1.1 404 Not Found
    content-type: application/problem+json
    {"type":"about:blank","title":"Not Found","status":404,"detail":"there is no knowledge base; add `[sinks.kb]` with `type = \"kb\"` to the configuration","field":"sinks.kb"}
    "#);
    for path in paths() {
        let response = client.get(&path).await;
        assert_eq!(response.status, 404, "{path}: {response}");
        assert!(response.text("detail").contains("[sinks.kb]"), "{path}: {response}");
    }
}

#[tokio::test]
async fn store_can_be_added_and_removed_while_the_server_runs() {
    let server = serve_plain().await;
    let mut client = server.client().await;
    assert_eq!(client.get("/v1/hints").await.status, 404);
    server.event_store.set(Some(Arc::new(ScriptedStore::new(Behaviour::Answers))));
    assert_eq!(client.get("/v1/hints").await.status, 200);
    server.event_store.set(None);
    assert_eq!(client.get("/v1/hints").await.status, 404);
}

#[tokio::test]
async fn every_query_rejects_unknown_parameters_and_types() {
    let mut setup = Setup::new().await;
    for path in paths() {
        let separator = if path.contains('?') { '&' } else { '?' };
        let response = setup.get(&format!("{path}{separator}colour=red")).await;
        assert_eq!((response.status, &*response.text("field")), (400, "colour"), "{response}");
        let response = setup.get_as(&path, "text/html").await;
        assert_eq!(response.status, 406, "{path}: {response}");
        let response = setup.get_as(&path, "text/html, */*;q=0.1").await;
        assert_eq!(response.header("content-type"), Some("application/json"), "{path}");
        assert_eq!(response.header("vary"), Some("accept"), "{path}");
    }
    assert_snapshot!(setup.get("/v1/events?sigh_ash=x").await, @r#"
    HTTP/1.1 400 Bad Request
    content-type: application/problem+json
    {"type":"about:blank","title":"Bad Request","status":400,"detail":"`sigh_ash` is not a parameter of this route; did you mean `sig_hash`?","field":"sigh_ash"}
    "#);
    assert_snapshot!(setup.get_as("/v1/events", "text/html").await, @r#"
    HTTP/1.1 406 Not Acceptable
    content-type: application/problem+json
    {"type":"about:blank","title":"Not Acceptable","status":406,"detail":"none of the types that `Accept` lists is offered: \"text/html\"; the types are application/json, application/x-ndjson, text/csv"}
    "#);
}

#[tokio::test]
async fn store_that_is_unavailable_is_asked_again_later() {
    let mut setup = Setup::with_store(ScriptedStore::new(Behaviour::Unavailable)).await;
    for path in paths() {
        let response = setup.get(&path).await;
        assert_eq!(response.status, 503, "{path}: {response}");
        assert!(response.header("retry-after").is_some(), "{path}: {response}");
        // The anonymous caller has the scope `admin` here.
        assert!(response.body.contains("there is no disk at /secret"), "{path}: {response}");
    }
    assert_snapshot!(setup.get("/v1/hints").await, @r#"
    HTTP/1.1 503 Service Unavailable
    content-type: application/problem+json
    retry-after: 1
    {"type":"about:blank","title":"Service Unavailable","status":503,"detail":"the knowledge base can't be read: there is no disk at /secret"}
    "#);
}

#[tokio::test(start_paused = true)]
async fn query_ends_after_its_limit() {
    let store = Arc::new(ScriptedStore::new(Behaviour::Hangs));
    let dropped = store.dropped.clone();
    let local = LocalQueries::new(store);
    for path in paths() {
        let started = tokio::time::Instant::now();
        let response = local.get(&path, "*/*").await;
        dropped.notified().await;
        assert_eq!((response.status, started.elapsed().as_secs()), (503, 30), "{path}");
        let body = String::from_utf8(response.body.to_vec()).unwrap();
        assert!(body.contains("the query took longer than 30 s; narrow it"), "{body}");
    }
}

#[tokio::test]
async fn query_beyond_the_limit_is_refused() {
    let store = ScriptedStore::new(Behaviour::Hangs);
    let started = store.started.clone();
    let options = ServerOptions { max_queries_in_flight: 1, ..options() };
    let pipeline = Pipeline::builder().start().await.unwrap();
    let server = serve_with_store(options, pipeline, Some(Arc::new(store))).await;
    let mut first = server.client().await;
    first.send("GET /v1/models HTTP/1.1\r\nhost: test\r\n\r\n").await;
    started.notified().await;
    let mut second = server.client().await;
    assert_snapshot!(second.get("/v1/hints").await, @r#"
    HTTP/1.1 503 Service Unavailable
    content-type: application/problem+json
    retry-after: 1
    {"type":"about:blank","title":"Service Unavailable","status":503,"detail":"the limit of 1 queries in flight (`max_queries_in_flight`) is reached; try again later"}
    "#);
    // Parameters are checked before, and other routes have no part in it.
    assert_eq!(second.get("/v1/hints?colour=red").await.status, 400);
    assert_eq!(second.post(EVENT).await.status, 200);
}

#[tokio::test]
async fn query_ends_when_its_client_is_gone() {
    let store = ScriptedStore::new(Behaviour::Hangs);
    let (started, dropped) = (store.started.clone(), store.dropped.clone());
    let pipeline = Pipeline::builder().start().await.unwrap();
    let server = serve_with_store(options(), pipeline, Some(Arc::new(store))).await;
    // Also if the next request is in the socket already.
    for next in ["", "GET /livez HTTP/1.1\r\nhost: test\r\n\r\n"] {
        let mut client = server.client().await;
        client.send(format!("GET /v1/hints HTTP/1.1\r\nhost: test\r\n\r\n{next}")).await;
        let ended = async {
            started.notified().await;
            drop(client);
            dropped.notified().await;
        };
        // Far below the limit of a query.
        let limit = TEST_TIMEOUT.min(Duration::from_secs(20));
        tokio::time::timeout(limit, ended).await.expect("the query ends");
    }
}

#[tokio::test]
async fn query_ends_when_its_connection_is_closed() {
    let store = ScriptedStore::new(Behaviour::Hangs);
    let (started, dropped) = (store.started.clone(), store.dropped.clone());
    let pipeline = Pipeline::builder().start().await.unwrap();
    let server = serve_until(options(), pipeline, Duration::ZERO).await;
    server.event_store.set(Some(Arc::new(store)));
    let mut client = server.client().await;
    client.send("GET /v1/hints HTTP/1.1\r\nhost: test\r\n\r\n").await;
    let ended = async {
        started.notified().await;
        server.stop().await.unwrap();
        dropped.notified().await;
    };
    tokio::time::timeout(TEST_TIMEOUT, ended).await.expect("the query ends");
}

#[tokio::test]
async fn local_queries_have_the_responses_of_the_server() {
    let mut setup = Setup::new().await;
    let local = LocalQueries::new(Arc::new(ScriptedStore::new(Behaviour::Answers)));
    for path in paths() {
        for accept in ["*/*", "text/csv", "text/markdown"] {
            let response = setup.get_as(&path, accept).await;
            let here = local.get(&path, accept).await;
            let body = response.body.replace(r#","sinks":[]"#, "");
            // The moment of `diff` is relative to the present.
            if !path.contains("diff") {
                let here = String::from_utf8(here.body.to_vec()).unwrap();
                assert_eq!(here, body, "{path} {accept}");
            }
            assert_eq!(here.status, response.status, "{path} {accept}");
        }
    }
    assert_eq!(local.get("/v1/sinks", "*/*").await.status, 404);
    assert_eq!(local.get("/not a path", "*/*").await.status, 400);
    drop(setup.server);
}
