use insta::assert_snapshot;
use observer_core::SinkSettings;
use observer_pipeline::Pipeline;

use super::support::client::{Client, Response, TEST_TIMEOUT};
use super::support::setup::{event, options, serve, serve_plain, sink};

#[tokio::test]
async fn parked_sink_is_shown_with_its_reason_while_the_observer_is_ready() {
    let mut failures = SinkSettings::default();
    failures.filter.ok = Some(false);
    let builder = Pipeline::builder()
        .sink(sink("archive", SinkSettings::default()))
        .sink(sink("failures", failures));
    let server = serve(options(), builder.start().await.unwrap()).await;
    let mut client = server.client().await;
    assert_eq!(client.post(&event("ok")).await.status, 200);
    // Both sinks receive this event and are parked.
    assert_eq!(client.post(&event("blocked")).await.status, 200);

    let ready =
        until(&mut client, "/readyz", |response| response.body.matches("parked").count() == 2)
            .await;
    assert_snapshot!(ready, @r#"
    HTTP/1.1 200 OK
    content-type: application/json
    {"status":"ready","sinks":[{"name":"archive","state":"parked","reason":"401 Unauthorized: the token has expired"},{"name":"failures","state":"parked","reason":"401 Unauthorized: the token has expired"}]}
    "#);

    let sinks = client.get("/v1/sinks").await.json();
    let failures = &sinks["sinks"][1];
    let since = failures["since"].as_str().unwrap();
    assert_eq!(failures["last_error"]["reason"], "401 Unauthorized: the token has expired");
    let age = failures["oldest_pending_seconds"].as_f64().unwrap();
    assert!((0.0..60.0).contains(&age), "{age}");
    let epoch = server.pipeline.status().epoch.to_string();
    let retry_at = failures["retry_at"].to_string();
    let shown = failures
        .to_string()
        .replace(&format!(r#""retry_at":{retry_at}"#), r#""retry_at":"TIME""#)
        .replace(since, "TIME")
        .replace(&age.to_string(), "AGE")
        .replace(&epoch, "EPOCH");
    assert_snapshot!(shown, @r#"
    {"accepted":2,"dead":0,"dead_letters":0,"delivered":0,"delivered_bytes":0,"expired":0,"filtered":1,"last_error":{"at":"TIME","reason":"401 Unauthorized: the token has expired"},"last_success":null,"lost":0,"name":"failures","oldest_pending_seconds":AGE,"pending":1,"position":"EPOCH-1","reason":"401 Unauthorized: the token has expired","refused":0,"replay":null,"replayed":0,"required":false,"retried":0,"retry_at":"TIME","since":"TIME","state":"parked","type":"scripted","undecided":0}
    "#);
    assert_eq!(sinks["head"], format!("{epoch}-2"));

    let metrics = client.get("/metrics").await.body;
    assert!(metrics.contains("\nobserver_sink_parked{sink=\"failures\"} 1\n"), "{metrics}");
}

async fn until(client: &mut Client, path: &str, holds: impl Fn(&Response) -> bool) -> Response {
    let repeated = async {
        loop {
            let response = client.get(path).await;
            if holds(&response) {
                return response;
            }
        }
    };
    tokio::time::timeout(TEST_TIMEOUT, repeated).await.expect("the condition holds in time")
}

#[tokio::test]
async fn observer_in_shutdown_is_alive_and_not_ready() {
    let server = serve_plain().await;
    let mut client = server.client().await;
    assert_snapshot!(client.get("/readyz").await, @r#"
    HTTP/1.1 200 OK
    content-type: application/json
    {"status":"ready","sinks":[]}
    "#);
    server.pipeline.shutdown(TEST_TIMEOUT).await;
    assert_snapshot!(client.get("/readyz").await, @r#"
    HTTP/1.1 503 Service Unavailable
    content-type: application/json
    {"status":"not ready","reason":"the observer is shutting down","sinks":[]}
    "#);
    assert_snapshot!(client.get("/livez").await, @r#"
    HTTP/1.1 200 OK
    content-type: text/plain; charset=utf-8
    ok
    "#);
    assert_snapshot!(client.post(&event("ok")).await, @r#"
    HTTP/1.1 503 Service Unavailable
    content-type: application/problem+json
    retry-after: 1
    {"type":"about:blank","title":"Service Unavailable","status":503,"detail":"the observer is shutting down; send the same event again later","reason":"unavailable"}
    "#);
}

#[tokio::test]
async fn head_is_supported_where_get_is() {
    let server = serve_plain().await;
    let mut client = server.client().await;
    for path in ["/livez", "/readyz", "/metrics", "/v1/sinks"] {
        client.send(format!("HEAD {path} HTTP/1.1\r\nhost: test\r\n\r\n")).await;
        let head = client.head().await;
        assert_eq!(head.status, 200, "{path}");
        assert_ne!(head.header("content-length"), Some("0"), "{path}");
    }
    assert_eq!(client.get("/livez").await.body, "ok", "the responses to HEAD have no body");
}
