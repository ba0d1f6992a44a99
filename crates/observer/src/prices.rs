//! Prices of the running observer.

use observer_prices::Table;

use crate::{Config, ConfigError};

/// Reads the price files on a thread for blocking work, since requests are served meanwhile.
///
/// # Errors
/// A file can't be read, or an entry is invalid.
pub(crate) async fn load(config: &Config) -> Result<Table, ConfigError> {
    let config = config.clone();
    let loaded = tokio::task::spawn_blocking(move || config.load_prices()).await;
    loaded.expect("reading price files does not panic, and the runtime is running")
}

/// Logs the number of prices, unless none are configured.
pub(crate) fn log(config: &Config, table: &Table) {
    if let Some(description) = describe(config, table) {
        tracing::info!(prices = description, "the prices are loaded");
    }
}

/// Describes the sources with their numbers of prices: `prices.toml (12), configuration (1)`.
/// Returns `None` if there are none.
pub(crate) fn describe(config: &Config, table: &Table) -> Option<String> {
    let files = config.prices.files.iter().map(|file| file.display().to_string());
    let own = (!config.prices.models.is_empty()).then(|| "configuration".to_owned());
    let sources = files.chain(own).zip(table.counts());
    let described: Vec<_> = sources.map(|(name, count)| format!("{name} ({count})")).collect();
    (!described.is_empty()).then(|| described.join(", "))
}
