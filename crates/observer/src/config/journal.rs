//! Section `[journal]`: durability, size and retention.

use std::path::{Path, PathBuf};
use std::time::Duration;

use observer_core::units;
use observer_pipeline::Durability;
use serde::Deserialize;

const DEFAULT_MAX_SIZE: u64 = 10 << 30;
const DEFAULT_SEGMENT_SIZE: u64 = 64 << 20;

/// Minimum size of a journal, in segments: space is freed by whole segments.
pub(super) const MIN_SEGMENTS: u64 = 2;

/// Minimum size of a journal, in bytes.
pub(super) const MIN_SIZE: u64 = 32 << 10;

/// Minimum number of segments if `max_size` is set and `segment_size` is not.
const DEFAULT_SEGMENTS: u64 = 8;

/// Settings of the journal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JournalConfig {
    /// Folder of the journal.
    pub path: PathBuf,
    /// Durability that a successful response guarantees.
    pub durability: Durability,
    /// Maximum total size of the segments, in bytes.
    pub max_size: u64,
    /// Retention of delivered events, for replay and for resumed streams.
    pub retain: Duration,
    /// Size at which a new segment starts, in bytes.
    pub segment_size: u64,
}

impl JournalConfig {
    /// Returns the default settings with the journal in a data folder.
    #[must_use]
    pub fn in_dir(data_dir: &Path) -> Self {
        RawJournal::default().resolve(data_dir)
    }
}

/// Representation of [`Durability`] in the file.
#[derive(Deserialize)]
#[serde(remote = "Durability", rename_all = "lowercase")]
enum DurabilityName {
    Fsync,
    Write,
}

/// Section as written in the file. Some defaults depend on other keys.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct RawJournal {
    path: Option<PathBuf>,
    #[serde(with = "DurabilityName")]
    durability: Durability,
    #[serde(deserialize_with = "units::optional_size")]
    max_size: Option<u64>,
    #[serde(deserialize_with = "units::optional_duration")]
    retain: Option<Duration>,
    #[serde(deserialize_with = "units::optional_size")]
    segment_size: Option<u64>,
}

impl RawJournal {
    /// Applies the defaults.
    pub(super) fn resolve(self, data_dir: &Path) -> JournalConfig {
        let max_size = self.max_size.unwrap_or(DEFAULT_MAX_SIZE);
        JournalConfig {
            path: self.path.unwrap_or_else(|| data_dir.join("journal")),
            durability: self.durability,
            max_size,
            retain: self.retain.unwrap_or(Duration::from_secs(24 * 60 * 60)),
            segment_size: self
                .segment_size
                .unwrap_or(DEFAULT_SEGMENT_SIZE.min(max_size / DEFAULT_SEGMENTS)),
        }
    }
}
