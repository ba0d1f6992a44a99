//! Can telemetry be reached where it is to go?

use observer_core::SinkError;
use observer_http_client::Destination;
use observer_sink_otlp::Protocol;
use reqwest::header::CONTENT_TYPE;

use super::grpc;
use super::http::unanswered;
use super::settings::{Settings, Target};
use crate::config::Signal;

/// Each signal, and why it would not go out: an export of nothing is sent.
pub(crate) async fn reach(settings: &Settings) -> Vec<(Signal, Option<String>)> {
    let mut reached = Vec::new();
    for (signal, target) in &settings.targets {
        let result = match target.protocol {
            Protocol::Http => send_nothing(target).await,
            Protocol::Grpc => grpc::send_nothing(target).await,
        };
        reached.push((*signal, result.err().map(|error| error.report())));
    }
    reached
}

async fn send_nothing(target: &Target) -> Result<(), SinkError> {
    let shown = Destination::new("telemetry.endpoint", &target.url, &target.headers, []);
    let of_target = target.clone();
    let client = observer_http_client::run_blocking(move || {
        let tls = (of_target.url.scheme() == "https").then_some(&of_target.tls);
        observer_http_client::build_client(
            observer_http_client::client_builder(tls, of_target.timeout)?
                .timeout(of_target.timeout),
        )
    });
    let request = client.await??.post(target.url.clone()).headers(target.headers.clone());
    let answer = request.header(CONTENT_TYPE, "application/x-protobuf").send().await;
    let answer = answer.map_err(|error| SinkError::blocked(unanswered(&error, &shown)))?;
    let status = answer.status();
    if status.is_success() {
        return Ok(());
    }
    let said = shown.excerpt(&answer.text().await.unwrap_or_default());
    Err(SinkError::blocked(format!("{} answers {status}: {said}", shown.origin())))
}
