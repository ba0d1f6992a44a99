//! Log of the program, on standard error.

use std::borrow::Cow;
use std::env;
use std::fs::File;
use std::io::{self, IsTerminal, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;

use clap::builder::PossibleValue;
use jiff::Timestamp;
use observer_figures::clean;
use observer_pipeline::SPAN_TARGET;
use serde_json::json;
use tracing::{Level, Metadata};
use tracing_subscriber::filter::{Directive, ParseError};
use tracing_subscriber::fmt::{self, MakeWriter};
use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::util::{SubscriberInitExt, TryInitError};
use tracing_subscriber::{EnvFilter, Registry, registry};

/// Format of the log.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// Text, coloured on a terminal unless `NO_COLOR` is set.
    #[default]
    Text,
    /// One JSON object per line.
    Json,
}

impl LogFormat {
    /// All formats.
    pub const ALL: [Self; 2] = [Self::Text, Self::Json];

    /// Returns the name of the format on the command line.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Json => "json",
        }
    }
}

impl clap::ValueEnum for LogFormat {
    fn value_variants<'a>() -> &'a [Self] {
        &Self::ALL
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        Some(PossibleValue::new(self.as_str()))
    }
}

/// Error type for initialising the log.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LogError {
    /// The filter is invalid.
    #[error(
        "invalid log level or filter {filter:?}; use for example \"debug\" or \
         \"info,observer_pipeline=trace\""
    )]
    Filter {
        /// Filter as given.
        filter: String,
        /// Cause.
        source: ParseError,
    },
    /// The process has a subscriber already.
    #[error("the log is already initialised")]
    AlreadyInitialized(#[from] TryInitError),
}

/// Target that logs certificate errors which the client of the connection reports too.
const REDUNDANT: &str = "rustls_platform_verifier";

/// Target of the SDK of MCP, which logs each request.
const TALKATIVE: &str = "rmcp";

/// Layer of the subscriber in addition to the log.
pub(crate) type BoxedLayer = Box<dyn Layer<Registry> + Send + Sync>;

/// Initialises the log on standard error. `filter` is a level (`info`), or levels by target
/// (`info,observer_journal=debug`).
///
/// # Errors
/// If the filter is invalid, or the process has a subscriber already.
pub fn init(format: LogFormat, filter: &str) -> Result<(), LogError> {
    let log =
        tracing_subscriber::fmt().with_writer(Stderr::new(format)).with_env_filter(parse(filter)?);
    match format {
        LogFormat::Text => log.with_ansi(wants_colour()).finish().try_init()?,
        LogFormat::Json => log.json().flatten_event(true).finish().try_init()?,
    }
    Ok(())
}

/// Initialises the log with further layers, which don't change its output.
///
/// # Errors
/// If the filter is invalid, or the process has a subscriber already.
pub(crate) fn init_with(
    format: LogFormat,
    filter: &str,
    layers: Vec<BoxedLayer>,
) -> Result<(), LogError> {
    let log = fmt::layer().with_writer(Stderr::new(format));
    let log = match format {
        LogFormat::Text => log.with_ansi(wants_colour()).with_filter(parse(filter)?).boxed(),
        LogFormat::Json => log.json().flatten_event(true).with_filter(parse(filter)?).boxed(),
    };
    let mut all = vec![log];
    all.extend(layers);
    registry().with(all).try_init()?;
    Ok(())
}

/// Writes the error that ends the observer to its log, whatever the filter.
pub(crate) fn write_fatal(format: LogFormat, error: &str) {
    let line = match format {
        LogFormat::Text => format!("observer: {error}"),
        LogFormat::Json => json!({
            "timestamp": Timestamp::now().to_string(),
            "level": "ERROR",
            "message": "the observer can't run",
            "error": error,
            "target": "observer",
        })
        .to_string(),
    };
    let priority = is_journal().then(|| priority(Level::ERROR));
    // If that fails, nothing can be reported.
    let stderr = &mut CleanStderr { format, priority };
    let _ = match format {
        // The error may have several lines.
        LogFormat::Text => stderr.write_text(&clean::text(&line)),
        LogFormat::Json => stderr.write_text(&clean::json(&line)),
    };
}

/// Source of writers to standard error.
struct Stderr {
    format: LogFormat,
    /// True if standard error is the journal of systemd.
    is_journal: bool,
}

impl Stderr {
    fn new(format: LogFormat) -> Self {
        Self { format, is_journal: is_journal() }
    }
}

impl MakeWriter<'_> for Stderr {
    type Writer = CleanStderr;

    fn make_writer(&self) -> CleanStderr {
        CleanStderr { format: self.format, priority: None }
    }

    fn make_writer_for(&self, metadata: &Metadata<'_>) -> CleanStderr {
        let priority = self.is_journal.then(|| priority(*metadata.level()));
        CleanStderr { format: self.format, priority }
    }
}

