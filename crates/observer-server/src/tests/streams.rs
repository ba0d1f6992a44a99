//! Streams of events.

use std::time::Duration;

use axum::body::{Body, HttpBody};
use axum::http::{Request, StatusCode};
use http_body_util::BodyExt;
use observer_core::{Event, Position};
use observer_pipeline::fs::Memory;
use observer_pipeline::{JournalOptions, Pipeline, Runner};
use prometheus::Registry;
use tokio::time::timeout;
use tower::ServiceExt;

use super::queries::schema::violations;
use super::support::client::{Client, TEST_TIMEOUT};
use super::support::setup::{options, serve};
use crate::{
    Access, EventStoreHandle, Scope, Scopes, ServerOptions, SettingsHandle, Token, TokenDigest,
    router,
};

/// Number of events of 1 MiB that neither the ring nor the buffers of a socket hold.
const LARGE: u64 = 16;

/// Stream without a connection.
struct Stream {
    body: Body,
    unread: String,
}

/// Event of a stream.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Sse {
    id: String,
    kind: String,
    data: String,
}

impl Stream {
    /// Returns the next event, or comment or id that arrives alone; `None` at the end.
    async fn next(&mut self) -> Option<Sse> {
        loop {
            if let Some(end) = self.unread.find("\n\n") {
                let block: String = self.unread.drain(..end + 2).collect();
                return Some(parse(&block));
            }
            let frame = self.body.frame().await?.unwrap().into_data().unwrap();
            self.unread.push_str(str::from_utf8(&frame).unwrap());
        }
    }

    /// Returns the next events with data.
    async fn events(&mut self, count: usize) -> Vec<Sse> {
        let mut events = Vec::new();
        while events.len() < count {
            let event = timeout(TEST_TIMEOUT, self.next()).await.expect("events arrive in time");
            events.extend(event.filter(|event| !event.data.is_empty()));
        }
        events
    }

    async fn seqs(&mut self, count: usize) -> Vec<u64> {
        let events = self.events(count).await;
        events.iter().map(|event| seq(event).unwrap_or_else(|| panic!("{event:?}"))).collect()
    }
}

impl Sse {
    /// Returns the fields as members of an object, with the data parsed.
    fn members(&self) -> serde_json::Value {
        let mut members = serde_json::Map::new();
        members.insert("id".to_owned(), self.id.clone().into());
        if !self.kind.is_empty() {
            members.insert("event".to_owned(), self.kind.clone().into());
        }
        if !self.data.is_empty() {
            members.insert("data".to_owned(), serde_json::from_str(&self.data).unwrap());
        }
        members.into()
    }
}

fn parse(block: &str) -> Sse {
    let mut event = Sse::default();
    for line in block.lines() {
        match line.split_once(": ") {
            Some(("id", id)) => event.id = id.to_owned(),
            Some(("event", kind)) => event.kind = kind.to_owned(),
            Some(("data", data)) => event.data = data.to_owned(),
            _ => assert!(line.is_empty() || line.starts_with(':'), "{line:?}"),
        }
    }
    event
}

/// Returns the sequence number of an event; `None` for a gap. The id has the same one.
fn seq(event: &Sse) -> Option<u64> {
    let data: serde_json::Value = serde_json::from_str(&event.data).unwrap();
    let seq = data["seq"].as_u64()?;
    assert_eq!(event.id.parse::<Position>().unwrap().seq, seq);
    Some(seq)
}

fn app(options: &ServerOptions, pipeline: &Pipeline) -> axum::Router {
    router(options, pipeline.clone(), Registry::new(), EventStoreHandle::default()).unwrap()
}

fn request(query: &str, headers: &[(&str, &str)]) -> Request<Body> {
    let mut request = Request::builder().uri(format!("/v1/stream{query}")).header("host", "test");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(Body::empty()).unwrap()
}

async fn open(app: &axum::Router, query: &str, headers: &[(&str, &str)]) -> Stream {
    let response = app.clone().oneshot(request(query, headers)).await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    Stream { body: response.into_body(), unread: String::new() }
}

async fn refused(app: &axum::Router, query: &str, headers: &[(&str, &str)]) -> (u16, String) {
    let response = app.clone().oneshot(request(query, headers)).await.unwrap();
    let status = response.status().as_u16();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    let problem: serde_json::Value = serde_json::from_slice(&body).unwrap();
    (status, problem["detail"].as_str().unwrap().to_owned())
}

