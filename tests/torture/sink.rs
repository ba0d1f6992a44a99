//! A sink that POSTs each batch as lines of envelopes, and an observer that knows it beside its own types.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use observer_core::{Batch, BuildError, EventSink, Receipt, SinkConfig, SinkContext, SinkError, SinkPart};
use reqwest::StatusCode;
use reqwest::header::RETRY_AFTER;

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct PostConfig {
    url: String,
}

impl SinkConfig for PostConfig {
    const TYPE: &'static str = "post";

    fn build(self, _: &SinkContext) -> Result<Vec<SinkPart>, BuildError> {
        // The pipeline has a timeout of its own for each delivery.
        let client = reqwest::Client::builder().no_proxy().build();
        let client = client.map_err(|error| BuildError::new("url", error.to_string()))?;
        Ok(vec![SinkPart::whole(Arc::new(Post { client, url: self.url }))])
    }
}

struct Post {
    client: reqwest::Client,
    url: String,
}

#[async_trait]
impl EventSink for Post {
    async fn deliver(&self, batch: &Batch) -> Result<Receipt, SinkError> {
        let mut body = Vec::new();
        for envelope in batch {
            envelope.write_json(&mut body);
            body.push(b'\n');
        }
        let answer = self.client.post(&self.url).body(body).send().await.map_err(SinkError::transient)?;
        let status = answer.status();
        let pause = answer.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
        // An answer that breaks off is none.
        answer.bytes().await.map_err(SinkError::transient)?;
        if status.is_success() {
            return Ok(Receipt::accepted());
        }
        let error = match status {
            StatusCode::BAD_REQUEST | StatusCode::PAYLOAD_TOO_LARGE | StatusCode::UNPROCESSABLE_ENTITY => {
                SinkError::permanent(status.to_string())
            }
            StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS => SinkError::transient(status.to_string()),
            status if status.is_server_error() => SinkError::transient(status.to_string()),
            status => SinkError::blocked(status.to_string()),
        };
        Err(match pause {
            Some(seconds) => error.with_retry_after(Duration::from_secs(seconds)),
            None => error,
        })
    }

    async fn flush(&self) -> Result<(), SinkError> {
        Ok(())
    }

    async fn check(&self) -> Result<(), SinkError> {
        self.client.get(&self.url).send().await.map(drop).map_err(SinkError::transient)
    }
}

/// Be an observer, with this command line.
pub(crate) fn observe(arguments: Vec<String>) -> ExitCode {
    observer::run_with(arguments, |metrics| observer::registry::with_defaults(metrics).with::<PostConfig>())
}
