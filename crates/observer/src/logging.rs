//! The program's own log, on standard error.

use std::env;
use std::io::{self, IsTerminal};

use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::ParseError;
use tracing_subscriber::fmt;
use tracing_subscriber::util::{SubscriberInitExt, TryInitError};

/// How a line of the log looks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// For people: coloured on a terminal, unless `NO_COLOR` is set.
    #[default]
    Text,
    /// For programs: one JSON object a line.
    Json,
}

/// Why there is no log.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LogError {
    /// The filter can't be read.
    #[error("{filter:?} is no log level or filter; write for example \"debug\" or \"info,observer_pipeline=trace\"")]
    Filter {
        /// As it was given.
        filter: String,
        /// Why not.
        source: ParseError,
    },
    /// The process has a log already.
    #[error("a log has been set up before")]
    Taken(#[from] TryInitError),
}

/// It calls an error what whoever asked for a connection is told too, and may only be trying again.
const REPEATED: &str = "rustls_platform_verifier";

/// Write the log to standard error from now on. `filter` is a level (`info`), or levels by target (`info,observer_journal=debug`).
///
/// # Errors
/// The filter can't be read, or the process has a log already.
pub fn init(format: LogFormat, filter: &str) -> Result<(), LogError> {
    let parsed = EnvFilter::builder().parse(filter);
    let parsed = parsed.map_err(|source| LogError::Filter { filter: filter.to_owned(), source })?;
    let parsed = if filter.contains(REPEATED) {
        parsed
    } else {
        parsed.add_directive(format!("{REPEATED}=off").parse().expect("it is a directive"))
    };
    let log = fmt().with_writer(io::stderr).with_env_filter(parsed);
    match format {
        LogFormat::Text => log.with_ansi(wants_colour()).finish().try_init()?,
        LogFormat::Json => log.json().flatten_event(true).finish().try_init()?,
    }
    Ok(())
}

/// See <https://no-color.org>: any value but the empty one.
fn wants_colour() -> bool {
    io::stderr().is_terminal() && env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_that_can_not_be_read_is_answered_with_examples() {
        let error = init(LogFormat::Text, "foo=bar=baz").unwrap_err();
        insta::assert_snapshot!(error, @r#""foo=bar=baz" is no log level or filter; write for example "debug" or "info,observer_pipeline=trace""#);
    }
}
