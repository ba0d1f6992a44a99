//! A configuration that takes the place of the one in effect, without a restart.
//!
//! Everything that can be wrong with it is found out before anything changes. Sinks whose tables
//! are as they were go on undisturbed; the others stop where they are, and what takes their place
//! goes on from there.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use observer_core::{SinkContext, sink_name};
use observer_pipeline::Pipeline;
use observer_server::{ReloadError, ReloadHandler, ReloadReport, SettingsHandle, TlsHandle};
use tokio::sync::Mutex;

use crate::config::SinkTable;
use crate::serve::{server_options, spec};
use crate::{Config, ConfigError, Registry};

/// How long a sink that changes or goes may go on with what it has in hand. After that it is
/// interrupted, and gets it again.
const GRACE: Duration = Duration::from_secs(2);

type Load = Box<dyn Fn() -> Result<Config, ConfigError> + Send + Sync>;
type DryRun = Box<dyn Fn() -> Registry + Send + Sync>;

/// Loads the configuration again, and has the running observer follow it.
pub(crate) struct Reloader {
    load: Load,
    /// Types of sinks that can be built without consequences.
    dry_run: DryRun,
    registry: Registry,
    pipeline: Pipeline,
    settings: SettingsHandle,
    tls: Option<TlsHandle>,
    /// What the process began with, for what stays so until it ends.
    started: Config,
    running: Mutex<BTreeMap<String, Running>>,
}

/// A sink's table, and the names of the sinks that it stands for.
#[derive(Debug)]
struct Running {
    table: SinkTable,
    parts: Vec<String>,
}

/// What is to become of the sinks.
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
        pipeline: Pipeline,
        settings: SettingsHandle,
        tls: Option<TlsHandle>,
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
        let running = Mutex::new(running.collect());
        Self { load, dry_run, registry, pipeline, settings, tls, started, running }
    }

    async fn follow(&self, config: &Config) -> Result<ReloadReport, ReloadError> {
        let invalid = |error: ConfigError| ReloadError::Invalid(observer_core::report(&error));
        config.validate().map_err(invalid)?;
        self.effective(config).validate().map_err(invalid)?;
        let tls = config.load_tls().map_err(invalid)?;
        drop((self.dry_run)().build_all(config).map_err(invalid)?);

        let mut running = self.running.lock().await;
        let plan = Plan::new(&running, config);
        self.settings.set(&server_options(config));
        if let (Some(running), Some(loaded)) = (&self.tls, &tls) {
            running.adopt(loaded);
        }
        let gone: Vec<_> = plan
            .changed
            .iter()
            .chain(&plan.removed)
            .filter_map(|name| running.remove(name))
            .collect();
        let gone: Vec<_> = gone.into_iter().flat_map(|running| running.parts).collect();
        self.pipeline.stop_sinks(gone.iter().map(String::as_str), GRACE).await;
        let mut failed = Vec::new();
        for name in plan.changed.iter().chain(&plan.added) {
            let table = &config.sinks[name];
            match self.add(name, table) {
                Ok(parts) => {
                    running.insert(name.clone(), Running { table: table.clone(), parts });
                }
                Err(error) => failed.push(error),
            }
        }
        // Does nothing to those that are there again.
        gone.iter().for_each(|name| self.pipeline.release_sink(name));
        if !failed.is_empty() {
            return Err(ReloadError::Partial(failed.join("; ")));
        }
        let Plan { added, changed, removed } = plan;
        Ok(ReloadReport { added, changed, removed, restart_needed: self.restart_needed(config) })
    }

    fn add(&self, name: &str, table: &SinkTable) -> Result<Vec<String>, String> {
        let context =
            SinkContext { name: name.to_owned(), state_dir: self.started.state_dir(name) };
        let built =
            self.registry.build(name, table, &context).map_err(|error| error.to_string())?;
        let mut parts = Vec::with_capacity(built.len());
        for sink in built {
            let part = sink.name.clone();
            self.pipeline.add_sink(spec(sink)).map_err(|error| format!("sinks.{name}: {error}"))?;
            parts.push(part);
        }
        Ok(parts)
    }

    /// With the addresses that stay: whoever can be reached by others must not take over the access
    /// of one who can't be.
    fn effective(&self, config: &Config) -> Config {
        let mut effective = config.clone();
        effective.server.listen.clone_from(&self.started.server.listen);
        match (&mut effective.server.tls, &self.started.server.tls) {
            (Some(tls), Some(started)) => tls.listen.clone_from(&started.listen),
            (tls, started) => tls.clone_from(started),
        }
        effective
    }

    /// What is not as it was at the start, and can't be changed since.
    fn restart_needed(&self, config: &Config) -> Vec<String> {
        let (was, is) = (&self.started, config);
        let tls = |config: &Config| config.server.tls.as_ref().map(|tls| tls.listen.clone());
        let keys = [
            ("data_dir", was.data_dir == is.data_dir),
            ("server.listen", was.server.listen == is.server.listen),
            ("server.tls.listen", tls(was) == tls(is)),
            ("server.max_connections", was.server.max_connections == is.server.max_connections),
            ("server.cors_origins", was.server.cors_origins == is.server.cors_origins),
            ("server.header_timeout", was.server.header_timeout == is.server.header_timeout),
            ("server.ingest_timeout", was.server.ingest_timeout == is.server.ingest_timeout),
            ("server.shutdown_timeout", was.server.shutdown_timeout == is.server.shutdown_timeout),
            ("ingest.dedup", was.ingest.dedup == is.ingest.dedup),
            ("ingest.require", was.ingest.require == is.ingest.require),
            ("journal", was.journal == is.journal),
            ("telemetry", was.telemetry == is.telemetry),
        ];
        keys.into_iter().filter(|(_, same)| !same).map(|(key, _)| key.to_owned()).collect()
    }
}

#[async_trait]
impl ReloadHandler for Reloader {
    async fn reload(&self) -> Result<ReloadReport, ReloadError> {
        let loaded =
            (self.load)().map_err(|error| ReloadError::Invalid(observer_core::report(&error)));
        let reloaded = match loaded {
            Ok(config) => self.follow(&config).await,
            Err(error) => Err(error),
        };
        match &reloaded {
            Ok(ReloadReport { added, changed, removed, restart_needed }) => tracing::info!(
                added = added.join(" "),
                changed = changed.join(" "),
                removed = removed.join(" "),
                restart_needed = restart_needed.join(" "),
                "the configuration was read again and is in effect"
            ),
            Err(error) => {
                tracing::error!(%error, "the configuration was read again and is not in effect")
            }
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
