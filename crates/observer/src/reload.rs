//! Reload of the configuration without a restart.
//!
//! The new configuration is validated completely before anything changes. Sinks with an unchanged
//! table continue. A changed sink stops at its position, and its replacement continues from there.
//! Prices are read again each time, and replaced for all sinks.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use observer_core::redact::RedactionCounts;
use observer_core::sink_name;
use observer_pipeline::Pipeline;
use observer_prices::Prices;
use observer_server::{
    EventStoreHandle, ReloadError, ReloadHandler, ReloadReport, Server, SettingsHandle, TlsHandle,
};
use tokio::sync::Mutex;

use crate::config::SinkTable;
use crate::reload_metrics::ReloadMetrics;
use crate::{Config, ConfigError, Registry, file_sinks, options, prices};

/// Time for which a changed or removed sink may complete its current delivery. After that the
/// delivery is cancelled, and its events are delivered again.
const GRACE: Duration = Duration::from_secs(2);

type Load = Box<dyn Fn() -> Result<Config, ConfigError> + Send + Sync>;
type DryRun = Box<dyn Fn() -> Registry + Send + Sync>;

/// Loads the configuration and applies it to the running observer.
pub(crate) struct Reloader {
    load: Load,
    /// Returns a registry whose sinks are built only for validation.
    dry_run: DryRun,
    registry: Registry,
    /// Prices that the sinks of the registry use.
    prices: Prices,
    pipeline: Pipeline,
    settings: SettingsHandle,
    tls: Option<TlsHandle>,
    event_store: EventStoreHandle,
    redactions: RedactionCounts,
    metrics: Option<ReloadMetrics>,
    /// Configuration at the start of the process, for settings that need a restart.
    started: Config,
    running: Mutex<RunningSinks>,
}

/// Sinks of the configuration in effect.
#[derive(Debug)]
struct RunningSinks {
    /// Sinks by the name of their table.
    tables: BTreeMap<String, Running>,
    /// Name of the sink whose store answers queries.
    queried: Option<String>,
}

/// Table of a sink with the names of the sinks built from it.
#[derive(Debug)]
struct Running {
    table: SinkTable,
    parts: Vec<String>,
}

/// Changes to the set of sinks, by table name.
#[derive(Debug, Default)]
struct Plan {
    added: Vec<String>,
    changed: Vec<String>,
    removed: Vec<String>,
}

impl Reloader {
    pub(crate) fn new(
        load: Load,
        dry_run: DryRun,
        registry: Registry,
        prices: Prices,
        pipeline: Pipeline,
        server: &Server,
        started: Config,
    ) -> Self {
        let names: Vec<String> = pipeline.status().sinks.into_keys().collect();
        let parts = |table: &str| {
            names.iter().filter(|name| sink_name::belongs_to(name, table)).cloned().collect()
        };
        let running = started.sinks.iter().map(|(name, table)| {
            let running = Running { table: table.clone(), parts: parts(name) };
            (name.clone(), running)
        });
        let running = Mutex::new(RunningSinks { tables: running.collect(), queried: None });
        let (settings, tls) = (server.settings(), server.tls());
        let event_store = server.event_store();
        Self {
            load,
            dry_run,
            registry,
            prices,
            pipeline,
            settings,
            tls,
            event_store,
            redactions: RedactionCounts::default(),
            metrics: None,
            started,
            running,
        }
    }

    /// Sets the name of the sink whose store answers queries at the start.
    pub(crate) fn with_queried(mut self, queried: Option<String>) -> Self {
        self.running.get_mut().queried = queried;
        self
    }

    /// Sets the counts of redacted secrets, which continue after a reload.
    pub(crate) fn with_redactions(mut self, redactions: RedactionCounts) -> Self {
        self.redactions = redactions;
        self
    }

    /// Sets the metrics of reloads.
    pub(crate) fn with_metrics(self, metrics: ReloadMetrics) -> Self {
        Self { metrics: Some(metrics), ..self }
    }

    /// Validates and applies a configuration.
    ///
    /// # Errors
    /// If the configuration is invalid and nothing has changed ([`ReloadError::Invalid`]), or a
    /// sink could not be added ([`ReloadError::Partial`]).
    async fn apply(&self, config: &Config) -> Result<ReloadReport, ReloadError> {
        let invalid = |error: ConfigError| ReloadError::Invalid(observer_core::report(&error));
        config.validate().map_err(invalid)?;
        self.effective(config).validate().map_err(invalid)?;
        let tls = config.load_tls().map_err(invalid)?;
        let table = prices::load(config).await.map_err(invalid)?;
        let redactor = config.load_redactor(&self.redactions).map_err(invalid)?;
        drop((self.dry_run)().build_all(config).map_err(invalid)?);
        file_sinks::refuse_overlaps(config).map_err(invalid)?;

        let mut running = self.running.lock().await;
        let plan = Plan::new(&running.tables, config);
        self.settings.set(&options::server(config, redactor));
        if let (Some(running), Some(loaded)) = (&self.tls, &tls) {
            running.adopt(loaded);
        }
        prices::log(config, &table);
        let has_new_prices = *self.prices.table() != table;
        self.prices.replace(table);
        let stopped: Vec<_> = plan
            .changed
            .iter()
            .chain(&plan.removed)
            .filter_map(|name| running.tables.remove(name))
            .collect();
        let stopped: Vec<_> = stopped.into_iter().flat_map(|running| running.parts).collect();
        if let Some(queried) = running.queried.take_if(|queried| stopped.contains(queried)) {
            tracing::debug!(sink = queried, "queries have no store");
            self.event_store.set(None);
        }
        self.pipeline.stop_sinks(stopped.iter().map(String::as_str), GRACE).await;
        let mut failed = Vec::new();
        for name in plan.changed.iter().chain(&plan.added) {
            let table = &config.sinks[name];
            match self.add(name, table, &mut running.queried) {
                Ok(parts) => {
                    running.tables.insert(name.clone(), Running { table: table.clone(), parts });
                }
                Err(error) => failed.push(error),
            }
        }
        // Has no effect on sinks that were added again.
        stopped.iter().for_each(|name| self.pipeline.release_sink(name));
        if !failed.is_empty() {
            return Err(ReloadError::Partial(failed.join("; ")));
        }
        let Plan { added, mut changed, removed } = plan;
        if has_new_prices {
            changed.push("prices".to_owned());
        }
        Ok(ReloadReport { added, changed, removed, restart_needed: self.restart_needed(config) })
    }

