//! What the operator writes, and what it means.

use std::num::{NonZeroI64, NonZeroU64};
use std::time::Duration;

use observer_core::{BuildError, units};
use serde::Deserialize;

use crate::compression::Compression;
use crate::names::template::Template;

/// The configuration of a sink with `type = "file"`.
///
/// ```toml
/// [sinks.archive]
/// type = "file"
/// path = "observer-data/events/{date}.jsonl"            # required; {date}: UTC day of receipt, {source}: who reported
/// rotate = { max_size = "256MiB", every = "1h" }        # default: not rotated
/// compression = "zstd"                                  # of closed files: none (default), gzip, zstd
/// retain = { max_age = "30d", max_total_size = "50GiB" } # default: kept for ever
/// max_open_files = 64
/// ```
///
/// In Rust:
///
/// ```
/// use observer_sink_file::{Compression, FileConfig};
///
/// let config = FileConfig::new("observer-data/{source}/{date}.jsonl")
///     .rotate_at_size(256 << 20)
///     .compression(Compression::Zstd)
///     .retain_total_size(50 << 30);
/// # let _ = config;
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct FileConfig {
    /// Where lines go. `{date}` is the UTC day on which the observer received the event, `{source}`
    /// who reported it.
    pub path: String,
    /// When a file is put aside for a fresh one.
    #[serde(default)]
    pub rotate: Rotate,
    /// How files are packed that are no longer written.
    #[serde(default)]
    pub compression: Compression,
    /// How long and how much is kept.
    #[serde(default)]
    pub retain: Retain,
    /// At most this many files are open at a time.
    #[serde(default = "default_max_open_files")]
    pub max_open_files: usize,
}

/// When a file is put aside for a fresh one. Whichever comes first; never, where nothing is said.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct Rotate {
    /// Before it would grow past this many bytes. A single line that is longer has a file of its
    /// own.
    #[serde(deserialize_with = "units::optional_size")]
    pub max_size: Option<u64>,
    /// With the first event that was received in a later window of this length. Windows are
    /// multiples of it in UTC: `1h` turns on the hour, `24h` at midnight.
    #[serde(deserialize_with = "units::optional_duration")]
    pub every: Option<Duration>,
}

/// How long and how much is kept; for ever and without end, where nothing is said. Files that are
/// still written to are never deleted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct Retain {
    /// A closed file goes when its last line is older than this.
    #[serde(deserialize_with = "units::optional_duration")]
    pub max_age: Option<Duration>,
    /// The oldest closed files go until all files of the sink together, compressed ones as they
    /// are, have at most this many bytes.
    #[serde(deserialize_with = "units::optional_size")]
    pub max_total_size: Option<u64>,
}

/// A checked configuration.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    pub(crate) template: Template,
    pub(crate) max_size: Option<NonZeroU64>,
    /// In whole seconds.
    pub(crate) window: Option<NonZeroI64>,
    pub(crate) compression: Compression,
    pub(crate) retain: Retain,
    pub(crate) max_open_files: usize,
}

fn default_max_open_files() -> usize {
    64
}

impl FileConfig {
    /// Lines go to `path`, which may hold `{date}` and `{source}`; all else as by default.
    #[must_use]
    pub fn new(path: impl Into<String>) -> Self {
        Self {
            path: path.into(),
            rotate: Rotate::default(),
            compression: Compression::None,
            retain: Retain::default(),
            max_open_files: default_max_open_files(),
        }
    }

    /// Put a file aside before it grows past this many bytes.
    #[must_use]
    pub fn rotate_at_size(mut self, bytes: u64) -> Self {
        self.rotate.max_size = Some(bytes);
        self
    }

    /// Put a file aside when a window of this length is over.
    #[must_use]
    pub fn rotate_every(mut self, window: Duration) -> Self {
        self.rotate.every = Some(window);
        self
    }

    /// Pack closed files.
    #[must_use]
    pub fn compression(self, compression: Compression) -> Self {
        Self { compression, ..self }
    }

    /// Delete closed files that are older.
    #[must_use]
    pub fn retain_age(mut self, age: Duration) -> Self {
        self.retain.max_age = Some(age);
        self
    }

