//! From a file to a checked configuration.

use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde::de::IgnoredAny;

use super::fill::{Environment, Filled, fill};
use super::journal::RawJournal;
use super::key::KeyPath;
use super::read::Reader;
use super::{
    AccessConfig, Config, ConfigError, IngestConfig, Problem, ServerConfig, SinkTable,
    TelemetryConfig, default,
};

/// The file that is read where none is named, if it is there.
pub const DEFAULT_FILE: &str = "observer.toml";

impl Config {
    /// Read the named file; without a name [`DEFAULT_FILE`] if it is there, else take the defaults.
    ///
    /// # Errors
    /// The named file isn't there, it can't be read, or what it says can't be.
    pub fn load(named: Option<&Path>) -> Result<Self, ConfigError> {
        let path = named.unwrap_or(Path::new(DEFAULT_FILE));
        match fs::read_to_string(path) {
            Ok(text) => from_text(&text, Some(path.to_owned()), &|name| env::var_os(name)),
            Err(error) if error.kind() == ErrorKind::NotFound && named.is_none() => {
                Ok(Self::default())
            }
            Err(error) if error.kind() == ErrorKind::NotFound => {
                Err(ConfigError::Absent { path: path.to_owned() })
            }
            Err(source) => Err(ConfigError::Unreadable { path: path.to_owned(), source }),
        }
    }

    /// Read a text in the form of the file.
    ///
    /// # Errors
    /// What the text says can't be.
    pub fn parse(text: &str) -> Result<Self, ConfigError> {
        from_text(text, None, &|name| env::var_os(name))
    }
}

/// The file without its sinks, which the registry reads later on.
#[derive(Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Raw {
    data_dir: PathBuf,
    server: ServerConfig,
    access: AccessConfig,
    ingest: IngestConfig,
    journal: RawJournal,
    telemetry: TelemetryConfig,
    /// Named here so that it is known; it was taken out before.
    #[serde(rename = "sinks")]
    _sinks: Option<IgnoredAny>,
}

impl Default for Raw {
    fn default() -> Self {
        Self {
            data_dir: default::DATA_DIR.into(),
            server: ServerConfig::default(),
            access: AccessConfig::default(),
            ingest: IngestConfig::default(),
            journal: RawJournal::default(),
            telemetry: TelemetryConfig::default(),
            _sinks: None,
        }
    }
}

pub(super) fn from_text(
    text: &str,
    origin: Option<PathBuf>,
    environment: Environment<'_>,
) -> Result<Config, ConfigError> {
    let mut table: toml::Table = match toml::from_str(text) {
        Ok(table) => table,
        Err(error) => return Err(ConfigError::Syntax { origin, message: syntax(text, &error) }),
    };
    let invalid = |problems| ConfigError::Invalid { origin: origin.clone(), problems };
    let filled = fill(&mut table, environment).map_err(invalid)?;

    let mut problems = Vec::new();
    let sinks = table.remove("sinks").map(|sinks| split_sinks(sinks, &filled, &mut problems));
    let reader = Reader { at: KeyPath::default(), filled: &filled, also_known: &[] };
    let raw = reader.read::<Raw>(table).unwrap_or_else(|more| {
        problems.splice(0..0, more);
        Raw::default()
    });
    let config = Config {
        origin: origin.clone(),
        server: raw.server,
        access: raw.access,
        ingest: raw.ingest,
        journal: raw.journal.resolve(&raw.data_dir),
        telemetry: raw.telemetry,
        sinks: sinks.unwrap_or_else(|| default::sinks(&raw.data_dir)),
        data_dir: raw.data_dir,
    };
    problems.extend(super::check::problems(&config));
    if problems.is_empty() { Ok(config) } else { Err(invalid(problems)) }
}

/// Where and what, without the line itself: there may be a secret in it.
fn syntax(text: &str, error: &toml::de::Error) -> String {
    let before = &text[..error.span().map_or(0, |span| span.start.min(text.len()))];
    let line = before.matches('\n').count() + 1;
    let column = before.chars().rev().take_while(|c| *c != '\n').count() + 1;
    format!("line {line}, column {column}: {}", error.message().trim_end().replace('\n', ", "))
}

fn split_sinks(
    sinks: toml::Value,
    filled: &Filled,
    problems: &mut Vec<Problem>,
) -> BTreeMap<String, SinkTable> {
    let toml::Value::Table(sinks) = sinks else {
        problems.push(Problem::new(
            "sinks",
            "expected a table of sinks, each with its name: [sinks.NAME]",
        ));
        return BTreeMap::new();
    };
    let mut tables = BTreeMap::new();
    for (name, value) in sinks {
        let at = KeyPath::of(["sinks", &name]);
        match value {
            toml::Value::Table(table) => {
                tables.insert(name, SinkTable { table, filled: filled.within(&at) });
            }
            _ => {
                problems.push(Problem::new(at, "expected a table; a sink is written [sinks.NAME]"))
            }
        }
    }
    tables
}

#[cfg(test)]
mod tests;