    /// Adds the sinks of a table, and lets queries have the store of one that has a store.
    fn add(
        &self,
        name: &str,
        table: &SinkTable,
        queried: &mut Option<String>,
    ) -> Result<Vec<String>, String> {
        let context = self.registry.context(name, self.started.state_dir(name));
        let built =
            self.registry.build(name, table, &context).map_err(|error| error.to_string())?;
        let mut parts = Vec::with_capacity(built.len());
        for sink in built {
            let (part, store) = (sink.name.clone(), sink.store.clone());
            self.pipeline
                .add_sink(options::sink(sink))
                .map_err(|error| format!("sinks.{name}: {error}"))?;
            if let Some(store) = store {
                self.event_store.set(Some(store));
                *queried = Some(part.clone());
            }
            parts.push(part);
        }
        Ok(parts)
    }

    /// Returns the configuration with the addresses that stay in effect. Access rules are validated
    /// against these: an observer on a public address must not adopt rules that are safe only on a
    /// loopback address.
    fn effective(&self, config: &Config) -> Config {
        let mut effective = config.clone();
        effective.server.listen.clone_from(&self.started.server.listen);
        match (&mut effective.server.tls, &self.started.server.tls) {
            (Some(tls), Some(started)) => tls.listen.clone_from(&started.listen),
            (tls, started) => tls.clone_from(started),
        }
        effective
    }

    /// Returns the keys that differ from the start of the process and take effect after a restart.
    fn restart_needed(&self, config: &Config) -> Vec<String> {
        let (old, new) = (&self.started, config);
        let tls = |config: &Config| config.server.tls.as_ref().map(|tls| tls.listen.clone());
        let keys = [
            ("data_dir", old.data_dir == new.data_dir),
            ("server.listen", old.server.listen == new.server.listen),
            ("server.tls.listen", tls(old) == tls(new)),
            ("server.max_connections", old.server.max_connections == new.server.max_connections),
            ("access.admin_socket", old.access.admin_socket == new.access.admin_socket),
            ("server.cors_origins", old.server.cors_origins == new.server.cors_origins),
            ("server.header_timeout", old.server.header_timeout == new.server.header_timeout),
            ("server.write_timeout", old.server.write_timeout == new.server.write_timeout),
            ("server.ingest_timeout", old.server.ingest_timeout == new.server.ingest_timeout),
            ("server.shutdown_timeout", old.server.shutdown_timeout == new.server.shutdown_timeout),
            ("ingest.dedup", old.ingest.dedup == new.ingest.dedup),
            ("ingest.require", old.ingest.require == new.ingest.require),
            ("journal", old.journal == new.journal),
            ("telemetry", old.telemetry == new.telemetry),
        ];
        keys.into_iter().filter(|(_, is_equal)| !is_equal).map(|(key, _)| key.to_owned()).collect()
    }
}

#[async_trait]
impl ReloadHandler for Reloader {
    async fn reload(&self) -> Result<ReloadReport, ReloadError> {
        let loaded =
            (self.load)().map_err(|error| ReloadError::Invalid(observer_core::report(&error)));
        let reloaded = match loaded {
            Ok(config) => self.apply(&config).await,
            Err(error) => Err(error),
        };
        if let Some(metrics) = &self.metrics {
            metrics.record(reloaded.is_ok());
        }
        match &reloaded {
            Ok(ReloadReport { added, changed, removed, restart_needed }) => {
                tracing::info!(
                    added = added.join(" "),
                    changed = changed.join(" "),
                    removed = removed.join(" "),
                    restart_needed = restart_needed.join(" "),
                    "the configuration was reloaded"
                );
                if !restart_needed.is_empty() {
                    tracing::warn!(
                        keys = restart_needed.join(" "),
                        "changed keys are not in effect until a restart"
                    );
                }
            }
            Err(error) => tracing::error!(%error, "the configuration could not be reloaded"),
        }
        reloaded
    }
}

impl fmt::Debug for Reloader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reloader").field("started", &self.started).finish_non_exhaustive()
    }
}

impl Plan {
    fn new(running: &BTreeMap<String, Running>, config: &Config) -> Self {
        let mut plan = Self::default();
        for (name, table) in &config.sinks {
            match running.get(name) {
                None => plan.added.push(name.clone()),
                Some(running) if running.table != *table => plan.changed.push(name.clone()),
                Some(_) => {}
            }
        }
        plan.removed =
            running.keys().filter(|name| !config.sinks.contains_key(*name)).cloned().collect();
        plan
    }
}
