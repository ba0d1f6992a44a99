//! Export of the observer's own spans, metrics and log over OTLP.
//!
//! An export produces no telemetry of its own. Only ingest requests and deliveries have spans, and
//! only log events of the observer's crates are exported, except those of this module. Queues are
//! bounded, and dropped items are counted.
//!
//! The processors and readers of the SDK block on their own threads, which is its stable mode. Only
//! HTTP and gRPC requests run on the runtime of the observer.

mod collector;
mod exporters;
mod grpc;
mod http;
mod lock;
mod metrics;
mod probe;
mod settings;
mod stats;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use observer_core::SinkError;
use observer_pipeline::SPAN_TARGET;
use opentelemetry::KeyValue;
use opentelemetry::trace::TracerProvider;
use opentelemetry_appender_tracing::layer::OpenTelemetryTracingBridge;
use opentelemetry_otlp::MetricExporter;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::logs::{self, BatchLogProcessor, SdkLoggerProvider};
use opentelemetry_sdk::trace::{self, BatchSpanProcessor, SdkTracerProvider};
use tokio::task::{JoinSet, spawn_blocking};
use tokio::time::{Instant, timeout_at};
use tracing::{Metadata, Subscriber};
use tracing_subscriber::filter::{EnvFilter, FilterExt, LevelFilter, Targets, filter_fn};
use tracing_subscriber::layer::Layer;
use tracing_subscriber::registry::LookupSpan;

use self::exporters::{Bounded, Recorded};
use self::metrics::{Export, Exporting};
pub(crate) use self::probe::probe;
pub(crate) use self::settings::Settings;
use self::stats::ExportStats;
use crate::config::parse::substitute::Environment;
use crate::config::{Config, ConfigError, Problem, Signal};

/// Target of the log events about exports, which are not exported themselves.
const OWN_TARGET: &str = "observer::telemetry";
/// Limit of the time for the last exports at shutdown.
const SHUTDOWN_LIMIT: Duration = Duration::from_secs(5);

/// Exports of spans, metrics and the log, with their statistics.
pub(crate) struct Telemetry {
    settings: Settings,
    resource: Resource,
    stats: BTreeMap<Signal, Arc<ExportStats>>,
    spans: Option<SdkTracerProvider>,
    logs: Option<SdkLoggerProvider>,
    metrics: Option<Exporting>,
}

/// Export of metrics that has not started.
pub(crate) type MetricsExport = Export<Recorded<MetricExporter>>;

impl Telemetry {
    /// Builds the exports of spans and of the log. They connect on first use.
    ///
    /// # Errors
    /// If a TLS file can't be used; the error names its key.
    ///
    /// # Panics
    /// If the caller is outside a tokio runtime.
    pub(crate) fn new(config: &Config, environment: Environment<'_>) -> Result<Self, ConfigError> {
        let settings = Settings::resolve(&config.telemetry, environment);
        let attributes =
            settings.resource.iter().map(|(key, value)| KeyValue::new(key.clone(), value.clone()));
        let resource = Resource::builder_empty().with_attributes(attributes).build();
        let (max_spans, max_logs) = (settings.max_spans, settings.max_logs);
        let stats = |(signal, target): (&Signal, &settings::Target)| {
            let capacity = if *signal == Signal::Logs { max_logs } else { max_spans };
            (*signal, Arc::new(ExportStats::new(*signal, target.describe(), capacity)))
        };
        let stats = settings.targets.iter().map(stats).collect();
        let mut telemetry =
            Self { settings, resource, stats, spans: None, logs: None, metrics: None };
        let built = telemetry.build_spans().and_then(|()| telemetry.build_logs());
        built.map_err(|error| config.invalid(vec![problem(&error)]))?;
        Ok(telemetry)
    }

