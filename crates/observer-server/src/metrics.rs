//! `GET /metrics`, and what the observer says about itself there.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use observer_pipeline::Pipeline;
use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{Registry, TextEncoder};

use crate::api::Api;
use crate::exposition::{self, METRICS};
use crate::openapi::AnyRequest;
use crate::problem::{PROBLEM_JSON, Problem, ProblemDetails};
use crate::requests::{Requests, Route};

const TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// The metrics of events and of the observer itself, in Prometheus' text format.
#[utoipa::path(
    get,
    path = "/metrics",
    responses(
        (status = 200, description = "The metrics", body = String, content_type = TEXT),
        (status = 500, description = "They can't be gathered", body = ProblemDetails, content_type = PROBLEM_JSON),
        AnyRequest
    )
)]
pub(crate) async fn get_metrics(State(api): State<Arc<Api>>) -> Response {
    let _time = api.requests.time(Route::Metrics);
    let registry = api.registry.clone();
    // Gathering may block.
    let text =
        api.scrapes.run(move || TextEncoder::new().encode_to_string(&registry.gather())).await;
    let why = match text {
        Ok(Ok(text)) => return ([(CONTENT_TYPE, TEXT)], text).into_response(),
        Ok(Err(error)) => observer_core::report(&error),
        Err(error) => observer_core::report(&error),
    };
    tracing::error!(error = why, "the metrics can't be gathered");
    Problem::new(StatusCode::INTERNAL_SERVER_ERROR, format!("the metrics can't be gathered: {why}"))
        .into_response()
}

/// What the registry asks for the observer's own metrics.
#[derive(Clone)]
struct OwnCollector {
    pipeline: Pipeline,
    requests: Requests,
    descs: Vec<Desc>,
}

impl Collector for OwnCollector {
    fn desc(&self) -> Vec<&Desc> {
        self.descs.iter().collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let mut families = exposition::families(&self.pipeline.status());
        families.extend(self.requests.families());
        families
    }
}

/// The collector's place in a registry, given up when dropped.
pub(crate) struct Registration {
    registry: Registry,
    collector: OwnCollector,
    process: Process,
}

/// Who has the metrics of the process in the registry.
#[derive(PartialEq, Eq)]
enum Process {
    Ours,
    /// Someone else has put them there, or they can't be had on this system.
    NotOurs,
}

impl Registration {
    pub(crate) fn new(
        registry: &Registry,
        pipeline: Pipeline,
        requests: Requests,
    ) -> Result<Self, prometheus::Error> {
        let mut descs = requests.descs();
        descs.extend(METRICS.iter().map(|metric| metric.desc()));
        let collector = OwnCollector { pipeline, requests, descs };
        registry.register(Box::new(collector.clone()))?;
        let process = match process_collector().map(|process| registry.register(process)) {
            Some(Ok(())) => Process::Ours,
            Some(Err(_)) | None => Process::NotOurs,
        };
        Ok(Self { registry: registry.clone(), collector, process })
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        // These can only fail because someone else took the collectors out before.
        let _ = self.registry.unregister(Box::new(self.collector.clone()));
        if self.process == Process::Ours
            && let Some(process) = process_collector()
        {
            let _ = self.registry.unregister(process);
        }
    }
}

#[cfg(target_os = "linux")]
fn process_collector() -> Option<Box<dyn Collector>> {
    Some(Box::new(prometheus::process_collector::ProcessCollector::for_self()))
}

#[cfg(not(target_os = "linux"))]
fn process_collector() -> Option<Box<dyn Collector>> {
    None
}
