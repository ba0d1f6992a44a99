//! The HTTP sink meets the contract of sinks with every form of request.
#![expect(clippy::unwrap_used, reason = "in a test, a panic is the message")]

use std::sync::Arc;

use async_trait::async_trait;
use observer_core::EventSink;
use observer_sink_http::{Body, Compression, HttpConfig, HttpSink};
use observer_testing::http::{HttpReceiver, ReceivedRequest};
use observer_testing::{Clause, Contents, Destination, Outage, SinkContract, StoredEvent};

struct Receiver {
    receiver: HttpReceiver,
    config: fn(HttpConfig) -> HttpConfig,
}

#[async_trait]
impl Destination for Receiver {
    fn sink(&self) -> Arc<dyn EventSink> {
        let config = (self.config)(HttpConfig::new(self.receiver.url("/hook")));
        Arc::new(HttpSink::new(&config).unwrap())
    }

    async fn contents(&self) -> Contents {
        Contents::Events(self.receiver.requests().iter().flat_map(events).collect())
    }

    async fn make_unavailable(&self) -> Outage {
        self.receiver.stop().await;
        Outage::Simulated
    }

    async fn make_available(&self) {
        self.receiver.restart();
    }
}

/// Returns the events of a request. Bare events, which the tests send with the header `X-What`,
/// have their identity in a header.
fn events(request: &ReceivedRequest) -> Vec<StoredEvent> {
    match request.header("x-what") {
        None => request.items().iter().map(|item| StoredEvent::from_json(item)).collect(),
        Some(_) => {
            let id = request.header("webhook-id").unwrap().parse().unwrap();
            vec![StoredEvent { id, raw: Some(request.text().to_owned()) }]
        }
    }
}

async fn verify(config: fn(HttpConfig) -> HttpConfig) {
    let report = SinkContract::new(move || Receiver { receiver: HttpReceiver::start(), config })
        .verify()
        .await;
    assert_eq!(report.skipped, [(Clause::Position, "the sink keeps no position")]);
}

#[tokio::test]
async fn arrays_meet_the_contract() {
    verify(|config| config).await;
}

#[tokio::test]
async fn compressed_and_signed_ndjson_meets_the_contract() {
    verify(|config| {
        config.body(Body::Ndjson).compression(Compression::Zstd).sign_with("whsec_bmV3")
    })
    .await;
}

#[tokio::test]
async fn single_envelopes_meet_the_contract() {
    verify(|config| config.body(Body::Envelope).compression(Compression::Gzip)).await;
}

#[tokio::test]
async fn single_events_with_fields_in_headers_meet_the_contract() {
    verify(|config| {
        config.body(Body::Event).header("X-What", "{source}/{cycle_id}/{sig_hash}/{staffer_id}")
    })
    .await;
}