/// Returns whether standard error is the journal of systemd: `JOURNAL_STREAM` is its device and
/// inode (systemd.exec(5)).
fn is_journal() -> bool {
    let stream = env::var("JOURNAL_STREAM").ok();
    let stderr = io::stderr().as_fd().try_clone_to_owned().map(File::from);
    let metadata = stderr.and_then(|stderr| stderr.metadata()).ok();
    stream
        .zip(metadata)
        .is_some_and(|(stream, stderr)| is_stream(&stream, stderr.dev(), stderr.ino()))
}

fn is_stream(stream: &str, device: u64, inode: u64) -> bool {
    stream
        .split_once(':')
        .is_some_and(|parts| (parts.0.parse(), parts.1.parse()) == (Ok(device), Ok(inode)))
}

/// Returns the prefix of a line in the journal of systemd (sd-daemon(3)).
fn priority(level: Level) -> &'static str {
    match level {
        Level::ERROR => "<3>",
        Level::WARN => "<4>",
        Level::INFO => "<6>",
        _ => "<7>",
    }
}

/// Standard error, on which values of producers can neither control the terminal nor begin a line.
struct CleanStderr {
    format: LogFormat,
    /// Prefix of a line.
    priority: Option<&'static str>,
}

impl CleanStderr {
    /// Writes clean text and a line feed. Each line has the priority.
    fn write_text(&self, text: &str) -> io::Result<()> {
        let prefix = self.priority.unwrap_or_default();
        let lines: String = text.split('\n').map(|line| format!("{prefix}{line}\n")).collect();
        io::stderr().write_all(lines.as_bytes())
    }
}

impl Write for CleanStderr {
    /// Writes a part of the log, of which the formatter passes a whole line.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(line);
        self.write_text(clean_line(self.format, &text).trim_end_matches('\n'))?;
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}

fn clean_line(format: LogFormat, line: &str) -> Cow<'_, str> {
    match format {
        LogFormat::Text => clean::log_line(line).into(),
        LogFormat::Json => clean::json(line),
    }
}

/// Parses the filter of the log. The target of spans is switched off, since spans go to traces
/// only.
///
/// # Errors
/// If the filter is invalid.
pub(crate) fn parse(filter: &str) -> Result<EnvFilter, LogError> {
    let parsed = EnvFilter::builder().parse(filter);
    let parsed = parsed.map_err(|source| LogError::Filter { filter: filter.to_owned(), source })?;
    let unless_named = |parsed: EnvFilter, target, level| {
        if filter.contains(target) { parsed } else { parsed.add_directive(of(target, level)) }
    };
    let parsed = parsed.add_directive(of(SPAN_TARGET, "off"));
    let parsed = unless_named(parsed, REDUNDANT, "off");
    Ok(unless_named(parsed, TALKATIVE, "error"))
}

fn of(target: &str, level: &str) -> Directive {
    format!("{target}={level}").parse().expect("a target with a level is a directive")
}

/// Returns whether standard error is a terminal and `NO_COLOR` is unset or empty
/// (<https://no-color.org>).
fn wants_colour() -> bool {
    io::stderr().is_terminal() && env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn error_about_an_invalid_filter_has_examples() {
        let error = init(LogFormat::Text, "foo=bar=baz").unwrap_err();
        insta::assert_snapshot!(error, @r#"invalid log level or filter "foo=bar=baz"; use for example "debug" or "info,observer_pipeline=trace""#);
    }

    #[test]
    fn requests_of_mcp_are_logged_if_the_filter_names_their_target() {
        assert!(parse("debug").unwrap().to_string().contains("rmcp=error"));
        assert!(!parse("info,rmcp=debug").unwrap().to_string().contains("rmcp=error"));
    }

    #[test]
    fn journal_is_recognised_by_device_and_inode() {
        for (stream, expected) in [
            ("8:7", true),
            ("7:8", false),
            ("8:70", false),
            ("8", false),
            ("", false),
            ("8:x", false),
        ] {
            assert_eq!(is_stream(stream, 8, 7), expected, "{stream:?}");
        }
    }

    #[test]
    fn values_of_producers_control_neither_terminal_nor_lines() {
        let line = "WARN refused error=\u{9b}2Ja\u{202e}b\nINFO forged\n";
        assert_eq!(clean_line(LogFormat::Text, line), "WARN refused error=ab INFO forged\n");
        let json = "{\"error\":\"\u{9b}2J\u{202e}\"}\n";
        assert_eq!(clean_line(LogFormat::Json, json), "{\"error\":\"\\u009b2J\\u202e\"}\n");
    }
}
