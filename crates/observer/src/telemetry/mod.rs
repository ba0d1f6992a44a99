//! What the observer tells of itself, by OTLP: spans, metrics and its log.
//!
//! It can't feed itself. Only requests that bring events have spans, and only what the observer's
//! own crates log goes out, but for what is logged here: what exporters do and say makes nothing to
//! export. What waits to be sent has a bound, and what there is no room for is counted.
//!
//! The SDK's processors and readers wait on threads of their own, which is what of it is stable,
//! and so that nothing of it is on the runtime's threads but requests.

mod account;
mod collector;
mod exporters;
mod grpc;
mod http;
mod metrics;
mod reach;
mod settings;
mod variables;

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

use self::account::Account;
use self::exporters::{Accounted, Bounded};
use self::metrics::{Export, Exporting};
pub(crate) use self::reach::reach;
pub(crate) use self::settings::Settings;
use crate::config::fill::Environment;
use crate::config::{Config, ConfigError, Problem, Signal};

/// What is logged below this says how exporting goes, and is not exported.
const OWN: &str = "observer::telemetry";
/// The longest that what is left may take to go out when the program ends.
const FAREWELL: Duration = Duration::from_secs(5);

/// All that goes out, and the account of it.
pub(crate) struct Telemetry {
    settings: Settings,
    resource: Resource,
    accounts: BTreeMap<Signal, Arc<Account>>,
    spans: Option<SdkTracerProvider>,
    logs: Option<SdkLoggerProvider>,
    metrics: Option<Exporting>,
}

/// Metrics that are yet to go out.
pub(crate) type MetricsExport = Export<Accounted<MetricExporter>>;

impl Telemetry {
    /// As file and environment say. Nothing is connected yet, and it needs a runtime to be there.
    ///
    /// # Errors
    /// Which key or variable names a file that can't be used.
    pub(crate) fn new(config: &Config, environment: Environment<'_>) -> Result<Self, ConfigError> {
        let settings = Settings::resolve(&config.telemetry, environment);
        let attributes =
            settings.resource.iter().map(|(key, value)| KeyValue::new(key.clone(), value.clone()));
        let resource = Resource::builder_empty().with_attributes(attributes).build();
        let (max_spans, max_logs) = (settings.max_spans, settings.max_logs);
        let account = |signal: Signal, target: &settings::Target| {
            let room = if signal == Signal::Logs { max_logs } else { max_spans };
            (signal, Arc::new(Account::new(signal, target.shown(), room)))
        };
        let accounts =
            settings.targets.iter().map(|(signal, target)| account(*signal, target)).collect();
        let mut telemetry =
            Self { settings, resource, accounts, spans: None, logs: None, metrics: None };
        let built = telemetry.build_spans().and_then(|()| telemetry.build_logs());
        built.map_err(|error| config.invalid(vec![problem(&error)]))?;
        Ok(telemetry)
    }

    fn build_spans(&mut self) -> Result<(), SinkError> {
        let Some(target) = self.settings.targets.get(&Signal::Traces) else { return Ok(()) };
        let account = &self.accounts[&Signal::Traces];
        let batches = trace::BatchConfigBuilder::default()
            .with_max_queue_size(self.settings.max_spans)
            .build();
        let processor = BatchSpanProcessor::builder(exporters::spans(target, account)?)
            .with_batch_config(batches)
            .build();
        let provider = SdkTracerProvider::builder()
            .with_resource(self.resource.clone())
            .with_sampler(self.settings.sampler.clone())
            .with_span_processor(Bounded { processor, account: account.clone() });
        self.spans = Some(provider.build());
        Ok(())
    }

    fn build_logs(&mut self) -> Result<(), SinkError> {
        let Some(target) = self.settings.targets.get(&Signal::Logs) else { return Ok(()) };
        let account = &self.accounts[&Signal::Logs];
        let batches =
            logs::BatchConfigBuilder::default().with_max_queue_size(self.settings.max_logs).build();
        let processor = BatchLogProcessor::builder(exporters::logs(target, account)?)
            .with_batch_config(batches)
            .build();
        let provider = SdkLoggerProvider::builder()
            .with_resource(self.resource.clone())
            .with_log_processor(Bounded { processor, account: account.clone() });
        self.logs = Some(provider.build());
        Ok(())
    }

    /// What listens to the process, for its one subscriber. `log` is what shows of the log.
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

    /// Metrics that are to go out, if they are.
    ///
    /// # Errors
    /// Which key or variable names a file that can't be used.
    pub(crate) fn metrics(
        &self,
        config: &Config,
        registry: &prometheus::Registry,
    ) -> Result<Option<MetricsExport>, ConfigError> {
        let Some(target) = self.settings.targets.get(&Signal::Metrics) else { return Ok(None) };
        let exporter = exporters::metrics(target, &self.accounts[&Signal::Metrics]);
        let exporter = exporter.map_err(|error| config.invalid(vec![problem(&error)]))?;
        Ok(Some(Export::new(
            exporter,
            self.resource.clone(),
            registry.clone(),
            self.settings.interval,
        )))
    }

