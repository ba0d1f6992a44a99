//! Checked settings of the store.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use observer_core::{Pricing, Timestamp};
use observer_figures::state::Rules;

/// Clock of the store, for tests that need another time.
pub(crate) type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// Settings that writer and readers share.
#[derive(Clone)]
pub(crate) struct Settings {
    /// Folder of the file.
    pub(crate) folder: PathBuf,
    /// Largest size on disk in bytes.
    pub(crate) max_size: u64,
    /// Time after which events are deleted.
    pub(crate) retain: Option<Duration>,
    pub(crate) rules: Rules,
    /// Signatures that stand for others.
    pub(crate) aliases: HashMap<String, String>,
    pub(crate) prices: Arc<dyn Pricing>,
    pub(crate) clock: Clock,
}

impl Settings {
    /// Returns the signature of the problem that a signature belongs to.
    pub(crate) fn problem<'a>(&'a self, signature: &'a str) -> &'a str {
        self.aliases.get(signature).map_or(signature, String::as_str)
    }

    pub(crate) fn now(&self) -> Timestamp {
        (self.clock)()
    }
}

impl std::fmt::Debug for Settings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Settings").field("folder", &self.folder).finish_non_exhaustive()
    }
}
