//! Configuration of the sink, and the checked settings that follow from it.

use std::num::{NonZeroI64, NonZeroU64};
use std::path::{Path, PathBuf};
use std::time::Duration;

use observer_core::{BuildError, units};
use serde::Deserialize;

use crate::access::{self, Access};
use crate::compression::Compression;
use crate::names::listing::Listing;
use crate::names::overlap;
use crate::names::template::Template;
use crate::placement::Placement;

/// Configuration of a sink with `type = "file"`.
///
/// ```toml
/// [sinks.archive]
/// type = "file"
/// path = "observer-data/events/{date}.jsonl"             # required
/// rotate = { max_size = "256MiB", every = "1h" }         # default: files are not rotated
/// compression = "zstd"                                   # none (default), gzip or zstd
/// retain = { max_age = "30d", max_total_size = "50GiB" } # default: files are kept forever
/// max_open_files = 64
/// timezone = "America/Los_Angeles"                       # of {date} and {event_date}; default UTC
/// max_skew = "7d"                                        # of {event_date} against the receipt
/// file_mode = "0640"
/// dir_mode = "0750"
/// group = "adm"
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
    /// Template for the path of the active file. `{date}` stands for the day on which the observer
    /// received the event, `{event_date}` for the day of the event's `timestamp`, `{source}` for
    /// the event's `source`.
    pub path: String,
    /// Conditions under which a file is rotated.
    #[serde(default)]
    pub rotate: Rotate,
    /// Compression of closed files.
    #[serde(default)]
    pub compression: Compression,
    /// Limits on the age and the size of closed files.
    #[serde(default)]
    pub retain: Retain,
    /// Maximum number of files that are open at the same time. Default: 64.
    #[serde(default = "default_max_open_files")]
    pub max_open_files: usize,
    /// IANA name of the time zone of `{date}` and `{event_date}`. Default: UTC.
    #[serde(default)]
    pub timezone: Option<String>,
    /// Largest difference between an event's `timestamp` and its receipt with which `{event_date}`
    /// is the day of the former. Default: 7 days.
    #[serde(default = "default_max_skew", deserialize_with = "units::duration")]
    pub max_skew: Duration,
    /// Access mode of new files. Default: 0640, restricted by the umask.
    #[serde(default, deserialize_with = "access::mode")]
    pub file_mode: Option<u32>,
    /// Access mode of new folders. Default: 0750, restricted by the umask.
    #[serde(default, deserialize_with = "access::mode")]
    pub dir_mode: Option<u32>,
    /// Name or number of the group of new files and folders. Default: that of the process.
    #[serde(default)]
    pub group: Option<String>,
}

/// Conditions under which a file is rotated: whichever is met first. By default files are not
/// rotated.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct Rotate {
    /// Maximum size of a file in bytes. A longer line gets a file of its own.
    #[serde(deserialize_with = "units::optional_size")]
    pub max_size: Option<u64>,
    /// Length of a time window. The first event that was received in a later window starts a new
    /// file. Windows are aligned to multiples of their length in UTC: `1h` starts on the hour,
    /// `24h` at midnight.
    #[serde(deserialize_with = "units::optional_duration")]
    pub every: Option<Duration>,
}

/// Limits on closed files. By default files are kept forever. Active files are never deleted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct Retain {
    /// Maximum age of a closed file, counted from its last line.
    #[serde(deserialize_with = "units::optional_duration")]
    pub max_age: Option<Duration>,
    /// Maximum size in bytes of all files of the sink together, with compressed files counted at
    /// their compressed size. The oldest closed files are deleted first.
    #[serde(deserialize_with = "units::optional_size")]
    pub max_total_size: Option<u64>,
}

/// Checked configuration.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    pub(crate) template: Template,
    pub(crate) max_size: Option<NonZeroU64>,
    /// Length of a time window in seconds.
    pub(crate) window: Option<NonZeroI64>,
    pub(crate) compression: Compression,
    pub(crate) retain: Retain,
    pub(crate) max_open_files: usize,
    pub(crate) placement: Placement,
    pub(crate) access: Access,
}

fn default_max_open_files() -> usize {
    64
}

fn default_max_skew() -> Duration {
    Duration::from_secs(7 * 86_400)
}

impl FileConfig {
    /// Creates a configuration with this path template and the defaults for all else.
    #[must_use]
    pub fn new(path: impl Into<String>) -> Self {
        Self {
            path: path.into(),
            rotate: Rotate::default(),
            compression: Compression::None,
            retain: Retain::default(),
            max_open_files: default_max_open_files(),
            timezone: None,
            max_skew: default_max_skew(),
            file_mode: None,
            dir_mode: None,
            group: None,
        }
    }

