//! Exporters that record statistics, and processors with a bounded queue.

use std::sync::Arc;
use std::time::Duration;

use observer_core::SinkError;
use observer_sink_otlp::{Compression, Protocol};
use opentelemetry::{Context, InstrumentationScope};
use opentelemetry_otlp::{
    ExporterBuildError, LogExporter, MetricExporter, Protocol as Otlp, RetryPolicy,
    WithExportConfig, WithHttpConfig, WithTonicConfig,
};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::logs::{
    BatchLogProcessor, LogBatch, LogExporter as ExportLogs, LogProcessor, SdkLogRecord,
};
use opentelemetry_sdk::metrics::Temporality;
use opentelemetry_sdk::metrics::data::ResourceMetrics;
use opentelemetry_sdk::metrics::exporter::PushMetricExporter;
use opentelemetry_sdk::trace::{
    BatchSpanProcessor, Span, SpanData, SpanExporter as ExportSpans, SpanProcessor,
};
use tokio::runtime::Handle;

use super::grpc::{self, Headers};
use super::http::Http;
use super::settings::Target;
use super::stats::ExportStats;

/// Exporter that records the result of every export.
#[derive(Debug)]
pub(crate) struct Recorded<E> {
    exporter: E,
    stats: Arc<ExportStats>,
}

/// Processor that receives only items with a reservation, so that its queue never overflows.
#[derive(Debug)]
pub(super) struct Bounded<P> {
    pub(super) processor: P,
    pub(super) stats: Arc<ExportStats>,
}

/// Returns a policy of three retries within about two seconds. They cover the restart of a
/// collector. Items that are not accepted by then are lost and counted.
fn retry_policy() -> RetryPolicy {
    RetryPolicy::recommended()
}

fn over_http<B: WithExportConfig + WithHttpConfig>(builder: B, target: &Target, http: Http) -> B {
    builder
        .with_http_client(http)
        .with_endpoint(target.url.as_str())
        .with_protocol(Otlp::HttpBinary)
        .with_timeout(target.timeout)
        .with_retry_policy(retry_policy())
}

fn over_grpc<B: WithExportConfig + WithTonicConfig>(
    builder: B,
    target: &Target,
) -> Result<B, SinkError> {
    let builder = builder
        .with_channel(grpc::channel(target)?)
        .with_interceptor(Headers(target.headers.clone()))
        .with_timeout(target.timeout)
        .with_retry_policy(retry_policy());
    Ok(match target.compression {
        Compression::None => builder,
        Compression::Gzip => builder.with_compression(opentelemetry_otlp::Compression::Gzip),
    })
}

fn build_error(error: ExporterBuildError) -> SinkError {
    SinkError::blocked(error)
}

pub(super) fn spans(
    target: &Target,
    stats: &Arc<ExportStats>,
) -> Result<Recorded<opentelemetry_otlp::SpanExporter>, SinkError> {
    let exporter = opentelemetry_otlp::SpanExporter::builder();
    let exporter = match target.protocol {
        Protocol::Http => over_http(exporter.with_http(), target, client(target, stats)?).build(),
        Protocol::Grpc => over_grpc(exporter.with_tonic(), target)?.build(),
    };
    Ok(Recorded { exporter: exporter.map_err(build_error)?, stats: stats.clone() })
}

pub(super) fn logs(
    target: &Target,
    stats: &Arc<ExportStats>,
) -> Result<Recorded<LogExporter>, SinkError> {
    let exporter = match target.protocol {
        Protocol::Http => {
            over_http(LogExporter::builder().with_http(), target, client(target, stats)?).build()
        }
        Protocol::Grpc => over_grpc(LogExporter::builder().with_tonic(), target)?.build(),
    };
    Ok(Recorded { exporter: exporter.map_err(build_error)?, stats: stats.clone() })
}

pub(super) fn metrics(
    target: &Target,
    stats: &Arc<ExportStats>,
) -> Result<Recorded<MetricExporter>, SinkError> {
    let exporter = MetricExporter::builder().with_temporality(Temporality::Cumulative);
    let exporter = match target.protocol {
        Protocol::Http => over_http(exporter.with_http(), target, client(target, stats)?).build(),
        Protocol::Grpc => over_grpc(exporter.with_tonic(), target)?.build(),
    };
    Ok(Recorded { exporter: exporter.map_err(build_error)?, stats: stats.clone() })
}

fn client(target: &Target, stats: &Arc<ExportStats>) -> Result<Http, SinkError> {
    Http::new(target, Handle::current(), stats.clone())
}

impl<E: ExportSpans> ExportSpans for Recorded<E> {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let count = batch.len();
        self.stats.release(count);
        let result = self.exporter.export(batch).await;
        self.stats.record(count, &result);
        result
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.exporter.shutdown_with_timeout(timeout)
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.exporter.force_flush()
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.exporter.set_resource(resource);
    }
}

impl<E: ExportLogs> ExportLogs for Recorded<E> {
    async fn export(&self, batch: LogBatch<'_>) -> OTelSdkResult {
        let count = batch.iter().count();
        self.stats.release(count);
        let result = self.exporter.export(batch).await;
        self.stats.record(count, &result);
        result
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.exporter.shutdown_with_timeout(timeout)
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.exporter.set_resource(resource);
    }
}

impl<E: PushMetricExporter> PushMetricExporter for Recorded<E> {
    async fn export(&self, metrics: &ResourceMetrics) -> OTelSdkResult {
        let result = self.exporter.export(metrics).await;
        self.stats.record(1, &result);
        result
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.exporter.force_flush()
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.exporter.shutdown_with_timeout(timeout)
    }

    fn temporality(&self) -> Temporality {
        self.exporter.temporality()
    }
}

impl SpanProcessor for Bounded<BatchSpanProcessor> {
    fn on_start(&self, span: &mut Span, context: &Context) {
        self.processor.on_start(span, context);
    }

    fn on_end(&self, span: SpanData) {
        if self.stats.try_reserve() {
            self.processor.on_end(span);
        }
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.processor.force_flush()
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.processor.shutdown_with_timeout(timeout)
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.processor.set_resource(resource);
    }
}

impl LogProcessor for Bounded<BatchLogProcessor> {
    fn emit(&self, record: &mut SdkLogRecord, scope: &InstrumentationScope) {
        if self.stats.try_reserve() {
            self.processor.emit(record, scope);
        }
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.processor.force_flush()
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.processor.shutdown_with_timeout(timeout)
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.processor.set_resource(resource);
    }
}
