//! Exporters that record statistics, and processors with a bounded queue.

use std::sync::Arc;
use std::time::Duration;

use observer_core::SinkError;
use observer_sink_otlp::{Compression, Protocol};
use opentelemetry::{Context, InstrumentationScope};
use opentelemetry_otlp::{
    ExporterBuildError, LogExporter, MetricExporter, Protocol as Otlp, RetryPolicy, SpanExporter,
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

use super::grpc::{Connection, Headers};
use super::http::Http;
use super::settings::Target;
use super::stats::ExportStats;

/// Exporter that records the result of every export, and opens a new connection after a failure.
#[derive(Debug)]
pub(crate) struct Recorded<E> {
    exporter: E,
    stats: Arc<ExportStats>,
    /// Connection of an exporter over gRPC. An HTTP client has connections of its own.
    connection: Option<Connection>,
}

impl<E> Recorded<E> {
    fn record(&self, count: usize, result: &OTelSdkResult) {
        self.stats.record(count, result);
        if let (Err(_), Some(connection)) = (result, &self.connection) {
            connection.renew();
        }
    }
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
) -> Result<(B, Connection), SinkError> {
    let (channel, connection) = Connection::open(target)?;
    let builder = builder
        .with_channel(channel)
        .with_interceptor(Headers(target.headers.clone()))
        .with_timeout(target.timeout)
        .with_retry_policy(retry_policy());
    let builder = match target.compression {
        Compression::None => builder,
        Compression::Gzip => builder.with_compression(opentelemetry_otlp::Compression::Gzip),
    };
    Ok((builder, connection))
}

fn build_error(error: ExporterBuildError) -> SinkError {
    SinkError::blocked(error)
}

pub(super) fn spans(
    target: &Target,
    stats: &Arc<ExportStats>,
) -> Result<Recorded<SpanExporter>, SinkError> {
    let builder = SpanExporter::builder();
    let (exporter, connection) = match target.protocol {
        Protocol::Http => {
            (over_http(builder.with_http(), target, client(target, stats)?).build(), None)
        }
        Protocol::Grpc => {
            let (builder, connection) = over_grpc(builder.with_tonic(), target)?;
            (builder.build(), Some(connection))
        }
    };
    let exporter = exporter.map_err(build_error)?;
    Ok(Recorded { exporter, stats: stats.clone(), connection })
}

pub(super) fn logs(
    target: &Target,
    stats: &Arc<ExportStats>,
) -> Result<Recorded<LogExporter>, SinkError> {
    let builder = LogExporter::builder();
    let (exporter, connection) = match target.protocol {
        Protocol::Http => {
            (over_http(builder.with_http(), target, client(target, stats)?).build(), None)
        }
        Protocol::Grpc => {
            let (builder, connection) = over_grpc(builder.with_tonic(), target)?;
            (builder.build(), Some(connection))
        }
    };
    let exporter = exporter.map_err(build_error)?;
    Ok(Recorded { exporter, stats: stats.clone(), connection })
}

pub(super) fn metrics(
    target: &Target,
    stats: &Arc<ExportStats>,
) -> Result<Recorded<MetricExporter>, SinkError> {
    let builder = MetricExporter::builder().with_temporality(Temporality::Cumulative);
    let (exporter, connection) = match target.protocol {
        Protocol::Http => {
            (over_http(builder.with_http(), target, client(target, stats)?).build(), None)
        }
        Protocol::Grpc => {
            let (builder, connection) = over_grpc(builder.with_tonic(), target)?;
            (builder.build(), Some(connection))
        }
    };
    let exporter = exporter.map_err(build_error)?;
    Ok(Recorded { exporter, stats: stats.clone(), connection })
}

fn client(target: &Target, stats: &Arc<ExportStats>) -> Result<Http, SinkError> {
    Http::new(target, Handle::current(), stats.clone())
}

impl<E: ExportSpans> ExportSpans for Recorded<E> {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let count = batch.len();
        self.stats.release(count);
        let result = self.exporter.export(batch).await;
        self.record(count, &result);
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
        self.record(count, &result);
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
        self.record(1, &result);
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

#[cfg(test)]
mod tests {
    use observer_testing::otlp::{OtlpReceiver, Reply};
    use reqwest::header::HeaderMap;

    use super::*;
    use crate::config::Signal;

    fn target(receiver: &OtlpReceiver, protocol: Protocol) -> Target {
        let path = if protocol == Protocol::Http { "/v1/traces" } else { "" };
        Target {
            signal: Signal::Traces,
            url: receiver.url(path).parse().unwrap(),
            protocol,
            headers: HeaderMap::new(),
            compression: Compression::None,
            tls: Default::default(),
            timeout: Duration::from_millis(300),
        }
    }

    /// A collector that answers pings and no requests would keep the connection for ever.
    #[tokio::test]
    async fn connection_is_replaced_after_a_timeout() {
        for protocol in Protocol::ALL {
            let receiver = OtlpReceiver::scripted([Reply::accept(), Reply::accept()]);
            let target = target(&receiver, protocol);
            let stats = Arc::new(ExportStats::new(Signal::Traces, target.describe(), 10));
            let exporter = spans(&target, &stats).unwrap();
            exporter.export(Vec::new()).await.unwrap();
            exporter.export(Vec::new()).await.unwrap();
            assert_eq!(receiver.connections(), 1, "{protocol}");
            receiver.set_default_reply(Reply::hang());
            exporter.export(Vec::new()).await.unwrap_err();
            let before = receiver.connections();
            receiver.set_default_reply(Reply::accept());
            exporter.export(Vec::new()).await.unwrap();
            assert!(receiver.connections() > before, "{protocol}");
        }
    }
}
