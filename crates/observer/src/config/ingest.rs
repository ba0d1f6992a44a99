//! How events are taken in.

use std::collections::BTreeMap;
use std::time::Duration;

use observer_core::units;
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
    /// In a file, `bot` needs `cycle_id` and `sig_hash` until `bot` is named; other sources need nothing.
    #[serde(deserialize_with = "requirements")]
    pub require: BTreeMap<String, Vec<EventField>>,
}

impl Default for IngestConfig {
    fn default() -> Self {
        Self { dedup: DedupConfig::default(), require: default_requirements() }
    }
}

/// How long the identity of an event is remembered: until the window or the number of keys ends, whichever is first.
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

/// A field that an event need not have, unless its source is told to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "the names are the fields' own")]
pub enum EventField {
    CycleId,
    SigHash,
    StafferId,
    Turns,
    DurationMs,
    Extra,
    Id,
    Timestamp,
    Traceparent,
    Usage,
}

impl EventField {
    /// As it stands in an event.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::CycleId => "cycle_id",
            Self::SigHash => "sig_hash",
            Self::StafferId => "staffer_id",
            Self::Turns => "turns",
            Self::DurationMs => "duration_ms",
            Self::Extra => "extra",
            Self::Id => "id",
            Self::Timestamp => "timestamp",
            Self::Traceparent => "traceparent",
            Self::Usage => "usage",
        }
    }
}

fn default_requirements() -> BTreeMap<String, Vec<EventField>> {
    BTreeMap::from([("bot".to_owned(), vec![EventField::CycleId, EventField::SigHash])])
}

/// Those of the file over the default ones, so that a line for another source takes nothing from `bot`.
fn requirements<'de, D: Deserializer<'de>>(deserializer: D) -> Result<BTreeMap<String, Vec<EventField>>, D::Error> {
    let mut all = default_requirements();
    all.append(&mut BTreeMap::deserialize(deserializer)?);
    Ok(all)
}
