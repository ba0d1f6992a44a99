//! Sinks of a type in the configuration, with their own configurations.

use std::sync::{Arc, Mutex};

use observer_core::{Pricing, SinkConfig, SinkContext, SinkSettings};

use super::Registry;
use crate::{Config, ConfigError};

/// Sink in the configuration.
pub(crate) struct Found<C> {
    /// Configuration of its own.
    pub(crate) config: C,
    pub(crate) context: SinkContext,
    /// Keys common to every sink.
    pub(crate) settings: SinkSettings,
}

/// Returns the sinks of a type.
///
/// # Errors
/// If a value of such a sink is invalid.
pub(crate) fn sinks<C: SinkConfig + Clone>(
    config: &Config,
    prices: &Arc<dyn Pricing>,
) -> Result<Vec<Found<C>>, ConfigError> {
    let read = Arc::new(Mutex::new(None));
    let registry = Registry::new().with_prices(prices.clone()).with_builder({
        let read = read.clone();
        move |config: C, context: &SinkContext| {
            let kept = (config.clone(), context.clone());
            *read.lock().expect("no thread panics while it holds the lock") = Some(kept);
            config.build(context)
        }
    });
    let mut found = Vec::new();
    for (name, table) in &config.sinks {
        if table.table.get("type").and_then(toml::Value::as_str) != Some(C::TYPE) {
            continue;
        }
        let context = registry.context(name, config.state_dir(name));
        let built = registry
            .build(name, table, &context)
            .map_err(|error| config.invalid(error.problems))?;
        let read = read.lock().expect("no thread panics while it holds the lock").take();
        let settings = built.into_iter().next().map(|sink| sink.settings);
        found.extend(read.zip(settings).map(|((config, context), settings)| Found {
            config,
            context,
            settings,
        }));
    }
    Ok(found)
}
