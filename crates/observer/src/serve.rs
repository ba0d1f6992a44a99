//! The observer at work: a pipeline with the configured sinks, and a server in front of it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use observer_pipeline::{
    DedupWindow, IngestOptions, JournalOptions, Pipeline, Requirements, SinkSpec, StartError,
};
use observer_server::{BindError, ReloadHandler, Scope, Server, ServerOptions};

use crate::config::TlsConfig;
use crate::reload::Reloader;
use crate::telemetry::Telemetry;
use crate::{BuiltSink, Config, ConfigError, Registry};

/// Why the observer could not begin to serve.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServeError {
    /// A sink's configuration can't be.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The pipeline can't be started.
    #[error(transparent)]
    Start(#[from] StartError),
    /// An address can't be listened on.
    #[error(transparent)]
    Bind(#[from] BindError),
}

/// The observer as a configuration describes it.
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
    reloader: Option<Arc<Reloader>>,
    telemetry: Option<Telemetry>,
    shutdown_timeout: Duration,
}

impl Service {
    /// Build the sinks, open the journal and take the addresses. `types` is given the registry that
    /// `/metrics` shows.
    ///
    /// `[telemetry]` is the program's, since spans and the log are of a whole process: see
    /// [`run`](crate::run).
    ///
    /// # Errors
    /// When it can't begin. Later, what goes wrong is logged, shown and tried again.
    pub async fn start(
        config: &Config,
        types: impl FnOnce(&prometheus::Registry) -> Registry,
    ) -> Result<Self, ServeError> {
        config.validate()?;
        let metrics = prometheus::Registry::new();
        Self::begin(config, &types(&metrics), metrics, None).await
    }

    /// The same from a configuration that can be loaded again, by `POST /-/reload` or the
    /// [reloader](Self::reloader).
    ///
    /// # Errors
    /// Those of [`start`](Self::start), and when there is no configuration.
    pub async fn start_from(
        load: impl Fn() -> Result<Config, ConfigError> + Send + Sync + 'static,
        types: impl Fn(&prometheus::Registry) -> Registry + Send + Sync + 'static,
    ) -> Result<Self, ServeError> {
        Self::start_loaded(load()?, load, types, None).await
    }

    /// The same where it was loaded once already.
    pub(crate) async fn start_loaded(
        config: Config,
        load: impl Fn() -> Result<Config, ConfigError> + Send + Sync + 'static,
        types: impl Fn(&prometheus::Registry) -> Registry + Send + Sync + 'static,
        telemetry: Option<Telemetry>,
    ) -> Result<Self, ServeError> {
        config.validate()?;
        let metrics = prometheus::Registry::new();
        let registry = types(&metrics);
        let mut service = Self::begin(&config, &registry, metrics, telemetry).await?;
        let dry_run = move || types(&prometheus::Registry::new());
        let reloader = Arc::new(Reloader::new(
            Box::new(load),
            Box::new(dry_run),
            registry,
            service.pipeline.clone(),
            service.server.settings(),
            service.server.tls(),
            config,
        ));
        service.server.set_reload_handler(reloader.clone());
        service.reloader = Some(reloader);
        Ok(service)
    }

    async fn begin(
        config: &Config,
        registry: &Registry,
        metrics: prometheus::Registry,
        mut telemetry: Option<Telemetry>,
    ) -> Result<Self, ServeError> {
        // The server reads them itself; but where they can't be used, nothing else is to be begun.
        config.load_tls()?;
        let sinks = registry.build_all(config)?;
        let mut export = telemetry
            .as_ref()
            .map(|telemetry| telemetry.metrics(config, &metrics))
            .transpose()?
            .flatten();
        // Now, before a sink is given what it had not yet had.
        if let Some(export) = &mut export {
            export.restored();
        }
        let names: Vec<_> = sinks.iter().map(|sink| sink.name.clone()).collect();
        let specs = sinks.into_iter().map(spec);
        let pipeline = Pipeline::builder()
            .journal(journal(config))
            .ingest(ingest(config))
            .sinks(specs)
            .start()
            .await?;
        tell_recovery(&pipeline);
        let server =
            match Server::bind(server_options(config), pipeline.clone(), metrics.clone()).await {
                Ok(server) => server,
                Err(error) => {
                    pipeline.shutdown(Duration::ZERO).await;
                    return Err(error.into());
                }
            };
        if let Some(telemetry) = &mut telemetry {
            telemetry.begin(export, &metrics);
        }
        tell_ready(config, &server, &names, telemetry.as_ref().and_then(Telemetry::shown));
        Ok(Self {
            pipeline,
            server,
            reloader: None,
            telemetry,
            shutdown_timeout: config.server.shutdown_timeout,
        })
    }

