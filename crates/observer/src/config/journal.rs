//! Where events are made durable.

use std::path::{Path, PathBuf};
use std::time::Duration;

use observer_core::units;
use observer_pipeline::Durability;
use serde::Deserialize;

const DEFAULT_MAX_SIZE: u64 = 10 << 30;
const DEFAULT_SEGMENT_SIZE: u64 = 64 << 20;

/// A journal is at least this many segments large: room is made by removing whole ones.
pub(super) const LEAST_SEGMENTS: u64 = 2;

/// How many segments there are at the least where the operator gave a size for the journal alone.
const SEGMENTS: u64 = 8;

/// Where events are made durable, and for how long they stay.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JournalConfig {
    /// The journal's folder.
    pub path: PathBuf,
    /// What an answer to a producer promises.
    pub durability: Durability,
    /// The most that all segments may take, in bytes.
    pub max_size: u64,
    /// How long delivered events stay, for replay and for streams that resume.
    pub retain: Duration,
    /// The size at which a new segment begins, in bytes.
    pub segment_size: u64,
}

impl JournalConfig {
    /// The defaults, in the data folder.
    #[must_use]
    pub fn in_dir(data_dir: &Path) -> Self {
        RawJournal::default().resolve(data_dir)
    }
}

/// How a promise stands in the file, and in an answer.
#[derive(Deserialize)]
#[serde(remote = "Durability", rename_all = "lowercase")]
enum Written {
    Fsync,
    Write,
}

/// The section as it stands in the file: some of it depends on the rest.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct RawJournal {
    path: Option<PathBuf>,
    #[serde(with = "Written")]
    durability: Durability,
    #[serde(deserialize_with = "units::optional_size")]
    max_size: Option<u64>,
    #[serde(deserialize_with = "units::optional_duration")]
    retain: Option<Duration>,
    #[serde(deserialize_with = "units::optional_size")]
    segment_size: Option<u64>,
}

impl RawJournal {
    pub(super) fn resolve(self, data_dir: &Path) -> JournalConfig {
        let max_size = self.max_size.unwrap_or(DEFAULT_MAX_SIZE);
        JournalConfig {
            path: self.path.unwrap_or_else(|| data_dir.join("journal")),
            durability: self.durability,
            max_size,
            retain: self.retain.unwrap_or(Duration::from_secs(24 * 60 * 60)),
            segment_size: self
                .segment_size
                .unwrap_or(DEFAULT_SEGMENT_SIZE.min(max_size / SEGMENTS)),
        }
    }
}
