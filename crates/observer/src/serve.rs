//! The running observer: a pipeline with the configured sinks, and a server in front of it.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use observer_core::private_files;
use observer_core::redact::RedactionCounts;
use observer_pipeline::{Pipeline, StartError};
use observer_prices::Prices;
use observer_server::{BindError, InheritedSockets, ReloadHandler, Scope, Server};

use crate::reload::Reloader;
use crate::reload_metrics::ReloadMetrics;
use crate::telemetry::Telemetry;
use crate::{Config, ConfigError, Registry, file_sinks, options, permissions, prices, redaction};

/// Error type for starting the observer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServeError {
    /// The configuration is invalid.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The pipeline can't start.
    #[error(transparent)]
    Start(#[from] StartError),
    /// An address can't be listened on.
    #[error(transparent)]
    Bind(#[from] BindError),
}

/// Running observer.
///
/// ```no_run
/// # async fn serve() -> Result<(), observer::ServeError> {
/// let config = observer::Config::default();
/// let service = observer::Service::start(&config, observer::registry::with_defaults).await?;
/// service.run(async { tokio::signal::ctrl_c().await.unwrap_or_default() }).await;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
#[must_use]
pub struct Service {
    pipeline: Pipeline,
    server: Server,
    /// Name of the sink whose store answers queries, for the reloader.
    queried: Option<String>,
    /// Counts of redacted secrets, for the reloader.
    redactions: RedactionCounts,
    reload_metrics: ReloadMetrics,
    reloader: Option<Arc<Reloader>>,
    telemetry: Option<Telemetry>,
    shutdown_timeout: Duration,
}

/// Parts of the process that an embedded observer does not have.
#[derive(Default)]
pub(crate) struct Outside {
    pub(crate) telemetry: Option<Telemetry>,
    /// Sockets of a service manager.
    pub(crate) sockets: InheritedSockets,
}

impl Service {
    /// Builds the sinks, opens the journal and binds the addresses. `sink_types` receives the
    /// metrics registry that `/metrics` exposes.
    ///
    /// This function ignores `[telemetry]`, since spans and the log concern the whole process; only
    /// [`run`](crate::run) applies it.
    ///
    /// # Errors
    /// If the configuration is invalid, the journal can't be opened, or an address can't be bound.
    /// Failures after the start are logged, reported by `/readyz` and retried.
    pub async fn start(
        config: &Config,
        sink_types: impl FnOnce(&prometheus::Registry) -> Registry,
    ) -> Result<Self, ServeError> {
        config.validate()?;
        let metrics = prometheus::Registry::new();
        let prices = Prices::new(config.load_prices()?);
        let registry = sink_types(&metrics).with_prices(Arc::new(prices));
        Self::build(config, &registry, metrics, Outside::default()).await
    }

    /// Starts an observer whose configuration can be reloaded by `POST /-/reload` or the
    /// [reloader](Self::reloader).
    ///
    /// # Errors
    /// If `load` fails, or the reasons given for [`start`](Self::start) apply.
    pub async fn start_from(
        load: impl Fn() -> Result<Config, ConfigError> + Send + Sync + 'static,
        sink_types: impl Fn(&prometheus::Registry) -> Registry + Send + Sync + 'static,
    ) -> Result<Self, ServeError> {
        Self::start_loaded(load()?, load, sink_types, Outside::default()).await
    }

    /// Starts an observer from a configuration that `load` has returned before.
    pub(crate) async fn start_loaded(
        config: Config,
        load: impl Fn() -> Result<Config, ConfigError> + Send + Sync + 'static,
        sink_types: impl Fn(&prometheus::Registry) -> Registry + Send + Sync + 'static,
        outside: Outside,
    ) -> Result<Self, ServeError> {
        config.validate()?;
        let metrics = prometheus::Registry::new();
        let table = config.load_prices()?;
        prices::log(&config, &table);
        let prices = Prices::new(table);
        let registry = sink_types(&metrics).with_prices(Arc::new(prices.clone()));
        let mut service = Self::build(&config, &registry, metrics, outside).await?;
        let dry_run = move || sink_types(&prometheus::Registry::new());
        let reloader = Reloader::new(
            Box::new(load),
            Box::new(dry_run),
            registry,
            prices,
            service.pipeline.clone(),
            &service.server,
            config,
        );
        let reloader = reloader
            .with_queried(service.queried.take())
            .with_redactions(service.redactions.clone())
            .with_metrics(service.reload_metrics.clone());
        let reloader = Arc::new(reloader);
        service.server.set_reload_handler(reloader.clone());
        service.reloader = Some(reloader);
        Ok(service)
    }

    async fn build(
        config: &Config,
        registry: &Registry,
        metrics: prometheus::Registry,
        outside: Outside,
    ) -> Result<Self, ServeError> {
        let Outside { mut telemetry, sockets } = outside;
        // The server loads the TLS files itself. This call reports unusable files before anything
        // else starts.
        config.load_tls()?;
        let sinks = registry.build_all(config)?;
        let redactions = RedactionCounts::default();
        let redactor = config.load_redactor(&redactions)?;
        redaction::register(&redactions, &metrics);
        let reload_metrics = ReloadMetrics::register(&metrics);
        file_sinks::warn_of_overlaps(config);
        // Private before a sink creates it on the way. Sinks report a folder that can't be created.
        let _ = private_files::create_folder(&config.sinks_dir());
        for warning in permissions::warnings(config) {
            tracing::warn!(warning, "a file with a secret is readable by others");
        }
        let mut export = telemetry
            .as_ref()
            .map(|telemetry| telemetry.metrics(config, &metrics))
            .transpose()?
            .flatten();
        // The baseline must precede the first delivery.
        if let Some(export) = &mut export {
            export.record_baseline();
        }
        let names: Vec<_> = sinks.iter().map(|sink| sink.name.clone()).collect();
        let queried = sinks.iter().find_map(|sink| Some((sink.name.clone(), sink.store.clone()?)));
        let (queried, store) = queried.unzip();
        let specs = sinks.into_iter().map(options::sink);
        let pipeline = Pipeline::builder()
            .journal(options::with_clock(options::journal(config), registry.clock()))
            .ingest(options::ingest(config))
            .sinks(specs)
            .start()
            .await?;
        log_recovery(&pipeline);
        let options = options::server(config, redactor);
        let (for_server, registry) = (pipeline.clone(), metrics.clone());
        let bound = Server::with_sockets(options, sockets, for_server, registry).await;
        let server = match bound {
            Ok(server) => server,
            Err(error) => {
                pipeline.shutdown(Duration::ZERO).await;
                return Err(error.into());
            }
        };
        server.event_store().set(store);
        if let Some(telemetry) = &mut telemetry {
            telemetry.start(export, &metrics);
        }
        log_ready(config, &server, &names, telemetry.as_ref().and_then(Telemetry::describe));
        Ok(Self {
            pipeline,
            server,
            queried,
            redactions,
            reload_metrics,
            reloader: None,
            telemetry,
            shutdown_timeout: config.server.shutdown_timeout,
        })
    }

    /// Returns the addresses of plain HTTP.
    #[must_use]
    pub fn local_addrs(&self) -> &[SocketAddr] {
        self.server.local_addrs()
    }

    /// Returns the addresses of TLS.
    #[must_use]
    pub fn local_tls_addrs(&self) -> &[SocketAddr] {
        self.server.local_tls_addrs()
    }

    /// Returns the path of the admin socket, or `None` if it is disabled or could not be bound.
    #[must_use]
    pub fn admin_socket(&self) -> Option<&Path> {
        self.server.admin_socket()
    }

    /// Returns the handle that reloads the configuration, or `None` after [`start`](Self::start).
    #[must_use]
    pub fn reloader(&self) -> Option<Arc<dyn ReloadHandler>> {
        self.reloader.clone().map(|reloader| reloader as _)
    }

    /// Serves until `shutdown` completes. Then it accepts no more requests, ends those in progress
    /// within half of `server.shutdown_timeout`, lets the sinks drain for the rest of it, and
    /// returns.
    ///
    /// # Cancel safety
    /// Dropping the future skips the drain. Undelivered events are delivered after the next start.
    pub async fn run(self, shutdown: impl Future<Output = ()>) {
        let Self { pipeline, server, telemetry, shutdown_timeout, .. } = self;
        let started = Instant::now();
        let metrics = server.metrics_guard();
        let mut stopping = started;
        let shutdown = async {
            shutdown.await;
            stopping = Instant::now();
        };
        server.run(shutdown, shutdown_timeout / 2).await;
        let shutdown_timeout = shutdown_timeout.saturating_sub(stopping.elapsed());
        let mut telemetry_shutdown = None;
        let last_gather = async {
            if let Some(telemetry) = telemetry {
                telemetry_shutdown = Some(telemetry.shut_down(shutdown_timeout).await);
            }
        };
        pipeline.shutdown_with(shutdown_timeout, last_gather).await;
        drop(metrics);
        log_stopped(&pipeline, started.elapsed());
        if let Some(shutdown) = telemetry_shutdown {
            shutdown.finish().await;
        }
    }
}

fn log_recovery(pipeline: &Pipeline) {
    let recovery = pipeline.recovery();
    let status = pipeline.status();
    tracing::info!(
        events = status.journal.head + 1 - status.journal.oldest,
        bytes = status.journal.bytes,
        head = status.journal.head,
        remembered_identities = status.ingest.remembered,
        created = recovery.created,
        "the journal is open"
    );
}

fn log_ready(config: &Config, server: &Server, sinks: &[String], telemetry: Option<String>) {
    let plain = server.local_addrs().iter().map(|address| format!("http://{address}"));
    let encrypted = server.local_tls_addrs().iter().map(|address| format!("https://{address}"));
    let listen: Vec<_> = plain.chain(encrypted).collect();
    let first = listen.first().map_or("", String::as_str);
    let event = r#"{"source":"demo","event_kind":"ok","ok":true}"#;
    let needs_token = !config.access.resolve().anonymous_scopes().contains(Scope::Ingest);
    let token = if needs_token { " --oauth2-bearer $OBSERVER_TOKEN" } else { "" };
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        config = config.origin.as_ref().map(|path| path.display().to_string()),
        listen = listen.join(" "),
        admin_socket = server.admin_socket().map(|path| path.display().to_string()),
        data = %config.data_dir.display(),
        sinks = sinks.join(" "),
        telemetry,
        example = format!("curl --json '{event}'{token} {first}/event"),
        "the observer is ready"
    );
    if needs_token
        && let Some(public) =
            server.local_addrs().iter().find(|address| !address.ip().is_loopback())
    {
        tracing::info!(
            address = %public,
            "tokens sent to this address are not encrypted unless a proxy adds TLS; \
             see [server.tls]"
        );
    }
}

fn log_stopped(pipeline: &Pipeline, served: Duration) {
    let status = pipeline.status();
    let pending: Vec<_> = status
        .sinks
        .iter()
        .map(|(name, sink)| (name, status.journal.head.saturating_sub(sink.position.seq)))
        .filter(|(_, pending)| *pending > 0)
        .map(|(name, pending)| format!("{name}: {pending}"))
        .collect();
    if pending.is_empty() {
        tracing::info!(
            served_seconds = served.as_secs(),
            "the observer has stopped; every sink has every event"
        );
    } else {
        tracing::warn!(
            served_seconds = served.as_secs(),
            pending = pending.join(", "),
            "the observer has stopped; pending events are delivered after the next start"
        );
    }
}
