//! Requests, byte for byte.

use std::io::Read;

use insta::assert_snapshot;
use observer_core::{EventSink, Receipt};

use super::receiver::{Receiver, Request};
use super::sink;
use crate::Auth;
use crate::config::{Body, Compression, HttpConfig, Method};
use crate::sign::{Key, signatures};
use crate::testing::{batch, envelope};

const SECRETS: [&str; 2] = ["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_bmV3"];

/// Delivers a batch of `count` events and returns the requests.
async fn deliver(receiver: &Receiver, config: &HttpConfig, count: u64) -> Vec<Request> {
    assert_eq!(sink(config).deliver(&batch(count)).await.unwrap(), Receipt::accepted());
    receiver.requests()
}

async fn requests(body: Body, count: u64) -> String {
    let receiver = Receiver::start();
    let config = HttpConfig::new(format!("{}/hook?v=1", receiver.url)).body(body.clone());
    let requests = deliver(&receiver, &config, count).await;
    requests.iter().map(Request::to_text).collect::<Vec<_>>().join("\n\n")
}

#[tokio::test]
async fn array_holds_the_whole_batch() {
    assert_snapshot!(requests(Body::Array, 2).await);
}

#[tokio::test]
async fn ndjson_holds_the_whole_batch() {
    assert_snapshot!(requests(Body::Ndjson, 2).await);
}

#[tokio::test]
async fn each_envelope_has_its_own_request() {
    assert_snapshot!(requests(Body::Envelope, 2).await);
}

#[tokio::test]
async fn each_event_has_its_own_request() {
    assert_snapshot!(requests(Body::Event, 2).await);
}

#[tokio::test]
async fn method_credentials_and_headers_are_as_configured() {
    let receiver = Receiver::start();
    let config = HttpConfig::new(&*receiver.url)
        .body(Body::Event)
        .method(Method::Put)
        .auth(Auth::basic("me", "pass:word"))
        .header("X-Team", "agents")
        .header("X-What", "{source}/{event_kind}; id={id}")
        .header("Content-Type", "application/vnd.outcome+json")
        .with_idempotency_key();
    let event = envelope(7, r#"{"source":"bot\r\nX-Evil: 1","event_kind":"ok","ok":true}"#);
    sink(&config).deliver(&observer_core::Batch::new(1, vec![event])).await.unwrap();
    assert_snapshot!(receiver.requests()[0].to_text());
}

#[tokio::test]
async fn each_request_has_the_bearer_token() {
    let receiver = Receiver::start();
    let requests =
        deliver(&receiver, &HttpConfig::new(&*receiver.url).auth(Auth::bearer("t0ken")), 1).await;
    assert_eq!(requests[0].header("authorization"), "Bearer t0ken");
}

#[tokio::test]
async fn compressed_body_has_its_content_encoding() {
    let receiver = Receiver::start();
    let plain = &deliver(&receiver, &HttpConfig::new(&*receiver.url), 500).await[0];
    assert_eq!(plain.header("content-encoding"), "");
    let config = HttpConfig::new(&*receiver.url).compression(Compression::Gzip);
    let gzip = &deliver(&receiver, &config, 500).await[0];
    let mut decompressed = Vec::new();
    flate2::read::GzDecoder::new(&*gzip.body).read_to_end(&mut decompressed).unwrap();
    assert_eq!((gzip.header("content-encoding"), &decompressed), ("gzip", &plain.body));
    let zstd = &deliver(&receiver, &config.compression(Compression::Zstd), 500).await[0];
    let decompressed = zstd::stream::decode_all(&*zstd.body).unwrap();
    assert_eq!((zstd.header("content-encoding"), &decompressed), ("zstd", &plain.body));
    assert_eq!(zstd.header("content-length"), zstd.body.len().to_string());
}

#[tokio::test]
async fn each_secret_signs_the_body_as_sent() {
    for compression in [Compression::None, Compression::Gzip, Compression::Zstd] {
        body_is_signed_as_sent(compression).await;
    }
}

async fn body_is_signed_as_sent(compression: Compression) {
    let receiver = Receiver::start();
    let config = HttpConfig::new(&*receiver.url)
        .sign_with(SECRETS[0])
        .sign_with(SECRETS[1])
        .compression(compression);
    let request = &deliver(&receiver, &config, 2).await[0];
    let timestamp: i64 = request.header("webhook-timestamp").parse().unwrap();
    let now = observer_core::Timestamp::now().as_second();
    assert!((now - 60..=now).contains(&timestamp), "{timestamp} is not close to {now}");
    let keys = SECRETS.map(|secret| Key::parse(secret).unwrap());
    let expected = signatures(&keys, request.header("webhook-id"), timestamp, &request.body);
    assert_eq!(request.header("webhook-signature"), expected);
    assert_eq!(expected.split(' ').count(), 2);
}

#[tokio::test]
async fn repeat_has_the_same_message_id() {
    let receiver = Receiver::start();
    let config = HttpConfig::new(&*receiver.url).sign_with(SECRETS[0]).with_idempotency_key();
    let (sink, batch) = (sink(&config), batch(3));
    receiver.respond(500, &[], "");
    sink.deliver(&batch).await.unwrap_err();
    sink.deliver(&batch).await.unwrap();
    // A new sink, as after a restart.
    super::sink(&config).deliver(&crate::testing::batch(3)).await.unwrap();
    let requests = receiver.requests();
    assert_eq!(requests.len(), 3);
    for repeat in &requests[1..] {
        for name in ["webhook-id", "idempotency-key"] {
            assert_eq!(repeat.header(name), requests[0].header(name));
            assert!(!repeat.header(name).is_empty());
        }
        assert_eq!(repeat.body, requests[0].body);
    }
    let (left, _) = batch.halves().unwrap();
    sink.deliver(&left).await.unwrap();
    assert_ne!(
        receiver.requests()[0].header("webhook-id"),
        requests[0].header("webhook-id"),
        "another body is another message"
    );
}
