//! `POST /mcp`: access, limits and errors. The tools have tests of their own.

use std::sync::Arc;

use axum::http::HeaderMap;
use insta::assert_snapshot;
use observer_core::query;
use observer_mcp::{Endpoint, Reader};
use observer_pipeline::Pipeline;
use serde_json::{Value, json};

use super::support::client::{Client, Response};
use super::support::setup::{Running, options, serve_plain, serve_with_store};
use super::support::store::{Behaviour, Recorded, SIG_HASH, ScriptedStore};
use crate::{Access, Scope, Scopes, ServerOptions, Token, TokenDigest};

/// Server with a store, and the requests that the store had.
async fn serve(options: ServerOptions, behaviour: Behaviour) -> (Running, Recorded) {
    let store = ScriptedStore::new(behaviour);
    let requests = store.requests.clone();
    let pipeline = Pipeline::builder().start().await.unwrap();
    (serve_with_store(options, pipeline, Some(Arc::new(store))).await, requests)
}

/// Sends a message. Each of the headers ends in `\r\n`.
async fn send(client: &mut Client, headers: &str, message: &str) -> Response {
    let request = format!(
        "POST /mcp HTTP/1.1\r\nhost: test\r\n{headers}content-length: {}\r\n\r\n{message}",
        message.len()
    );
    client.send(request).await;
    client.response().await
}

fn message(method: &str, params: Value) -> String {
    json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}).to_string()
}

fn call(tool: &str, arguments: Value) -> String {
    message("tools/call", json!({"name": tool, "arguments": arguments}))
}

/// Returns the text of a result, and whether it is an error.
#[track_caller]
fn answer(response: &Response) -> (String, bool) {
    assert_eq!(response.status, 200, "{response}");
    let result = &response.json()["result"];
    let text = result["content"][0]["text"].as_str().unwrap_or_else(|| panic!("{response}"));
    (text.to_owned(), result["isError"].as_bool().unwrap_or(false))
}

fn token(name: &str, scope: Scope, sources: Option<&[&str]>) -> Token {
    Token {
        name: name.to_owned(),
        digests: vec![TokenDigest::of(name)],
        scopes: Scopes::from_iter([scope]),
        sources: sources.map(|sources| sources.iter().map(|of| (*of).to_owned()).collect()),
        rate: None,
    }
}

#[tokio::test]
async fn client_initializes_lists_and_calls() {
    let (server, _) = serve(options(), Behaviour::Answers).await;
    let mut client = server.client().await;
    let hello = json!({
        "protocolVersion": "2025-06-18", "capabilities": {},
        "clientInfo": {"name": "test", "version": "1"},
    });
    let response = send(&mut client, "", &message("initialize", hello)).await;
    let result = response.json()["result"].clone();
    assert_eq!(result["protocolVersion"], "2025-06-18", "{response}");
    assert_eq!(result["serverInfo"]["name"], "observer");
    assert!(result["instructions"].as_str().unwrap().contains("history"));
    assert_eq!(response.header("mcp-session-id"), None);

    let initialized = r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#;
    assert_eq!(send(&mut client, "", initialized).await.status, 202);

    let headers = "mcp-protocol-version: 2025-06-18\r\ncontent-type: application/json\r\n";
    let response = send(&mut client, headers, &message("tools/list", json!({}))).await;
    let result = response.json()["result"].clone();
    let names: Vec<_> = result["tools"].as_array().unwrap().iter().map(|of| &of["name"]).collect();
    assert_eq!(names, ["history", "problems", "models", "usage", "search"]);

    let response =
        send(&mut client, headers, &call("history", json!({"sig_hash": SIG_HASH}))).await;
    let (text, is_error) = answer(&response);
    assert!(text.starts_with("1 of 3 solved.") && !is_error, "{text}");
}

#[tokio::test]
async fn every_tool_answers() {
    let (server, _) = serve(options(), Behaviour::Answers).await;
    let mut client = server.client().await;
    for (tool, arguments) in [
        ("history", json!({"sig_hash": SIG_HASH, "detail": "full"})),
        ("problems", json!({})),
        ("models", json!({"a": "gpt-5", "b": "claude-sonnet-4-5"})),
        ("usage", json!({"by": "day", "tz": "Europe/Berlin"})),
        ("search", json!({"labels": {"branch": "main"}})),
        ("search", json!({"id": "mine/1"})),
    ] {
        let (text, is_error) = answer(&send(&mut client, "", &call(tool, arguments)).await);
        assert!(!is_error, "{tool}: {text}");
    }
}