    fn build_spans(&mut self) -> Result<(), SinkError> {
        let Some(target) = self.settings.targets.get(&Signal::Traces) else { return Ok(()) };
        let stats = &self.stats[&Signal::Traces];
        let batches = trace::BatchConfigBuilder::default()
            .with_max_queue_size(self.settings.max_spans)
            .build();
        let processor = BatchSpanProcessor::builder(exporters::spans(target, stats)?)
            .with_batch_config(batches)
            .build();
        let provider = SdkTracerProvider::builder()
            .with_resource(self.resource.clone())
            .with_sampler(self.settings.sampler.clone())
            .with_span_processor(Bounded { processor, stats: stats.clone() });
        self.spans = Some(provider.build());
        Ok(())
    }

    fn build_logs(&mut self) -> Result<(), SinkError> {
        let Some(target) = self.settings.targets.get(&Signal::Logs) else { return Ok(()) };
        let stats = &self.stats[&Signal::Logs];
        let batches =
            logs::BatchConfigBuilder::default().with_max_queue_size(self.settings.max_logs).build();
        let processor = BatchLogProcessor::builder(exporters::logs(target, stats)?)
            .with_batch_config(batches)
            .build();
        let provider = SdkLoggerProvider::builder()
            .with_resource(self.resource.clone())
            .with_log_processor(Bounded { processor, stats: stats.clone() });
        self.logs = Some(provider.build());
        Ok(())
    }

    /// Returns the layers of the subscriber that export spans and log events. `log` filters the
    /// latter.
    pub(crate) fn layers<S>(&self, log: EnvFilter) -> Vec<Box<dyn Layer<S> + Send + Sync>>
    where
        S: Subscriber + for<'a> LookupSpan<'a> + Send + Sync,
    {
        let spans = self.spans.as_ref().map(|provider| {
            tracing_opentelemetry::layer()
                .with_tracer(provider.tracer("observer"))
                .with_location(false)
                .with_threads(false)
                .with_target(false)
                .with_tracked_inactivity(false)
                .with_filter(Targets::new().with_target(SPAN_TARGET, LevelFilter::INFO))
                .boxed()
        });
        let logs = self.logs.as_ref().map(|provider| {
            OpenTelemetryTracingBridge::new(provider)
                .with_filter(log.and(filter_fn(is_exported)))
                .boxed()
        });
        spans.into_iter().chain(logs).collect()
    }

    /// Builds the export of metrics, or returns `None` if it is off.
    ///
    /// # Errors
    /// If a TLS file can't be used; the error names its key.
    pub(crate) fn metrics(
        &self,
        config: &Config,
        registry: &prometheus::Registry,
    ) -> Result<Option<MetricsExport>, ConfigError> {
        let Some(target) = self.settings.targets.get(&Signal::Metrics) else { return Ok(None) };
        let exporter = exporters::metrics(target, &self.stats[&Signal::Metrics]);
        let exporter = exporter.map_err(|error| config.invalid(vec![problem(&error)]))?;
        Ok(Some(Export::new(
            exporter,
            self.resource.clone(),
            registry.clone(),
            self.settings.interval,
        )))
    }

    /// Starts the export of metrics, and registers the statistics of telemetry with `registry`.
    pub(crate) fn start(&mut self, export: Option<MetricsExport>, registry: &prometheus::Registry) {
        if !self.stats.is_empty()
            && let Err(error) =
                registry.register(Box::new(collector::StatsCollector::new(&self.stats)))
        {
            tracing::warn!(%error, "the metrics about telemetry could not be registered");
        }
        let Some(mut export) = export else { return };
        export.record_baseline();
        match export.start() {
            Ok(exporting) => self.metrics = Some(exporting),
            Err(error) => {
                tracing::error!(%error, "the thread that exports metrics could not be started");
            }
        }
    }

    /// Logs the warnings about ignored settings.
    pub(crate) fn log_warnings(&self) {
        for reason in &self.settings.warnings {
            tracing::warn!(reason, "a telemetry setting is ignored");
        }
    }

    /// Describes the targets in one line, or returns `None` if telemetry is off.
    pub(crate) fn describe(&self) -> Option<String> {
        (!self.settings.targets.is_empty()).then(|| self.settings.to_string())
    }

