//! Section `[ingest]`: deduplication, required fields, phases, and the treatment of events that are
//! too large or have unreadable fields.

use std::collections::BTreeMap;
use std::time::Duration;

use observer_core::redact::Redactor;
use observer_core::{Field, ParseOptions, Phases, units};
use observer_pipeline::Requirements;
use observer_server::{Oversize, PartialStatus};
use serde::Deserialize;
use serde::de::Deserializer;

/// Settings of ingest.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct IngestConfig {
    /// Window of deduplication.
    pub dedup: DedupConfig,
    /// Required fields by source, in addition to `source`, `event_kind` and `ok`.
    ///
    /// By default events of `bot` require `cycle_id` and `sig_hash`. An entry for another source
    /// doesn't change that; an entry for `bot` replaces it.
    #[serde(deserialize_with = "requirements")]
    pub require: BTreeMap<String, Vec<Field>>,
    /// Event kinds that report the progress of a cycle and not its outcome.
    pub phases: Phases,
    /// True if an optional field that can't be read makes an event invalid.
    pub strict: bool,
    /// Reaction to an event that is larger than `server.max_body`.
    pub oversize: Oversize,
    /// Status of a batch of which some items are rejected: 207, or 200 for senders that repeat a
    /// batch after 207.
    pub partial_status: PartialStatus,
}

impl IngestConfig {
    /// Returns the options of the parser of events.
    pub(crate) fn parse_options(&self, redactor: Option<Redactor>) -> ParseOptions {
        ParseOptions { phases: self.phases.clone(), strict: self.strict, redactor }
    }
}

impl Default for IngestConfig {
    fn default() -> Self {
        Self {
            dedup: DedupConfig::default(),
            require: default_requirements(),
            phases: Phases::default(),
            strict: false,
            oversize: Oversize::default(),
            partial_status: PartialStatus::default(),
        }
    }
}

/// Bounds of the deduplication window; the first one reached applies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DedupConfig {
    /// Time for which the identity of an event is remembered.
    #[serde(deserialize_with = "units::duration")]
    pub window: Duration,
    /// Maximum number of remembered identities.
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