#[tokio::test]
async fn errors_name_the_parameter() {
    let (server, requests) = serve(options(), Behaviour::Answers).await;
    let mut client = server.client().await;
    for (tool, arguments, expected) in [
        ("history", json!({}), "`sig_hash` is missing"),
        (
            "history",
            json!({"sig": 1}),
            "`sig` is not a parameter of `history`; did you mean `sig_hash`?",
        ),
        ("problems", json!({"limit": 0}), "`limit` must be from 1 to 50, and is 0"),
        (
            "problems",
            json!({"state": "fixed!"}),
            "`state` has the unknown value \"fixed!\"; did you mean `fixed?`?",
        ),
        ("models", json!({"a": "gpt-5"}), "`b` is missing beside `a`"),
        ("usage", json!({"by": "label"}), "`label` is missing beside `by` = `label`"),
        (
            "search",
            json!({"id": "7", "ok": true}),
            "`id` can't stand beside `ok`; leave one of them out",
        ),
        ("search", json!({"max_chars": 1}), "`max_chars` must be from 500 to 6000, and is 1"),
    ] {
        let (text, is_error) = answer(&send(&mut client, "", &call(tool, arguments)).await);
        assert!(is_error, "{tool}: {text}");
        assert_eq!(text, expected);
    }
    assert!(requests.lock().unwrap().is_empty());
    let (text, is_error) =
        answer(&send(&mut client, "", &call("search", json!({"id": "9"}))).await);
    assert!(is_error && text == "no event with the id \"9\"", "{text}");
    let response = send(&mut client, "", &call("histroy", json!({}))).await;
    let error = &response.json()["error"];
    assert_eq!(error["code"], -32_602);
    assert_eq!(error["message"], "unknown tool \"histroy\"; did you mean `history`?");
}

#[tokio::test]
async fn token_reads_within_its_scope_and_sources() {
    let tokens = vec![
        token("all", Scope::Read, None),
        token("ci", Scope::Read, Some(&["ci"])),
        token("send", Scope::Ingest, None),
    ];
    let access = Access { tokens, anonymous: Scopes::NONE };
    let (server, requests) = serve(ServerOptions { access, ..options() }, Behaviour::Answers).await;
    let mut client = server.client().await;
    let problems = call("problems", json!({}));
    for (headers, status) in [
        ("", 401),
        ("authorization: Bearer unknown\r\n", 401),
        ("authorization: Bearer send\r\n", 403),
    ] {
        assert_eq!(send(&mut client, headers, &problems).await.status, status, "{headers}");
    }
    assert!(requests.lock().unwrap().is_empty());
    for (headers, scope) in [
        ("authorization: Bearer all\r\n", "sources: None"),
        ("authorization: Bearer ci\r\n", "sources: Some([\"ci\"])"),
    ] {
        answer(&send(&mut client, headers, &problems).await);
        let last = requests.lock().unwrap().last().unwrap().clone();
        assert!(last.contains(scope), "{last}");
    }
    let mine = call("search", json!({"id": "mine/1"}));
    let (text, is_error) = answer(&send(&mut client, "authorization: Bearer ci\r\n", &mine).await);
    assert!(is_error, "an event of another source is unknown: {text}");
}

#[tokio::test]
async fn origin_of_another_page_is_refused() {
    let cors_origins = vec!["https://app.example".to_owned()];
    let (server, requests) =
        serve(ServerOptions { cors_origins, ..options() }, Behaviour::Answers).await;
    let mut client = server.client().await;
    let json = "content-type: application/json\r\n";
    for (origin, status) in
        [("http://test", 200), ("https://app.example", 200), ("https://evil.example", 403)]
    {
        let headers = format!("{json}origin: {origin}\r\n");
        let response = send(&mut client, &headers, &call("problems", json!({}))).await;
        assert_eq!(response.status, status, "{origin}: {response}");
        if status == 403 {
            assert_eq!(
                response.text("detail"),
                "unknown origin \"https://evil.example\"; add it to `server.cors_origins`"
            );
        }
    }
    assert_eq!(requests.lock().unwrap().len(), 2);
    let preflight = "OPTIONS /mcp HTTP/1.1\r\nhost: test\r\norigin: https://app.example\r\n\
                     access-control-request-method: POST\r\n\
                     access-control-request-headers: mcp-protocol-version\r\n\r\n";
    client.send(preflight).await;
    let response = client.response().await;
    let allowed = response.header("access-control-allow-headers").unwrap();
    assert!(allowed.contains("mcp-protocol-version"), "{response}");
    assert_eq!(response.header("access-control-allow-origin"), Some("https://app.example"));
}

