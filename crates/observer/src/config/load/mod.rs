//! Loading of a configuration from a file.

use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde::de::IgnoredAny;

use super::access::RawAccess;
use super::journal::RawJournal;
use super::parse::key_path::KeyPath;
use super::parse::reader::Reader;
use super::parse::substitute::{Environment, Substituted, substitute};
use super::{
    Config, ConfigError, IngestConfig, PricesConfig, Problem, RedactConfig, ServerConfig,
    SinkTable, TelemetryConfig, default,
};

/// File that is read if it exists and no other file is named.
pub const DEFAULT_FILE: &str = "observer.toml";

/// Addresses by which an observer is reached.
#[derive(Debug)]
pub(crate) struct Addresses {
    /// Path of the admin socket; `None` if it is disabled.
    pub(crate) admin_socket: Option<PathBuf>,
    /// Addresses of plain HTTP.
    pub(crate) plain: Vec<SocketAddr>,
    /// Addresses of TLS.
    pub(crate) tls: Vec<SocketAddr>,
}

impl Addresses {
    fn of(Config { access, server, .. }: Config) -> Self {
        Self {
            admin_socket: access.admin_socket,
            plain: server.listen,
            tls: server.tls.map_or_else(Vec::new, |tls| tls.listen),
        }
    }
}

impl Config {
    /// Loads the named file. Without a name, loads [`DEFAULT_FILE`] if it exists, else returns the
    /// defaults.
    ///
    /// # Errors
    /// If the named file does not exist, the file can't be read, or its content is invalid.
    pub fn load(named: Option<&Path>) -> Result<Self, ConfigError> {
        match read(named)? {
            Some((text, origin)) => from_text(&text, origin, &|name| env::var_os(name)),
            None => Ok(Self::default()),
        }
    }

    /// Returns the addresses that the file configures.
    ///
    /// Other keys are ignored, so that a file also serves where its secrets are not available. The
    /// file is found as by [`load`](Self::load).
    ///
    /// # Errors
    /// The named file does not exist, the file can't be read, or these keys are invalid.
    pub(crate) fn load_addresses(named: Option<&Path>) -> Result<Addresses, ConfigError> {
        let Some((text, origin)) = read(named)? else {
            return Ok(Addresses::of(Self::default()));
        };
        let mut table = parse(&text, &origin)?;
        table.retain(|key, _| matches!(key, "data_dir" | "access" | "server"));
        if let Some(toml::Value::Table(server)) = table.get_mut("server") {
            server.retain(|key, _| matches!(key, "listen" | "tls"));
            if let Some(toml::Value::Table(tls)) = server.get_mut("tls") {
                tls.retain(|key, _| key == "listen");
                // A section without its files is invalid, and nothing reads them.
                for file in ["cert", "key"] {
                    tls.insert(file.to_owned(), "not-read.pem".into());
                }
            }
        }
        if let Some(toml::Value::Table(access)) = table.get_mut("access") {
            access.retain(|key, _| key == "admin_socket");
        }
        // Without the removed keys, an address for everyone would count as forbidden.
        let (config, problems) = unchecked(table, &origin, &|name| env::var_os(name))?;
        if problems.is_empty() {
            Ok(Addresses::of(config))
        } else {
            Err(ConfigError::Invalid { origin, problems })
        }
    }

    /// Parses the content of a configuration file.
    ///
    /// # Errors
    /// If the content is invalid.
    pub fn parse(text: &str) -> Result<Self, ConfigError> {
        from_text(text, None, &|name| env::var_os(name))
    }
}

/// File without its sinks, whose tables the registry reads later.
#[derive(Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Raw {
    data_dir: PathBuf,
    server: ServerConfig,
    access: RawAccess,
    ingest: IngestConfig,
    redact: RedactConfig,
    journal: RawJournal,
    prices: PricesConfig,
    telemetry: TelemetryConfig,
    /// Makes the key known in errors. Its value was removed before.
    #[serde(rename = "sinks")]
    _sinks: Option<IgnoredAny>,
}

impl Default for Raw {
    fn default() -> Self {
        Self {
            data_dir: default::DATA_DIR.into(),
            server: ServerConfig::default(),
            access: RawAccess::default(),
            ingest: IngestConfig::default(),
            redact: RedactConfig::default(),
            journal: RawJournal::default(),
            prices: PricesConfig::default(),
            telemetry: TelemetryConfig::default(),
            _sinks: None,
        }
    }
}

