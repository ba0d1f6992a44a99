//! How events are taken in.

use std::collections::BTreeMap;
use std::time::Duration;

use observer_core::{Field, units};
use observer_pipeline::Requirements;
use serde::Deserialize;
use serde::de::Deserializer;

/// How events are taken in.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct IngestConfig {
    /// How long repeats are known.
    pub dedup: DedupConfig,
    /// The fields that a source's events must have beyond `source`, `event_kind` and `ok`.
    ///
    /// In a file, `bot` needs `cycle_id` and `sig_hash` until `bot` is named; other sources need
    /// nothing.
    #[serde(deserialize_with = "requirements")]
    pub require: BTreeMap<String, Vec<Field>>,
}

impl Default for IngestConfig {
    fn default() -> Self {
        Self { dedup: DedupConfig::default(), require: default_requirements() }
    }
}

/// How long the identity of an event is remembered: until the window or the number of keys ends,
/// whichever is first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DedupConfig {
    /// For this long.
    #[serde(deserialize_with = "units::duration")]
    pub window: Duration,
    /// At most this many.
    pub max_keys: usize,
}

impl Default for DedupConfig {
    fn default() -> Self {
        Self { window: Duration::from_secs(24 * 60 * 60), max_keys: 500_000 }
    }
}

fn default_requirements() -> BTreeMap<String, Vec<Field>> {
    Requirements::default().into()
}

/// Adds the requirements of the file to the default ones, which remain for sources that the file
/// doesn't name.
fn requirements<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<BTreeMap<String, Vec<Field>>, D::Error> {
    let mut all = default_requirements();
    all.append(&mut Requirements::deserialize(deserializer)?.into());
    Ok(all)
}
