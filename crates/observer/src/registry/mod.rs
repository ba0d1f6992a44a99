//! Registry of sink types, which builds sinks from their tables in the configuration.

mod file_metrics;
pub(crate) mod of_type;
mod settings;

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use observer_core::query::EventStore;
use observer_core::{
    BatchSettings, BuildError, EventSink, NoPrices, Pricing, SinkConfig, SinkContext, SinkPart,
    SinkSettings, Timestamp, sink_name, suggest,
};
use observer_kb::KbConfig;
use observer_sink_file::{FileConfig, FileSinks};
use observer_sink_http::HttpConfig;
use observer_sink_otlp::OtlpConfig;
use observer_sink_prometheus::PrometheusConfig;
use sha2::{Digest, Sha256};

use self::file_metrics::FileMetrics;
use crate::config::parse::key_path::KeyPath;
use crate::config::parse::reader::Reader;
use crate::config::{Config, ConfigError, Problem, SinkTable};

/// Sink types by name.
///
/// ```
/// # use std::sync::Arc;
/// # use observer_core::{Batch, BuildError, EventSink, Receipt};
/// # use observer_core::{SinkConfig, SinkContext, SinkError, SinkPart};
/// # struct Nats;
/// # #[async_trait::async_trait]
/// # impl EventSink for Nats {
/// #     async fn deliver(&self, _: &Batch) -> Result<Receipt, SinkError> {
/// #         Ok(Receipt::accepted())
/// #     }
/// #     async fn flush(&self) -> Result<(), SinkError> { Ok(()) }
/// #     async fn check(&self) -> Result<(), SinkError> { Ok(()) }
/// # }
/// # #[derive(serde::Deserialize)]
/// # #[serde(deny_unknown_fields)]
/// # struct NatsConfig { subject: String }
/// # impl SinkConfig for NatsConfig {
/// #     const TYPE: &'static str = "nats";
/// #     fn build(self, _: &SinkContext) -> Result<Vec<SinkPart>, BuildError> {
/// #         Ok(vec![SinkPart::whole(Arc::new(Nats))])
/// #     }
/// # }
/// use observer::{Config, Registry};
///
/// let registry = Registry::new().with::<NatsConfig>();
/// let config = Config::parse("[sinks.bus]\ntype = \"nats\"\nsubject = \"outcomes\"")?;
/// let sinks = registry.build_all(&config)?;
/// assert_eq!(sinks[0].name, "bus");
/// # Ok::<(), observer::ConfigError>(())
/// ```
pub struct Registry {
    types: BTreeMap<&'static str, Builder>,
    prices: Arc<dyn Pricing>,
    clock: Option<WallClock>,
}

/// Wall clock.
pub(crate) type WallClock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

type Builder = Box<
    dyn Fn(&Reader<'_>, toml::Table, &SinkContext) -> Result<Vec<SinkPart>, Vec<Problem>>
        + Send
        + Sync,
>;

/// Sink built from its configuration.
pub struct BuiltSink {
    /// Name of the table, followed by that of the part if the table has several (`collector/logs`).
    pub name: String,
    /// Value of the key `type`.
    pub type_name: &'static str,
    /// Sink itself.
    pub sink: Arc<dyn EventSink>,
    /// Keys common to every sink. The defaults of the sink replace absent batch settings.
    pub settings: SinkSettings,
    /// Fingerprint of the type and the keys of the sink's own, such as URL and credentials, with
    /// variables replaced. It is too short to determine a secret.
    pub fingerprint: String,
    /// Store of what the sink accepted, if it answers queries.
    pub store: Option<Arc<dyn EventStore>>,
    /// Warnings about valid settings that rarely are what the operator wants.
    pub warnings: Vec<String>,
}

impl fmt::Debug for BuiltSink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, type_name, settings, .. } = self;
        f.debug_struct("BuiltSink")
            .field("name", name)
            .field("type_name", type_name)
            .field("settings", settings)
            .finish_non_exhaustive()
    }
}

/// Error type for building a sink from its table.
#[derive(Debug, thiserror::Error)]
#[error("{}", problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
pub struct SinkConfigError {
    /// Problems; at least one.
    pub problems: Vec<Problem>,
}

impl Registry {
    /// Creates a registry without types and without prices.
    #[must_use]
    pub fn new() -> Self {
        Self { types: BTreeMap::new(), prices: Arc::new(NoPrices), clock: None }
    }