/// Returns the text of the named file and its path. Without a name, returns that of
/// [`DEFAULT_FILE`], or `None` if it does not exist.
fn read(named: Option<&Path>) -> Result<Option<(String, Option<PathBuf>)>, ConfigError> {
    let path = named.unwrap_or(Path::new(DEFAULT_FILE));
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some((text, Some(path.to_owned())))),
        Err(error) if error.kind() == ErrorKind::NotFound && named.is_none() => Ok(None),
        Err(error) if error.kind() == ErrorKind::NotFound => {
            Err(ConfigError::Absent { path: path.to_owned() })
        }
        Err(source) => Err(ConfigError::Unreadable { path: path.to_owned(), source }),
    }
}

pub(super) fn from_text(
    text: &str,
    origin: Option<PathBuf>,
    environment: Environment<'_>,
) -> Result<Config, ConfigError> {
    from_table(parse(text, &origin)?, origin, environment)
}

fn parse(text: &str, origin: &Option<PathBuf>) -> Result<toml::Table, ConfigError> {
    toml::from_str(text).map_err(|error| ConfigError::Syntax {
        origin: origin.clone(),
        message: syntax(text, &error),
    })
}

fn from_table(
    table: toml::Table,
    origin: Option<PathBuf>,
    environment: Environment<'_>,
) -> Result<Config, ConfigError> {
    let (config, mut problems) = unchecked(table, &origin, environment)?;
    problems.extend(super::check::problems(&config));
    if problems.is_empty() { Ok(config) } else { Err(ConfigError::Invalid { origin, problems }) }
}

/// Returns the configuration with the problems of single keys, before the check of the whole.
fn unchecked(
    mut table: toml::Table,
    origin: &Option<PathBuf>,
    environment: Environment<'_>,
) -> Result<(Config, Vec<Problem>), ConfigError> {
    let invalid = |problems| ConfigError::Invalid { origin: origin.clone(), problems };
    let substituted = substitute(&mut table, environment).map_err(invalid)?;

    let mut problems = Vec::new();
    let sinks = table.remove("sinks").map(|sinks| split_sinks(sinks, &substituted, &mut problems));
    let reader = Reader { at: KeyPath::default(), substituted: &substituted, also_known: &[] };
    let raw = reader.read::<Raw>(table).unwrap_or_else(|more| {
        problems.splice(0..0, more);
        Raw::default()
    });
    let config = Config {
        origin: origin.clone(),
        server: raw.server,
        access: raw.access.resolve(&raw.data_dir),
        ingest: raw.ingest,
        redact: raw.redact,
        journal: raw.journal.resolve(&raw.data_dir),
        prices: raw.prices,
        telemetry: raw.telemetry,
        sinks: sinks.unwrap_or_else(|| default::sinks(&raw.data_dir)),
        data_dir: raw.data_dir,
    };
    Ok((config, problems))
}

/// Describes a syntax error without the line itself, which may hold a secret.
fn syntax(text: &str, error: &toml::de::Error) -> String {
    let before = &text[..error.span().map_or(0, |span| span.start.min(text.len()))];
    let line = before.matches('\n').count() + 1;
    let column = before.chars().rev().take_while(|c| *c != '\n').count() + 1;
    format!("line {line}, column {column}: {}", error.message().trim_end().replace('\n', ", "))
}

fn split_sinks(
    sinks: toml::Value,
    substituted: &Substituted,
    problems: &mut Vec<Problem>,
) -> BTreeMap<String, SinkTable> {
    let toml::Value::Table(sinks) = sinks else {
        problems.push(Problem::new(
            "sinks",
            "expected a table of sinks; write each sink as [sinks.NAME]",
        ));
        return BTreeMap::new();
    };
    let mut tables = BTreeMap::new();
    for (name, value) in sinks {
        let path = KeyPath::of(["sinks", &name]);
        match value {
            toml::Value::Table(table) => {
                let substituted = substituted.within(&path);
                tables.insert(name, SinkTable { table, substituted });
            }
            _ => problems
                .push(Problem::new(path, "expected a table; write each sink as [sinks.NAME]")),
        }
    }
    tables
}

#[cfg(test)]
mod tests;
