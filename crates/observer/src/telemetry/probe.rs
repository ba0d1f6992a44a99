//! Probe of the telemetry endpoints with empty exports.

use observer_core::SinkError;
use observer_http_client::Destination;
use observer_sink_otlp::Protocol;
use reqwest::header::CONTENT_TYPE;

use super::grpc;
use super::http::describe_error;
use super::settings::{Settings, Target};
use crate::config::Signal;

/// Sends an empty export of each signal, and returns the reason for each failure.
pub(crate) async fn probe(settings: &Settings) -> Vec<(Signal, Option<String>)> {
    let mut results = Vec::new();
    for (signal, target) in &settings.targets {
        let result = match target.protocol {
            Protocol::Http => probe_http(target).await,
            Protocol::Grpc => grpc::probe(target).await,
        };
        results.push((*signal, result.err().map(|error| error.report())));
    }
    results
}

async fn probe_http(target: &Target) -> Result<(), SinkError> {
    let destination = Destination::new("telemetry.endpoint", &target.url, &target.headers, []);
    let (url, tls, timeout) = (target.url.clone(), target.tls.clone(), target.timeout);
    let client = observer_http_client::run_blocking(move || {
        let tls = (url.scheme() == "https").then_some(&tls);
        let client = observer_http_client::client_builder(tls, timeout)?.timeout(timeout);
        observer_http_client::build_client(client)
    });
    let request = client.await??.post(target.url.clone()).headers(target.headers.clone());
    let response = request.header(CONTENT_TYPE, "application/x-protobuf").send().await;
    let response =
        response.map_err(|error| SinkError::blocked(describe_error(&error, &destination)))?;
    let status = response.status();
    if status.is_success() {
        return Ok(());
    }
    let detail = destination.excerpt(&response.text().await.unwrap_or_default());
    Err(SinkError::blocked(format!("{} responded with {status}: {detail}", destination.origin())))
}