    /// Delete the oldest closed files when there are more bytes in all.
    #[must_use]
    pub fn retain_total_size(mut self, bytes: u64) -> Self {
        self.retain.max_total_size = Some(bytes);
        self
    }

    /// Have at most this many files open at a time.
    #[must_use]
    pub fn max_open_files(self, max_open_files: usize) -> Self {
        Self { max_open_files, ..self }
    }

    pub(crate) fn check(&self) -> Result<Settings, BuildError> {
        let template = Template::parse(&self.path)?;
        let max_size = self.rotate.max_size.map(|size| {
            NonZeroU64::new(size)
                .ok_or_else(|| BuildError::new("rotate.max_size", "must be more than 0"))
        });
        let window = self.rotate.every.map(|every| {
            NonZeroI64::new(i64::try_from(every.as_secs()).unwrap_or(i64::MAX))
                .filter(|_| every.subsec_nanos() == 0)
                .ok_or_else(|| {
                    BuildError::new("rotate.every", "must be whole seconds, at least one")
                })
        });
        let (max_size, window) = (max_size.transpose()?, window.transpose()?);
        let closes = template.has_date() || max_size.is_some() || window.is_some();
        let idle =
            "does nothing for a file that is never closed; set `rotate`, or put {date} into `path`";
        if self.compression != Compression::None && !closes {
            return Err(BuildError::new("compression", idle));
        }
        if self.retain != Retain::default() && !closes {
            return Err(BuildError::new("retain", idle));
        }
        if self.max_open_files == 0 {
            return Err(BuildError::new("max_open_files", "must be at least 1"));
        }
        Ok(Settings {
            template,
            max_size,
            window,
            compression: self.compression,
            retain: self.retain,
            max_open_files: self.max_open_files,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_operator_writes_is_what_a_builder_makes() {
        let written: FileConfig = serde_json::from_str(
            r#"{"path":"d/{date}.jsonl","rotate":{"max_size":"256MiB","every":"1h"},"compression":"zstd",
                "retain":{"max_age":"30d","max_total_size":"50GiB"},"max_open_files":7}"#,
        )
        .unwrap();
        let built = FileConfig::new("d/{date}.jsonl")
            .rotate_at_size(256 << 20)
            .rotate_every(Duration::from_secs(3600))
            .compression(Compression::Zstd)
            .retain_age(Duration::from_secs(30 * 86_400))
            .retain_total_size(50 << 30)
            .max_open_files(7);
        assert_eq!(written, built);
        let least: FileConfig = serde_json::from_str(r#"{"path":"d/{date}.jsonl"}"#).unwrap();
        assert_eq!(least, FileConfig::new("d/{date}.jsonl"));
        assert_eq!(least.max_open_files, 64);
    }

    #[test]
    fn a_path_is_required_and_unknown_keys_are_refused() {
        let refuse = |config: &str, expected: &str| {
            let error = serde_json::from_str::<FileConfig>(config).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        };
        refuse("{}", "missing field `path`");
        refuse(r#"{"path":"x.jsonl","compress":"gzip"}"#, "unknown field `compress`");
        refuse(r#"{"path":"x.jsonl","rotate":{"size":"1MiB"}}"#, "unknown field `size`");
    }

    #[test]
    fn what_can_not_be_is_refused_by_its_key() {
        let refuse = |config: FileConfig, expected: &str| {
            let error = config.check().unwrap_err().to_string();
            assert!(error.starts_with(expected), "{error}");
        };
        refuse(
            FileConfig::new("{date}.jsonl").rotate_at_size(0),
            "`rotate.max_size` must be more than 0",
        );
        refuse(
            FileConfig::new("{date}.jsonl").rotate_every(Duration::from_millis(1500)),
            "`rotate.every` must be whole",
        );
        refuse(
            FileConfig::new("{date}.jsonl").max_open_files(0),
            "`max_open_files` must be at least 1",
        );
        refuse(
            FileConfig::new("x.jsonl").compression(Compression::Gzip),
            "`compression` does nothing",
        );
        refuse(FileConfig::new("x.jsonl").retain_total_size(1), "`retain` does nothing");
    }
}