async fn ingest(pipeline: &Pipeline, source: &str, kind: &str) {
    let event = format!(r#"{{"source":"{source}","event_kind":"{kind}","ok":true}}"#);
    pipeline.ingest(Event::parse(event).unwrap()).await.unwrap();
}

async fn ingest_large(pipeline: &Pipeline, bytes: usize) {
    let text = "x".repeat(bytes);
    let event = format!(r#"{{"source":"s","event_kind":"k","ok":true,"extra":{{"x":"{text}"}}}}"#);
    pipeline.ingest(Event::parse(event).unwrap()).await.unwrap();
}

async fn pipeline() -> Pipeline {
    Pipeline::builder().start().await.unwrap()
}

#[tokio::test]
async fn stream_begins_at_the_present_and_resumes_after_an_id() {
    let pipeline = pipeline().await;
    let app = app(&options(), &pipeline);
    ingest(&pipeline, "a", "before").await;
    let mut stream = open(&app, "", &[]).await;
    let first = stream.next().await.unwrap();
    assert_eq!(first, Sse { id: pipeline.head().to_string(), ..Sse::default() });
    ingest(&pipeline, "a", "ok").await;
    ingest(&pipeline, "a", "started").await;
    ingest(&pipeline, "a", "ok").await;
    let events = stream.events(3).await;
    let kinds: Vec<_> = events.iter().map(|event| event.kind.as_str()).collect();
    assert_eq!(kinds, ["outcome", "phase", "outcome"]);
    assert!(events[0].data.contains(r#""event":{"source":"a","event_kind":"ok","ok":true}}"#));

    ingest(&pipeline, "a", "ok").await;
    let id = events[0].id.as_str();
    let mut resumed = open(&app, "", &[("last-event-id", id)]).await;
    assert_eq!(resumed.seqs(3).await, [3, 4, 5]);
    let mut resumed = open(&app, &format!("?last_event_id={id}"), &[]).await;
    assert_eq!(resumed.seqs(3).await, [3, 4, 5]);
    assert_eq!(stream.seqs(1).await, [5]);
}

#[tokio::test]
async fn stream_has_the_events_that_its_filter_and_token_allow() {
    let token = |name: &str, scopes: &[Scope], sources: Option<&[&str]>| Token {
        name: name.to_owned(),
        digests: vec![TokenDigest::of(name)],
        scopes: scopes.iter().copied().collect(),
        sources: sources.map(|all| all.iter().map(|&source| source.to_owned()).collect()),
        rate: None,
    };
    let tokens = vec![
        token("all", &[Scope::Read], None),
        token("b", &[Scope::Read], Some(&["b"])),
        token("ingest", &[Scope::Ingest], None),
    ];
    let access = Access { tokens, anonymous: Scopes::NONE };
    let pipeline = pipeline().await;
    let app = app(&ServerOptions { access, ..options() }, &pipeline);
    let bearer = |name: &str| format!("Bearer {name}");
    assert_eq!(refused(&app, "", &[]).await.0, 401);
    assert_eq!(refused(&app, "", &[("authorization", &bearer("ingest"))]).await.0, 403);
    let all = bearer("all");
    let mut every = open(&app, "", &[("authorization", &all)]).await;
    let mut ok = open(&app, "?event_kind=ok", &[("authorization", &all)]).await;
    let mut limited = open(&app, "", &[("authorization", &bearer("b"))]).await;
    let mut none = open(&app, "?source=a", &[("authorization", &bearer("b"))]).await;
    for (source, kind) in [("a", "ok"), ("b", "failed"), ("a", "failed"), ("b", "ok")] {
        ingest(&pipeline, source, kind).await;
    }
    assert_eq!(every.seqs(4).await, [1, 2, 3, 4]);
    assert_eq!(ok.seqs(2).await, [1, 4]);
    assert_eq!(limited.seqs(2).await, [2, 4]);
    let first = none.next().await.unwrap();
    assert!(!first.id.is_empty() && first.data.is_empty());
    let next = timeout(Duration::from_millis(500), none.next()).await;
    assert!(next.is_err(), "{next:?}");
}

#[tokio::test(start_paused = true)]
async fn filtered_reader_gets_its_position_with_the_keep_alive() {
    // The journal has no thread of its own, for which the paused clock would not wait.
    let journal = JournalOptions::new("j").file_system(Memory::default()).runner(Runner::Caller);
    let pipeline = Pipeline::builder().journal(journal).start().await.unwrap();
    let app = app(&options(), &pipeline);
    let mut stream = open(&app, "?source=none", &[]).await;
    assert_eq!(stream.next().await.unwrap().id, pipeline.head().to_string());
    let begun = tokio::time::Instant::now();
    assert_eq!(stream.next().await.unwrap(), Sse::default(), "a comment");
    assert_eq!(begun.elapsed().as_secs(), 15);
    ingest(&pipeline, "a", "ok").await;
    let position = stream.next().await.unwrap();
    assert_eq!(position, Sse { id: pipeline.head().to_string(), ..Sse::default() });
    assert_eq!(begun.elapsed().as_secs(), 30);
    assert_eq!(stream.next().await.unwrap(), Sse::default(), "the position is known");
}

#[tokio::test]
async fn unknown_position_is_a_gap_and_unreadable_one_is_refused() {
    let pipeline = pipeline().await;
    let app = app(&options(), &pipeline);
    ingest(&pipeline, "a", "ok").await;
    let mut stream = open(&app, "", &[("last-event-id", "1-1")]).await;
    let gap = stream.next().await.unwrap();
    assert_eq!((gap.kind.as_str(), gap.data.as_str()), ("gap", r#"{"reason":"unknown"}"#));
    assert_eq!(gap.id, pipeline.head().to_string());
    ingest(&pipeline, "a", "ok").await;
    assert_eq!(stream.seqs(1).await, [2]);
    for (query, expected) in [
        ("?last_event_id=x", "`last_event_id` is not a position; it has the form EPOCH-SEQ"),
        ("?since=1h", "`since` does not apply to a stream"),
        ("?limit=1", "`limit` does not apply to a stream"),
        ("?ok=1", "`ok` must be true or false"),
        ("?souce=a", "did you mean `source`?"),
    ] {
        let (status, detail) = refused(&app, query, &[]).await;
        assert!(status == 400 && detail.contains(expected), "{query}: {status} {detail}");
    }
}

#[tokio::test]
async fn blocks_match_their_schema() {
    let pipeline = pipeline().await;
    let app = app(&options(), &pipeline);
    let request = Request::builder().uri("/openapi.json").header("host", "test");
    let request = request.body(Body::empty()).unwrap();
    let document = app.clone().oneshot(request).await.unwrap().into_body();
    let document = document.collect().await.unwrap().to_bytes();
    let document: serde_json::Value = serde_json::from_slice(&document).unwrap();
    let content = &document["paths"]["/v1/stream"]["get"]["responses"]["200"]["content"];
    let schema = &content["text/event-stream"]["schema"];
    let check = |block: &Sse| {
        let members = block.members();
        assert_eq!(violations(&document, schema, &members, "$"), Vec::<String>::new());
    };

    let mut stream = open(&app, "", &[]).await;
    check(&stream.next().await.unwrap());
    ingest(&pipeline, "a", "ok").await;
    ingest(&pipeline, "a", "started").await;
    stream.events(2).await.iter().for_each(check);
    let mut stream = open(&app, "", &[("last-event-id", "1-1")]).await;
    check(&stream.next().await.unwrap());
    for reason in ["expired", "lost", "slow"] {
        let data = format!(r#"{{"first":1,"last":2,"count":2,"reason":"{reason}"}}"#);
        check(&Sse { id: "1-2".to_owned(), kind: "gap".to_owned(), data });
    }
    let strange = Sse { kind: "strange".to_owned(), ..Sse::default() };
    assert_ne!(violations(&document, schema, &strange.members(), "$"), Vec::<String>::new());
}

#[tokio::test]
async fn reader_that_fell_behind_the_ring_reads_the_journal() {
    let pipeline = pipeline().await;
    let app = app(&options(), &pipeline);
    let mut stream = open(&app, "", &[]).await;
    stream.next().await.unwrap();
    assert!(timeout(Duration::from_millis(1), stream.next()).await.is_err());
    for _ in 0..LARGE {
        ingest_large(&pipeline, 1 << 20).await;
    }
    assert_eq!(stream.seqs(LARGE as usize).await, (1..=LARGE).collect::<Vec<_>>());
    assert_eq!(missed(&app).await, 0.0);
}

async fn metric(app: &axum::Router, name: &str) -> f64 {
    let request =
        Request::builder().uri("/metrics").header("host", "test").body(Body::empty()).unwrap();
    let response = app.clone().oneshot(request).await.unwrap();
    let text = response.into_body().collect().await.unwrap().to_bytes();
    let text = String::from_utf8(text.to_vec()).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    line.unwrap_or_else(|| panic!("no {name}")).trim().parse().unwrap()
}

async fn missed(app: &axum::Router) -> f64 {
    metric(app, "observer_stream_missed_events_total").await
}

#[tokio::test]
async fn reader_beyond_those_that_may_lag_gets_a_gap() {
    const READERS: u64 = 20;
    let pipeline = pipeline().await;
    let app = app(&options(), &pipeline);
    let mut streams = Vec::new();
    for _ in 0..READERS {
        let mut stream = open(&app, "", &[]).await;
        stream.next().await.unwrap();
        // It reaches the head, so that it is a reader of the ring.
        assert!(timeout(Duration::from_millis(1), stream.next()).await.is_err());
        streams.push(stream);
    }
    for _ in 0..LARGE {
        ingest_large(&pipeline, 1 << 20).await;
    }
    let mut gaps = 0;
    let mut waiting = Vec::new();
    for mut stream in streams {
        // A turn of each while the others are lagging.
        let first = stream.events(1).await.remove(0);
        let next = match seq(&first) {
            Some(seq) => {
                assert_eq!(seq, 1);
                2
            }
            None => {
                gaps += 1;
                let gap: serde_json::Value = serde_json::from_str(&first.data).unwrap();
                let last = gap["last"].as_u64().unwrap();
                assert_eq!((first.kind.as_str(), &gap["reason"]), ("gap", &"slow".into()));
                assert_eq!((&gap["first"], &gap["count"]), (&1.into(), &last.into()));
                last + 1
            }
        };
        waiting.push((stream, next));
    }
    assert_eq!(gaps, READERS - 16, "16 readers may lag");
    let mut expected = 0;
    for (mut stream, next) in waiting {
        let rest: Vec<_> = (next..=LARGE).collect();
        assert_eq!(stream.seqs(rest.len()).await, rest);
        expected += next.saturating_sub(2);
        expected += u64::from(next > 2);
    }
    assert_eq!(missed(&app).await, expected as f64);
}

#[tokio::test]
async fn streams_are_limited_and_counted() {
    let pipeline = pipeline().await;
    let app = app(&ServerOptions { max_streams: 1, ..options() }, &pipeline);
    let stream = open(&app, "", &[]).await;
    assert_eq!(metric(&app, "observer_stream_readers").await, 1.0);
    assert_eq!(
        refused(&app, "", &[]).await,
        (503, "the limit of 1 streams (`server.max_streams`) is reached; try again later".into())
    );
    drop(stream);
    assert_eq!(metric(&app, "observer_stream_readers").await, 0.0);
    open(&app, "", &[]).await;
}

async fn connect(client: &mut Client, headers: &str) {
    client.send(format!("GET /v1/stream HTTP/1.1\r\nhost: test\r\n{headers}\r\n")).await;
    let head = client.head().await;
    assert_eq!((head.status, head.header("content-type")), (200, Some("text/event-stream")));
}

#[tokio::test]
async fn stream_ends_when_the_server_drains() {
    let server = serve(options(), pipeline().await).await;
    let (mut reading, mut stalled) = (server.client().await, server.client().await);
    connect(&mut reading, "").await;
    connect(&mut stalled, "").await;
    // More than the buffers of a socket hold, so that one stream is in the middle of a write.
    for _ in 0..LARGE {
        ingest_large(&server.pipeline, 1 << 20).await;
    }
    let begun = std::time::Instant::now();
    let ended = server.stop();
    let mut reading = tokio::spawn(async move { reading.rest().await });
    timeout(TEST_TIMEOUT, ended).await.expect("the server stops").unwrap();
    assert!(begun.elapsed() < Duration::from_secs(3), "{:?}", begun.elapsed());
    timeout(TEST_TIMEOUT, &mut reading).await.expect("the stream ends").unwrap();
}

#[tokio::test]
async fn stream_ends_when_its_token_is_removed() {
    let token = |name: &str| Token {
        name: name.to_owned(),
        digests: vec![TokenDigest::of(name)],
        scopes: Scopes::from_iter([Scope::Read]),
        sources: None,
        rate: None,
    };
    let with = |names: &[&str]| {
        let tokens = names.iter().map(|name| token(name)).collect();
        ServerOptions { access: Access { tokens, anonymous: Scopes::NONE }, ..options() }
    };
    let pipeline = pipeline().await;
    let server =
        crate::Server::bind(with(&["a", "b"]), pipeline.clone(), Registry::new()).await.unwrap();
    let (settings, address) = (server.settings(), server.local_addrs()[0]);
    let running = tokio::spawn(server.run(std::future::pending(), TEST_TIMEOUT));
    let (mut removed, mut kept) = (Client::connect(address).await, Client::connect(address).await);
    connect(&mut removed, "authorization: Bearer a\r\n").await;
    connect(&mut kept, "authorization: Bearer b\r\n").await;
    SettingsHandle::set(&settings, &with(&["b"]));
    assert!(removed.body().await.ends_with("0\r\n\r\n"), "the body is complete");
    ingest(&pipeline, "a", "ok").await;
    kept.until("\"source\":\"a\"").await;
    running.abort();
}

#[tokio::test]
async fn head_request_opens_no_stream() {
    let pipeline = pipeline().await;
    let app = app(&options(), &pipeline);
    let request = Request::builder().method("HEAD").uri("/v1/stream").header("host", "test");
    let response = app.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
    assert!(response.status() == StatusCode::OK && response.body().is_end_stream());
    assert_eq!(metric(&app, "observer_stream_readers").await, 0.0);
}