#[tokio::test]
async fn refusals_are_problem_details() {
    let (server, _) = serve(options(), Behaviour::Answers).await;
    let large = call("search", json!({"id": "x".repeat(300 << 10)}));
    let list = message("tools/list", json!({}));
    for (headers, message, status, detail) in [
        ("", "not json", 400, "the body is not JSON"),
        ("", "{}", 422, "no message of JSON-RPC 2.0"),
        ("", "[]", 422, "batches are not supported"),
        ("content-type: text/plain\r\n", "{}", 415, "Content-Type"),
        ("mcp-protocol-version: 1999-01-01\r\n", &list, 400, "1999-01-01"),
        ("", &large, 413, "the message exceeds the limit of 262144 bytes"),
    ] {
        let mut client = server.client().await;
        let response = send(&mut client, headers, message).await;
        assert_eq!(response.status, status, "{response}");
        assert!(response.body.contains(detail), "{response}");
    }
    let mut client = server.client().await;
    let response = client.get("/mcp").await;
    assert_eq!((response.status, response.header("allow")), (405, Some("POST")), "{response}");
}

#[tokio::test]
async fn calls_without_a_usable_store_are_explained() {
    let server = serve_plain().await;
    let mut client = server.client().await;
    let (text, is_error) = answer(&send(&mut client, "", &call("problems", json!({}))).await);
    assert!(is_error);
    assert_snapshot!(text, @"there is no knowledge base; add `[sinks.kb]` with `type = \"kb\"` to the configuration of the observer");
    let (server, _) = serve(options(), Behaviour::Unavailable).await;
    let mut client = server.client().await;
    let (text, is_error) = answer(&send(&mut client, "", &call("problems", json!({}))).await);
    assert!(is_error);
    assert_snapshot!(text, @"the knowledge base can't be read: no disk");
}

#[tokio::test]
async fn calls_count_as_queries_in_flight_and_end_with_their_client() {
    let store = ScriptedStore::new(Behaviour::Hangs);
    let (started, dropped) = (store.started.clone(), store.dropped.clone());
    let pipeline = Pipeline::builder().start().await.unwrap();
    let options = ServerOptions { max_queries_in_flight: 1, ..options() };
    let server = serve_with_store(options, pipeline, Some(Arc::new(store))).await;
    let mut first = server.client().await;
    let body = call("problems", json!({}));
    let head =
        format!("POST /mcp HTTP/1.1\r\nhost: test\r\ncontent-length: {}\r\n\r\n", body.len());
    first.send(head + &body).await;
    started.notified().await;
    let mut second = server.client().await;
    assert_eq!(send(&mut second, "", &body).await.status, 503);
    drop(first);
    dropped.notified().await;
}

#[tokio::test(start_paused = true)]
async fn call_that_takes_too_long_is_explained() {
    let store = ScriptedStore::new(Behaviour::Hangs);
    let dropped = store.dropped.clone();
    let reader = Reader { store: Some(Arc::new(store)), scope: query::Scope::all() };
    let body = call("problems", json!({}));
    let response = Endpoint::default().respond(HeaderMap::new(), body.into(), reader).await;
    let response: Value = serde_json::from_slice(response.body()).unwrap();
    let result = &response["result"];
    assert_eq!(result["isError"], true);
    assert_eq!(
        result["content"][0]["text"],
        "the query took longer than 25 s; narrow it, as with `since` or `source`"
    );
    dropped.notified().await;
}

#[tokio::test]
async fn requests_are_measured_under_their_route() {
    let (server, _) = serve(options(), Behaviour::Answers).await;
    let mut client = server.client().await;
    answer(&send(&mut client, "", &call("problems", json!({}))).await);
    let metrics = client.get("/metrics").await.body;
    let counted = "observer_http_requests_total{route=\"/mcp\",code=\"200\"} 1\n";
    assert!(metrics.contains(counted), "{metrics}");
}
