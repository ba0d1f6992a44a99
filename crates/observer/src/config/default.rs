//! Default configuration.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use toml::Value;

use super::{
    AccessConfig, Config, IngestConfig, JournalConfig, PricesConfig, RedactConfig, ServerConfig,
    SinkTable, TelemetryConfig,
};

/// Default data folder, relative to the working directory.
pub(super) const DATA_DIR: &str = "observer-data";

impl Default for Config {
    fn default() -> Self {
        Self::in_dir(DATA_DIR)
    }
}

impl Config {
    /// Returns the default configuration with all data in one folder.
    #[must_use]
    pub fn in_dir(data_dir: impl Into<PathBuf>) -> Self {
        let data_dir = data_dir.into();
        Self {
            origin: None,
            server: ServerConfig::default(),
            access: AccessConfig::in_dir(&data_dir),
            ingest: IngestConfig::default(),
            redact: RedactConfig::default(),
            journal: JournalConfig::in_dir(&data_dir),
            prices: PricesConfig::default(),
            telemetry: TelemetryConfig::default(),
            sinks: sinks(&data_dir),
            data_dir,
        }
    }
}

/// Returns the default sinks: a required archive, a knowledge base, and metrics.
pub(super) fn sinks(data_dir: &Path) -> BTreeMap<String, SinkTable> {
    let path = data_dir.join("events").join("{date}.jsonl").to_string_lossy().into_owned();
    let archive = [
        ("type", Value::from("file")),
        ("path", Value::from(path)),
        ("required", Value::from(true)),
        ("start", Value::from("earliest")),
    ];
    let kb = [
        ("type", Value::from("kb")),
        ("path", Value::from(data_dir.join("kb").to_string_lossy().into_owned())),
        ("start", Value::from("earliest")),
    ];
    let prometheus = [("type", Value::from("prometheus")), ("start", Value::from("earliest"))];
    BTreeMap::from([
        ("archive".to_owned(), table(archive)),
        ("kb".to_owned(), table(kb)),
        ("prometheus".to_owned(), table(prometheus)),
    ])
}

fn table<const N: usize>(entries: [(&str, Value); N]) -> SinkTable {
    entries.into_iter().map(|(key, value)| (key.to_owned(), value)).collect::<toml::Table>().into()
}
