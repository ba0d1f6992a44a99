use std::num::{NonZeroU32, NonZeroU64};

use insta::assert_snapshot;
use observer_core::SinkSettings;
use observer_pipeline::{Pipeline, RejectReason};

use super::support::client::{Client, post};
use super::support::setup::{EVENT, event, options, serve, serve_plain, sink};
use crate::{Access, Rate, Scope, Scopes, ServerOptions, Token, TokenDigest};

fn token(name: &str, scopes: &[Scope], rate: Option<Rate>) -> Token {
    let digests = vec![TokenDigest::of(&format!("secret-of-{name}"))];
    let scopes = scopes.iter().copied().collect();
    Token { name: name.to_owned(), digests, scopes, sources: None, rate }
}

fn limited(name: &str, scopes: &[Scope], sources: &[&str]) -> Token {
    let sources = sources.iter().map(|source| (*source).to_owned()).collect();
    Token { sources: Some(sources), ..token(name, scopes, None) }
}

fn guarded(tokens: Vec<Token>) -> ServerOptions {
    ServerOptions { access: Access { tokens, anonymous: Scopes::NONE }, ..options() }
}

fn rate(per_second: u32, burst: u32) -> Option<Rate> {
    let number = |number| NonZeroU32::new(number).unwrap();
    let (per_second, burst) = (number(per_second), number(burst));
    Some(Rate { per_second, burst, bytes_per_second: None })
}

async fn status_with_token(client: &mut Client, method: &str, path: &str, token: &str) -> u16 {
    let body = if method == "POST" { EVENT } else { "" };
    let length = body.len();
    let head =
        format!("{method} {path} HTTP/1.1\r\nhost: test\r\nauthorization: Bearer {token}\r\n");
    client.send(format!("{head}content-length: {length}\r\n\r\n{body}")).await;
    client.response().await.status
}

#[tokio::test]
async fn each_route_requires_its_scope() {
    let tokens = Scope::ALL.map(|scope| token(scope.as_str(), &[scope], None));
    let server = serve(guarded(tokens.into()), Pipeline::builder().start().await.unwrap()).await;
    let mut client = server.client().await;
    for (method, path, scope, status) in [
        ("POST", "/event", "ingest", 200),
        ("POST", "/v1/events", "ingest", 200),
        ("GET", "/v1/sinks", "read", 200),
        ("GET", "/metrics", "read", 200),
        ("POST", "/-/reload", "admin", 404),
        ("GET", "/v1/sinks/archive/dead-letters", "read", 404),
        ("POST", "/v1/sinks/archive/dead-letters/replay", "admin", 404),
        ("DELETE", "/v1/sinks/archive/dead-letters?all=true", "admin", 404),
        ("DELETE", "/v1/sinks/archive", "admin", 404),
        ("POST", "/v1/sinks/archive/replay", "admin", 404),
        ("DELETE", "/v1/sinks/archive/replay", "admin", 404),
    ] {
        for holder in Scope::ALL.map(Scope::as_str) {
            let has_scope = holder == scope || (holder, scope) == ("admin", "read");
            let expected = if has_scope { status } else { 403 };
            let found =
                status_with_token(&mut client, method, path, &format!("secret-of-{holder}")).await;
            assert_eq!(found, expected, "{method} {path} by {holder}");
        }
        assert_eq!(
            status_with_token(&mut client, method, path, "guess").await,
            401,
            "{method} {path}"
        );
    }
    assert_eq!(server.pipeline.status().ingest.rejected[&RejectReason::Unauthorized], 2);
    assert_eq!(server.pipeline.status().ingest.rejected[&RejectReason::Forbidden], 6);
}

#[tokio::test]
async fn request_without_a_route_needs_any_scope() {
    let tokens = vec![token("ci", &[Scope::Ingest], None), token("none", &[], None)];
    let server = serve(guarded(tokens), Pipeline::builder().start().await.unwrap()).await;
    let mut client = server.client().await;
    for (method, path, expected) in
        [("POST", "/evnt", 404), ("GET", "/nowhere", 404), ("DELETE", "/event", 405)]
    {
        for (secret, status) in
            [("secret-of-ci", expected), ("secret-of-none", 403), ("guess", 401)]
        {
            let found = status_with_token(&mut client, method, path, secret).await;
            assert_eq!(found, status, "{method} {path} {secret}");
        }
    }
    assert_eq!(client.get("/nowhere").await.status, 401);
}