    /// Sets the prices of models for the sinks that are built from now on.
    /// [`Service`](crate::Service) sets those of the configuration.
    #[must_use]
    pub fn with_prices(mut self, prices: Arc<dyn Pricing>) -> Self {
        self.prices = prices;
        self
    }

    /// Returns the wall clock of [`with_defaults_at`].
    pub(crate) fn clock(&self) -> Option<&WallClock> {
        self.clock.as_ref()
    }

    /// Adds a sink type.
    #[must_use]
    pub fn with<C: SinkConfig>(self) -> Self {
        self.with_builder(C::build)
    }

    /// Adds a sink type with a custom build function, which may capture state beyond the
    /// configuration.
    #[must_use]
    pub fn with_builder<C, F>(mut self, build: F) -> Self
    where
        C: SinkConfig,
        F: Fn(C, &SinkContext) -> Result<Vec<SinkPart>, BuildError> + Send + Sync + 'static,
    {
        let builder: Builder = Box::new(move |reader, own, context| {
            let config = reader.read::<C>(own.clone())?;
            build(config, context).map_err(|BuildError { key, problem }| {
                let path = KeyPath::of(key.split('.'));
                let problem = reader.hide_quoted(&path, problem, &own);
                vec![Problem::new(reader.at.join(&path), problem)]
            })
        });
        self.types.insert(C::TYPE, builder);
        self
    }

    /// Returns the names of the types.
    pub fn types(&self) -> impl Iterator<Item = &'static str> {
        self.types.keys().copied()
    }

    /// Builds every sink of a configuration.
    ///
    /// # Errors
    /// If a sink can't be built; the error holds the problems of all sinks.
    pub fn build_all(&self, config: &Config) -> Result<Vec<BuiltSink>, ConfigError> {
        let (mut sinks, mut problems) = (Vec::<BuiltSink>::new(), Vec::new());
        let mut with_store = None;
        for (name, table) in &config.sinks {
            let context = self.context(name, config.state_dir(name));
            match self.build(name, table, &context) {
                Ok(built) => {
                    if built.iter().any(|sink| sink.store.is_some())
                        && let Some(first) = with_store.replace(name)
                    {
                        problems.push(second_store(name, first));
                    }
                    sinks.extend(built);
                }
                Err(error) => problems.extend(error.problems),
            }
        }
        if problems.is_empty() { Ok(sinks) } else { Err(config.invalid(problems)) }
    }

    /// Returns the context of a sink with this name and state folder.
    pub(crate) fn context(&self, name: &str, state_dir: PathBuf) -> SinkContext {
        SinkContext::new(name, state_dir).with_prices(self.prices.clone())
    }

    /// Returns the store of a configuration that answers queries, without its sink; `None` if no
    /// sink has one. Sinks that can't be built are ignored.
    #[must_use]
    pub fn store(&self, config: &Config) -> Option<Arc<dyn EventStore>> {
        config.sinks.iter().find_map(|(name, table)| {
            let context = self.context(name, config.state_dir(name));
            let built = self.build(name, table, &context).ok()?;
            built.into_iter().find_map(|sink| sink.store)
        })
    }

    /// Builds the sinks of one table; a table may define several parts.
    ///
    /// # Errors
    /// If the type is unknown, or a key or value is invalid.
    pub fn build(
        &self,
        name: &str,
        table: &SinkTable,
        context: &SinkContext,
    ) -> Result<Vec<BuiltSink>, SinkConfigError> {
        let at = KeyPath::of(["sinks", name]);
        let SinkTable { table, substituted } = table;
        let reader = Reader { at: at.clone(), substituted, also_known: &[] };
        let (type_name, builder) = self.find_type(table, &at).map_err(|(key, message)| {
            let message = reader.hide_secret(&KeyPath::of(["type"]), message);
            SinkConfigError { problems: vec![Problem::new(key, message)] }
        })?;
        let (mut shared, mut own) = (toml::Table::new(), toml::Table::new());
        for (key, value) in table.iter().filter(|(key, _)| *key != "type") {
            let part =
                if SinkSettings::KEYS.contains(&key.as_str()) { &mut shared } else { &mut own };
            part.insert(key.clone(), value.clone());
        }

        let settings = reader.read::<SinkSettings>(shared);
        let settings = settings.and_then(|settings| match settings::problems(&settings, &at) {
            problems if problems.is_empty() => Ok(settings),
            problems => Err(problems),
        });
        let fingerprint = fingerprint(type_name, &own);
        let parts =
            builder(&Reader { at, substituted, also_known: &SinkSettings::KEYS }, own, context);
        match (settings, parts) {
            (Ok(settings), Ok(parts)) => {
                let built = |part| BuiltSink {
                    fingerprint: fingerprint.clone(),
                    ..built(name, type_name, &settings, part)
                };
                Ok(parts.into_iter().map(built).collect())
            }
            (settings, parts) => {
                let problems =
                    [settings.err(), parts.err()].into_iter().flatten().flatten().collect();
                Err(SinkConfigError { problems })
            }
        }
    }

    /// Returns the type that a table names.
    ///
    /// # Errors
    /// If the type is missing or unknown; the error holds the path of the key and the message.
    fn find_type(
        &self,
        table: &toml::Table,
        at: &KeyPath,
    ) -> Result<(&'static str, &Builder), (KeyPath, String)> {
        let known: Vec<_> = self.types().collect();
        let listed = known.join(", ");
        let key = at.key("type");
        let name = match table.get("type") {
            Some(toml::Value::String(name)) => name,
            Some(_) => {
                return Err((key, format!("expected a string; known types: {listed}")));
            }
            None => {
                return Err((
                    at.clone(),
                    format!("the key `type` is missing; known types: {listed}"),
                ));
            }
        };
        let found = self.types.get_key_value(name.as_str());
        found.map(|(type_name, builder)| (*type_name, builder)).ok_or_else(|| {
            let suggestion = suggest::nearest(name, &known)
                .map(|nearest| format!("; did you mean `{nearest}`?"))
                .unwrap_or_default();
            (key, format!("unknown type {name:?}; known types: {listed}{suggestion}"))
        })
    }
}

