//! Exporters that account for what they do, and processors with room for so much.

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

use super::account::Account;
use super::grpc::{self, Headers};
use super::http::Http;
use super::settings::Target;

/// An exporter, and the account of what became of what it was given.
#[derive(Debug)]
pub(crate) struct Accounted<E> {
    exporter: E,
    account: Arc<Account>,
}

/// A processor that is given no more than there is room for.
#[derive(Debug)]
pub(super) struct Bounded<P> {
    pub(super) processor: P,
    pub(super) account: Arc<Account>,
}

/// Three more tries within a second or two, and within the timeout: a collector that restarts is
/// worth that, and one that is gone costs a thread's sleep. What is not taken then is lost, and
/// counted.
fn retries() -> RetryPolicy {
    RetryPolicy::recommended()
}

fn over_http<B: WithExportConfig + WithHttpConfig>(builder: B, target: &Target, http: Http) -> B {
    builder
        .with_http_client(http)
        .with_endpoint(target.url.as_str())
        .with_protocol(Otlp::HttpBinary)
        .with_timeout(target.timeout)
        .with_retry_policy(retries())
}

fn over_grpc<B: WithExportConfig + WithTonicConfig>(
    builder: B,
    target: &Target,
) -> Result<B, SinkError> {
    let builder = builder
        .with_channel(grpc::channel(target)?)
        .with_interceptor(Headers(target.headers.clone()))
        .with_timeout(target.timeout)
        .with_retry_policy(retries());
    Ok(match target.compression {
        Compression::None => builder,
        Compression::Gzip => builder.with_compression(opentelemetry_otlp::Compression::Gzip),
    })
}

fn cannot_be(error: ExporterBuildError) -> SinkError {
    SinkError::blocked(error)
}

pub(super) fn spans(
    target: &Target,
    account: &Arc<Account>,
) -> Result<Accounted<opentelemetry_otlp::SpanExporter>, SinkError> {
    let exporter = opentelemetry_otlp::SpanExporter::builder();
    let exporter = match target.protocol {
        Protocol::Http => over_http(exporter.with_http(), target, client(target, account)?).build(),
        Protocol::Grpc => over_grpc(exporter.with_tonic(), target)?.build(),
    };
    Ok(Accounted { exporter: exporter.map_err(cannot_be)?, account: account.clone() })
}

pub(super) fn logs(
    target: &Target,
    account: &Arc<Account>,
) -> Result<Accounted<LogExporter>, SinkError> {
    let exporter = match target.protocol {
        Protocol::Http => {
            over_http(LogExporter::builder().with_http(), target, client(target, account)?).build()
        }
        Protocol::Grpc => over_grpc(LogExporter::builder().with_tonic(), target)?.build(),
    };
    Ok(Accounted { exporter: exporter.map_err(cannot_be)?, account: account.clone() })
}

pub(super) fn metrics(
    target: &Target,
    account: &Arc<Account>,
) -> Result<Accounted<MetricExporter>, SinkError> {
    let exporter = MetricExporter::builder().with_temporality(Temporality::Cumulative);
    let exporter = match target.protocol {
        Protocol::Http => over_http(exporter.with_http(), target, client(target, account)?).build(),
        Protocol::Grpc => over_grpc(exporter.with_tonic(), target)?.build(),
    };
    Ok(Accounted { exporter: exporter.map_err(cannot_be)?, account: account.clone() })
}

fn client(target: &Target, account: &Arc<Account>) -> Result<Http, SinkError> {
    Http::new(target, Handle::current(), account.clone())
}

impl<E: ExportSpans> ExportSpans for Accounted<E> {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let count = batch.len();
        self.account.let_out(count);
        let result = self.exporter.export(batch).await;
        self.account.ended(count, &result);
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

impl<E: ExportLogs> ExportLogs for Accounted<E> {
    async fn export(&self, batch: LogBatch<'_>) -> OTelSdkResult {
        let count = batch.iter().count();
        self.account.let_out(count);
        let result = self.exporter.export(batch).await;
        self.account.ended(count, &result);
        result
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.exporter.shutdown_with_timeout(timeout)
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.exporter.set_resource(resource);
    }
}

impl<E: PushMetricExporter> PushMetricExporter for Accounted<E> {
    async fn export(&self, metrics: &ResourceMetrics) -> OTelSdkResult {
        let result = self.exporter.export(metrics).await;
        self.account.ended(1, &result);
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
        if self.account.let_in() {
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
        if self.account.let_in() {
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