#[tokio::test]
async fn rejected_tokens_get_a_challenge_and_the_reason() {
    let server = serve(
        guarded(vec![token("ci", &[Scope::Ingest], None)]),
        Pipeline::builder().start().await.unwrap(),
    );
    let server = server.await;
    let mut client = server.client().await;
    assert_snapshot!(client.post(EVENT).await, @r#"
    HTTP/1.1 401 Unauthorized
    content-type: application/problem+json
    www-authenticate: Bearer realm="observer"
    {"type":"about:blank","title":"Unauthorized","status":401,"detail":"the request needs a token with the scope `ingest`; send it in the header `Authorization: Bearer TOKEN`","reason":"unauthorized"}
    "#);
    client.send(post("authorization: Bearer guess\r\n", EVENT)).await;
    assert_snapshot!(client.response().await, @r#"
    HTTP/1.1 401 Unauthorized
    content-type: application/problem+json
    www-authenticate: Bearer realm="observer", error="invalid_token"
    {"type":"about:blank","title":"Unauthorized","status":401,"detail":"unknown token","reason":"unauthorized"}
    "#);
    client
        .send("GET /metrics HTTP/1.1\r\nhost: test\r\nauthorization: Bearer secret-of-ci\r\n\r\n")
        .await;
    assert_snapshot!(client.response().await, @r#"
    HTTP/1.1 403 Forbidden
    content-type: application/problem+json
    www-authenticate: Bearer realm="observer", error="insufficient_scope"
    {"type":"about:blank","title":"Forbidden","status":403,"detail":"the token `ci` has the scope `ingest`, and the request needs the scope `read`","reason":"forbidden"}
    "#);
    client.send(post("authorization: Bearer secret-of-ci\r\n", EVENT)).await;
    assert_eq!(client.response().await.status, 200);
}

#[tokio::test]
async fn probes_need_no_token_and_show_sinks_only_to_readers() {
    let sink = sink("archive", SinkSettings::default());
    let pipeline = Pipeline::builder().sink(sink).start().await.unwrap();
    let server = serve(guarded(vec![token("ops", &[Scope::Read], None)]), pipeline).await;
    let mut client = server.client().await;
    assert_eq!(client.get("/livez").await.status, 200);
    assert_eq!(client.get("/readyz").await.body, r#"{"status":"ready"}"#);
    client
        .send("GET /readyz HTTP/1.1\r\nhost: test\r\nauthorization: Bearer secret-of-ops\r\n\r\n")
        .await;
    assert_eq!(client.response().await.json()["sinks"][0]["name"], "archive");
}

#[tokio::test]
async fn token_is_limited_to_its_rate() {
    let slow = token("slow", &[Scope::Ingest], rate(1, 3));
    let other = token("other", &[Scope::Ingest], None);
    let server =
        serve(guarded(vec![slow, other]), Pipeline::builder().start().await.unwrap()).await;
    let mut client = server.client().await;
    let batch = |events: usize| vec![EVENT; events].join("\n");
    let post = |path: &str, holder: &str, body: &str| {
        let length = body.len();
        format!(
            "POST {path} HTTP/1.1\r\nhost: test\r\nauthorization: Bearer secret-of-{holder}\r\ncontent-length: {length}\r\n\r\n{body}"
        )
    };
    client.send(post("/v1/events", "slow", &batch(4))).await;
    assert_snapshot!(client.response().await, @r#"
    HTTP/1.1 413 Payload Too Large
    content-type: application/problem+json
    {"type":"about:blank","title":"Payload Too Large","status":413,"detail":"the request exceeds the limit of 3 events at once for the token `slow`; send fewer, or raise its `rate.burst`","reason":"too_large"}
    "#);
    // The rejected request was charged as one event.
    client.send(post("/v1/events", "slow", &batch(2))).await;
    assert_eq!(client.response().await.status, 200);
    client.send(post("/event", "slow", EVENT)).await;
    assert_snapshot!(client.response().await, @r#"
    HTTP/1.1 429 Too Many Requests
    content-type: application/problem+json
    retry-after: 1
    {"type":"about:blank","title":"Too Many Requests","status":429,"detail":"the token `slow` exceeds its `rate` of 1 events a second and 3 at once; try again later","reason":"rate_limited"}
    "#);
    client.send(post("/event", "other", EVENT)).await;
    assert_eq!(client.response().await.status, 200);
    assert_eq!(server.pipeline.status().ingest.rejected[&RejectReason::RateLimited], 1);
}

#[tokio::test]
async fn token_is_limited_to_its_bytes_and_may_overdraw_them_once() {
    let rate = Rate {
        per_second: NonZeroU32::new(1_000).unwrap(),
        burst: NonZeroU32::new(1_000).unwrap(),
        bytes_per_second: NonZeroU64::new(1_000),
    };
    let tokens = ["plain", "gzip", "other"].map(|name| token(name, &[Scope::Ingest], Some(rate)));
    let server = serve(guarded(tokens.into()), Pipeline::builder().start().await.unwrap()).await;
    let mut client = server.client().await;
    let batch = format!("{}\n", event("ok")).repeat(500);
    let mut send = async |path: &str, holder: &str, headers: &str, body: &[u8]| {
        let head = format!(
            "POST {path} HTTP/1.1\r\nhost: test\r\nauthorization: Bearer secret-of-{holder}\r\n\
             {headers}content-length: {}\r\n\r\n",
            body.len()
        );
        client.send([head.as_bytes(), body].concat()).await;
        client.response().await
    };
    let first = send("/v1/events", "plain", "", batch.as_bytes()).await;
    assert_eq!(first.status, 200, "a body may exceed the allowance: {first}");
    let rejected = send("/event", "plain", "", EVENT.as_bytes()).await;
    assert_eq!((rejected.status, rejected.text("reason")), (429, "rate_limited".to_owned()));
    assert_eq!(
        rejected.text("detail"),
        "the token `plain` exceeds its `rate.bytes_per_second` of 1000; try again later"
    );
    let wait: u64 = rejected.header("retry-after").unwrap().parse().unwrap();
    assert!(
        (batch.len() as u64 / 1_000 - 2..=batch.len() as u64 / 1_000).contains(&wait),
        "{wait}"
    );

    let compressed = zstd::encode_all(batch.as_bytes(), 3).unwrap();
    assert!(compressed.len() < 500, "{}", compressed.len());
    let first = send("/v1/events", "gzip", "content-encoding: zstd\r\n", &compressed).await;
    assert_eq!(first.status, 200, "{first}");
    let rejected = send("/event", "gzip", "", EVENT.as_bytes()).await;
    assert_eq!(rejected.status, 429, "decompressed bytes count: {rejected}");
    assert_eq!(send("/event", "other", "", EVENT.as_bytes()).await.status, 200);
}

#[tokio::test]
async fn token_with_sources_sends_and_reads_nothing_else() {
    let every = [Scope::Ingest, Scope::Read, Scope::Admin];
    let tokens = vec![limited("ci", &every, &["ci", "nightly"])];
    let server = serve(guarded(tokens), Pipeline::builder().start().await.unwrap()).await;
    let mut client = server.client().await;
    let mut send = async |method: &str, path: &str, body: &str| {
        let length = body.len();
        client
            .send(format!(
                "{method} {path} HTTP/1.1\r\nhost: test\r\nauthorization: Bearer \
                 secret-of-ci\r\ncontent-length: {length}\r\n\r\n{body}"
            ))
            .await;
        client.response().await
    };
    let event = |source: &str| EVENT.replace("job", source);
    assert_eq!(send("POST", "/event", &event("nightly")).await.status, 200);
    assert_snapshot!(send("POST", "/event", &event("bot")).await, @r#"
    HTTP/1.1 403 Forbidden
    content-type: application/problem+json
    {"type":"about:blank","title":"Forbidden","status":403,"detail":"the token `ci` is limited to the sources \"ci\", \"nightly\", and the source of the event is \"bot\"; correct `source`, or add it to the token's `sources`","reason":"forbidden","field":"source"}
    "#);
    let mixed = format!("[{},{},{}]", event("ci"), event("bot"), event("nightly"));
    assert_snapshot!(send("POST", "/v1/events", &mixed).await, @r#"
    HTTP/1.1 207 Multi-Status
    content-type: application/json
    {"accepted":2,"duplicates":0,"rejected":1,"durability":"memory","errors":[{"index":1,"status":403,"reason":"forbidden","detail":"the token `ci` is limited to the sources \"ci\", \"nightly\", and the source of the event is \"bot\"; correct `source`, or add it to the token's `sources`","field":"source"}]}
    "#);
    let lines = format!("{}\nno event\n{}", event("bot"), event("observer"));
    let all_bad = send("POST", "/v1/events", &lines).await;
    let statuses: Vec<_> = all_bad.json()["errors"]
        .as_array()
        .unwrap()
        .iter()
        .map(|item| item["status"].as_u64().unwrap())
        .collect();
    assert_eq!((all_bad.status, statuses), (422, vec![403, 400, 403]));

    for (method, path) in [
        ("GET", "/metrics"),
        ("GET", "/v1/sinks"),
        ("GET", "/v1/sinks/archive/dead-letters"),
        ("POST", "/v1/sinks/archive/dead-letters/replay"),
        ("DELETE", "/v1/sinks/archive/dead-letters?all=true"),
        ("DELETE", "/v1/sinks/archive"),
        ("POST", "/v1/sinks/archive/replay"),
        ("POST", "/-/reload"),
    ] {
        let response = send(method, path, "").await;
        assert_eq!(response.status, 403, "{method} {path}: {response}");
        let detail = response.text("detail");
        assert!(detail.contains("concerns the events of all sources"), "{detail}");
    }
    assert_eq!(send("GET", "/openapi.json", "").await.status, 200);
    assert_eq!(send("GET", "/nowhere", "").await.status, 404);
    assert_eq!(send("GET", "/readyz", "").await.body, r#"{"status":"ready"}"#);
    let status = server.pipeline.status().ingest;
    assert_eq!((status.accepted, status.rejected[&RejectReason::Forbidden]), (3, 4));
}

#[tokio::test]
async fn reserved_source_needs_the_scope_relay() {
    let tokens = vec![
        token("ci", &[Scope::Ingest, Scope::Admin], None),
        token("edge", &[Scope::Ingest, Scope::Relay], None),
    ];
    let server = serve(guarded(tokens), Pipeline::builder().start().await.unwrap()).await;
    let mut client = server.client().await;
    let event = EVENT.replace("job", "observer");
    client.send(post("authorization: Bearer secret-of-ci\r\n", &event)).await;
    assert_snapshot!(client.response().await, @r#"
    HTTP/1.1 422 Unprocessable Entity
    content-type: application/problem+json
    {"type":"about:blank","title":"Unprocessable Entity","status":422,"detail":"the source \"observer\" is reserved for events of an observer itself; use another source, or a token with the scope `relay`","reason":"invalid","field":"source"}
    "#);
    client.send(post("authorization: Bearer secret-of-edge\r\n", &event)).await;
    assert_eq!(client.response().await.status, 200);
    assert_eq!(server.pipeline.status().ingest.rejected[&RejectReason::Invalid], 1);

    let open = ServerOptions { access: Access::default(), ..options() };
    let server = serve(open, Pipeline::builder().start().await.unwrap()).await;
    assert_eq!(server.client().await.post(&event).await.status, 200, "anonymous callers may relay");
}

#[tokio::test]
async fn pages_of_other_sites_are_rejected() {
    let server = serve_plain().await;
    let mut client = server.client().await;
    client
        .send(format!(
            "POST /event HTTP/1.1\r\nhost: rebound.example\r\ncontent-length: {}\r\n\r\n{EVENT}",
            EVENT.len()
        ))
        .await;
    assert_snapshot!(client.response().await, @r#"
    HTTP/1.1 421 Misdirected Request
    content-type: application/problem+json
    {"type":"about:blank","title":"Misdirected Request","status":421,"detail":"unknown host \"rebound.example\"; use the address, or add the name to `server.hosts`","reason":"unknown_host"}
    "#);
    for headers in ["content-type: text/plain\r\n", "origin: http://evil.example\r\n"] {
        client.send(post(headers, EVENT)).await;
        assert_eq!(client.response().await.status, 415, "{headers}");
    }
    client.send("OPTIONS /event HTTP/1.1\r\nhost: test\r\norigin: http://evil.example\r\naccess-control-request-method: POST\r\n\r\n").await;
    let preflight = client.response().await;
    assert_eq!((preflight.status, preflight.header("access-control-allow-origin")), (405, None));
    assert_eq!(client.post(&event("ok")).await.status, 200);
    assert_eq!(server.pipeline.status().ingest.accepted, 1);
}

#[tokio::test]
async fn configured_origins_are_allowed_by_cors() {
    let options = ServerOptions {
        cors_origins: vec!["https://grafana.example".into()],
        access: Access {
            tokens: vec![token("ops", &[Scope::Read], None)],
            anonymous: Scopes::NONE,
        },
        ..options()
    };
    let server = serve(options, Pipeline::builder().start().await.unwrap()).await;
    let mut client = server.client().await;
    for (origin, allowed) in [
        ("https://grafana.example", Some("https://grafana.example")),
        ("https://evil.example", None),
    ] {
        client.send(format!("OPTIONS /v1/sinks HTTP/1.1\r\nhost: test\r\norigin: {origin}\r\naccess-control-request-method: GET\r\naccess-control-request-headers: authorization\r\n\r\n")).await;
        let preflight = client.response().await;
        assert_eq!(preflight.header("access-control-allow-origin"), allowed, "{origin}");
        assert_eq!(preflight.header("access-control-allow-methods"), Some("GET,POST,DELETE"));
        client.send(format!("GET /v1/sinks HTTP/1.1\r\nhost: test\r\norigin: {origin}\r\nauthorization: Bearer secret-of-ops\r\n\r\n")).await;
        assert_eq!(
            client.response().await.header("access-control-allow-origin"),
            allowed,
            "{origin}"
        );
    }
}

#[tokio::test]
async fn administration_is_excluded_from_cors() {
    let options = ServerOptions { cors_origins: vec!["*".into()], ..options() };
    let server = serve(options, Pipeline::builder().start().await.unwrap()).await;
    let mut client = server.client().await;
    let origin = "https://any.example";
    for (method, path, is_allowed) in [
        ("POST", "/event", true),
        ("POST", "/v1/events", true),
        ("GET", "/v1/sinks", true),
        ("DELETE", "/v1/sinks/archive", false),
        ("POST", "/v1/sinks/archive/retry", false),
        ("POST", "/-/reload", false),
        ("DELETE", "/v1/sinks/archive/dead-letters", false),
    ] {
        client.send(format!("OPTIONS {path} HTTP/1.1\r\nhost: test\r\norigin: {origin}\r\naccess-control-request-method: {method}\r\n\r\n")).await;
        let preflight = client.response().await;
        let expected = is_allowed.then_some(origin);
        assert_eq!(preflight.header("access-control-allow-origin"), expected, "{method} {path}");
        client.send(format!("{method} {path} HTTP/1.1\r\nhost: test\r\norigin: {origin}\r\ncontent-type: application/json\r\ncontent-length: 0\r\n\r\n")).await;
        let response = client.response().await;
        assert_eq!(response.header("access-control-allow-origin"), expected, "{method} {path}");
    }
}

#[tokio::test]
async fn every_response_has_the_security_headers() {
    let server = serve_plain().await;
    let mut client = server.client().await;
    for response in
        [client.post(EVENT).await, client.get("/metrics").await, client.get("/nowhere").await]
    {
        for (name, value) in [
            ("x-content-type-options", "nosniff"),
            ("x-frame-options", "DENY"),
            ("content-security-policy", "default-src 'none'; frame-ancestors 'none'"),
            ("referrer-policy", "no-referrer"),
            ("cache-control", "no-store"),
        ] {
            assert_eq!(response.header(name), Some(value));
        }
    }
}

#[tokio::test]
async fn settings_apply_from_the_next_request() {
    let pipeline = Pipeline::builder().start().await.unwrap();
    let server =
        crate::Server::bind(options(), pipeline, prometheus::Registry::new()).await.unwrap();
    let (address, settings) = (server.local_addrs()[0], server.settings());
    let running =
        tokio::spawn(server.run(std::future::pending(), super::support::client::TEST_TIMEOUT));
    let mut client = Client::connect(address).await;
    assert_eq!(client.post(EVENT).await.status, 200);
    settings.set(&guarded(vec![token("ci", &[Scope::Ingest], None)]));
    assert_eq!(client.post(EVENT).await.status, 401);
    assert_eq!(status_with_token(&mut client, "POST", "/event", "secret-of-ci").await, 200);
    running.abort();
}