    /// Sets the maximum size of a file in bytes.
    #[must_use]
    pub fn rotate_at_size(mut self, bytes: u64) -> Self {
        self.rotate.max_size = Some(bytes);
        self
    }

    /// Sets the length of the time window after which a file is rotated.
    #[must_use]
    pub fn rotate_every(mut self, window: Duration) -> Self {
        self.rotate.every = Some(window);
        self
    }

    /// Sets the compression of closed files.
    #[must_use]
    pub fn compression(self, compression: Compression) -> Self {
        Self { compression, ..self }
    }

    /// Sets the maximum age of closed files.
    #[must_use]
    pub fn retain_age(mut self, age: Duration) -> Self {
        self.retain.max_age = Some(age);
        self
    }

    /// Sets the maximum size in bytes of all files of the sink together.
    #[must_use]
    pub fn retain_total_size(mut self, bytes: u64) -> Self {
        self.retain.max_total_size = Some(bytes);
        self
    }

    /// Sets the maximum number of files that are open at the same time.
    #[must_use]
    pub fn max_open_files(self, max_open_files: usize) -> Self {
        Self { max_open_files, ..self }
    }

    /// Sets the time zone of the days in names.
    #[must_use]
    pub fn timezone(self, name: impl Into<String>) -> Self {
        Self { timezone: Some(name.into()), ..self }
    }

    /// Sets the largest difference between the time of an event and its receipt with which
    /// `{event_date}` is the day of the former.
    #[must_use]
    pub fn max_skew(self, max_skew: Duration) -> Self {
        Self { max_skew, ..self }
    }

    /// Sets the access modes of new files and folders.
    #[must_use]
    pub fn modes(self, file: u32, folder: u32) -> Self {
        Self { file_mode: Some(file), dir_mode: Some(folder), ..self }
    }

    /// Sets the group of new files and folders, by name or number.
    #[must_use]
    pub fn group(self, group: impl Into<String>) -> Self {
        Self { group: Some(group.into()), ..self }
    }

    /// Returns whether all files of the template lie below a folder, whose files belong to another
    /// component.
    #[must_use]
    pub fn lies_below(&self, folder: &Path) -> bool {
        let Ok(template) = Template::parse(&self.path) else { return false };
        let (base, folder) = (overlap::resolve(template.base()), overlap::resolve(folder));
        base.zip(folder).is_some_and(|(base, folder)| base.starts_with(folder))
    }

    /// Returns the files of the template on disk: active and closed, compressed or not, sorted by
    /// path.
    ///
    /// # Errors
    /// If the template is invalid, or a folder can't be read.
    pub fn files(&self) -> Result<Vec<PathBuf>, BuildError> {
        let template = Template::parse(&self.path)?;
        let listing = Listing::read(&template)
            .map_err(|error| BuildError::new("path", format!("can't be listed: {error}")))?;
        let mut files: Vec<_> = listing.files.into_iter().map(|file| file.path).collect();
        files.sort();
        Ok(files)
    }