    /// Where it listens for plain HTTP.
    #[must_use]
    pub fn local_addrs(&self) -> &[SocketAddr] {
        self.server.local_addrs()
    }

    /// Where it listens for TLS.
    #[must_use]
    pub fn local_tls_addrs(&self) -> &[SocketAddr] {
        self.server.local_tls_addrs()
    }

    /// Whom to ask to load the configuration again; `None` where it can't be.
    #[must_use]
    pub fn reloader(&self) -> Option<Arc<dyn ReloadHandler>> {
        self.reloader.clone().map(|reloader| reloader as _)
    }

    /// Serve until `shutdown` resolves; then take no more requests, let the sinks have what is
    /// there, and end.
    pub async fn run(self, shutdown: impl Future<Output = ()>) {
        let Self { pipeline, server, reloader: _, telemetry, shutdown_timeout } = self;
        let begun = Instant::now();
        let metrics = server.metrics_guard();
        server.run(shutdown, shutdown_timeout).await;
        let mut ending = None;
        let last_look = async {
            if let Some(telemetry) = telemetry {
                ending = Some(telemetry.end(shutdown_timeout).await);
            }
        };
        pipeline.shutdown_with(shutdown_timeout, last_look).await;
        drop(metrics);
        tell_ended(&pipeline, begun.elapsed());
        if let Some(ending) = ending {
            ending.finish().await;
        }
    }
}

/// A sink as the pipeline wants it.
pub(crate) fn spec(built: BuiltSink) -> SinkSpec {
    SinkSpec::new(built.name, built.sink).kind(built.type_name).settings(built.settings)
}

pub(crate) fn journal(config: &Config) -> JournalOptions {
    let journal = &config.journal;
    JournalOptions::new(&journal.path)
        .durability(journal.durability)
        .max_size(journal.max_size)
        .segment_size(journal.segment_size)
        .retain(journal.retain)
}

fn ingest(config: &Config) -> IngestOptions {
    let dedup = &config.ingest.dedup;
    let require = config.ingest.require.iter();
    IngestOptions {
        dedup: DedupWindow::new(dedup.window, dedup.max_keys),
        require: require.fold(Requirements::none(), |all, (source, fields)| {
            all.with(source, fields.iter().copied())
        }),
        timeout: config.server.ingest_timeout,
    }
}

pub(crate) fn server_options(config: &Config) -> ServerOptions {
    let server = &config.server;
    ServerOptions {
        listen: server.listen.iter().map(ToString::to_string).collect(),
        tls: server.tls.as_ref().map(TlsConfig::resolve),
        max_body: usize::try_from(server.max_body).unwrap_or(usize::MAX),
        max_batch_body: usize::try_from(server.max_batch_body).unwrap_or(usize::MAX),
        max_batch_events: server.max_batch_events.get(),
        header_timeout: server.header_timeout,
        body_timeout: server.body_timeout,
        max_connections: server.max_connections.get(),
        max_requests_in_flight: server.max_requests_in_flight.get(),
        max_bytes_in_flight: usize::try_from(server.max_bytes_in_flight).unwrap_or(usize::MAX),
        access: config.access.resolve(),
        hosts: server.hosts.clone(),
        cors_origins: server.cors_origins.clone(),
    }
}

fn tell_recovery(pipeline: &Pipeline) {
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

fn tell_ready(config: &Config, server: &Server, sinks: &[String], telemetry: Option<String>) {
    let plain = server.local_addrs().iter().map(|address| format!("http://{address}"));
    let encrypted = server.local_tls_addrs().iter().map(|address| format!("https://{address}"));
    let listen: Vec<_> = plain.chain(encrypted).collect();
    let first = listen.first().map_or("", String::as_str);
    let event = r#"{"source":"demo","event_kind":"ok","ok":true}"#;
    let needs_token = !config.access.resolve().anonymous.contains(Scope::Ingest);
    let token = if needs_token { " --oauth2-bearer $OBSERVER_TOKEN" } else { "" };
    tracing::info!(
        listen = listen.join(" "),
        data = %config.data_dir.display(),
        sinks = sinks.join(" "),
        telemetry,
        "the observer is ready; try: curl --json '{event}'{token} {first}/event"
    );
    if needs_token
        && let Some(public) =
            server.local_addrs().iter().find(|address| !address.ip().is_loopback())
    {
        tracing::info!(address = %public, "tokens that come to this address can be read on the way, unless something else encrypts it; see [server.tls]");
    }
}

fn tell_ended(pipeline: &Pipeline, after: Duration) {
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
            served_seconds = after.as_secs(),
            "the observer has ended; every sink has everything"
        );
    } else {
        tracing::warn!(
            served_seconds = after.as_secs(),
            pending = pending.join(", "),
            "the observer has ended; these sinks get the rest after the next start"
        );
    }
}
