//! The HTTP sink keeps the contract of sinks, whatever its requests carry.
#![expect(clippy::unwrap_used, reason = "in a test, a panic is the message")]

use std::sync::Arc;

use async_trait::async_trait;
use observer_core::EventSink;
use observer_sink_http::{Body, Compression, HttpConfig, HttpSink};
use observer_testing::http::{HttpReceiver, Received};
use observer_testing::{Breakage, Clause, FarSide, Held, HeldEvent, SinkContract};

struct Receiver {
    receiver: HttpReceiver,
    config: fn(HttpConfig) -> HttpConfig,
}

#[async_trait]
impl FarSide for Receiver {
    fn sink(&self) -> Arc<dyn EventSink> {
        let config = (self.config)(HttpConfig::new(self.receiver.url("/hook")));
        Arc::new(HttpSink::new(&config).unwrap())
    }

    async fn held(&self) -> Held {
        Held::Events(self.receiver.requests().iter().flat_map(events).collect())
    }

    async fn break_it(&self) -> Breakage {
        self.receiver.go_down().await;
        Breakage::Done
    }

    async fn mend(&self) {
        self.receiver.come_back();
    }
}

/// Bare events, which the tests send with `X-What`, have their identity in a header.
fn events(request: &Received) -> Vec<HeldEvent> {
    match request.header("x-what") {
        None => request.items().iter().map(|item| HeldEvent::envelope(item)).collect(),
        Some(_) => {
            let id = request.header("webhook-id").unwrap().parse().unwrap();
            vec![HeldEvent { id, raw: Some(request.text().to_owned()) }]
        }
    }
}

async fn holds(config: fn(HttpConfig) -> HttpConfig) {
    let passed = SinkContract::new(move || Receiver { receiver: HttpReceiver::start(), config })
        .hold()
        .await;
    assert_eq!(passed.left_out, [(Clause::Position, "the sink keeps no position")]);
}

#[tokio::test]
async fn the_http_sink_keeps_the_contract() {
    holds(|config| config).await;
}

#[tokio::test]
async fn so_it_does_with_packed_and_signed_lines() {
    holds(|config| {
        config.body(Body::Ndjson).compression(Compression::Zstd).sign_with("whsec_bmV3")
    })
    .await;
}

#[tokio::test]
async fn so_it_does_with_an_envelope_a_request() {
    holds(|config| config.body(Body::Envelope).compression(Compression::Gzip)).await;
}

#[tokio::test]
async fn so_it_does_with_an_event_a_request_and_its_fields_in_headers() {
    holds(|config| {
        config.body(Body::Event).header("X-What", "{source}/{cycle_id}/{sig_hash}/{staffer_id}")
    })
    .await;
}