    /// Gathers the metrics for the last time. [`Shutdown::finish`] then exports everything that is
    /// queued. Both steps together take at most `timeout`, and at most [`SHUTDOWN_LIMIT`].
    pub(crate) async fn shut_down(self, timeout: Duration) -> Shutdown {
        let deadline = Instant::now() + timeout.min(SHUTDOWN_LIMIT);
        let Self { stats, spans, logs, metrics, .. } = self;
        let gathering = metrics.map(|metrics| spawn_blocking(move || metrics.gather()));
        let metrics = match gathering {
            // A thread that hangs in an export can't gather, and its metrics are lost.
            Some(gathering) => timeout_at(deadline, gathering).await.ok().and_then(Result::ok),
            None => None,
        };
        Shutdown { deadline, stats, spans, logs, metrics }
    }
}

/// Telemetry that is shutting down.
pub(crate) struct Shutdown {
    deadline: Instant,
    stats: BTreeMap<Signal, Arc<ExportStats>>,
    spans: Option<SdkTracerProvider>,
    logs: Option<SdkLoggerProvider>,
    metrics: Option<Exporting>,
}

impl Shutdown {
    /// Exports the queued items until the deadline.
    pub(crate) async fn finish(self) {
        let Self { deadline, stats, spans, logs, metrics } = self;
        let remaining = deadline.saturating_duration_since(Instant::now());
        let mut tasks = JoinSet::new();
        if let Some(metrics) = metrics {
            tasks.spawn_blocking(move || metrics.finish());
        }
        if let Some(spans) = spans {
            tasks.spawn_blocking(move || drop(spans.shutdown_with_timeout(remaining)));
        }
        if let Some(logs) = logs {
            tasks.spawn_blocking(move || drop(logs.shutdown_with_timeout(remaining)));
        }
        let all = async { while tasks.join_next().await.is_some() {} };
        let is_late = timeout_at(deadline, all).await.is_err();
        // Blocking tasks can't be aborted; they continue until the process exits.
        tasks.detach_all();
        let queued: usize = stats.values().map(|stats| stats.queued()).sum();
        if is_late || queued > 0 {
            tracing::warn!(queued, "the last telemetry was not exported in time and is lost");
        }
    }
}

impl fmt::Debug for Telemetry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Telemetry").field("settings", &self.settings).finish_non_exhaustive()
    }
}

/// Returns whether a log event is exported.
fn is_exported(metadata: &Metadata<'_>) -> bool {
    let target = metadata.target();
    let is_ours =
        target == "observer" || target.starts_with("observer::") || target.starts_with("observer_");
    metadata.is_event() && is_ours && !target.starts_with(OWN_TARGET)
}

/// Converts an error about a file, whose message names the key.
fn problem(error: &SinkError) -> Problem {
    Problem::new("telemetry", error.report())
}

#[cfg(test)]
mod tests {
    use tracing::metadata::Kind;

    use super::*;

    #[test]
    fn log_events_about_exports_are_not_exported() {
        assert_eq!(module_path!(), format!("{OWN_TARGET}::tests"));
        for (target, expected) in [
            ("observer", true),
            ("observer::serve", true),
            ("observer_pipeline::worker", true),
            (OWN_TARGET, false),
            ("observer::telemetry::account", false),
            ("hyper_util::client::legacy", false),
            ("h2", false),
            ("opentelemetry_sdk", false),
            ("observers", false),
        ] {
            assert_eq!(is_exported(&metadata(target)), expected, "{target}");
        }
    }

    fn metadata(target: &'static str) -> Metadata<'static> {
        struct Unused;
        impl tracing::callsite::Callsite for Unused {
            fn set_interest(&self, _: tracing::subscriber::Interest) {}
            fn metadata(&self) -> &Metadata<'_> {
                unreachable!("no subscriber uses this call site")
            }
        }
        static CALLSITE: Unused = Unused;
        let fields = tracing::field::FieldSet::new(&[], tracing::callsite::Identifier(&CALLSITE));
        Metadata::new("event", target, tracing::Level::INFO, None, None, None, fields, Kind::EVENT)
    }
}
