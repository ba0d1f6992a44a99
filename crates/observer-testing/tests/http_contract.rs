//! Contract suite with a small sink over HTTP, whose deliveries are cancelled on the wire.

use std::net::SocketAddr;
use std::sync::Arc;

use async_trait::async_trait;
use observer_core::{Batch, EventSink, Receipt, SinkError};
use observer_testing::http::HttpReceiver;
use observer_testing::{Clause, Contents, Destination, Outage, SinkContract};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

struct LineSink(SocketAddr);

impl LineSink {
    async fn post(&self, body: &str) -> std::io::Result<String> {
        let mut stream = TcpStream::connect(self.0).await?;
        let head = format!(
            "POST / HTTP/1.1\r\nhost: h\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        stream.write_all(head.as_bytes()).await?;
        for piece in body.as_bytes().chunks(200) {
            stream.write_all(piece).await?;
            tokio::task::yield_now().await;
        }
        let mut response = String::new();
        stream.read_to_string(&mut response).await?;
        Ok(response)
    }
}

#[async_trait]
impl EventSink for LineSink {
    async fn deliver(&self, batch: &Batch) -> Result<Receipt, SinkError> {
        let body: String =
            batch.events().iter().map(|envelope| envelope.to_json() + "\n").collect();
        let response = self.post(&body).await.map_err(SinkError::transient)?;
        if response.starts_with("HTTP/1.1 200 ") {
            Ok(Receipt::accepted())
        } else {
            Err(SinkError::transient(response))
        }
    }

    async fn flush(&self) -> Result<(), SinkError> {
        Ok(())
    }

    async fn check(&self) -> Result<(), SinkError> {
        TcpStream::connect(self.0).await.map(drop).map_err(SinkError::transient)
    }
}

struct Receiver(HttpReceiver);

#[async_trait]
impl Destination for Receiver {
    fn sink(&self) -> Arc<dyn EventSink> {
        Arc::new(LineSink(self.0.address()))
    }

    async fn contents(&self) -> Contents {
        Contents::from_lines(&self.0.accepted_items().join("\n"))
    }

    async fn make_unavailable(&self) -> Outage {
        self.0.stop().await;
        Outage::Simulated
    }

    async fn make_available(&self) {
        self.0.restart();
    }
}

#[tokio::test]
async fn sink_over_http_meets_the_contract() {
    let report = SinkContract::new(|| Receiver(HttpReceiver::start())).verify().await;
    let skipped: Vec<_> = report.skipped.iter().map(|(clause, _)| *clause).collect();
    assert_eq!(skipped, [Clause::Rejection, Clause::PartialAcceptance, Clause::Position]);
}