    /// Let metrics go out from now on, beside the account of telemetry itself in `registry`.
    pub(crate) fn begin(&mut self, export: Option<MetricsExport>, registry: &prometheus::Registry) {
        if !self.accounts.is_empty()
            && let Err(error) =
                registry.register(Box::new(collector::AccountCollector::new(&self.accounts)))
        {
            tracing::warn!(%error, "what becomes of telemetry doesn't show in the metrics");
        }
        let Some(mut export) = export else { return };
        export.restored();
        match export.start() {
            Ok(exporting) => self.metrics = Some(exporting),
            Err(error) => {
                tracing::error!(%error, "metrics don't go out, since there can be no thread for it")
            }
        }
    }

    /// Say what was read in the environment and makes no sense.
    pub(crate) fn tell_ignored(&self) {
        for ignored in &self.settings.ignored {
            tracing::warn!("{ignored}");
        }
    }

    /// Where what goes, in a line for people; `None` where nothing goes out.
    pub(crate) fn shown(&self) -> Option<String> {
        (!self.settings.targets.is_empty()).then(|| self.settings.to_string())
    }

    /// Have what is left go out, for up to `deadline` from now on. This takes a last look at the
    /// metrics, and [`finish`](Ending::finish) sends all.
    pub(crate) async fn end(self, deadline: Duration) -> Ending {
        let until = Instant::now() + deadline.min(FAREWELL);
        let Self { accounts, spans, logs, metrics, .. } = self;
        let looked = metrics.map(|metrics| spawn_blocking(move || metrics.look()));
        let metrics = match looked {
            // One that hangs in an export can't look at anything, and is lost.
            Some(looked) => timeout_at(until, looked).await.ok().and_then(Result::ok),
            None => None,
        };
        Ending { until, accounts, spans, logs, metrics }
    }
}

/// What is left of telemetry.
pub(crate) struct Ending {
    until: Instant,
    accounts: BTreeMap<Signal, Arc<Account>>,
    spans: Option<SdkTracerProvider>,
    logs: Option<SdkLoggerProvider>,
    metrics: Option<Exporting>,
}

impl Ending {
    pub(crate) async fn finish(self) {
        let Self { until, accounts, spans, logs, metrics } = self;
        let left = until.saturating_duration_since(Instant::now());
        let mut ending = JoinSet::new();
        if let Some(metrics) = metrics {
            ending.spawn_blocking(move || metrics.finish());
        }
        if let Some(spans) = spans {
            ending.spawn_blocking(move || drop(spans.shutdown_with_timeout(left)));
        }
        if let Some(logs) = logs {
            ending.spawn_blocking(move || drop(logs.shutdown_with_timeout(left)));
        }
        let all = async { while ending.join_next().await.is_some() {} };
        let is_late = timeout_at(until, all).await.is_err();
        // Whatever still waits goes on for as long as the process does.
        ending.detach_all();
        let waiting: usize = accounts.values().map(|account| account.waiting()).sum();
        if is_late || waiting > 0 {
            tracing::warn!(waiting, "the last telemetry did not go out in time, and is lost");
        }
    }
}

impl fmt::Debug for Telemetry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Telemetry").field("settings", &self.settings).finish_non_exhaustive()
    }
}

/// Whether something that is logged goes out.
fn is_exported(metadata: &Metadata<'_>) -> bool {
    let target = metadata.target();
    let is_ours =
        target == "observer" || target.starts_with("observer::") || target.starts_with("observer_");
    metadata.is_event() && is_ours && !target.starts_with(OWN)
}

/// What names the file says which.
fn problem(error: &SinkError) -> Problem {
    Problem::new("telemetry", error.report())
}

#[cfg(test)]
mod tests {
    use tracing::metadata::Kind;

    use super::*;

    #[test]
    fn what_says_how_exporting_goes_is_not_exported() {
        assert_eq!(module_path!(), format!("{OWN}::tests"));
        for (target, expected) in [
            ("observer", true),
            ("observer::serve", true),
            ("observer_pipeline::worker", true),
            (OWN, false),
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
        struct Nowhere;
        impl tracing::callsite::Callsite for Nowhere {
            fn set_interest(&self, _: tracing::subscriber::Interest) {}
            fn metadata(&self) -> &Metadata<'_> {
                unreachable!("nobody asks")
            }
        }
        static NOWHERE: Nowhere = Nowhere;
        let fields = tracing::field::FieldSet::new(&[], tracing::callsite::Identifier(&NOWHERE));
        Metadata::new("event", target, tracing::Level::INFO, None, None, None, fields, Kind::EVENT)
    }
}