/// Returns the problem of a second sink that answers queries.
fn second_store(name: &str, first: &str) -> Problem {
    let problem = format!("only one sink can answer queries, and `sinks.{first}` does; remove one");
    Problem::new(KeyPath::of(["sinks", name, "type"]), problem)
}

fn built(
    name: &str,
    type_name: &'static str,
    settings: &SinkSettings,
    part: SinkPart,
) -> BuiltSink {
    let name = sink_name::of_part(name, part.name.as_deref());
    let batch: BatchSettings = settings.batch.or(part.batch);
    let mut settings = settings.clone();
    settings.batch = batch;
    let SinkPart { sink, store, warnings, .. } = part;
    BuiltSink { name, type_name, sink, settings, fingerprint: String::new(), store, warnings }
}

/// Returns 32 bits of the SHA-256 of the type and the keys of a sink, in hexadecimal.
fn fingerprint(type_name: &str, own: &toml::Table) -> String {
    let digest = Sha256::digest(format!("{type_name}\n{own}"));
    digest.iter().take(4).map(|byte| format!("{byte:02x}")).collect()
}

impl Default for Registry {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Registry").field(&self.types.keys().collect::<Vec<_>>()).finish()
    }
}

/// Returns a registry of the built-in sink types. Sinks of types `file` and `prometheus` register
/// their metrics with `metrics`.
#[must_use]
pub fn with_defaults(metrics: &prometheus::Registry) -> Registry {
    with_files(metrics, FileSinks::default())
}

/// Creates a registry like [`with_defaults`], with a wall clock that replaces that of the system:
/// for the times of receipt, the retention of the journal and of files, and the window of
/// identities. Pauses and timeouts do not depend on it. It is meant for tests of clocks that jump.
#[must_use]
pub fn with_defaults_at(
    metrics: &prometheus::Registry,
    clock: impl Fn() -> Timestamp + Send + Sync + 'static,
) -> Registry {
    let clock: WallClock = Arc::new(clock);
    let of_files = clock.clone();
    let files = FileSinks::default().with_clock(move || of_files());
    Registry { clock: Some(clock), ..with_files(metrics, files) }
}

fn with_files(metrics: &prometheus::Registry, files: FileSinks) -> Registry {
    // It fails only if the program has registered another set of file sinks.
    if let Err(error) = metrics.register(Box::new(FileMetrics::new(files.clone()))) {
        tracing::warn!(%error, "metrics of file sinks can't be registered");
    }
    let metrics = metrics.clone();
    Registry::new()
        .with_builder(move |config: FileConfig, context: &SinkContext| {
            config.build_among(context, &files)
        })
        .with::<HttpConfig>()
        .with::<KbConfig>()
        .with::<OtlpConfig>()
        .with_builder(move |config: PrometheusConfig, context: &SinkContext| {
            config.build_with(context, &metrics)
        })
}

#[cfg(test)]
mod tests;