    /// Checks the configuration.
    ///
    /// # Errors
    /// If a value is invalid; the error names the first such key.
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
                    BuildError::new("rotate.every", "must be a whole number of seconds, at least 1")
                })
        });
        let (max_size, window) = (max_size.transpose()?, window.transpose()?);
        let closes_files = template.has_day() || max_size.is_some() || window.is_some();
        let no_effect =
            "has no effect on a file that is never closed; set `rotate` or add {date} to `path`";
        if self.compression != Compression::None && !closes_files {
            return Err(BuildError::new("compression", no_effect));
        }
        if self.retain != Retain::default() && !closes_files {
            return Err(BuildError::new("retain", no_effect));
        }
        if self.max_open_files == 0 {
            return Err(BuildError::new("max_open_files", "must be at least 1"));
        }
        let placement = Placement::new(&template, self.timezone.as_deref(), self.max_skew)?;
        let access = Access::of_archive(self.file_mode, self.dir_mode, self.group.as_deref())?;
        Ok(Settings {
            template,
            max_size,
            window,
            compression: self.compression,
            retain: self.retain,
            max_open_files: self.max_open_files,
            placement,
            access,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parsed_configuration_equals_a_built_one() {
        let written: FileConfig = serde_json::from_str(
            r#"{"path":"d/{date}.jsonl","rotate":{"max_size":"256MiB","every":"1h"},"compression":"zstd",
                "retain":{"max_age":"30d","max_total_size":"50GiB"},"max_open_files":7,
                "timezone":"America/Los_Angeles","max_skew":"1h","file_mode":"0664",
                "dir_mode":"2775","group":"0"}"#,
        )
        .unwrap();
        let built = FileConfig::new("d/{date}.jsonl")
            .rotate_at_size(256 << 20)
            .rotate_every(Duration::from_secs(3600))
            .compression(Compression::Zstd)
            .retain_age(Duration::from_secs(30 * 86_400))
            .retain_total_size(50 << 30)
            .max_open_files(7)
            .timezone("America/Los_Angeles")
            .max_skew(Duration::from_secs(3600))
            .modes(0o664, 0o2775)
            .group("0");
        written.check().unwrap();
        assert_eq!(written, built);
        let minimal: FileConfig = serde_json::from_str(r#"{"path":"d/{date}.jsonl"}"#).unwrap();
        assert_eq!(minimal, FileConfig::new("d/{date}.jsonl"));
        assert_eq!(minimal.max_open_files, 64);
    }

    #[test]
    fn files_are_those_of_the_template() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join("bot").join(name);
        let names = ["2026-01-01.000001.jsonl.zst", "2026-01-01.jsonl", "2026-01-02.jsonl.gz"];
        std::fs::create_dir(folder.path().join("bot")).unwrap();
        for name in names.iter().chain(&["notes.txt", ".2026-01-01.jsonl.gz.tmp"]) {
            std::fs::write(path(name), "").unwrap();
        }
        let config =
            FileConfig::new(format!("{}/{{source}}/{{date}}.jsonl", folder.path().display()));
        assert_eq!(config.files().unwrap(), names.map(path));
        assert_eq!(FileConfig::new("missing/{date}.jsonl").files().unwrap(), [""; 0].map(path));
    }

    #[test]
    fn path_below_a_folder_is_found_however_it_is_written() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("journal");
        let below = |path: &str| {
            FileConfig::new(format!("{}/{path}", dir.path().display())).lies_below(&folder)
        };
        for is_created in [false, true] {
            if is_created {
                std::fs::create_dir(&folder).unwrap();
            }
            assert!(below("journal/{date}.jsonl") && below("x/../journal/{source}/all.jsonl"));
            assert!(!below("journals/all.jsonl") && !below("all.jsonl"));
            assert!(!below("{source}/all.jsonl") && !below("journal.jsonl"));
        }
        #[cfg(unix)]
        {
            std::os::unix::fs::symlink(&folder, dir.path().join("link")).unwrap();
            assert!(below("link/new/all.jsonl"));
        }
    }

    #[test]
    fn path_is_required_and_unknown_keys_are_rejected() {
        let rejects = |config: &str, expected: &str| {
            let error = serde_json::from_str::<FileConfig>(config).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        };
        rejects("{}", "missing field `path`");
        rejects(r#"{"path":"x.jsonl","compress":"gzip"}"#, "unknown field `compress`");
        rejects(r#"{"path":"x.jsonl","rotate":{"size":"1MiB"}}"#, "unknown field `size`");
        for mode in ["640 ", "0888", "rw-r-----", "17777", "64"] {
            let config = format!(r#"{{"path":"x.jsonl","file_mode":"{mode}"}}"#);
            rejects(&config, "expected an octal mode such as \"0640\"");
        }
    }

    #[test]
    fn invalid_values_are_rejected_by_key() {
        let rejects = |config: FileConfig, expected: &str| {
            let error = config.check().unwrap_err().to_string();
            assert!(error.starts_with(expected), "{error}");
        };
        rejects(
            FileConfig::new("{date}.jsonl").rotate_at_size(0),
            "`rotate.max_size` must be more than 0",
        );
        rejects(
            FileConfig::new("{date}.jsonl").rotate_every(Duration::from_millis(1500)),
            "`rotate.every` must be a whole number",
        );
        rejects(
            FileConfig::new("{date}.jsonl").max_open_files(0),
            "`max_open_files` must be at least 1",
        );
        rejects(
            FileConfig::new("x.jsonl").compression(Compression::Gzip),
            "`compression` has no effect",
        );
        rejects(FileConfig::new("x.jsonl").retain_total_size(1), "`retain` has no effect");
        rejects(
            FileConfig::new("{date}.jsonl").timezone("Mars/Olympus"),
            "`timezone` must be the IANA name of a time zone, not \"Mars/Olympus\"",
        );
        rejects(FileConfig::new("x.jsonl").timezone("Europe/Berlin"), "`timezone` has no effect");
    }
}
