//! What is sent, byte for byte.

use std::io::Read;

use insta::assert_snapshot;
use observer_core::{EventSink, Receipt};

use super::receiver::{Receiver, Seen};
use super::sink;
use crate::Auth;
use crate::config::{Body, Compression, HttpConfig, Method};
use crate::sign::{Key, signatures};
use crate::testing::{batch, envelope};

const SECRETS: [&str; 2] = ["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_bmV3"];

/// What comes of a batch of this many events.
async fn sent(receiver: &Receiver, config: &HttpConfig, count: u64) -> Vec<Seen> {
    assert_eq!(sink(config).deliver(&batch(count)).await.unwrap(), Receipt::accepted());
    receiver.seen()
}

async fn shown(body: Body, count: u64) -> String {
    let receiver = Receiver::start();
    let config = HttpConfig::new(format!("{}/hook?v=1", receiver.url)).body(body);
    let sent = sent(&receiver, &config, count).await;
    sent.iter().map(Seen::shown).collect::<Vec<_>>().join("\n\n")
}

#[tokio::test]
async fn an_array_carries_the_whole_batch() {
    assert_snapshot!(shown(Body::Array, 2).await);
}

#[tokio::test]
async fn lines_carry_the_whole_batch() {
    assert_snapshot!(shown(Body::Ndjson, 2).await);
}

#[tokio::test]
async fn an_envelope_is_a_request() {
    assert_snapshot!(shown(Body::Envelope, 2).await);
}

#[tokio::test]
async fn an_event_is_a_request_as_its_producer_sent_it() {
    assert_snapshot!(shown(Body::Event, 2).await);
}

#[tokio::test]
async fn method_credentials_headers_and_fields_are_as_configured() {
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
    assert_snapshot!(receiver.seen()[0].shown());
}

#[tokio::test]
async fn a_token_goes_with_each_request() {
    let receiver = Receiver::start();
    let sent =
        sent(&receiver, &HttpConfig::new(&*receiver.url).auth(Auth::bearer("t0ken")), 1).await;
    assert_eq!(sent[0].header("authorization"), "Bearer t0ken");
}

#[tokio::test]
async fn a_packed_body_says_how() {
    let receiver = Receiver::start();
    let plain = &sent(&receiver, &HttpConfig::new(&*receiver.url), 500).await[0];
    assert_eq!(plain.header("content-encoding"), "");
    let config = HttpConfig::new(&*receiver.url).compression(Compression::Gzip);
    let gzip = &sent(&receiver, &config, 500).await[0];
    let mut unpacked = Vec::new();
    flate2::read::GzDecoder::new(&*gzip.body).read_to_end(&mut unpacked).unwrap();
    assert_eq!((gzip.header("content-encoding"), &unpacked), ("gzip", &plain.body));
    let zstd = &sent(&receiver, &config.compression(Compression::Zstd), 500).await[0];
    let unpacked = zstd::stream::decode_all(&*zstd.body).unwrap();
    assert_eq!((zstd.header("content-encoding"), &unpacked), ("zstd", &plain.body));
    assert_eq!(zstd.header("content-length"), zstd.body.len().to_string());
}

#[tokio::test]
async fn each_secret_signs_what_is_sent() {
    for compression in [Compression::None, Compression::Gzip, Compression::Zstd] {
        signs_what_is_sent(compression).await;
    }
}

async fn signs_what_is_sent(compression: Compression) {
    let receiver = Receiver::start();
    let config = HttpConfig::new(&*receiver.url)
        .sign_with(SECRETS[0])
        .sign_with(SECRETS[1])
        .compression(compression);
    let seen = &sent(&receiver, &config, 2).await[0];
    let timestamp: i64 = seen.header("webhook-timestamp").parse().unwrap();
    let now = observer_core::Timestamp::now().as_second();
    assert!((now - 60..=now).contains(&timestamp), "{timestamp} is not now, {now}");
    let keys = SECRETS.map(|secret| Key::parse(secret).unwrap());
    let expected = signatures(&keys, seen.header("webhook-id"), timestamp, &seen.body);
    assert_eq!(seen.header("webhook-signature"), expected);
    assert_eq!(expected.split(' ').count(), 2);
}

#[tokio::test]
async fn a_repeat_has_the_same_names() {
    let receiver = Receiver::start();
    let config = HttpConfig::new(&*receiver.url).sign_with(SECRETS[0]).with_idempotency_key();
    let (sink, batch) = (sink(&config), batch(3));
    receiver.answer(500, &[], "");
    sink.deliver(&batch).await.unwrap_err();
    sink.deliver(&batch).await.unwrap();
    // As after a restart.
    super::sink(&config).deliver(&crate::testing::batch(3)).await.unwrap();
    let seen = receiver.seen();
    assert_eq!(seen.len(), 3);
    for again in &seen[1..] {
        for name in ["webhook-id", "idempotency-key"] {
            assert_eq!(again.header(name), seen[0].header(name));
            assert!(!again.header(name).is_empty());
        }
        assert_eq!(again.body, seen[0].body);
    }
    let (left, _) = batch.halves().unwrap();
    sink.deliver(&left).await.unwrap();
    assert_ne!(
        receiver.seen()[0].header("webhook-id"),
        seen[0].header("webhook-id"),
        "another body is another message"
    );
}
