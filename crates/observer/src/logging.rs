//! The program's own log, on standard error.

use std::env;
use std::io::{self, IsTerminal};

use observer_pipeline::SPAN_TARGET;
use tracing_subscriber::filter::{Directive, ParseError};
use tracing_subscriber::fmt;
use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::util::{SubscriberInitExt, TryInitError};
use tracing_subscriber::{EnvFilter, Registry, registry};

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
    #[error(
        "{filter:?} is no log level or filter; write for example \"debug\" or \"info,observer_pipeline=trace\""
    )]
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

/// Something that listens beside the log.
pub(crate) type Listener = Box<dyn Layer<Registry> + Send + Sync>;

/// Write the log to standard error from now on. `filter` is a level (`info`), or levels by target
/// (`info,observer_journal=debug`).
///
/// # Errors
/// The filter can't be read, or the process has a log already.
pub fn init(format: LogFormat, filter: &str) -> Result<(), LogError> {
    let log = fmt().with_writer(io::stderr).with_env_filter(parse(filter)?);
    match format {
        LogFormat::Text => log.with_ansi(wants_colour()).finish().try_init()?,
        LogFormat::Json => log.json().flatten_event(true).finish().try_init()?,
    }
    Ok(())
}

/// The same, with others that listen; the log is what it is without them.
pub(crate) fn init_with(
    format: LogFormat,
    filter: &str,
    others: Vec<Listener>,
) -> Result<(), LogError> {
    let log = fmt::layer().with_writer(io::stderr);
    let log = match format {
        LogFormat::Text => log.with_ansi(wants_colour()).with_filter(parse(filter)?).boxed(),
        LogFormat::Json => log.json().flatten_event(true).with_filter(parse(filter)?).boxed(),
    };
    let mut listeners = vec![log];
    listeners.extend(others);
    registry().with(listeners).try_init()?;
    Ok(())
}

/// What shows of the log. Spans are for traces, so nothing of them does.
///
/// # Errors
/// It can't be read.
pub(crate) fn parse(filter: &str) -> Result<EnvFilter, LogError> {
    let parsed = EnvFilter::builder().parse(filter);
    let parsed = parsed.map_err(|source| LogError::Filter { filter: filter.to_owned(), source })?;
    let parsed = parsed.add_directive(off(SPAN_TARGET));
    Ok(if filter.contains(REPEATED) { parsed } else { parsed.add_directive(off(REPEATED)) })
}

fn off(target: &str) -> Directive {
    format!("{target}=off").parse().expect("it is a directive")
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
